"""A fork while other threads use SQLite: it waits until none is inside of it, and no child harms its parent's rows."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
import traceback
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

import orlop
from orlop import stores
from orlop.inside.rpm import sqlite_headers
from orlop.store.rows.sqlite.forks import BLOCKS
from orlop.store.rows.sqlite.memory import MemoryMetadata
from tests.waiting import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CONFIG = b'{"rootfs":{}}'


def _printed(code: str, *arguments: str) -> str:
    command = [sys.executable, "-W", "ignore", "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


BESIDE_A_READER = """
import os, sys, threading, time
from orlop.store.local import local_store
store = local_store(sys.argv[1])
store.images.create(b'{"rootfs":{}}')
inside, done = threading.Event(), []
def read():
    with store.metadata.read() as rows:
        inside.set()
        time.sleep(0.3)  # as long as a statement may take
        done.append(len(list(rows.image_ids())))
reader = threading.Thread(target=read)
reader.start()
inside.wait()
child = os.fork()
if child == 0:
    store.images.create(b'{"rootfs":{},"author":"child"}')
    os._exit(len(done))
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_fork_waits_for_threads_that_read(tmp_path: Path) -> None:
    """SQLite has locks of the whole process, such as that of its memory, in every statement."""
    assert _printed(BESIDE_A_READER, str(tmp_path / "root")) == "1\n"


IN_A_READ = """
import os, sys, threading
from orlop.errors import StoreInUse
from orlop.store.local import local_store
from orlop.store.rows.sqlite import forks
forks._PATIENCE = 0.1
store = local_store(sys.argv[1])
store.images.create(b'{"rootfs":{}}')
inside, forked = threading.Event(), threading.Event()
def read():
    with store.metadata.read():
        inside.set()
        forked.wait()
def fork():
    child = os.fork()
    if child == 0:
        try:
            assert len(store.images.map()) == 1
            store.images.create(b'{"rootfs":{},"author":"child"}')
        except StoreInUse as error:
            os._exit(7 if "forked while its parent read or wrote" in str(error) else 8)
        os._exit(9)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
reader = threading.Thread(target=read)
reader.start()
inside.wait()
fork()
forked.set()
reader.join()
with store.metadata.read():
    fork()
fork()
store.close()
"""


def test_a_child_that_is_forked_in_a_read_writes_nothing(tmp_path: Path) -> None:
    """It believes in locks that it has not: its parent would end the log under its feet."""
    assert _printed(IN_A_READ, str(tmp_path / "root")) == "7\n7\n9\n"


BESIDE_A_WAIT = """
import fcntl, os, sys, threading, time
from orlop.store.local import local_store
from orlop.store.rows.sqlite import forks
store = local_store(sys.argv[1])
store.images.create(b'{"rootfs":{}}')
forks._PATIENCE = 3600
def write():
    store.images.create(b'{"rootfs":{},"author":"waited"}')
writer = threading.Thread(target=write)
with open(os.path.join(sys.argv[1], "write.lock"), "rb") as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    writer.start()
    while not forks.BLOCKS._resting:
        time.sleep(0.01)
    child = os.fork()
    if child == 0:
        links = (f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd"))
        assert not [link for link in links if "metadata.db" in os.path.realpath(link)]
        os._exit(forks.BLOCKS.cut_off)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
writer.join()
print(len(store.images.map()))
"""


def test_a_fork_waits_for_no_thread_that_waits_for_the_lock_of_writers(tmp_path: Path) -> None:
    assert _printed(BESIDE_A_WAIT, str(tmp_path / "root")) == "0\n2\n"


NOT_AT_REST = """
import ctypes, os, signal, sys, threading
from orlop.errors import StoreInUse
from orlop.store.local import local_store
from orlop.store.rows.sqlite.forks import BLOCKS
store = local_store(sys.argv[1])
store.images.create(b'{"rootfs":{}}')
def child(fork, after):
    number = fork()
    if number == 0:
        after()
        try:
            assert len(store.images.map()) == 1
            with store.metadata.write():
                os._exit(0)
        except StoreInUse:
            os._exit(7)
    return os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])
def cursor():
    with store.metadata.read() as rows:
        kept = rows.connection.execute("SELECT * FROM sqlite_schema")
        kept.fetchone()
    print("a cursor is kept:", child(os.fork, bool))
def plainly():
    len(store.images.map())
    print("by a program in C:", child(ctypes.PyDLL(None).fork, ctypes.pythonapi.PyOS_AfterFork_Child))
def interrupted():
    def ended(*_):
        raise KeyboardInterrupt
    def read():
        with store.metadata.read():
            inside.set()
            forked.wait()
    inside, forked = threading.Event(), threading.Event()
    reader = threading.Thread(target=read)
    len(store.images.map())
    reader.start()
    inside.wait()
    signal.signal(signal.SIGALRM, ended)
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    print("the wait is interrupted:", child(os.fork, bool))
    forked.set()
    reader.join()
def handled():
    def fork(*_):
        print("in a handler:", child(os.fork, bool))
    signal.signal(signal.SIGALRM, fork)
    with store.metadata._guard:
        signal.raise_signal(signal.SIGALRM)
# Later versions of Python end a child that was not announced.
plain = [plainly] if sys.version_info < (3, 13) else []
for work in (cursor, *plain, interrupted, handled):
    work()
    other = threading.Thread(target=lambda: len(store.images.map()))
    other.start()
    other.join()
store.close()
"""


def test_a_child_knows_that_it_was_forked_while_sqlite_was_in_use(tmp_path: Path) -> None:
    """It asks what it has inherited, whatever became of what goes before a fork."""
    assert _printed(NOT_AT_REST, str(tmp_path / "root")).splitlines() == [
        "a cursor is kept: 7",
        *(["by a program in C: 7"] if sys.version_info < (3, 13) else []),
        "the wait is interrupted: 7",
        "in a handler: 0",
    ]


