"""Where images come from, as the one way in sees it: documents and layers by name, read within limits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeAlias, TypeVar

from orlop.errors import LimitExceeded

if TYPE_CHECKING:
    from collections.abc import Callable

    from orlop.errors import InvalidInput
    from orlop.model.limits import Limits
    from orlop.model.progress import Progress
    from orlop.store.blobs.ingest import Readable
    from orlop.store.rows.metadata import BlobRow, DiffRow
    from orlop.streams.meter import Meter

_SHOWN = 120


class KnownLayer(Protocol):
    """A layer of a source that was read to its end; what else it is, the one who took it knows."""

    @property
    def diff(self) -> DiffRow:
        """What is known of its content."""

    @property
    def blob(self) -> BlobRow:
        """What is known of its bytes as they came."""

    def discard(self) -> None:
        """Leave nothing behind of it."""


L = TypeVar("L", bound=KnownLayer)
L_co = TypeVar("L_co", bound=KnownLayer, covariant=True)
LayerTaker: TypeAlias = "Callable[[Readable, Callable[[int], object] | None, Meter], L]"
"""What makes a layer of a member's bytes; the second argument is to be called with the number of bytes read."""


class ImageSource(Protocol[L_co]):
    """What holds images. Where ``parallel`` is set, several layers may be taken at once, by several threads."""

    @property
    def parallel(self) -> bool:
        """Whether several threads may take layers at once."""

    @property
    def limits(self) -> Limits:
        """What it may ask for."""

    @property
    def progress(self) -> Progress | None:
        """Told of every layer's bytes."""

    def has(self, name: str) -> bool:
        """Return whether a name leads to something."""

    def key_of(self, name: str, *, what: str) -> str:
        """Return what two names that lead to the same bytes have in common. Raises `InvalidArchive`."""

    def size_of(self, name: str, *, what: str) -> int:
        """Return how many bytes a name leads to, as they stand there. Raises `InvalidArchive`."""

    def document(self, name: str, *, what: str, limit: str = "manifest_size") -> bytes:
        """Return the bytes of a JSON document, whole.

        Args:
            name: its name in the source.
            what: what it is to the reader, for the error.
            limit: which of the limits is for its size.

        Raises:
            InvalidArchive: it is not there. LimitExceeded: it is too large, or has too many values to be parsed.
        """

    def count_values(self, values: int) -> None:
        """Note values of documents, or references between them that are followed. Raises `LimitExceeded`."""

    def could_be_layer(self, name: str) -> bool:
        """Return whether a name leads to bytes that begin like a tar, plain or compressed."""

    def layer(self, name: str, *, label: str, check: Callable[[], None] | None = None) -> L_co:
        """Return what a name leads to as a layer, taken, hashed and scanned; the same name gives the same layer.

        Args:
            name: its name in the source.
            label: how progress calls it.
            check: called now and then; what it raises ends the work.

        Raises:
            InvalidArchive: it is not there. InvalidTar, InvalidCompression: it is not a layer.
        """


def refused(error: InvalidInput, what: str, name: str) -> InvalidInput:
    """Return the error for what was to be a layer, made of the one that says why it is not one."""
    # Very many may have to be kept.
    what = f"{what} {name if len(name) < _SHOWN else name[:_SHOWN] + '…'!r}"
    if isinstance(error, LimitExceeded):
        return LimitExceeded(f"{what} asks for too much: {error}")
    return type(error)(f"{what} is not a layer tar: {error}")
