"""What is interrupted: every command that writes, a store that it works on, and what may be seen of it afterwards.

A scenario has a template, made once; each run works on a copy of it, in a child of this process. Nothing is imitated:
the children run the command line as a user does, but for a clock that stands still, so that results can be compared.
"""

from __future__ import annotations

import faulthandler
import fcntl
import hashlib
import io
import os
import shutil
import signal
import sqlite3
import sys
import tarfile
import tempfile
import time
import traceback
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import orlop
from orlop import stores
from orlop.cli import failure
from orlop.cli.main import run
from orlop.errors import DatabaseDamaged, OrlopError
from orlop.store.local import local_store
from orlop.store.rows.sqlite.damage.log import log_fault
from tests.crash import damaged
from tests.crash.calls import Kill, watched
from tests.crash.damaged import DATA, MULTI, OTHER
from tests.foreign_roots import make_root
from tests.invariants import broken
from tests.layout_walk import walked
from tests.unit.distribution import Directory
from tests.unit.layouts import Layout
from tests.unit.sha512_layout import layout as layout_by_sha512

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from orlop.service.image_service import ImageService
    from tests.crash.calls import Call, Ended, Verdict
    from tests.unit.hosted import RegistryClient

#: Files in no state that matters: what SQLite's processes share is made anew, what takes up space holds nothing.
IMMATERIAL: Final = ("-shm", ".reserve")
# In every tree, names that say nothing are replaced.
_NAMELESS: Final = ("ingest", "trash", "leases", "quarantine", "incoming")
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


@dataclass(frozen=True, slots=True)
class Scenario:
    """A command, and what is there before. ``{}`` in its arguments is the place that the store lies in, as ``root``.

    All commands do all or nothing. One ends with the status ``ends``, where all is done already with ``again``. What is
    ``damaged`` before may stay so until it has ended. With ``library`` a program does the same with a store that it
    leaves open, so that nothing is brought to an end beyond what the library promised when its call returned. With
    ``clients`` a server over the store does what they ask for, and ``shows`` returns what they see.
    """

    name: str
    arguments: tuple[str, ...]
    prepare: Callable[[Path], None] = lambda _: None
    piped: Path | None = None
    ends: int = 0
    again: int = 0
    damaged: bool = False
    library: Callable[[ImageService], object] | None = None
    clients: Callable[[RegistryClient], object] | None = None
    shows: Callable[[ImageService], list[object]] | None = None

    def is_of(self, words: Sequence[str]) -> bool:
        """Return whether it is about the command that these words call."""
        return self.arguments[: len(words)] == tuple(words)


def _loaded(*archives: Path) -> Callable[[Path], None]:
    def prepare(place: Path) -> None:
        with orlop.open(place / "root") as images:
            for archive in archives:
                images.load(archive)

    return prepare


def _with_file(place: Path) -> None:
    _loaded(MULTI)(place)
    (place / "saved.tar").write_bytes(b"an older archive")


def _with_archive(place: Path) -> None:
    _loaded(MULTI)(place)
    with orlop.open(place / "root") as images:
        images.save(["example/tiny:1.0"], place / "saved.tar")


def _with_layout_tar(place: Path) -> None:
    _loaded(MULTI)(place)
    with orlop.open(place / "root") as images:
        images.save(["example/tiny:1.0"], place / "saved.tar", format="oci")


def _with_sha512(place: Path) -> None:
    _loaded(MULTI)(place)
    (place / "sha512.tar").write_bytes(layout_by_sha512().pack())


