"""Whether SQLite's log is whole, judged by its bytes before SQLite itself reads it (`gate`).

A database in WAL mode is ``metadata.db`` and its log ``metadata.db-wal``. The first process that opens them recovers:
it reads the log up to the first frame whose checksum is wrong, takes the last commit before that for the newest state,
and says nothing of what follows. After a crash that is right for a transaction that was being written. After a flipped
bit it silently takes back every transaction from there on; the next writer then writes over them, and the last process
to close the database removes the log. So the question has to be asked first, of the files themselves.

What is behind the first bad frame, with the salts of this log, is one of these:

- frames of a transaction that was undone, or never reached its commit: none of them is a commit;
- a transaction whose commit was written but not, or not wholly, synced. With ``synchronous=FULL`` a commit is synced
  before the next one begins, so that a loss of power leaves one such commit. A commit that failed leaves one too, which
  later and shorter ones write over from its beginning: each such remainder is a run of frames of its own, whose
  checksums do not continue those before it;
- transactions that were committed: the log is cut. Two or more commits in one run of frames prove it.

``metadata.db-shm`` is a second witness. Its header says how many frames are committed, and is advanced only after they
were synced; it outlives a killed process, and the first process that opens the database resets it. If it is valid, is
of this log, and knows more frames than can be read, the log is cut, whatever the frames say, and also where the log is
short or gone.

A log that is whole may be another database's, or this one's of another moment: `lineage` tells, and the index where its
salts say that it is of a later log.

What must never happen: SQLite opens a log that is cut, or not of this database. What must not be taken for a cut: what
a crash, a loss of power or a failed commit leaves. One case stays open: damage of the very last transaction, without
the witness, looks like the loss of power that may have been its cause.
"""

from __future__ import annotations

import struct
import sys
from array import array
from functools import cached_property
from typing import TYPE_CHECKING, Final

from orlop.model.tuples import NamedTuple
from orlop.store.rows.sqlite.unopened import DATABASE_HEADER, DATABASE_MAGIC, read_file

if TYPE_CHECKING:
    from collections.abc import Iterator

_HEADER: Final = struct.Struct(">8I")
_FRAME: Final = struct.Struct(">6I")
_MAGIC: Final = 0x377F0682
_VERSION: Final = 3007000
_MASK: Final = 0xFFFFFFFF
_PAGES: Final = frozenset(1 << power for power in range(9, 17))

# The header of the index that SQLite's processes share, in the machine's own order but for the salts.
_INDEX: Final = struct.Struct("=4x4x4xBBHII2I8s2I")
_INDEX_SIZE: Final = 48
_BACKFILLED: Final = 2 * _INDEX_SIZE
_RESTARTS: Final = 1 << 20
"""How often a log may have been begun again since the index of it was written; salts of other logs are random."""

_HIGH_BIT: Final = (1 << 31).to_bytes(4, sys.byteorder)
_OTHER_BITS: Final = ((1 << 31) - 1).to_bytes(4, sys.byteorder)


class Witness(NamedTuple):
    """What the shared index says of a log: its salts, the frames that are committed, and those in the database."""

    salts: bytes
    frames: int
    backfilled: int


