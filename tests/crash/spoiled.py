"""Every command on a store whose files were spoiled, and what must not come of it.

A `Bench` holds one store as it should be, and what each command answers and leaves there. Each kind of damage is done
to a fresh copy of it, and each command is run on a copy of that. Of every run is asked: has it lost a blob that would
be there without the damage, or does the collection after a repair lose one, was its answer wrong though its status was
0 and `fsck` knows of damage, did it refuse and change the database all the same, did it make a backup worse, did it end
with a traceback or with the status 1, is a store clean that `fsck --repair` says it has repaired.
"""

from __future__ import annotations

import gc
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import orlop
from orlop import stores
from orlop.cli.main import run
from orlop.errors import OrlopError
from orlop.store.local import local_store
from tests.crash.pace import DAY, PACE
from tests.crash.restored import Restored
from tests.unit.damage import PACKED, PLAIN, fill

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

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
_DATABASE: Final = ("metadata.db", "metadata.db-wal", "metadata.db-shm", "metadata.db-journal")
_FSCK: Final = ("fsck",)
_REFUSALS: Final = range(2, 9)
_REPAIRED: Final = 8
_FEW: Final = 3
_FELL: Final = 71
_DAMAGED: Final = 6


class Ran(NamedTuple):
    """How a command ended: its exit status, and what it wrote to its two streams together."""

    status: int
    said: str
    answer: bytes


class Spoil(NamedTuple):
    """A kind of damage: what it is, and how it is done to the folder in which the store lies.

    ``alone`` says that nothing else tells of what is lost.
    """

    what: str
    do: Callable[[Path], object]
    alone: bool = False


@dataclass(slots=True)
class Bench:
    """A folder with the store as it should be, and what each command makes of it.

    Each command is a process of its own, forked from this one, unless ``forks`` says no.

    Beside the store, as it is copied for each command, lie copies of earlier states of it (``earlier-1``,
    ``earlier-2``), and another store (``other``), each with the log that a killed process leaves.
    """

    folder: Path
    commands: dict[str, tuple[str, ...]] = field(default_factory=lambda: dict(COMMANDS))
    expected: dict[str, Ran] = field(default_factory=dict)
    left: dict[str, frozenset[str]] = field(default_factory=dict)
    spoiled: bytes | None = None
    forks: bool = True
    restored: Restored | None = None
    known_backup: tuple[dict[str, bytes], list[object]] = field(default_factory=lambda: ({}, []))

    @property
    def place(self) -> Path:
        """Where commands work."""
        return self.folder / "place"

    @property
    def template(self) -> Path:
        """The root of the store as it should be."""
        return self.folder / "template" / "root"

    def state(self, name: str) -> Path:
        """Return the root of an earlier state of the store, or of the other store."""
        return self.folder / name

    def make(self, *, log: bool, index: bool = False) -> None:
        """Make the store, with an older backup of it.

        Args:
            log: what came last is in the log alone.
            index: leave the index of the log, too, as a killed process does.
        """
        defaults = local_store.__kwdefaults__
        assert defaults is not None
        defaults["now"] = lambda: 1_700_000_000_000_000_000
        self.place.mkdir()
        root = self.place / "root"
        with _left_open(root) as kept:
            with orlop.open(root) as images:
                images.load(DATA / "dockerd-20.10-overlay2" / "parent-child.tar")
            self._note(root, "earlier-1")
            kept.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            stores.backup(root, self.place / "backup")
            fill(root, DATA)
            self._note(root, "earlier-2")
            with orlop.open(root) as images:
                images.tag(NAME, "example/second:2")
                images.pin(NAME)
                images.tag(PLAIN, "example/moved:1")
                images.tag(PACKED, "example/moved:1")
            if not log:
                kept.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            subprocess.run(["cp", "-a", self.place, self.folder / "template"], check=True)
        if not (log and index):
            (self.template / "metadata.db-shm").unlink(missing_ok=True)
        with _left_open(self.folder / "another"):
            with orlop.open(self.folder / "another") as images:
                images.load(DATA / "dockerd-29-overlay2" / "multi.tar")
                images.load(DATA / "other-tools" / "skopeo-oci-archive.tar")
            self._note(self.folder / "another", "other")

    def _note(self, root: Path, name: str) -> None:
        subprocess.run(["cp", "-a", root, self.state(name)], check=True)

    def reset(self, spoil: Spoil | None) -> None:
        """Begin again, with some damage."""
        if self.restored is None:
            self.restored = Restored(self.folder / "template", self.place, anew=_DATABASE)
        self.restored.restore()
        if spoil is not None:
            spoil.do(self.place / "root")
        self.spoiled = self.database()

    def database(self) -> bytes | None:
        """Return what is in the file of the database, if it is there."""
        path = self.place / "root" / "metadata.db"
        return path.read_bytes() if path.exists() else None

    def learn(self) -> None:
        """Note what each command says and leaves without damage; and import what it needs."""
        for name, words in self.commands.items():
            self.reset(None)
            self._run_here(*words)
            self.reset(None)
            self.expected[name] = self.run(*words)
            self.left[name] = self.blobs()

    def warm_up(self, spoils: Iterable[Spoil]) -> None:
        """Import, before anything is forked, what commands and repairs need on damaged stores."""
        for spoil in spoils:
            for words in self.commands.values():
                self.reset(spoil)
                self._run_here(*words)
        gc.collect()
        # A child that looks for garbage would copy every page of memory.
        gc.freeze()

    def run(self, *words: str) -> Ran:
        """Run a command."""
        if not self.forks:
            return self._run_here(*words)
        return self._ran(apart(partial(self._act, words)))

    def _run_here(self, *words: str) -> Ran:
        return self._ran(self._act(words))

    def _act(self, words: tuple[str, ...]) -> int:
        arguments = ["--root", str(self.place / "root"), *(word.replace("{}", str(self.place)) for word in words)]
        return _act(self.folder / "said", arguments)

    def _ran(self, status: int) -> Ran:
        saved = self.place / "saved"
        said = (self.folder / "said").read_bytes()
        answer = said + (saved.read_bytes() if saved.exists() else b"")
        return Ran(status, said.decode("utf-8", "replace"), answer)

    def blobs(self) -> frozenset[str]:
        """Return the blobs that are there, in their place or set aside by a repair."""
        root = next(path for path in (self.place / "moved", self.place / "root") if path.exists())
        kept = {path.name for path in (root / "blobs" / "sha256").iterdir()}
        aside = (root / "quarantine").iterdir() if (root / "quarantine").is_dir() else ()
        return frozenset(kept | {path.name.partition(".")[0].rpartition("-")[2] for path in aside})

    def backup(self) -> list[object]:
        """Return what the older backup holds; it is read anew where any file of it has changed."""
        root = self.place / "backup"
        raw = {str(path): path.read_bytes() for path in root.rglob("*") if path.is_file()}
        if raw == self.known_backup[0]:
            return self.known_backup[1]
        files = sorted(path for folder in ("blobs", "toc") for path in (root / folder / "sha256").iterdir())
        with closing(sqlite3.connect(root / "metadata.db")) as database:
            rows = [line for line in database.iterdump() if "sqlite_sequence" not in line]
        found = [rows, [(path.name, path.read_bytes()) for path in files]]
        self.known_backup = (raw, found)
        return found


