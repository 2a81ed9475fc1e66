"""What a write has under way beside its changes: what is to be done when it ends, and what goes with it."""

from __future__ import annotations

from abc import abstractmethod

from orlop.store.rows.rows import WritableRows

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from orlop.model.digest import ChainID, DiffID, Digest
    from orlop.store.rows.going import Going
    from orlop.store.rows.rows import ChainRow


class PendingRows(WritableRows):
    """Rows of a write, which whoever opened the write ends: it calls the actions, and asks of what is ``gone``."""

    def __init__(self) -> None:
        self.preparations: dict[Callable[[], object], None] = {}
        self.commit_actions: list[Callable[[], object]] = []
        self.rollback_actions: list[tuple[Callable[[], object], bool]] = []
        self.gone: Going | None = None
        """What goes with this write, if anything does."""

    def before_commit(self, action: Callable[[], object]) -> None:
        """Call ``action`` once before the changes are made durable."""
        self.preparations[action] = None

    def after_commit(self, action: Callable[[], object]) -> None:
        """Call ``action`` once the changes are durable."""
        self.commit_actions.append(action)

    def after_rollback(self, action: Callable[[], object], *, if_sure: bool = False) -> None:
        """Call ``action`` if the changes are undone."""
        self.rollback_actions.append((action, if_sure))

    def will_go(self, *, blobs: Iterable[Digest] = (), contents: Iterable[DiffID] = ()) -> None:
        """Note that stored bytes and tables of contents go when this write is durable."""
        going = self._going()
        going.blobs.update(map(str, blobs))
        going.contents.update(map(str, contents))

    def _going(self) -> Going:
        from orlop.store.rows.going import Going  # noqa: PLC0415 - few commands remove anything

        if self.gone is None:
            self.gone = Going()
        return self.gone

    def _came(self, **digests: Digest) -> None:
        """Note what is put: if it went earlier in this write, it does not go."""
        if self.gone is not None:
            for kind, digest in digests.items():
                getattr(self.gone, kind).discard(str(digest))
                self.gone.leased.discard(str(digest))

    def prune_chain(self, chain_id: ChainID) -> tuple[list[ChainRow], list[Digest], list[DiffID]]:
        """Drop a layer and those below it as far as nothing refers to them."""
        gone: list[ChainRow] = []
        blobs: list[Digest] = []
        diffs: list[DiffID] = []
        current: ChainID | None = chain_id
        while current is not None and (row := self._drop_chain(current)) is not None:
            going, parent = self._going(), None if row.parent is None else str(row.parent)
            going.chains.add(str(current))
            going.stood[str(current)] = (parent, str(row.diff_id))
            going.leased.add(str(current))
            gone.append(row)
            freed = self.prune_diff(row.diff_id)
            if freed is not None:
                blobs += freed
                diffs.append(row.diff_id)
            current = row.parent
        return gone, blobs, diffs

    @abstractmethod
    def _drop_chain(self, chain_id: ChainID) -> ChainRow | None:
        """Delete the row of a layer unless an image, a layer or a lease needs it, and return it if it went."""