def _with_layout(place: Path) -> None:
    """Leave a layout that has a layer of what is added, and a torn one."""
    _loaded(MULTI)(place)
    with orlop.open(place / "root") as images:
        images.save(["example/tiny:1.0"], place / "layout", format="oci-dir")
        images.save(["example/imported"], place / "other", format="oci-dir")
    # The largest of them is the config: what is left out of a layout is its owner's affair.
    blobs = sorted((place / "other/blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)
    new = next(path for path in blobs if not _there(place / "layout", path))
    (place / "layout/blobs/sha256" / new.name).write_bytes(new.read_bytes()[:-1])
    shutil.rmtree(place / "other")


def _there(layout: Path, blob: Path) -> bool:
    return (layout / "blobs/sha256" / blob.name).exists()


def _with_room(place: Path) -> None:
    _loaded(MULTI)(place)
    (place / "layout").mkdir()


def _with_layer(place: Path) -> None:
    _loaded(MULTI)(place)
    with tarfile.open(place / "layer.tar", "w") as tar:
        for number in range(4):
            member = tarfile.TarInfo(f"file-{number}")
            member.size = 300_000
            tar.addfile(member, io.BytesIO(bytes([number]) * member.size))


def _dangling(place: Path) -> None:
    with orlop.open(place / "root") as images:
        images.load(MULTI)
        images.load(OTHER)
        # The name goes to another image: the one that had it dangles.
        images.tag("example/tiny:1.0", "registry.example.com:5000/team/committed:2.0")


def _backed_up(place: Path) -> None:
    _loaded(MULTI)(place)
    stores.backup(place / "root", place / "backup")
    with orlop.open(place / "root") as images:
        images.load(OTHER)
        images.remove("example/imported")


def _pinned(place: Path) -> None:
    _loaded(MULTI)(place)
    with orlop.open(place / "root") as images:
        images.pin("example/tiny:1.0")


def _of_the_first_schema(place: Path) -> None:
    """Leave a store as orlop wrote it before rows told where manifests lead."""
    with orlop.open(place / "root") as images:
        images.load(MULTI)
        images.load(DATA / "other-tools" / "skopeo-oci-archive.tar")
    with closing(sqlite3.connect(place / "root" / "metadata.db", isolation_level=None)) as rows:
        triggers = rows.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger' AND sql LIKE '%edge%'")
        for (name,) in triggers.fetchall():
            rows.execute(f"DROP TRIGGER {name}")
        rows.execute("DROP TABLE edge")
        rows.execute("DROP TABLE top")
        rows.execute("PRAGMA user_version=1")


def _garbage(place: Path) -> None:
    """Leave all that processes leave which die at work: a layer of nobody, files under way, rows, locks, strays."""
    _with_layer(place)
    root = place / "root"

    def register() -> int:
        with orlop.open(root) as images, (place / "layer.tar").open("rb") as layer:
            images.layer_store.register(layer)
            os.kill(os.getpid(), signal.SIGKILL)
        return 0

    def load() -> int:
        with orlop.open(root) as images:
            images.load(OTHER)
        return 0

    assert watched(register, [str(root)]).status == -signal.SIGKILL
    published = f"{root}/blobs/sha256"
    ended = watched(
        load, [str(root)], lambda call, _: Kill() if (call.name, call.path) == ("fsync", published) else None
    )
    assert ended.status == -signal.SIGKILL
    (root / "trash" / "sha256-0").write_bytes(b"on its way out")


def _with_data_root(place: Path) -> None:
    _loaded(MULTI)(place)
    make_root(place / "docker", 1, {"etc/hosts": b"a file" * 1000})


def _with_registry(place: Path) -> None:
    _loaded(MULTI)(place)
    layout = Layout()
    Directory(place / "registry").push(layout, "app", {"1": layout.image("a", "b")})


def scenarios() -> dict[str, Scenario]:
    """Return all of them by name."""
    loaded = _loaded(MULTI)
    found = [
        Scenario("first load", ("load", "-i", str(MULTI))),
        Scenario("load", ("load", "-i", str(OTHER)), loaded),
        Scenario("load from a pipe", ("load",), loaded, piped=OTHER),
        Scenario("load of gzip layers", ("load", "-i", str(DATA / "other-tools" / "skopeo-oci-archive.tar")), loaded),
        Scenario("load of zstd layers", ("load", "-i", str(DATA / "other-tools" / "skopeo-oci-archive-zstd.tar"))),
        Scenario("load again", ("load", "-i", str(MULTI)), loaded),
        Scenario("import", ("import", "-m", "by hand", "{}/layer.tar", "new:1"), _with_layer),
        Scenario("save", ("save", "-o", "{}/saved.tar", "example/tiny:1.0"), loaded),
        Scenario("save over a file", ("save", "-o", "{}/saved.tar", "example/imported"), _with_file),
        Scenario("save as a layout", ("save", "--format", "oci", "-o", "{}/saved.tar", "example/tiny:1.0"), loaded),
        Scenario("save a directory", ("save", "--format", "oci-dir", "-o", "{}/layout", "example/tiny:1.0"), loaded),
        Scenario("save beside", ("save", "--format", "oci-dir", "-o", "{}/layout", "example/imported"), _with_layout),
        Scenario("save empty", ("save", "--format", "oci-dir", "-o", "{}/layout", "example/imported"), _with_room),
        Scenario(
            "save compressed",
            ("save", "--format", "oci-dir", "--compress", "gzip", "-o", "{}/layout", "example/tiny:1.0"),
            loaded,
        ),
        Scenario("save --append", ("save", "--append", "-o", "{}/saved.tar", "example/imported"), _with_archive),
        Scenario(
            "save --append to a layout",
            ("save", "--append", "--format", "oci", "-o", "{}/saved.tar", "example/imported"),
            _with_layout_tar,
        ),
        Scenario(
            "save --since",
            ("save", "--since", "example/tiny:1.0", "-o", "{}/saved.tar", "example/tiny:1.0", "example/imported"),
            loaded,
        ),
        Scenario(
            "save beside --since",
            ("save", "--format", "oci-dir", "--since", "example/imported", "-o", "{}/layout", "example/imported"),
            _with_layout,
        ),
        Scenario(
            "load of an index with artifacts", ("load", "-i", str(DATA / "oci" / "buildx-provenance.tar.zst")), loaded
        ),
        Scenario("load of content by sha512", ("load", "-i", "{}/sha512.tar"), _with_sha512),
        Scenario("tag", ("tag", "example/tiny:1.0", "example/imported:latest"), loaded),
        Scenario("rmi", ("rmi", "example/imported"), loaded, again=4),
        Scenario("image prune", ("image", "prune", "-f"), _dangling),
        Scenario("image prune -a", ("image", "prune", "-a", "-f"), _dangling),
        Scenario("prune", ("prune", "-f", "--max-size", "35kB"), _dangling),
        Scenario("gc", ("gc",), _garbage),
        Scenario("fsck --repair", ("fsck", "--repair", "--from", str(MULTI)), damaged.files, ends=8, damaged=True),
        Scenario("fsck --repair of a database", ("fsck", "--repair"), damaged.database, ends=8, damaged=True),
        Scenario("fsck --repair of a shape", ("fsck", "--repair"), damaged.shape, ends=8, damaged=True),
        Scenario("fsck --repair of a log", ("fsck", "--repair"), damaged.log, ends=8, damaged=True),
        Scenario("rescue", ("rescue", "{}/docker", "--into", "store"), _with_data_root),
        Scenario("rescue into an archive", ("rescue", "{}/docker", "--into", "{}/saved.tar"), _with_data_root),
        Scenario(
            "store import-registry", ("store", "import-registry", "--host", "r.test", "{}/registry"), _with_registry
        ),
        Scenario("pin", ("pin", "example/tiny:1.0"), loaded),
        Scenario("unpin", ("unpin", "example/tiny:1.0"), _pinned),
        Scenario("store backup", ("store", "backup", "{}/backup"), loaded),
        Scenario("store backup again", ("store", "backup", "{}/backup"), _backed_up),
        Scenario("store copy", ("store", "copy", "{}/copy"), loaded, again=5),
        Scenario("store move", ("store", "move", "{}/moved"), loaded, again=4),
        Scenario("store init", ("store", "init")),
        Scenario("store migrate", ("store", "migrate"), _of_the_first_schema),
        Scenario("load, left open", ("load", "-i", str(OTHER)), loaded, library=lambda images: images.load(OTHER)),
        Scenario(
            "rmi, left open",
            ("rmi", "example/imported"),
            loaded,
            again=4,
            library=lambda images: images.remove("example/imported"),
        ),
    ]
    return {scenario.name: scenario for scenario in found}


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
        status = os.waitstatus_to_exitcode(os.waitpid(self.begin(*arguments), 0)[1])
        return status, self.said()

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
    allowed = ("left behind", "no row", "nothing needs it", "it is in no chain")
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
    files = [path for path in sorted(place.iterdir()) if path.is_file() and not path.name.startswith(".orlop-")]
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
            images.gc()
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


def chosen(names: Sequence[str]) -> list[Scenario]:
    """Return the scenarios with these names, or all, those of the registry among them."""
    from tests.crash import pushes

    known = scenarios() | pushes.scenarios()
    return [known[name] for name in names] if names else list(known.values())
