"""Single files of a layer that cannot be rebuilt as a whole.

A layer that has lost one file has no diff ID any more, but its tar-split has a CRC-64 of each of its files. A file with
the size and the CRC that it had is as it was, but for a chance of one in 2^64; every other is left out. What comes out
is another tar, with new headers of the same meaning. The order of the work is that of the tar: where the tar-split is
cut off, the files before the cut are recovered.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from orlop.errors import InvalidTar, RootDamaged
from orlop.foreign.rebuilt import Gap
from orlop.streams.files import CHUNK
from orlop.streams.tar_entry import TYPE_HARDLINK, TYPE_OTHER
from orlop.streams.tar_read import TarReader
from orlop.streams.tar_write import archive_chunks, entry_header, padding

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from orlop.foreign.rebuilt import UnpackedLayer
    from orlop.streams.meter import Meter

_NAMED: Final = 1000


@dataclass(slots=True)
class Lost:
    """What could not be had of a layer: the ``count`` of its members, the names of the first, and how it was cut off.

    It is complete when the layer has been read.
    """

    count: int = 0
    names: list[str] = field(default_factory=list)
    cut: str = ""

    def add(self, name: str) -> None:
        """Note a member."""
        self.count += 1
        if self.count <= _NAMED:
            self.names.append(name)


def surviving_chunks(layer: UnpackedLayer, meter: Meter, lost: Lost) -> Generator[bytes]:
    """Yield a tar of the members of a layer that are as they were.

    Args:
        layer: where its tar-split and its files are.
        meter: counts what is read, and has the limits.
        lost: filled with what is left out.

    Raises:
        LimitExceeded: it asks for too much.
    """
    yield from archive_chunks(_pieces(layer, meter, lost))


def _pieces(layer: UnpackedLayer, meter: Meter, lost: Lost) -> Iterator[bytes]:
    source = _Filled(layer, meter)
    gone: set[str] = set()
    try:
        reader = TarReader(source, limits=meter.limits)
        for entry in reader:
            first = reader.read(1) if entry.size else b""
            target = entry.linkname if entry.type == TYPE_HARDLINK else ""
            if entry.offset in source.lost or entry.sparse or entry.type == TYPE_OTHER or target in gone:
                gone.add(entry.name)
                lost.add(entry.name)
                continue
            yield entry_header(entry, name=entry.name, linkname=target)
            if entry.size:
                yield first
                yield from reader.chunks(CHUNK)
                yield padding(entry.size)
            gone.discard(entry.name)
    except (RootDamaged, InvalidTar) as error:
        lost.cut = str(error)
    finally:
        source.close()


class _Filled:
    """The tar of a layer, with zeros in place of what is lost; ``lost`` has where such contents begin."""

    def __init__(self, layer: UnpackedLayer, meter: Meter) -> None:
        self.lost: set[int] = set()
        self._parts = layer.surviving(meter)
        self._position = 0
        self._data = b""
        self._zeros = 0

    def read(self, size: int, /) -> bytes:
        """Return at most ``size`` bytes."""
        while not self._data and not self._zeros:
            part = next(self._parts, None)
            if part is None:
                return b""
            if isinstance(part, Gap):
                self.lost.add(self._position)
                self._zeros = part.size
            else:
                self._data = part
        if self._data:
            data, self._data = self._data[:size], self._data[size:]
        else:
            data = bytes(min(size, self._zeros, CHUNK))
            self._zeros -= len(data)
        self._position += len(data)
        return data

    def close(self) -> None:
        """Close what it reads."""
        self._parts.close()
