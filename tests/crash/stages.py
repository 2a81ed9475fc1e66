"""A stage: a scenario in a folder of its own, how its command is run, and what may be seen of it afterwards.

A scenario has a template, made once; each run works on a copy of it, in a child of this process. Nothing is imitated:
the children run the command line as a user does, but for a clock that stands still, so that results can be compared.
"""

from __future__ import annotations

import faulthandler
import fcntl
import hashlib
import os
import select
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
import traceback
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import orlop
from orlop.cli import failure
from orlop.cli.main import run
from orlop.errors import DatabaseDamaged, OrlopError
from orlop.store.local import local_store
from orlop.store.rows.sqlite.damage.gate import log_fault
from tests.crash import damaged
from tests.crash.calls import watched
from tests.invariants import HELD, broken
from tests.layout_walk import walked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from orlop.service.image_service import ImageService
    from tests.crash.calls import Call, Ended, Verdict
    from tests.crash.scenarios import Scenario

#: Files in no state that matters: what SQLite's processes share is made anew, what takes up space holds nothing.
IMMATERIAL: Final = ("-shm", ".reserve")
#: How the names of files begin that a command makes beside its target while it works, and takes away when it ends.
PASSING: Final = (".orlop-", ".saved.tar.rescue.lock")
# In every tree, names that say nothing are replaced.
_NAMELESS: Final = ("ingest", "trash", "leases", "quarantine", "incoming")
_PATIENCE: Final = 300
_DAY: Final = 86_400 * 10**9
_DAMAGED: Final = "a damaged database"
_left_open: list[ImageService] = []
_report = failure.report


def _report_strictly(error: Exception, *, debug: bool) -> int:
    """Report an error as the command line does, and note where the library has not made it one of its own."""
    if isinstance(error, OSError) and not isinstance(error, OrlopError):
        places = [
            f"{place.filename.rpartition('/')[2]}:{place.lineno}" for place in traceback.extract_tb(error.__traceback__)
        ]
        print(f"Exception that the library lets through: {error!r} at {' '.join(places)}")
    return _report(error, debug=debug)


Seen = tuple[tuple[object, ...], ...]
"""What a user sees in a place: for each store and each file its name, then what it holds."""