BESIDE_OPENING = """
import os, sys, threading
from orlop.store.local import local_store
from orlop.store.rows.sqlite.forks import BLOCKS
sys.setswitchinterval(1e-5)
store, ended = local_store(sys.argv[1]), threading.Event()
class Opened:
    def close_idle(self, busy):
        pass
    def is_open(self):
        return False
def open_more():
    while not ended.is_set():
        BLOCKS.add(Opened())
kept = [local_store(sys.argv[1]) for _ in range(30)]
threads = [threading.Thread(target=open_more) for _ in range(2)]
for thread in threads:
    thread.start()
statuses = set()
for _ in range(100):
    len(store.images.map())
    child = os.fork()
    if child == 0:
        os._exit(store.metadata.is_open())
    statuses.add(os.waitpid(child, 0)[1])
ended.set()
for thread in threads:
    thread.join()
print(statuses)
"""


def test_a_fork_finds_all_stores_while_threads_open_more(tmp_path: Path) -> None:
    assert _printed(BESIDE_OPENING, str(tmp_path / "root")) == "{0}\n"


STRESS = """
import os, signal, sys, threading
from collections import Counter
from orlop.store.local import local_store
root, store, ended = sys.argv[1], local_store(sys.argv[1]), threading.Event()
def create(images, author):
    images.create(b'{"rootfs":{},"author":"%s"}' % author.encode())
def write(name):
    for number in iter(int, 1):
        if ended.is_set():
            return
        create(store.images, f"{name} {number % 9}")
def reopen(name):
    while not ended.is_set():
        with local_store(root) as other:
            create(other.images, name)
create(store.images, "first")
threads = [threading.Thread(target=work, args=(f"{work.__name__} {number}",))
           for work in (write, reopen) for number in range(2)]
for thread in threads:
    thread.start()
statuses = Counter()
for number in range(int(sys.argv[2])):
    child = os.fork()
    if child == 0:
        signal.alarm(30)
        create(store.images, f"child {number}")
        os._exit(0)
    statuses[os.waitpid(child, 0)[1]] += 1
ended.set()
for thread in threads:
    thread.join()
print(dict(statuses))
"""


@pytest.mark.sampled(3)
def test_children_write_that_are_forked_while_threads_write_open_and_close(tmp_path: Path) -> None:
    number = 12
    assert _printed(STRESS, str(tmp_path / "root"), str(number)) == f"{{0: {number}}}\n"
    assert stores.fsck(tmp_path / "root").damage == ()


class _Watched(sqlite3.Connection):
    """A connection that notes where it is used outside of a block."""

    outside: list[str]

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._watch("connect")
        super().__init__(*arguments, **options)

    def _watch(self, what: str) -> None:
        if threading.get_ident() not in vars(BLOCKS)["_inside"].values():
            places = [f"{frame.filename}:{frame.lineno}" for frame in traceback.extract_stack(limit=8)[:-2]]
            _Watched.outside.append(f"{what} {places}")

    def execute(self, *arguments: Any) -> sqlite3.Cursor:
        self._watch(str(arguments[0]))
        return super().execute(*arguments)

    def backup(self, *arguments: Any, **options: Any) -> None:
        self._watch("backup")
        super().backup(*arguments, **options)

    def close(self) -> None:
        self._watch("close")
        super().close()


def _store(path: Path) -> None:
    with orlop.open(path / "root") as images:
        store = images._store
        store.images.create(CONFIG)
        images.images()
        images.prune()
        images.df()
        store.metadata.close()
        with pytest.raises(KeyError), store.metadata.write():
            raise KeyError
    stores.info(path / "root")
    stores.check(path / "root", verify=True)


def _stores(path: Path) -> None:
    stores.copy(path / "root", path / "copy")
    stores.backup(path / "root", path / "backup")
    stores.backup(path / "root", path / "backup")
    stores.move(path / "copy", path / "moved")


def _damaged(path: Path) -> None:
    with (path / "root" / "metadata.db").open("r+b") as file:
        file.seek(5 * 4096)
        file.write(b"\xff" * 4096)
    stores.check(path / "root", verify=True)
    stores.fsck(path / "root", repair=True)


def _memory(_path: Path) -> None:
    metadata = MemoryMetadata()
    with metadata.write() as rows:
        rows.put_lease("x", [])
    with metadata.snapshot():
        pass
    metadata.problems(verify=True)
    metadata.end()
    del metadata


def _rpm(_path: Path) -> None:
    with closing(sqlite3.connect(":memory:", factory=sqlite3.Connection)) as made:
        made.execute("CREATE TABLE Packages (blob BLOB)")
        made.execute("INSERT INTO Packages VALUES (x'00')")
        made.commit()
        headers = sqlite_headers(made.serialize())
    for header in headers:
        assert header == b"\0"
        assert not vars(BLOCKS)["_inside"], "a fork waits for whoever looks at headers"


@pytest.mark.parametrize("use", [_stores, _damaged, _memory, _rpm])
def test_sqlite_is_used_in_blocks_alone(tmp_path: Path, monkeypatch: Any, use: Callable[[Path], None]) -> None:
    """A fork waits for blocks: what another thread does elsewhere, it would cut off."""
    connect = sqlite3.connect
    monkeypatch.setattr(_Watched, "outside", [], raising=False)
    monkeypatch.setattr(sqlite3, "connect", partial(_connect, connect))
    _store(tmp_path)
    use(tmp_path)
    assert _Watched.outside == []


def _connect(connect: Callable[..., sqlite3.Connection], *arguments: Any, **options: Any) -> sqlite3.Connection:
    return connect(*arguments, **{"factory": _Watched, **options})
