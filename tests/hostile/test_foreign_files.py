"""A member of a group puts something else in the place of what a store has; the others lose nothing by it.

Each name of a store is replaced by each kind of thing, and commands are run by another member of the group. A tree
beside the store, which only the victim may change, has to stay as it is: content, modes, owners, times. CI tries some
of the commands on each; ``ORLOP_LONG=1`` tries all of them.
"""

from __future__ import annotations

import importlib
import itertools
import os
import shutil
import signal
import sqlite3
import stat
import sys
import tempfile
import threading
import time
import traceback
from contextlib import closing, suppress
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import orlop
from orlop import stores
from orlop.cli.main import run
from orlop.store.local import local_store
from tests.socket_files import make_socket
from tests.unit.served import Client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DATA = Path(__file__).parents[1] / "data"
ARCHIVE = DATA / "dockerd-29-overlay2" / "multi.tar"
LONG = bool(os.environ.get("ORLOP_LONG"))
VICTIM, ATTACKER, GROUP = 64001, 64002, 64100
PATIENCE = 120

pytestmark = pytest.mark.needs("root")

DIRECTORIES = ("blobs", "blobs/sha256", "toc", "toc/sha256", "ingest", "trash", "leases", "quarantine")
FILES = (
    "metadata.db", "metadata.db-wal", "metadata.db-shm", "metadata.db-journal", "metadata.db.reserve", "write.lock",
    "backup", "metadata.db.schema-1", "metadata.db.schema-1.part", "metadata.db.x.part", "BLOB", "TOC", "ingest/dead.0",
    "trash/TRASH", "leases/dead", "quarantine/file", "rows.db",
)  # fmt: skip
KINDS = ("link", "dangling", "pipe", "other", "device", "socket", "foreign", "hard link")
NAME = "example/tiny:1.0"
COMMANDS = (
    ("images", "-q"), ("inspect", NAME), ("history", NAME), ("save", "-o", "OUT", NAME), ("load", "-i", "TAR"),
    ("tag", NAME, "new:1"), ("rmi", NAME), ("prune", "-a", "-f"), ("image", "prune", "-a", "-f"), ("gc",), ("fsck",),
    ("fsck", "--repair"), ("fsck", "--quick", "--repair", "--empty-quarantine"), ("df",), ("store", "info"),
    ("store", "copy", "NEW"), ("store", "copy", "--link", "NEW"), ("store", "backup", "NEW"),
    ("store", "backup", "OLD"), ("store", "move", "NEW"), ("store", "migrate"), ("serve", "-H", "SOCKET"),
)  # fmt: skip
CASES = [*itertools.product(DIRECTORIES + FILES, KINDS)]


def say_into(descriptor: int) -> None:
    """Redirect all that this process says into a file."""
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(descriptor, number)
        setattr(sys, name, os.fdopen(number, "w", closefd=False))


def as_user(user: int, act: Callable[[], int], out: Path) -> int:
    """Run something in a process of another user, who is in the group; return its status."""
    pid = os.fork()
    if pid == 0:
        status = 70
        try:
            said = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
            say_into(said)
            os.setgroups([GROUP])
            os.setgid(user)
            os.setuid(user)
            os.umask(0o077)
            status = act()
        except BaseException:  # noqa: BLE001 - the child must not go on as its parent
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return -signal.SIGALRM


def everything(folder: Path) -> dict[str, tuple[object, ...]]:
    """What a tree is, to the byte."""
    found: dict[str, tuple[object, ...]] = {}
    for path in (folder, *sorted(folder.rglob("*"))):
        state = path.lstat()
        content = path.read_bytes() if stat.S_ISREG(state.st_mode) else b""
        found[str(path.relative_to(folder))] = (
            *(state.st_mode, state.st_uid, state.st_gid, state.st_mtime_ns, state.st_size), content,
        )  # fmt: skip
    return found


