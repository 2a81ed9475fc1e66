"""Several layers of a store as one tar, for a reader that has the layers below them already."""

from __future__ import annotations

from contextlib import closing, suppress
from typing import TYPE_CHECKING

from orlop.errors import InvalidTar, TocDamaged
from orlop.model.limits import NO_LIMITS
from orlop.streams.squash import Squash, cut
from orlop.streams.tar_read import TarReader
from orlop.streams.tar_write import END
from orlop.streams.toc import read_toc

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import BinaryIO

    from orlop.model.digest import DiffID
    from orlop.streams.squash import Piece

    Chunks = Callable[[DiffID], Iterator[bytes]]
    Opener = Callable[[DiffID], BinaryIO | None]


def merged_chunks(
    diff_ids: Sequence[DiffID], chunks: Chunks, open_toc: Opener, *, keep_whiteouts: bool
) -> Iterator[bytes]:
    """Yield one tar that does what all layers do, one after another.

    Each member that is still seen after the last layer is copied as it stands, headers included; what whiteouts hide of
    the layers themselves is left out. Every layer is read to its end and so verified.

    Args:
        diff_ids: the layers, bottom first.
        chunks: gives the verified bytes of a layer's tar.
        open_toc: opens a layer's table of contents, if it is there.
        keep_whiteouts: whether whiteouts may hide something of a layer below.

    Raises:
        InvalidTar: a layer is too odd to be merged. TocDamaged: a table of contents is not that of its layer. Beside
            them, what ``chunks`` raises.
    """
    squash = Squash(keep_whiteouts=keep_whiteouts)
    plans = [_plan(squash, diff_id, chunks, open_toc) for diff_id in reversed(diff_ids)]
    for diff_id in diff_ids:
        yield from cut(chunks(diff_id), plans.pop())
    yield END


def _plan(squash: Squash, diff_id: DiffID, chunks: Chunks, open_toc: Opener) -> list[Piece]:
    with suppress(OSError, TocDamaged):
        file = open_toc(diff_id)
        if file is not None:
            with file:
                table = read_toc(file)
                pieces = squash.add(table)
                if table.summary is not None and table.summary.partial:
                    raise InvalidTar(f"the layer {diff_id} cannot be merged with others: {table.summary.reason}")
                return pieces
    # A table of contents can be made anew at any time; the layer itself, which is verified, says the same.
    with closing(_Reader(chunks(diff_id))) as reader:
        tar = TarReader(reader, limits=NO_LIMITS)
        pieces = squash.add(tar)
        tar.drain()
        return pieces


class _Reader:
    """Chunks as a stream that is read."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = memoryview(b"")

    def read(self, size: int, /) -> bytes:
        """Return at most ``size`` bytes, none at the end."""
        if not self._rest:
            self._rest = memoryview(next(self._chunks, b""))
        piece, self._rest = self._rest[:size], self._rest[size:]
        return bytes(piece)

    def close(self) -> None:
        """End the iteration."""
        close = getattr(self._chunks, "close", None)
        if close is not None:
            close()