@dataclass(slots=True)
class Stage:
    """A scenario in a folder of its own, and what a user sees ``before`` and ``after`` the command.

    Two may share a folder, and so the stores in it, if what their commands say goes to different files.
    """

    scenario: Scenario
    folder: Path
    transcript: str = "said"
    before: Seen = ()
    after: Seen = ()
    known: frozenset[str] = frozenset()
    undisturbed: dict[str, object] = field(default_factory=dict)

    @property
    def place(self) -> Path:
        """Where the command works."""
        return self.folder / "place"

    def make(self) -> None:
        """Make the template."""
        defaults = local_store.__kwdefaults__
        assert defaults is not None
        defaults["now"] = lambda: 1_700_000_000_000_000_000
        self.place.mkdir(parents=True)
        self.scenario.prepare(self.place)
        self.place.rename(self.folder / "template")
        self.warm()

    def warm(self) -> None:
        """Import what the command needs: a child would do it each time."""
        self.reset()
        with self._standard_streams():
            self._act()
        while _left_open:
            _left_open.pop().close()

    def note_before(self) -> None:
        """Begin again, and note what there is."""
        self.reset()
        self.before = self._seen(self.place, saved=not self.scenario.damaged)
        self.known = frozenset(map(_subject, serious(self.place)))
        self.reset()

    def note_after(self, status: int) -> None:
        """Note what the command has done when nothing disturbed it, and that it ended as it should."""
        assert status == self.scenario.ends, self.said()
        self.after = self._seen(self.place)
        self.undisturbed = tidied(self)

    def _seen(self, place: Path, *, saved: bool = True) -> Seen:
        found = seen(place, saved=saved)
        if self.scenario.shows is None:
            return found
        with orlop.open(place / "root") as images:
            return (*found, tuple(self.scenario.shows(images)))

    def look(self, place: Path, where: str, *, saved: bool = True, done: bool = False) -> Seen:
        """Return what a user sees: the old state or the new one (if ``done`` the new one), with nothing wrong."""
        try:
            found = self._seen(place, saved=saved and not self.scenario.damaged)
        except OrlopError as error:
            raise AssertionError(where) from error
        wrong = [line for line in serious(place) if done or _subject(line) not in self.known]
        assert wrong == [], (where, wrong)
        assert found == self.after or (found == self.before and not done), (where, found)
        if self.scenario.damaged:
            before = damaged.contents_of_blobs(self.folder / "template" / "root")
            assert before <= damaged.contents_of_blobs(place / "root"), where
        return found

    def finish(self, found: Seen, where: str) -> None:
        """Run the same command once more, after which there is what it would have done at once, and no garbage."""
        status, said = self.command()
        assert status == self.scenario.ends or (found == self.after and status == self.scenario.again), (where, said)
        left = tidied(self)
        assert _used(left) == _used(self.undisturbed), where
        # What a repair that was disturbed has set aside already may be there twice.
        assert _aside(self.undisturbed) <= _aside(left) if self.scenario.damaged else left == self.undisturbed, where

    @contextmanager
    def later(self) -> Iterator[None]:
        """Show a block a time at which nothing is kept any more of what clients have left."""
        defaults = local_store.__kwdefaults__
        assert defaults is not None
        now = defaults["now"]
        if self.scenario.clients is not None:
            defaults["now"] = lambda: time.time_ns() + 2 * _DAY
        try:
            yield
        finally:
            defaults["now"] = now

    def reset(self) -> None:
        """Begin again."""
        shutil.rmtree(self.place, ignore_errors=True)
        copy_tree(self.folder / "template", self.place)

    def watched(
        self,
        judge: Callable[[Call, int], Verdict] = lambda _call, _number: None,
        *,
        with_data: bool = False,
        closes: bool = False,
    ) -> Ended:
        """Run the command under watch."""
        try:
            return watched(self._act_alone, [str(self.place)], judge, with_data=with_data, closes=closes)
        except TimeoutError as error:
            msg = f"{error}; it said {self.said()}"
            raise AssertionError(msg) from error

    def command(self, *arguments: str) -> tuple[int, str]:
        """Run the command, or another one, undisturbed; return its exit status and what it says."""
        pid = self.begin(*arguments)
        if not _ends(pid, _PATIENCE):
            # It has registered this signal, and says where it waits.
            os.kill(pid, signal.SIGUSR1)
            _ends(pid, 2)
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise AssertionError(f"{arguments or self.scenario.name} does not end; it said {self.said()}")
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), self.said()

    def begin(self, *arguments: str) -> int:
        """Begin the command, or another one, in a process of its own; return its number."""
        sys.stdout.flush()
        pid = os.fork()
        if pid == 0:
            try:
                os._exit(self._act_alone(*(arguments or self.scenario.arguments)))
            finally:
                os._exit(71)
        return pid

    def said(self) -> str:
        """Return what the last command wrote."""
        return (self.folder / self.transcript).read_text()

    def _act_alone(self, *arguments: str) -> int:
        faulthandler.register(signal.SIGUSR1, all_threads=True)
        with self._standard_streams():
            return self._act(*arguments)

    def _act(self, *arguments: str) -> int:
        if self.scenario.clients is not None and arguments in {(), self.scenario.arguments}:
            from tests.crash.pushes import served

            _left_open.append(served(self.place, self.scenario.clients))
            return 0
        if self.scenario.library is not None and not arguments:
            try:
                images = orlop.open(self.place / "root")
                self.scenario.library(images)
            except OrlopError as error:
                print(f"Error: {error}")
                return error.exit_code
            except OSError as error:
                return _report_strictly(error, debug=False)
            _left_open.append(images)
            return 0
        failure.report = _report_strictly
        given = [argument.replace("{}", str(self.place)) for argument in arguments or self.scenario.arguments]
        return run(["--root", str(self.place / "root"), *given])

    @contextmanager
    def _standard_streams(self) -> Iterator[None]:
        """Connect the command to a file that it writes, and to a pipe that holds what it wants."""
        streams = [os.dup(number) for number in range(3)]
        said = os.open(self.folder / self.transcript, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(said, 1)
        os.dup2(said, 2)
        os.close(said)
        if self.scenario.piped is not None:
            reading, writing = os.pipe()
            fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 1 << 20)
            os.write(writing, self.scenario.piped.read_bytes())
            os.close(writing)
            os.dup2(reading, 0)
            os.close(reading)
        try:
            yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for number, stream in enumerate(streams):
                os.dup2(stream, number)
                os.close(stream)


def _ends(pid: int, seconds: int) -> bool:
    """Wait for a child to end, so long, and return whether it did; it is still to be waited for."""
    descriptor = os.pidfd_open(pid)
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        return bool(poll.poll(seconds * 1000))
    finally:
        os.close(descriptor)


@contextmanager
def staged(scenario: Scenario) -> Iterator[Stage]:
    """Return a stage for a scenario, in memory where that is possible: what is lost with it does not matter."""
    shared = "/dev/shm"
    with tempfile.TemporaryDirectory(prefix="orlop-crash-", dir=shared if os.access(shared, os.W_OK) else None) as path:
        stage = Stage(scenario, Path(path))
        stage.make()
        yield stage


def copy_tree(source: Path, target: Path) -> None:
    """Copy a tree with its modes."""
    shutil.copytree(source, target, symlinks=True)


