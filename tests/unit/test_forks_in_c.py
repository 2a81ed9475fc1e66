"""A program in C that runs Python and forks without a word: the child uses nothing of its parent's."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import orlop
from orlop import stores
from tests.waiting import PATIENCE

if TYPE_CHECKING:
    from pathlib import Path

CHILDREN = """
import ctypes, os, sys
import orlop
from orlop.errors import StoreInUse
root, kept = sys.argv[1:]
images = orlop.open(root)
images.import_image(sys.stdin.buffer, "a:1")
if kept == "closed":
    images.close()
def ended(work):
    child = ctypes.PyDLL(None).fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        except StoreInUse:
            os._exit(7)
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
def anew():
    with orlop.open(root) as other:
        assert len(other.images()) == 1
        other.tag("a:1", "anew")
def grandchild():
    child = os.fork()
    if child == 0:
        anew()
        os._exit(0)
    os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
works = [anew, grandchild]
if kept == "open":
    works.append(lambda: images.tag("a:1", "inherited"))
for work in works:
    if kept == "open":
        images.images()
    print(ended(work))
"""


def _statuses(root: Path, kept: str) -> list[str]:
    command = [sys.executable, "-W", "ignore", "-c", CHILDREN, str(root), kept]
    done = subprocess.run(command, input=bytes(10240), capture_output=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.decode().split()


def test_a_child_writes_nothing_where_its_parent_has_the_rows_open(tmp_path: Path) -> None:
    """SQLite takes its parent's locks for its own: one that closed the rows removed the log that the child wrote."""
    assert _statuses(tmp_path / "root", "open") == ["7", "7", "7"]
    assert stores.check(tmp_path / "root").damage == ()


def test_a_child_writes_where_its_parent_has_closed_the_rows(tmp_path: Path) -> None:
    assert _statuses(tmp_path / "root", "closed") == ["0", "0"]
    with orlop.open(tmp_path / "root") as images:
        assert [one.familiar for one in images.images()[0].references] == ["a:1", "anew:latest"]


LOCKS = """
import ctypes, os, sys
from orlop.streams.directory import outside
from orlop.streams.file_lock import FileLock
held = FileLock(outside(sys.argv[1]))
held.acquire()
child = ctypes.PyDLL(None).fork()
if child == 0:
    held.release()
    os._exit(held.is_current())
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
print(FileLock(outside(sys.argv[1])).try_acquire())
"""


def test_a_child_releases_no_lock_of_its_parent(tmp_path: Path) -> None:
    command = [sys.executable, "-c", LOCKS, str(tmp_path / "held")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (done.stdout.split(), done.stderr) == (["0", "False"], "")
