"""An OCI layout in a directory to which very many images are added, one after the other.

Each rewrite of ``index.json`` costs as much as all entries that are there. So the blobs of each image are written at
once, under their names, and the entries of several images together. What is on disk is safe: whoever is killed loses
entries at most, and writes them when the same images are added again, whose blobs are then found.

The entries are due when what was added since they were last written weighs more than the index: its rewrites then cost
no more than a share of all that is written, however many images there are. One large image is entered at once.

A blob that the layout had is hashed before it is relied on, once in a batch. Before an entry is written, all that it
needs must still be there, as it was when it was written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orlop.archive.oci_directory import LayoutTarget, write_layout
from orlop.archive.oci_layout import LayoutContent
from orlop.model.limits import DEFAULT_LIMITS
from orlop.model.values import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orlop.archive.oci_blobs import Blob
    from orlop.archive.oci_directory import Seen
    from orlop.archive.oci_layout import TopEntry
    from orlop.model.digest import Digest
    from orlop.model.limits import Limits
    from orlop.model.progress import Progress

_ENTRY: Final = 1024
"""What an entry weighs by itself, in bytes: it is read, compared and written again each time."""
_SHARE: Final = 4
"""How many times as much as the index has to be added before it is written again."""


@dataclass(frozen=True, slots=True)
class _Placed:
    """A blob that has its name in the layout already."""

    digest: Digest
    size: int
    label: str = ""

    def chunks(self) -> Iterator[bytes]:
        """Yield nothing: it is there."""
        yield from ()


class LayoutBatch:
    """Content on its way into one layout.

    Args:
        path: of the layout, which may not be there yet.
        progress: hears of each layer.
        limits: what the layout that is there may ask for.
    """

    def __init__(self, path: str, progress: Progress | None = None, limits: Limits = DEFAULT_LIMITS) -> None:
        self._path = path
        self._progress = progress
        self._limits = limits
        self._known: dict[Digest, Seen] = {}
        self._entries: list[TopEntry] = []
        self._needed: dict[Digest, int] = {}
        self._index_size: int | None = None
        self._weight = 0

    @property
    def is_due(self) -> bool:
        """Whether no entry waits, or those that do weigh enough to be written."""
        return not self._entries or self._weight > _SHARE * (self._index_size or 0)

    def add(self, content: LayoutContent) -> None:
        """Write the blobs of some content; its entries wait. Raises as `write_layout` does."""
        if self._index_size is None:
            # A layout that is new appears whole, and one that is there is looked at whole.
            self._index_size = len(write_layout(self._path, content, self._progress, limits=self._limits).raw)
            return
        new = [blob.size for blob in content.blobs if blob.digest not in self._known]
        self._target(content).write_blobs()
        self._entries += content.entries
        self._needed |= {blob.digest: blob.size for blob in content.blobs}
        self._weight += _ENTRY * len(content.entries) + sum(new)

    def publish(self) -> None:
        """Write the entries that wait. Raises as `write_layout` does; then none of them is there, and none waits."""
        entries, needed = tuple(self._entries), self._needed
        self._entries, self._needed, self._weight = [], {}, 0
        if entries:
            blobs: tuple[Blob, ...] = tuple(_Placed(digest, size) for digest, size in needed.items())
            written = self._target(LayoutContent(entries, blobs, (), {}, ())).write_entries()
            self._index_size = len(written.raw)

    def _target(self, content: LayoutContent) -> LayoutTarget:
        return LayoutTarget(self._path, content, self._progress, self._limits, self._known)
