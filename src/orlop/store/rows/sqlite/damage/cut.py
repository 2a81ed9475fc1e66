"""A log that is cut, made whole again.

Each frame has the checksum of everything before it, so that a bad frame hides all later ones although their bytes are
right. They are taken up again by summing anew. Of the bad frame itself its own checksum tells which bit may be wrong:
the sum is linear, so that a flipped bit changes it by an amount of its own. In the upper eight bits of a word several
places share one amount: the more likely ones are those where the page had another value before. Where no bit fits, the
log is tried with the frame as it is, and without it, and at last as SQLite would read it; the caller decides by what
the database is worth with each.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from orlop.store.rows.sqlite.damage.log import Log

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orlop.store.rows.sqlite.damage.log import Witness

_MASK: Final = 0xFFFFFFFF
_VERSION: Final = 3007000
_MAGICS: Final = (0x377F0682, 0x377F0683)
_FRAME: Final = 24


def mended_logs(log: Log, witness: Witness | None, page: int) -> Iterator[bytes]:
    """Yield logs that SQLite reads to their end, the most promising one first and what it would read by itself last.

    Args:
        log: one that is cut.
        witness: what the index says of it.
        page: the size of the database's pages in bytes.
    """
    log = _with_header(log, page)
    last = min(log.lost(witness), len(log)) or log.committed
    choices = {frame: _choices(log, frame) for frame in range(1, last + 1) if not log.follows(frame)}
    seen = set()
    for number in range(max(map(len, choices.values()), default=0)):
        mended = _summed(log, last, {frame: some[min(number, len(some) - 1)] for frame, some in choices.items()})
        if mended not in seen:
            seen.add(mended)
            yield mended
    if log.committed:
        yield _summed(log, log.committed, {})
    yield b""


def _with_header(log: Log, page: int) -> Log:
    """Return a log with a valid header: the one it has, or the one under which most frames are valid."""
    if log.has_header:
        return log
    salts = log.data[40:48] or bytes(8)
    made = []
    for magic in _MAGICS:
        start = struct.pack(">4I", magic, _VERSION, page, 0) + salts
        sums = Log(start).sums((0, 0), start)
        made.append(Log(start + struct.pack(">2I", *sums) + log.data[32:]))
    # Whether the first frame follows the header is not known any more.
    return max(made, key=lambda one: sum(one.follows(frame) for frame in range(1, len(one) + 1)))


def _choices(log: Log, frame: int) -> list[bytes | None]:
    """Return what a bad frame may have held, the likeliest first; nothing stands for leaving it out."""
    data = _data(log, frame)
    before = log.stored(frame - 1)
    sums = log.sums(before, data)
    if sums == log.stored(frame) or (frame < len(log) and log.computed(frame + 1, sums) == log.stored(frame + 1)):
        return [data]  # only its salts, or its own checksum, are wrong
    if frame > 1 and log.computed(frame, log.sums(log.stored(frame - 2), _data(log, frame - 1))) == log.stored(frame):
        return [data]  # it follows a frame whose checksum is wrong
    found: list[bytes | None] = [*_corrected(log, frame, data), data]
    return found if log.commits(frame) else [*found, None]


def _summed(log: Log, last: int, chosen: dict[int, bytes | None]) -> bytes:
    """Return the frames up to the last one, some of them as they were chosen, with new sums."""
    parts = [log.data[:32]]
    before = log.stored(0)
    for frame in range(1, last + 1):
        data = chosen.get(frame, b"") if frame in chosen else _data(log, frame)
        if data is not None:
            before = log.sums(before, data)
            parts += [data[:8], log.salts, struct.pack(">2I", *before), data[8:]]
    return b"".join(parts)


def _data(log: Log, frame: int) -> bytes:
    """Return what the checksum of a frame is made of."""
    start = _at(log, frame)
    return log.data[start : start + 8] + log.content(frame)


def _at(log: Log, frame: int) -> int:
    return 32 + (frame - 1) * (_FRAME + log.page)


def _corrected(log: Log, frame: int, data: bytes) -> list[bytes]:
    """Return a frame's data with the one bit put right that its checksum tells of, for each bit that it may be."""
    words = struct.unpack(f"{log.order}{len(data) // 4}I", data)
    wanted, sums = log.stored(frame), log.sums(log.stored(frame - 1), data)
    first, second = ((one - other) & _MASK for one, other in zip(wanted, sums, strict=True))
    found: list[bytes] = []
    # What a word adds to both sums are two neighbours in Fibonacci's sequence: 0 and 1 for the last word.
    lower, upper = 0, 1
    shares = []
    for _ in words:
        shares.append((lower, upper))
        lower, upper = upper, (lower + upper) & _MASK
    for place, (one, other) in enumerate(reversed(shares)):
        for bit in range(32):
            change = -(1 << bit) if words[place] >> bit & 1 else 1 << bit
            if (one * change) & _MASK == first and (other * change) & _MASK == second:
                made = list(words)
                made[place] ^= 1 << bit
                found.append(struct.pack(f"{log.order}{len(made)}I", *made))
    earlier = _earlier(log, frame)
    return sorted(found, key=lambda one: sum(a != b for a, b in zip(one[8:], earlier, strict=False)))


def _earlier(log: Log, frame: int) -> bytes:
    """Return what the page of a frame was before, if the log has that."""
    same = (one for one in range(frame - 1, 0, -1) if log.number(one) == log.number(frame))
    return next((log.content(one) for one in same), b"")