class Log:
    """The bytes of a log, and what they are worth."""

    def __init__(self, data: bytes) -> None:
        self.data: Final = data

    @cached_property
    def page(self) -> int:
        """The size of a page in bytes; 4096 where the header says nothing sensible."""
        size = int.from_bytes(self.data[8:12], "big")
        return size if size in _PAGES else 4096

    @property
    def salts(self) -> bytes:
        """What marks the frames of this log: by the header, or where that is damaged by the first frame."""
        return self.data[16:24] if self.has_header else self.data[40:48]

    @cached_property
    def has_header(self) -> bool:
        """Whether the header is valid."""
        if len(self.data) < _HEADER.size:
            return False
        magic, version, page, *_, first, second = _HEADER.unpack_from(self.data)
        known = magic in {_MAGIC, _MAGIC | 1} and version == _VERSION and page in _PAGES
        return known and self.sums((0, 0), self.data[:24]) == (first, second)

    @cached_property
    def order(self) -> str:
        """The order of the bytes in the words that are summed, as `struct` names it."""
        return ">" if self.data[3:4] == b"\x83" else "<"

    def __len__(self) -> int:
        return max(0, len(self.data) - _HEADER.size) // (_FRAME.size + self.page)

    def _at(self, number: int) -> int:
        return _HEADER.size + (number - 1) * (_FRAME.size + self.page)

    def number(self, frame: int) -> int:
        """Return the page that a frame holds. Frames count from 1."""
        return int.from_bytes(self.data[self._at(frame) : self._at(frame) + 4], "big")

    def commits(self, frame: int) -> int:
        """Return the size of the database in pages, where a frame is a commit, or 0."""
        return int.from_bytes(self.data[self._at(frame) + 4 : self._at(frame) + 8], "big")

    def is_ours(self, frame: int) -> bool:
        """Return whether a frame has the salts of this log, and is not left of an earlier one."""
        return self.data[self._at(frame) + 8 : self._at(frame) + 16] == self.salts

    def content(self, frame: int) -> bytes:
        """Return the page in a frame."""
        start = self._at(frame) + _FRAME.size
        return self.data[start : start + self.page]

    def stored(self, frame: int) -> tuple[int, int]:
        """Return the checksum that a frame has, or for 0 the header."""
        start = 24 if frame == 0 else self._at(frame) + 16
        first, second = struct.unpack_from(">2I", self.data, start)
        return first, second

    def computed(self, frame: int, before: tuple[int, int]) -> tuple[int, int]:
        """Return the checksum that a frame should have after one with the checksum ``before``."""
        start = self._at(frame)
        return self.sums(self.sums(before, self.data[start : start + 8]), self.content(frame))

    def sums(self, before: tuple[int, int], data: bytes) -> tuple[int, int]:
        """Return SQLite's checksum of some words, begun with another one."""
        first, second = before
        words = struct.unpack(f"{self.order}{len(data) // 4}I", data)
        for even, odd in zip(words[::2], words[1::2], strict=True):
            first = (first + even + second) & _MASK
            second = (second + odd + first) & _MASK
        return first, second

    @cached_property
    def _followers(self) -> list[bool]:
        """For each frame whether it continues the one before it, as that one's own checksum says.

        All frames are summed at once, as the lanes of a few large numbers: one by one takes fifteen times as long.
        """
        count, stride = len(self), (_FRAME.size + self.page) // 4
        if count == 0:
            return []
        words = array("I", self.data[_HEADER.size : self._at(count + 1)])
        if (self.order == ">") == (sys.byteorder == "little"):
            words.byteswap()
        high = int.from_bytes(_HIGH_BIT * count, sys.byteorder)
        low = int.from_bytes(_OTHER_BITS * count, sys.byteorder)

        def lanes(values: array[int]) -> int:
            return int.from_bytes(values.tobytes(), sys.byteorder)

        def added(one: int, other: int) -> int:
            return ((one & low) + (other & low)) ^ ((one ^ other) & high)

        stored = [self.stored(frame) for frame in range(count + 1)]
        first, second = (lanes(array("I", column)) for column in zip(*stored[:-1], strict=True))
        for place in (0, *range(_FRAME.size // 4, stride, 2)):
            first = added(added(first, lanes(words[place::stride])), second)
            second = added(added(second, lanes(words[place + 1 :: stride])), first)
        size = 4 * count
        found = (array("I", value.to_bytes(size, sys.byteorder)) for value in (first, second))
        return [
            sums == right and self.is_ours(frame) and self.number(frame) > 0
            for frame, (sums, right) in enumerate(zip(zip(*found, strict=True), stored[1:], strict=True), 1)
        ]

    def follows(self, frame: int) -> bool:
        """Return whether a frame continues the one before it, or for the first one the header."""
        return self._followers[frame - 1]

    @cached_property
    def valid(self) -> int:
        """How many frames SQLite reads, committed or not."""
        if not self.has_header:
            return 0
        return next((frame - 1 for frame in range(1, len(self) + 1) if not self.follows(frame)), len(self))

    @cached_property
    def committed(self) -> int:
        """The last commit among the frames that SQLite reads, or 0."""
        return next((frame for frame in range(self.valid, 0, -1) if self.commits(frame)), 0)

    def runs(self) -> Iterator[range]:
        """Yield the runs of frames behind the valid part whose checksums continue each other.

        The first frame of each run is one that cannot be checked: either it is bad, or what it followed is gone.
        """
        start = frame = self.valid + 1
        last = len(self)
        while frame <= last:
            if frame < last and (self.follows(frame + 1) or self._has_bad_sum(frame)):
                frame += 1
                continue
            if frame > start or self.is_ours(frame):
                yield range(start, frame + 1)
            start = frame = frame + 1

    def _has_bad_sum(self, frame: int) -> bool:
        """Return whether nothing but its own checksum is wrong with the first bad frame: the next one tells."""
        if frame != self.valid + 1 or not self.has_header or not self.is_ours(frame + 1):
            return False
        right = self.computed(frame, self.stored(frame - 1))
        return self.computed(frame + 1, right) == self.stored(frame + 1)

    def lost(self, witness: Witness | None) -> int:
        """Return the last committed frame that SQLite would not read, or 0 where nothing is lost."""
        if witness is not None and witness.salts == self.salts and witness.frames > self.committed:
            return witness.frames
        # A header is on disk before the first frame is written.
        enough = 2 if self.has_header else 1
        for run in reversed(list(self.runs())):
            found = [frame for frame in run if self.commits(frame)]
            if len(found) >= enough:
                return found[-1]
        return 0


def read_log(path: str) -> Log | None:
    """Return the log of the database at ``path``, or nothing where there is none. Raises OSError."""
    data = read_file(f"{path}-wal")
    return None if data is None else Log(data)


def read_witness(path: str) -> Witness | None:
    """Return what the shared index of a database says, or nothing where it is not there, or not valid.

    No connection of this process may have the database open. Raises OSError.
    """
    data = read_file(f"{path}-shm", _BACKFILLED + 4)
    if data is None or len(data) < _BACKFILLED + 4 or data[:_INDEX_SIZE] != data[_INDEX_SIZE:_BACKFILLED]:
        return None
    ready, _, _, frames, _, _, _, salts, *sums = _INDEX.unpack_from(data)
    order = "<" if sys.byteorder == "little" else ">"
    summed = Log(b"\0\0\0\x82" if order == "<" else b"\0\0\0\x83").sums((0, 0), data[: _INDEX_SIZE - 8])
    if not ready or summed != tuple(sums):
        return None
    return Witness(salts, frames, int.from_bytes(data[_BACKFILLED:], sys.byteorder))


def is_own(database: bytes, log: Log, witness: Witness | None, noted: int | None) -> bool:
    """Return whether a log may be the one that was written last for the database with a header, see `lineage`.

    ``noted`` is the number of the last write in the store, where one is known.
    """
    # A loss of power while a log is carried over takes the header, which the log has too.
    if log.committed == 0 or not database.startswith(DATABASE_MAGIC):
        return True
    if witness is not None and witness.frames > 0:
        ahead = (_begun(witness.salts) - _begun(log.salts)) & _MASK
        if 0 < ahead < _RESTARTS:
            return False
    from orlop.store.rows.sqlite.lineage import belongs, number_of  # noqa: PLC0415 - few databases have a log left

    numbers = [number_of(log.content(frame)) for frame in range(1, log.committed + 1) if log.number(frame) == 1]
    return belongs(number_of(database), numbers, noted)


def _begun(salts: bytes) -> int:
    """Return how often a log was begun again, counted from a random number."""
    return int.from_bytes(salts[:4], "big")


def fault_of(path: str) -> str | None:
    """Return what is wrong with the log of a database that no process has open, as a clause, or nothing.

    Raises:
        OSError: it cannot be read.
    """
    log, witness = read_log(path), read_witness(path)
    if log is None or len(log.data) < _HEADER.size:
        return _gone(path, witness)
    lost = log.lost(witness)
    if lost == 0:
        from orlop.store.rows.sqlite.last_write import noted_beside  # noqa: PLC0415 - few databases have a log left

        own = is_own(read_file(path, DATABASE_HEADER) or b"", log, witness, noted_beside(path))
        return None if own else f"the log {path}-wal is not of this database, or of another moment of it"
    if not log.has_header:
        return f"the header of the log {path}-wal is damaged, and with it {lost} frames are lost"
    where = f"the log {path}-wal is damaged at frame {log.valid + 1}"
    return f"{where}, and committed changes up to frame {lost} are behind it"


def _gone(path: str, witness: Witness | None) -> str | None:
    """Return what is wrong where there is no log, by the index that is left of it."""
    if witness is None or witness.frames <= witness.backfilled:
        return None
    # A database that one process had for itself since has another mode, and may have left the index behind.
    if (read_file(path, 20) or b"")[18:20] != b"\2\2":
        return None
    return f"the log {path}-wal is empty or missing, and {witness.frames} frames of committed changes with it"