@contextmanager
def _left_open(root: Path) -> Iterator[sqlite3.Connection]:
    """Keep the log of a store from being ended, as long as the block lasts."""
    with orlop.open(root) as images:
        images.images()
    with closing(sqlite3.connect(root / "metadata.db")) as kept:
        kept.execute("SELECT 1 FROM image").fetchall()
        yield kept


def apart(act: Callable[[], int]) -> int:
    """Act in a forked child, and return the status that it returns; 71 where it raises."""
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        status = _FELL
        with suppress(BaseException):
            status = act()
        os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


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


def faults(bench: Bench, name: str, ran: Ran, *, known: bool, backup: list[object]) -> Iterator[str]:
    """Yield what is wrong with a run on a damaged store; ``known`` says whether `fsck` finds the damage."""
    # A move ends the log before it looks; a copy, a load and a save hold a lease until they are refused.
    may_change = name.startswith(("fsck --repair", "store", "load", "save"))
    if ran.status == _DAMAGED and not may_change and bench.database() != bench.spoiled:
        yield "it refused, and the database is another one"
    expected = bench.expected[name]
    if ran.status not in {0, *_REFUSALS} or "Traceback" in ran.said or "unexpected" in ran.said:
        yield f"it ended with {ran.status}: {ran.said[-400:]}"
    if lost := bench.left[name] - bench.blobs():
        yield f"it lost {sorted(lost)}, with {ran.status}: {ran.said[-200:]}"
    if not name.startswith("fsck") and ran.status == 0 and known and ran.answer != expected.answer:
        yield f"its answer is wrong: {ran.said[-400:]!r} instead of {expected.said[-400:]!r}"
    if name.startswith("fsck --repair") and ran.status in {0, _REPAIRED}:
        again = bench.run("fsck")
        if again.status:
            yield f"it repaired everything, and fsck says {again.said[-300:]}"
        collected = bench.run("gc") if ran.status == _REPAIRED else again
        if lost := bench.left["gc"] - bench.blobs():
            yield f"a collection after it took {sorted(lost)}, with {collected.status}: {collected.said[-200:]}"
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


