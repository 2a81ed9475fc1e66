"""A copy, backup or move that is killed at any moment: the store is whole, and no half one can be opened.

The work is killed at one of the moments at which it touches a file; which of them, a number says. `tests.crash.pace`
says how many are tried, the day which, `ORLOP_LONG=1` tries every one.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.crash.pace import LONG, PACE, first

#: A moment takes several looks at whole stores.
STEP = 1 if LONG else 3 * PACE
TOP = Path(__file__).parents[2]

# One process forks for each moment: starting Python each time would take most of the time.
SCRIPT = """
import io, os, shutil, signal, sys
from pathlib import Path
import orlop
from orlop import errors, stores
from tests.crash.stages import copy_tree
from tests.invariants import broken
from tests.named import named

verb, place, step, data = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
root, target = place / "root", place / "target"
EVENTS = {"open", "sqlite3.connect", "fcntl.flock"}
EVENTS |= {"os.rename", "os.link", "os.mkdir", "os.remove", "os.rmdir", "os.chmod"}

first = place.with_name("first")

def prepare():
    shutil.rmtree(place, ignore_errors=True)
    if first.exists():
        copy_tree(first, place)
        return
    place.mkdir()
    with orlop.open(root) as images:
        images.load(data / "dockerd-29-overlay2" / "multi.tar")
    if verb == "refresh":
        stores.backup(root, target)
        with orlop.open(root) as images:
            images.load(data / "dockerd-20.10-overlay2" / "tiny.tar")
            images.remove("example/imported")
    copy_tree(place, first)

def holds(place):
    with orlop.open(place, create=False) as images:
        found = []
        for image in images.images(all=True):
            out = io.BytesIO()
            images.save([str(image.id)], out)
            found.append((image.id, image.references, out.getvalue()))
        return found

def act():
    if verb == "move far":
        rename = os.rename
        def far(source, goal, **folders):
            if (named(source, folders["src_dir_fd"]), named(goal, folders["dst_dir_fd"])) == (str(root), str(target)):
                raise OSError(18, "Invalid cross-device link")
            rename(source, goal, **folders)
        os.rename = far
    {"copy": stores.copy, "backup": stores.backup, "refresh": stores.backup}.get(verb, stores.move)(root, target)

def killed(moment):
    # What a process at work writes, or what it is about to do, is enough of a moment.
    pid = os.fork()
    if pid == 0:
        count = 0
        def hook(event, arguments):
            nonlocal count
            if event in EVENTS:
                count += 1
                if count == moment:
                    os.kill(os.getpid(), signal.SIGKILL)
        sys.addaudithook(hook)
        try:
            act()
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(pid, 0)[1])

def serious(place):
    "What is wrong, but for what the next operation cleans up."
    return [line for line in broken(place) if "left behind" not in line and "no row" not in line]

prepare()
before = holds(root)
# What a backup of an earlier moment may still hold.
old = holds(target) if verb == "refresh" else None
moments, interrupted, both = 0, 0, 0
for moment in range(1 + int(sys.argv[5]), 10_000, step):
    if moments:
        prepare()
    went_on = not killed(moment)
    moments += 1
    interrupted += not went_on
    there = [path for path in (root, target) if path.exists()]
    assert there, f"{moment}: both are gone"
    both += len(there) == 2
    for path in there:
        assert serious(path) == [], (moment, path, serious(path))
        assert holds(path) in ([before] if path == root or old is None else [before, old]), (moment, path)
    if verb in {"copy", "backup", "refresh"}:
        assert root in there
    for left in place.glob(".orlop-store-*"):
        part = place / "looked at"
        shutil.copytree(left, part)
        # Either it is not a store yet, or no longer, or it is a whole one.
        try:
            orlop.open(part, create=False).close()
        except errors.StoreNotFound:
            try:
                orlop.open(part)
            except errors.StoreDamaged:
                pass
            else:
                assert not any((part / "blobs" / "sha256").iterdir()), moment
        else:
            assert serious(part) == []
        shutil.rmtree(part)
    # The same command again does it, and cleans up.
    if root.exists():
        if verb in {"copy", "backup"} or "move" in verb:
            shutil.rmtree(target, ignore_errors=True)
        act()
        assert broken(target) == [], (moment, broken(target))
        assert holds(target) == before
        assert not list(place.glob(".orlop-store-*")), moment
        if root.exists():
            assert broken(root) == [], (moment, broken(root))
    if went_on:
        break
print(moments, interrupted, both)
"""


@pytest.mark.sampled(6, daily=False)
@pytest.mark.parametrize("verb", ["copy", "backup", "refresh", "move", "move far"])
def test_killed_at_any_moment(data, tmp_path, verb):
    # A move within a file system touches few files.
    step = STEP if verb != "move" or LONG else max(PACE // 3, 1)
    offset = first(verb, step)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, verb, tmp_path / "place", str(step), data, str(offset)],
        cwd=TOP,
        env=os.environ | {"PYTHONPATH": str(TOP)},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    moments, interrupted, both = map(int, done.stdout.split())
    print(f"{verb}: {interrupted} of {moments} runs were killed, {both} left two stores")
    assert interrupted > 0
