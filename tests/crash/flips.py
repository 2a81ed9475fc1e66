"""One flipped bit in the database of a store, or in its log, and every command after it.

The places are found by reading the file as SQLite does: for each page of each b-tree its header, pointers to cells, and
of some cells the lengths, the first bytes, the middle and the end; the header of the file; and of a
log its header, the headers of its frames, and what these hold. At each place one bit is flipped, in a fresh copy of one
store, and each command is run on a copy of that.

Of every run is asked: has it lost a blob that would be there without the damage, was its answer wrong though its status
was 0 and `fsck` knows of damage, did it make a backup worse, did it end with a traceback or with the status 1.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections import Counter
from contextlib import closing, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Final, NamedTuple

import orlop
from orlop import stores
from orlop.cli.main import run
from orlop.errors import OrlopError
from orlop.store.local import local_store
from tests.crash.scenarios import copy_tree
from tests.unit.damage import PACKED, PLAIN, fill

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DATA: Final = Path(__file__).parents[1] / "data"
NAME: Final = "example/tiny:1.0"
COMMANDS: Final = {
    "images": ("images", "-a", "--no-trunc", "--digests"),
    "inspect": ("inspect", NAME),
    "history": ("history", "--no-trunc", NAME),
    "save": ("save", "-o", "{}/saved", NAME, PACKED),
    "load": ("load", "-q", "-i", str(DATA / "dockerd-29-overlay2" / "multi.tar")),
    "tag": ("tag", NAME, "new:1"),
    "rmi": ("rmi", NAME),
    "rmi of a part": ("rmi", PLAIN),
    "prune": ("prune", "-f"),
    "prune --dry-run": ("prune", "--dry-run"),
    "image prune -a": ("image", "prune", "-a", "-f"),
    "gc": ("gc",),
    "gc --dry-run": ("gc", "--dry-run"),
    "df": ("df", "-v"),
    "store info": ("store", "info"),
    "store copy": ("store", "copy", "{}/copied"),
    "store backup": ("store", "backup", "{}/fresh"),
    "store backup again": ("store", "backup", "{}/backup"),
    "store move": ("store", "move", "{}/moved"),
    "fsck": ("fsck",),
    "fsck --repair": ("fsck", "--repair"),
}
_REFUSALS: Final = range(2, 9)
_REPAIRED: Final = 8


class Place(NamedTuple):
    """A byte of a file, and what it is a part of."""

    file: str
    offset: int
    what: str


class Ran(NamedTuple):
    """How a command ended: its exit status, and what it wrote to its two streams together."""

    status: int
    said: str
    answer: bytes


@dataclass(slots=True)
class Bench:
    """A folder with the store as it should be, and what each command makes of it."""

    folder: Path
    expected: dict[str, Ran] = field(default_factory=dict)
    left: dict[str, frozenset[str]] = field(default_factory=dict)

    @property
    def place(self) -> Path:
        """Where commands work."""
        return self.folder / "place"

    def make(self, *, log: bool) -> None:
        """Make the store, with an older backup of it; with a ``log`` what came last is in that alone."""
        defaults = local_store.__kwdefaults__
        assert defaults is not None
        defaults["now"] = lambda: 1_700_000_000_000_000_000
        self.place.mkdir()
        root = self.place / "root"
        with orlop.open(root) as images:
            images.load(DATA / "dockerd-20.10-overlay2" / "parent-child.tar")
        stores.backup(root, self.place / "backup")
        kept = sqlite3.connect(root / "metadata.db")
        with closing(kept):
            # Whoever has it open keeps the log from being ended.
            kept.execute("SELECT 1 FROM image").fetchall()
            fill(root, DATA)
            with orlop.open(root) as images:
                images.tag(NAME, "example/second:2")
                images.pin(NAME)
                images.tag(PLAIN, "example/moved:1")
                images.tag(PACKED, "example/moved:1")
            if not log:
                kept.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            subprocess.run(["cp", "-a", self.place, self.folder / "template"], check=True)
        (self.folder / "template" / "root" / "metadata.db-shm").unlink(missing_ok=True)

    def reset(self, place: Place | None, bit: int) -> None:
        """Begin again, with one bit flipped."""
        shutil.rmtree(self.place, ignore_errors=True)
        copy_tree(self.folder / "template", self.place)
        if place is not None:
            with (self.place / "root" / place.file).open("r+b") as file:
                file.seek(place.offset)
                byte = file.read(1)[0]
                file.seek(place.offset)
                file.write(bytes([byte ^ 1 << bit]))

    def learn(self) -> None:
        """Note what each command says and leaves without damage; and import what it needs."""
        for name, words in COMMANDS.items():
            self.reset(None, 0)
            self.run(*words, fork=False)
            self.reset(None, 0)
            self.expected[name] = self.run(*words)
            self.left[name] = self.blobs()

    def run(self, *words: str, fork: bool = True) -> Ran:
        """Run a command."""
        transcript = self.folder / "said"
        arguments = ["--root", str(self.place / "root"), *(word.replace("{}", str(self.place)) for word in words)]
        if fork:
            sys.stdout.flush()
            pid = os.fork()
            if pid == 0:
                status = 71
                with suppress(BaseException):
                    status = _act(transcript, arguments)
                os._exit(status)
            status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        else:
            status = _act(transcript, arguments)
        saved = self.place / "saved"
        said = transcript.read_bytes()
        answer = said + (saved.read_bytes() if saved.exists() else b"")
        return Ran(status, said.decode("utf-8", "replace"), answer)

    def blobs(self) -> frozenset[str]:
        """Return the blobs that are there, in their place or set aside by a repair."""
        root = next(path for path in (self.place / "moved", self.place / "root") if path.exists())
        kept = {path.name for path in (root / "blobs" / "sha256").iterdir()}
        aside = (root / "quarantine").iterdir() if (root / "quarantine").is_dir() else ()
        return frozenset(kept | {path.name.partition(".")[0].removeprefix("sha256-") for path in aside})

    def backup(self) -> list[object]:
        """Return what the older backup holds."""
        root = self.place / "backup"
        files = sorted(path for folder in ("blobs", "toc") for path in (root / folder / "sha256").iterdir())
        with closing(sqlite3.connect(root / "metadata.db")) as database:
            rows = [line for line in database.iterdump() if "sqlite_sequence" not in line]
        return [rows, [(path.name, path.read_bytes()) for path in files]]


def _act(transcript: Path, arguments: list[str]) -> int:
    streams = [os.dup(number) for number in (1, 2)]
    said = os.open(transcript, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.dup2(said, 1)
    os.dup2(said, 2)
    os.close(said)
    try:
        return run(arguments)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, stream in enumerate(streams, 1):
            os.dup2(stream, number)
            os.close(stream)


# Where bits are flipped.


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


# What is asked of each run.


def faults(bench: Bench, name: str, ran: Ran, *, known: bool, backup: list[object]) -> Iterator[str]:
    """Yield what is wrong with a run on a damaged store; ``known`` says whether `fsck` finds the damage."""
    expected = bench.expected[name]
    if ran.status not in {0, *_REFUSALS} or "Traceback" in ran.said or "unexpected" in ran.said:
        yield f"it ended with {ran.status}: {ran.said[-400:]}"
    if lost := bench.left[name] - bench.blobs():
        yield f"it lost {sorted(lost)}, with {ran.status}: {ran.said[-200:]}"
    if name not in {"fsck", "fsck --repair"} and ran.status == 0 and known and ran.answer != expected.answer:
        yield f"its answer is wrong: {ran.said[-400:]!r} instead of {expected.said[-400:]!r}"
    if name == "fsck --repair" and ran.status in {0, _REPAIRED}:
        again = bench.run("fsck")
        if again.status:
            yield f"it repaired everything, and fsck says {again.said[-300:]}"
    made = {"store copy": "copied", "store backup": "fresh", "store backup again": "backup", "store move": "moved"}
    if name in made:
        target = bench.place / made[name]
        # What is moved stays what it was.
        if ran.status == 0 and known and name != "store move" and _is_damaged(target):
            yield "what it made is damaged"
        if ran.status and name != "store backup again" and target.exists():
            yield "it failed, and has left something"
        if ran.status and bench.backup() != backup:
            yield "it failed, and the older backup is another one"


def _is_damaged(root: Path) -> bool:
    try:
        return bool(stores.fsck(root).damage)
    except OrlopError:
        return True


def count(kind: str, tell: Callable[[str], object], *, step: int, seed: int) -> Counter[str]:
    """Flip one bit at every ``step``-th place of a ``kind`` of file, and return what came of it.

    Raises:
        AssertionError: something went wrong that must not.
    """
    shared = "/dev/shm"
    counted: Counter[str] = Counter()
    wrong: list[str] = []
    with tempfile.TemporaryDirectory(prefix="orlop-flip-", dir=shared if os.access(shared, os.W_OK) else None) as path:
        bench = Bench(Path(path))
        bench.make(log=kind == "log")
        bench.learn()
        bench.reset(None, 0)
        backup = bench.backup()
        root = bench.folder / "template" / "root"
        places = places_in_database(root / "metadata.db")
        if kind == "log":
            places = places_in_log(root / "metadata.db-wal", 4096)
        chance = Random(seed)
        chance.shuffle(places)
        for number, place in enumerate(places[::step]):
            bit = chance.randrange(8)
            bench.reset(place, bit)
            status = bench.run("fsck").status
            counted["flips"] += 1
            counted["known to fsck"] += status != 0
            for name, words in COMMANDS.items():
                bench.reset(place, bit)
                ran = bench.run(*words)
                counted["commands"] += 1
                counted["refused" if ran.status else "done"] += 1
                counted["harmless"] += status == 0 and ran.status == 0 and ran.answer == bench.expected[name].answer
                wrong += [
                    f"{place.file} byte {place.offset} bit {bit} ({place.what}), {name}: {fault}"
                    for fault in faults(bench, name, ran, known=status != 0, backup=backup)
                ]
            tell(f"{number} {place} {bit} fsck {status}, wrong so far: {len(wrong)}")
    if wrong:
        raise AssertionError("\n".join([*wrong[:200], f"{len(wrong)} in all; {dict(counted)}"]))
    return counted


def main() -> None:
    """Run for the kinds that are named, each as ``kind:step:seed``, and print what was counted."""
    loud = bool(os.environ.get("ORLOP_LOUD"))
    for argument in sys.argv[1:]:
        kind, step, seed = argument.split(":")
        counted = count(
            kind, (lambda line: print(line, file=sys.stderr)) if loud else len, step=int(step), seed=int(seed)
        )
        print(json.dumps([kind, counted]))


if __name__ == "__main__":
    main()