def own(folder: Path, user: int, group: int) -> None:
    for path in (folder, *folder.rglob("*")):
        os.chown(path, user, group, follow_symlinks=False)


@pytest.fixture(scope="module")
def top() -> Iterator[Path]:
    """A folder that others reach; pytest shuts its own whenever another one of the same user begins."""
    with tempfile.TemporaryDirectory(prefix="orlop-foreign-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def import_what_it_imports(base: Path, words: tuple[str, ...]) -> None:
    """Run a command that signals end in a process of its own, and import what it imported."""

    def tell() -> int:
        status = tried_here(base, words)
        print(*sys.modules, sep="\n")
        return status

    assert as_user(0, tell, base / "said") == 0
    for module in (base / "said").read_text().splitlines():
        with suppress(ImportError):
            importlib.import_module(module)


@pytest.fixture(scope="module")
def made(top: Path) -> Path:
    """A folder with a store of the group, an earlier backup of it, and a tree of the victim."""
    base = top / "made"
    base.mkdir(mode=0o755)
    shutil.copyfile(ARCHIVE, top / "images.tar")
    root = base / "root"
    with local_store(root, group=GROUP):
        pass
    with orlop.open(root) as images:
        images.load(ARCHIVE)
    stores.backup(root, base / "old")
    # Other users may not reach the files of this interpreter: what the commands import is imported before.
    for number, words in enumerate(COMMANDS):
        shutil.copytree(root, top / f"warm{number}" / "root")
        if words[0] == "serve":
            import_what_it_imports(top / f"warm{number}", words)
        else:
            tried_here(top / f"warm{number}", words)
    (root / "quarantine").mkdir()
    (root / "quarantine").chmod(0o2770)
    outside = base / "outside"
    shutil.copytree(root, outside / "folder")
    for name in ("dead.0", "file", "x.part", ".orlop-x.part"):
        (outside / "folder" / name).write_bytes(b"the victim's own")
    (outside / "file").write_bytes(b"the victim's own, too")
    (outside / "rows").write_bytes((root / "metadata.db").read_bytes())
    own(base, VICTIM, GROUP)
    own(outside, VICTIM, VICTIM)
    return base


@pytest.fixture
def place(made: Path) -> Iterator[Path]:
    """A fresh copy of it."""
    base = made.parent / f"case-{os.urandom(4).hex()}"
    shutil.copytree(made, base)
    base.chmod(0o755)
    own(base, VICTIM, GROUP)
    own(base / "outside", VICTIM, VICTIM)
    # The backup knows its store by its path.
    (base / "old" / "backup").write_text(f"{base / 'root'}\n")
    yield base
    shutil.rmtree(base, ignore_errors=True)


def where(root: Path, name: str) -> Path:
    first = {folder: min((root / folder / "sha256").iterdir()).name for folder in ("blobs", "toc")}
    known = {"BLOB": f"blobs/sha256/{first['blobs']}", "TOC": f"toc/sha256/{first['toc']}"}
    return root / known.get(name, name.replace("TRASH", f"sha256-{first['blobs']}.0"))


def replace(path: Path, kind: str, outside: Path) -> None:
    """Put something else in the place of what a store has."""
    is_directory = path.is_dir() or (path.parent / path.name / "x").parent.name in {"ingest", "trash", "leases"}
    goal = outside / ("folder" if is_directory else "rows" if "metadata.db" in path.name else "file")
    if path.name == "sha256":
        goal = outside / "folder" / "blobs" / "sha256"
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    if kind == "link":
        path.symlink_to(goal)
    elif kind == "dangling":
        path.symlink_to(outside / "nothing")
    elif kind == "pipe":
        os.mkfifo(path, 0o666)
    elif kind == "device":
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 3))
    elif kind == "socket":
        make_socket(path)
    elif kind == "other":
        path.write_bytes(b"") if is_directory else path.mkdir()
    elif kind == "hard link":
        os.link(outside / "file" if goal.is_dir() else goal, path)
    else:
        path.mkdir(mode=0o770) if is_directory else path.write_bytes(b"of the attacker")
    if kind != "hard link":
        os.chown(path, ATTACKER, GROUP, follow_symlinks=False)


