"""One flipped bit in the database of a store, or in its log, and every command after it.

The places are found by reading the file as SQLite does: for each page of each b-tree its header, pointers to cells, and
of some cells the lengths, the first bytes, the middle and the end; the header of the file; and of a
log its header, the headers of its frames, and what these hold. `spoiled` says what is asked of each command.
"""

from __future__ import annotations

import json
import os
import sqlite3
import sys
from contextlib import closing
from functools import cached_property, partial
from itertools import count as count_from
from itertools import pairwise
from random import Random
from typing import TYPE_CHECKING, Final, NamedTuple

from orlop.store.rows.sqlite.damage.log import Log, read_log
from tests.crash.spoiled import Spoil, bench, tried

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterator
    from pathlib import Path


class Place(NamedTuple):
    """A byte of a file, and what it is a part of."""

    file: str
    offset: int
    what: str


def places_in_database(path: Path) -> list[Place]:
    """Return the places in a database."""
    data = path.read_bytes()
    size = int.from_bytes(data[16:18], "big")
    found = [Place(path.name, offset, "file header") for offset in range(16, 100) if offset < 72 or offset > 91]
    with closing(sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)) as database:
        roots = database.execute("SELECT name, rootpage FROM sqlite_schema WHERE rootpage > 0").fetchall()
    seen: set[int] = set()
    for name, root in [("sqlite_schema", 1), *roots]:
        waiting = [root]
        while waiting:
            number = waiting.pop()
            if number not in seen:
                seen.add(number)
                parts = _Page(data, number, size)
                found += [Place(path.name, offset, f"{name}: {what}") for offset, what in parts.places()]
                waiting += parts.below()
    return found


class _Page:
    """A page of a b-tree."""

    def __init__(self, data: bytes, number: int, size: int) -> None:
        self._data = data
        self._start = (number - 1) * size
        self._size = size
        self._header = self._start + (100 if number == 1 else 0)
        self._kind = data[self._header]
        self._length = 12 if self._kind in {2, 5} else 8
        count = int.from_bytes(data[self._header + 3 : self._header + 5], "big")
        pointers = self._header + self._length
        self._pointers = range(pointers, pointers + 2 * count, 2)
        self._cells = [self._start + int.from_bytes(data[at : at + 2], "big") for at in self._pointers]

    def below(self) -> Iterator[int]:
        if self._kind in {2, 5}:
            yield from (int.from_bytes(self._data[at : at + 4], "big") for at in self._cells)
            yield int.from_bytes(self._data[self._header + 8 : self._header + 12], "big")

    def places(self) -> Iterator[tuple[int, str]]:
        yield from ((self._header + at, "page header") for at in range(self._length))
        ends = dict(pairwise([*sorted(self._cells), self._start + self._size]))
        count = len(self._cells)
        for number in sorted({0, count // 2, count - 1} & set(range(count))):
            yield from ((self._pointers[number] + at, "cell pointer") for at in range(2))
            begin, end = self._cells[number], ends[self._cells[number]]
            yield from ((begin + at, "cell header") for at in range(min(6, end - begin)))
            length = end - begin
            yield from ((begin + length * part // 8, "key or value") for part in range(1, 8) if length * part // 8 > 5)
            yield end - 1, "end of a cell"


def places_in_log(path: Path, size: int) -> list[Place]:
    """Return the places in a log."""
    length = path.stat().st_size
    found = [Place(path.name, offset, "log header") for offset in range(32)]
    for start in range(32, length, size + 24):
        found += [Place(path.name, start + at, "frame header") for at in range(24)]
        found += [Place(path.name, start + 24 + at, "frame") for at in (0, 3, 8, size // 2, size - 5)]
    return found


def flipped(place: Place, bit: int) -> Spoil:
    """Return the damage of one bit."""

    def flip(root: Path) -> None:
        with (root / place.file).open("r+b") as file:
            file.seek(place.offset)
            byte = file.read(1)[0]
            file.seek(place.offset)
            file.write(bytes([byte ^ 1 << bit]))

    return Spoil(f"{place.file} byte {place.offset} bit {bit} ({place.what})", flip)


def count(
    kind: str, tell: Callable[[str], object], *, step: int, seed: int, part: int = 0, parts: int = 1
) -> Counter[str]:
    """Flip one bit at every ``step``-th place of a ``kind`` of file, and return what came of it.

    Of these places are tried those of one ``part`` of all ``parts``, which together are all of them.

    Raises:
        AssertionError: something went wrong that must not.
    """
    with bench() as made:
        made.make(log=kind == "log")
        made.learn()
        database = made.template / "metadata.db"
        log = made.template / "metadata.db-wal"
        places = places_in_log(log, 4096) if kind == "log" else places_in_database(database)
        chance = Random(seed)
        chance.shuffle(places)
        spoils = [flipped(place, chance.randrange(8)) for place in places[::step]]
        if kind == "log":
            spoils = [_known(spoil) for spoil in spoils]
        return tried(made, spoils[part::parts], tell, together=step == 1)


def _known(spoil: Spoil) -> Spoil:
    """Sum the frames of a spoiled log once, for all commands: what came of that follows from its bytes alone."""

    def do(root: Path) -> None:
        spoil.do(root)
        log = read_log(str(root / "metadata.db"))
        assert log is not None
        if not any(data == log.data for data, _ in _logs):
            _logs[:] = [(log.data, _summed(log))]

    return spoil._replace(do=do)


_logs: list[tuple[bytes, list[bool]]] = []
_summed: Final = vars(Log)["_followers"].func


def _followers(log: Log) -> list[bool]:
    return next((found for data, found in _logs if data == log.data), None) or _summed(log)


_remembering: Final = cached_property(_followers)
_remembering.__set_name__(Log, "_followers")


def main() -> None:
    """Run for the kinds that are named, and print what was counted.

    Each is ``kind:step:seed``, or ``kind:step:seed:part:parts``: so a long run is done in parts, any of which can be
    done again. With ``ORLOP_LOUD=N`` every N-th place is told, and each with which something is wrong.
    """
    setattr(Log, "_followers", _remembering)  # noqa: B010 - a type checker knows better
    for argument in sys.argv[1:]:
        kind, *numbers = argument.split(":")
        step, seed, part, parts = (*map(int, numbers), 0, 1)[:4]
        counted = count(kind, partial(_tell, count_from(1)), step=step, seed=seed, part=part, parts=parts)
        print(json.dumps([kind, counted]), flush=True)


def _tell(numbers: Iterator[int], line: str) -> None:
    every = int(os.environ.get("ORLOP_LOUD") or "0")
    if every and (next(numbers) % every == 0 or not line.endswith("nothing wrong")):
        print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