@contextmanager
def bench() -> Iterator[Bench]:
    """Return a bench for a block, in memory where that is possible: what is lost with it does not matter."""
    shared = "/dev/shm"
    with tempfile.TemporaryDirectory(prefix="orlop-spoil-", dir=shared if os.access(shared, os.W_OK) else None) as path:
        yield Bench(Path(path))


def _asked(bench: Bench, number: int) -> list[tuple[str, tuple[str, ...]]]:
    """Return the commands that are tried on the damage with a number: every other one, on the next the others."""
    step = min(PACE, 2)
    return list(bench.commands.items())[(number + DAY) % step :: step]


def tried(
    bench: Bench, spoils: Iterable[Spoil], tell: Callable[[str], object], *, together: bool = False
) -> Counter[str]:
    """Try each damage with every command, or with every other one (see `pace`), and return what came of it.

    Args:
        bench: the store.
        spoils: the damages.
        tell: called with a line for each of them.
        together: one process runs all commands on a damage, each opening the store anew, which takes half as long. What
            is wrong then is tried again with processes of their own, and is wrong whatever comes of that.

    Raises:
        AssertionError: something went wrong that must not.
    """
    counted: Counter[str] = Counter()
    wrong: list[str] = []
    waiting = list(spoils)
    bench.warm_up(waiting[:_FEW])
    bench.reset(None)
    backup = bench.backup()
    begun = time.monotonic()
    for number, spoil in enumerate(waiting):
        trial = _Trial(bench, spoil, _asked(bench, number), backup)
        more, found = trial.together() if together else trial.run()
        counted += more
        wrong += found
        seconds = time.monotonic() - begun
        tell(f"{number + 1} of {len(waiting)}, {seconds:.0f} s: {spoil.what}, {'; '.join(found) or 'nothing wrong'}")
    if wrong:
        raise AssertionError("\n".join([*wrong[:200], f"{len(wrong)} in all; {dict(counted)}"]))
    return counted


class _Trial(NamedTuple):
    """One damage, the commands that are tried on it, and what the older backup holds."""

    bench: Bench
    spoil: Spoil
    asked: list[tuple[str, tuple[str, ...]]]
    backup: list[object]

    def run(self) -> tuple[Counter[str], list[str]]:
        """Return what came of it, and what is wrong."""
        bench, spoil = self.bench, self.spoil
        counted: Counter[str] = Counter()
        wrong: list[str] = []
        bench.reset(spoil)
        first = bench.run(*_FSCK)
        status = first.status
        counted["tried"] += 1
        counted["known to fsck"] += status != 0
        # The look that tells whether it is known is that of the command.
        for name, words in sorted(self.asked, key=lambda one: one[1] != _FSCK):
            if words == _FSCK:
                ran = first
            else:
                bench.reset(spoil)
                ran = bench.run(*words)
            counted["commands"] += 1
            counted[{0: "done", _REPAIRED: "repaired"}.get(ran.status, "refused")] += 1
            counted["harmless"] += status == 0 and ran.status == 0 and ran.answer == bench.expected[name].answer
            found = list(faults(bench, name, ran, known=status != 0, backup=self.backup))
            if status == 0 and (spoil.alone or "earlier" in spoil.what):
                # Rows of another moment that contradict nothing, or a row of its own: nobody can know.
                counted["as it was earlier"] += len(found)
                continue
            wrong += [f"{spoil.what}, {name}: {fault}" for fault in found]
        return counted, wrong

    def together(self) -> tuple[Counter[str], list[str]]:
        """Return the same, found by one process for all commands."""
        note = self.bench.folder / "note"
        note.unlink(missing_ok=True)

        def act() -> int:
            self.bench.forks = False
            note.write_text(json.dumps(self.run()))
            return 0

        status = apart(act)
        counted, wrong = json.loads(note.read_text()) if status == 0 else ({}, [f"the process ended with {status}"])
        # The child knows what it changed, and this process does not.
        self.bench.reset(None)
        if wrong:
            counted, again = self.run()
            wrong = again or [f"only where one process runs all commands: {one}" for one in wrong]
        return Counter(counted), wrong