def commands(number: int) -> list[tuple[str, ...]]:
    """Those that are tried on a case: all of them, or some, so that all cases together have all."""
    if LONG:
        return list(COMMANDS)
    return [("gc",), COMMANDS[number % len(COMMANDS)]]


def tried_here(base: Path, words: tuple[str, ...]) -> int:
    places = {"OUT": base / "out.tar", "NEW": base / "new", "OLD": base / "old", "TAR": base.parent / "images.tar"}
    known = {"SOCKET": f"unix://{base / 'api.sock'}", **{word: str(place) for word, place in places.items()}}
    arguments = ["--root", str(base / "root"), *(known.get(word, word) for word in words)]
    if words[0] != "serve":
        return run(arguments)

    over = threading.Event()

    def ask_and_end() -> None:
        while not answers(str(base / "api.sock")):
            time.sleep(0.01)
        asked(str(base / "api.sock"), base.parent / "images.tar")
        if not over.is_set():
            os.kill(os.getpid(), signal.SIGTERM)

    # The thread waits for ever where there is nothing to serve, and ends with its process.
    threading.Thread(target=ask_and_end, daemon=True).start()
    status = run(arguments)
    over.set()
    return status


def answers(path: str) -> bool:
    """Return whether a server answers: one that only has its socket does not heed signals yet."""
    try:
        return Client(path).get("/_ping").status == 200
    except (OSError, HTTPException):
        return False


def asked(path: str, archive: Path) -> None:
    """Ask a server for all that changes a store, and for all that looks into it."""
    client = Client(path)
    for method, target, body in (
        ("GET", "/images/json?all=1", None),
        ("GET", f"/images/{NAME}/json", None),
        ("GET", f"/images/{NAME}/history", None),
        ("GET", "/system/df", None),
        ("GET", f"/images/{NAME}/get", None),
        ("POST", f"/images/{NAME}/tag?repo=new&tag=1", None),
        ("DELETE", f"/images/{NAME}", None),
        ("POST", "/images/load", archive.read_bytes()),
        ("POST", "/images/create?fromSrc=-&repo=made", bytes(1024)),
        ("POST", "/images/prune?filters=%7B%22dangling%22%3A%5B%22false%22%5D%7D", None),
    ):
        # An answer whose content is damaged breaks off.
        with suppress(OSError, HTTPException):
            client.ask(method, target, body=body)


def tried(base: Path, words: tuple[str, ...]) -> tuple[int, str]:
    out = base.parent / f"{base.name}.said"
    status = as_user(VICTIM, lambda: tried_here(base, words), out)
    return status, out.read_text(encoding="utf-8", errors="replace")


@pytest.mark.sampled(96)
@pytest.mark.parametrize(("number", "name", "kind"), [(number, *case) for number, case in enumerate(CASES)])
def test_nothing_outside_changes_whatever_has_the_place_of_a_stores_own(place, number, name, kind):
    path = where(place / "root", name)
    replace(path, kind, place / "outside")
    before = everything(place / "outside")
    for words in commands(number):
        # A repair may have set it aside.
        is_link = path.is_symlink()
        status, said = tried(place, words)
        assert everything(place / "outside") == before, words
        assert status in {0, 3, 4, 5, 6, 7, 8}, (words, said)
        assert "Traceback" not in said
        if status not in {0, 6, 8} or "Error:" in said:
            (sentence,) = [line for line in said.splitlines() if line.startswith("Error:")]
            assert len(sentence) < 1000
        if is_link and kind == "link" and name in DIRECTORIES and words[0] != "fsck":
            assert status == 7, (words, said)
            assert "symbolic link" in said