def serious(place: Path) -> list[str]:
    """Return what is wrong with the stores in a place, but for what the next operations clean up."""
    # Layers that only the lease of a dead process keeps are garbage as well.
    # So are those that a repository holds, though no manifest names them yet.
    allowed = (HELD, "left behind", "no row", "nothing needs it", "it is in no chain")
    return [line for root in roots(place) for line in _broken(root) if not any(word in line for word in allowed)]


def _broken(root: Path) -> list[str]:
    """Return what is wrong with a store, or with its database alone where that is damaged itself."""
    if log_fault(str(root / "metadata.db")) is None:
        with suppress(sqlite3.DatabaseError):
            return broken(root)
    return [f"{_DAMAGED}: nothing else is known"]


def _subject(line: str) -> str:
    """Return what something is wrong with."""
    return line.rpartition(": ")[0]


def roots(place: Path) -> list[Path]:
    """Return the stores in a place, but for those that are about to be made."""
    found = []
    for path in sorted(place.iterdir()):
        rows = path / "metadata.db"
        # As long as the database is empty, the store is not there yet.
        if path.name[0] != "." and rows.exists() and rows.stat().st_size:
            found.append(path)
    return found


def seen(place: Path, *, saved: bool = True) -> Seen:
    """Return all that a user sees: other files, and the images of each store that has any; these can all be saved."""
    files = [path for path in sorted(place.iterdir()) if path.is_file() and not path.name.startswith(PASSING)]
    found: list[tuple[object, ...]] = [(path.name, path.read_bytes()) for path in files]
    layouts = [path.parent for path in sorted(place.glob("[!.]*/index.json"))]
    # Whatever an index names has to be there, and whole.
    found += [(path.name, str(layout.entries), *sorted(layout.absent)) for path in layouts for layout in [walked(path)]]
    for root in roots(place):
        try:
            images = _images(root, saved=saved)
        except DatabaseDamaged:
            images = [_DAMAGED]
        if images:
            found.append((root.name, *images))
    return tuple(found)


def _images(root: Path, *, saved: bool) -> list[object]:
    with orlop.open(root, create=False) as images:
        there = images.images(all=True)
        for _ in images.save_chunks([str(image.id) for image in there]) if there and saved else ():
            pass
        pinned = {image.id for image in images.pinned()}
        return [
            (image.id, images.image_store.get_parent(image.id), image.references, image.id in pinned) for image in there
        ]


def tree(place: Path, *, nameless: bool = True) -> dict[str, bytes | None]:
    """Return every file and directory as it lies on disk; files in passing lose names that say nothing, if wanted."""
    found: dict[str, bytes | None] = {}
    passing: list[tuple[str, bytes]] = []
    above = len(str(place))
    for folder, folders, files in os.walk(place):
        inside = f".{folder[above:]}"
        for name in folders:
            found[f"{inside}/{name}"] = None
        for name in files:
            if name.endswith(IMMATERIAL):
                continue
            # It is asked for before every step of a command: paths as objects would take most of the time.
            with open(f"{folder}/{name}", "rb", buffering=0) as file:  # noqa: PTH123
                content = file.read()
            if nameless and (inside.rpartition("/")[2] in _NAMELESS or name.startswith(".orlop-")):
                passing.append((inside, content))
            else:
                found[f"{inside}/{name}"] = content
    for number, (inside, content) in enumerate(sorted(passing)):
        found[f"{inside}/{number}"] = content
    return found


def mark(place: Path) -> str:
    """Return a short text that differs where the tree does."""
    digest = hashlib.sha256()
    for name, content in sorted(tree(place).items()):
        digest.update(f"{name}\0{-1 if content is None else len(content)}\0".encode())
        digest.update(content or b"")
    return digest.hexdigest()


def settled(place: Path) -> dict[str, object]:
    """Return the tree of a place in which nobody works, with rows in the place of databases."""
    found: dict[str, object] = {}
    for name, content in tree(place).items():
        if name.endswith("/metadata.db"):
            found[name] = _rows(place / name)
        # How many writes there were is noted in the file that writers lock.
        elif "metadata.db-" not in name and not name.endswith("/write.lock"):
            found[name] = content
    return found


def tidied(stage: Stage) -> dict[str, object]:
    """Remove what is garbage, and return what is left; nothing may be wrong with it."""
    for path in roots(stage.place):
        with stage.later(), orlop.open(path) as images:
            images.gc(release=True)
        wrong = broken(path)
        assert wrong == [], wrong
    return settled(stage.place)


def _used(left: dict[str, object]) -> dict[str, object]:
    return {name: content for name, content in left.items() if "/quarantine" not in name}


def _aside(left: dict[str, object]) -> set[object]:
    return {content for name, content in left.items() if "/quarantine/" in name}


def _rows(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as database:
        # What is done twice is told twice.
        told = ('INSERT INTO "event"', 'INSERT INTO "sqlite_sequence"', 'DELETE FROM "sqlite_sequence"')
        return sorted(line for line in database.iterdump() if not line.startswith(told))
