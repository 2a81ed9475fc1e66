"""Content from far away is kept in groups: what comes at about the same time is synced and published together.

Theory of operation. Whoever has fetched and verified a piece, a layer or a blob, hands it to a `Keeper` and goes on. A
thread beside them puts all pieces of a group on disk, and publishes them in one write of the rows. A group is kept as
soon as its first piece has waited for `_SOON` seconds; its pieces have `_MOST_BYTES`, so that no large layer waits;
there are `_MOST` of them, since each holds an open file; or nothing more comes. That is worth it for many small layers:
a write of the rows costs as much for one of them as for twenty.

A piece that waits is not visible, but it is not lost either. It is in ``partial/``, whole, under its digest and locked
(`orlop.store.blobs.partial`). If the process is killed, whoever wants it next hashes it, and fetches nothing. Only a
loss of power may take it.

Others that want a piece wait for its lock. Two pulls may each wait for what the other one has gathered, and a pull for
what it has gathered itself, where two of its layers are the same bytes. So the thread must never wait for anything but
the disk and the lock of the write: then every lock that a piece holds ends soon, whatever its pull waits for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from orlop.streams.groups import Groups

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

    from orlop.store.rows.metadata import Metadata, WritableRows

_SOON: Final = 0.1
_MOST: Final = 32
_MOST_BYTES: Final = 4 << 20


class _Piece(NamedTuple):
    """Something that is to be kept: it goes to disk by the one function, and gets its rows by the other one."""

    sync: Callable[[], object]
    publish: Callable[[WritableRows], object]


class Keeper:
    """Keeps what is handed to it soon after, in groups; use it as a block, at the end of which all is kept.

    Threads may share it. Pieces that were not kept because of an error belong to whoever made them.

    Args:
        metadata: where the rows are.
    """

    def __init__(self, metadata: Metadata) -> None:
        self._metadata = metadata
        self._groups = Groups(self._keep, soon=_SOON, most=_MOST, heaviest=_MOST_BYTES)

    def watched(self, check: Callable[[], None]) -> Callable[[], None]:
        """Return a function that does what another one does, and raises what kept a piece from being kept."""

        def look() -> None:
            check()
            self._groups.check()

        return look

    def add(self, sync: Callable[[], object], publish: Callable[[WritableRows], object], size: int) -> None:
        """Have something kept soon; wait while as much waits as may be in a group.

        Args:
            sync: puts it on disk.
            publish: makes it visible, in a write of the rows.
            size: its number of bytes.

        Raises:
            Exception: what kept an earlier piece from being kept.
        """
        self._groups.add(_Piece(sync, publish), size)

    def _keep(self, group: list[_Piece]) -> None:
        for piece in group:
            piece.sync()
        with self._metadata.write() as rows:
            for piece in group:
                piece.publish(rows)

    def __enter__(self) -> Self:
        self._groups.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._groups.__exit__(kind, error, trace)