@pytest.mark.sampled(6)
@pytest.mark.parametrize("name", [name for name in DIRECTORIES if name != "quarantine"])
def test_a_repair_sets_aside_what_has_the_place_of_a_directory(place, name):
    replace(place / "root" / name, "link", place / "outside")
    before = everything(place / "outside")
    status, said = tried(place, ("tag", NAME, "new:1"))
    assert (status, said.count("\n"), "symbolic link" in said) == (7, 1, True)
    status, said = tried(place, ("fsck", "--repair"))
    assert status in {6, 8}, said
    assert not (place / "root" / name).is_symlink()
    assert tried(place, ("load", "-i", "TAR"))[0] == 0
    assert tried(place, ("fsck",))[0] == 0
    assert everything(place / "outside") == before


def test_a_journal_that_names_a_file_elsewhere_removes_nothing(place):
    # SQLite removes the "super-journal" that a journal names, once it has rolled the journal back.
    target = place / "outside" / "file"
    page, magic = 4096, bytes.fromhex("d9d505f920a163d7")
    name = os.fsencode(target)
    with closing(sqlite3.connect(place / "root" / "metadata.db")) as database, database:
        pages = database.execute("PRAGMA page_count").fetchone()[0]
        page = database.execute("PRAGMA page_size").fetchone()[0]
        database.execute("PRAGMA journal_mode=DELETE")
    database.close()
    first = (place / "root" / "metadata.db").read_bytes()[:page]
    header = magic + b"".join(number.to_bytes(4, "big") for number in (1, 0, pages, 512, page))
    checksum = sum(first[position] for position in range(page - 200, 0, -200)) & 0xFFFFFFFF
    record = (1).to_bytes(4, "big") + first + checksum.to_bytes(4, "big")
    lock_page = (0x40000000 // page + 1).to_bytes(4, "big")
    tail = lock_page + name + len(name).to_bytes(4, "big") + sum(name).to_bytes(4, "big") + magic
    journal = place / "root" / "metadata.db-journal"
    journal.write_bytes(header.ljust(512, b"\0") + record + tail)
    for path in (journal, place / "root" / "metadata.db"):
        path.chmod(0o660)
        os.chown(path, VICTIM, GROUP)
    before = everything(place / "outside")
    for words in (("images",), ("gc",), ("load", "-i", "TAR")):
        status, said = tried(place, words)
        assert everything(place / "outside") == before
        assert (status, said.count("\n")) == (7, 1)
        assert "names a file elsewhere" in said
    with closing(sqlite3.connect(place / "root" / "metadata.db")) as database, database:
        database.execute("SELECT count(*) FROM image").fetchone()
    database.close()
    # The journal is one that SQLite takes for its own.
    assert not target.exists()


@pytest.mark.sampled(6)
@pytest.mark.parametrize("name", ["trash", "ingest", "leases", "blobs", "blobs/sha256", "quarantine"])
def test_a_directory_that_is_a_link_now_and_then_leads_nowhere(place, name):
    root, outside = place / "root", place / "outside"
    before = everything(outside)
    goal = outside / "folder" / name
    end = time.monotonic() + (20 if LONG else 1)

    def swap() -> int:
        path, aside, link = root / name, root / "aside", root / "link"
        link.symlink_to(goal)
        while time.monotonic() < end:
            path.rename(aside)
            link.rename(path)
            path.rename(link)
            aside.rename(path)
        return 0

    def work() -> int:
        while time.monotonic() < end:
            for words in (
                ["gc"],
                ["load", "-q", "-i", str(place.parent / "images.tar")],
                ["rmi", NAME],
                ["fsck", "--repair", "--quick"],
            ):
                assert run(["--root", str(root), *words]) in {0, 4, 5, 6, 7, 8}
        return 0

    pid = os.fork()
    if pid == 0:
        os._exit(as_user(ATTACKER, swap, place.parent / f"{place.name}.swap"))
    said = place.parent / f"{place.name}.work"
    assert as_user(VICTIM, work, said) == 0, said.read_text()
    os.waitpid(pid, 0)
    assert everything(outside) == before
    assert "Traceback" not in said.read_text()


def test_what_a_copy_left_is_not_swept_through_a_link(place):
    # A folder in which others may make names, as /tmp is one.
    shared = place / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    (shared / ".orlop-store-0.part").symlink_to(place / "outside" / "folder")
    before = everything(place / "outside")
    out = place.parent / f"{place.name}.said"
    words = ["--root", str(place / "root"), "store", "copy", str(shared / "copy")]
    assert as_user(VICTIM, lambda: run(words), out) == 0, out.read_text()
    assert everything(place / "outside") == before


class TestOwners:
    def tag(self, root: Path, *options: str, user: int = VICTIM, said: Path) -> tuple[int, str]:
        status = as_user(user, lambda: run(["--root", str(root), *options, "tag", NAME, "new:1"]), said)
        return status, said.read_text()

    def private(self, root: Path, owner: int) -> None:
        for path in (root, *root.rglob("*")):
            path.chmod(0o777 if path.is_dir() else 0o666, follow_symlinks=False)
            path.chmod(path.stat().st_mode & ~0o072 | (0o755 if path.is_dir() else 0o644))
        own(root, owner, owner)

    @pytest.mark.sampled(2)
    def test_root_reads_the_store_of_another_user_and_writes_it_where_that_is_allowed(self, place, monkeypatch):
        root, said = place / "root", place.parent / f"{place.name}.said"
        self.private(root, VICTIM)
        words = ["--root", str(root), "images", "-q", NAME]

        def status_of(*options: str) -> int:
            return as_root(["--root", str(root), *options, "tag", NAME, "new:1"], said)

        assert as_root(words, said) == 0
        assert status_of() == 7
        assert f"belongs to the user {VICTIM}" in said.read_text()
        assert "--allow-foreign-owner" in said.read_text()
        assert status_of("--allow-foreign-owner") == 0
        for name, value in (
            ("ORLOP_SAFE_DIRECTORY", f"/nowhere:{root}"),
            ("ORLOP_SAFE_DIRECTORY", "*"),
            ("SUDO_UID", str(VICTIM)),
        ):
            with monkeypatch.context() as patched:
                patched.setenv(name, value)
                assert status_of() == 0
        monkeypatch.setenv("SUDO_UID", str(ATTACKER))
        assert status_of() == 7

    @pytest.mark.sampled(2)
    def test_a_part_of_another_user_or_for_everybody_keeps_a_store_from_being_written(self, place):
        root, said = place / "root", place.parent / f"{place.name}.said"
        self.private(root, VICTIM)
        assert self.tag(root, said=said)[0] == 0
        os.chown(root / "ingest", ATTACKER, ATTACKER)
        status, text = self.tag(root, said=said)
        assert (status, f"ingest belongs to the user {ATTACKER}" in text) == (7, True)
        os.chown(root / "ingest", VICTIM, VICTIM)
        (root / "trash").chmod(0o1777)
        status, text = self.tag(root, said=said)
        assert (status, "anyone can write" in text) == (7, True)
        assert as_user(VICTIM, lambda: run(["--root", str(root), "fsck", "--repair"]), said) in {0, 8}
        assert self.tag(root, said=said)[0] == 0

    def test_a_database_with_another_name_is_read_only(self, place):
        root, said = place / "root", place.parent / f"{place.name}.said"
        os.link(root / "metadata.db", place / "outside" / "linked")
        before = everything(place / "outside")
        status, text = self.tag(root, said=said)
        assert (status, "hard link" in text) == (7, True)
        assert as_user(VICTIM, lambda: run(["--root", str(root), "images", "-q"]), said) == 0
        assert everything(place / "outside") == before


def as_root(words: list[str], said: Path) -> int:
    pid = os.fork()
    if pid == 0:
        descriptor = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        say_into(descriptor)
        status = run(words)
        sys.stdout.flush()
        os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
