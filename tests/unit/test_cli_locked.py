"""Signals while another process has what a command waits for: it ends, and leaves nothing half done.

What the command waits for stays locked until the command has ended: one that waits for it never ends.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import sqlite3
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from orlop.testing.registry.fake import FakeRegistry
from tests.unit.layouts import Layout
from tests.unit.pulling import push
from tests.unit.pushed import simple
from tests.unit.test_cli_push import Shell
from tests.unit.test_pull import big_tar, image_of
from tests.waiting import heeds, until

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

    from orlop.testing.registry.site import Asked, Reply

SIGNALS = (signal.SIGINT, signal.SIGTERM)
NAME = "docker.io/library/a:1"
KIB = 1 << 10


@contextmanager
def locked(path: Path) -> Iterator[None]:
    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def waits(process: subprocess.Popen[bytes]) -> bool:
    """Return whether a process waits for a lock (proc(5), locks)."""
    assert process.poll() is None, process.communicate()
    waiting = [line.split() for line in Path("/proc/locks").read_text().splitlines() if "->" in line]
    return any(words[5] == str(process.pid) for words in waiting)


def end(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number, err
    assert err == b""


def is_clean(shell: Shell) -> bool:
    found = json.loads(shell.run("fsck", "-q", "--format", "json").stdout)
    return found["State"] == "clean" and not list((shell.folder / "root" / "leases").iterdir())


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    found = Shell(tmp_path)
    found.load(simple(NAME, "a"))
    (tmp_path / "b.tar").write_bytes(simple("docker.io/library/b:1", "b").pack())
    return found


COMMANDS: dict[str, tuple[str, ...]] = {
    "load": ("load", "-q", "-i", "{}/b.tar"),
    "import": ("import", "{}/b.tar", "c:1"),
    "tag": ("tag", NAME, "c:1"),
    "rmi": ("rmi", NAME),
    "image prune": ("image", "prune", "-f"),
    "prune": ("prune", "-f"),
    "gc": ("gc",),
    "pin": ("pin", NAME),
    "unpin": ("unpin", NAME),
    "save": ("save", "-o", "{}/saved.tar", NAME),
    "copy": ("copy", "oci-archive:{}/b.tar", "store:c:1"),
    "fsck": ("fsck", "--repair"),
    "store copy": ("store", "copy", "{}/copied"),
    "store move": ("store", "move", "{}/moved"),
}


@pytest.mark.sampled(24)
@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_ends_while_another_process_writes(shell: Shell, command: str, number: signal.Signals):
    before = shell.run("images", "-aq").stdout
    with locked(shell.folder / "root" / "write.lock"):
        process = shell.start(*(one.format(shell.folder) for one in COMMANDS[command]))
        until(lambda: waits(process))
        end(process, number)
    assert shell.run("images", "-aq").stdout == before
    assert is_clean(shell)


class Locking(FakeRegistry):
    """A registry whose first answer with a blob finds a file locked, which stays so."""

    def __init__(self, path: Path, *, at: int) -> None:
        super().__init__()
        self._at = at
        self._path = path
        self._asked = 0
        self.lock = path.open("rb")

    def _registry(self, asked: Asked) -> Reply:
        if asked.method == "GET" and "/blobs/" in asked.target:
            self._asked += 1
            if self._asked == self._at:
                fcntl.flock(self.lock, fcntl.LOCK_EX)
        return super()._registry(asked)


@pytest.mark.sampled(16, daily=False)
@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize(("size", "layers", "at"), [(4096 * KIB, 3, 1), (4096 * KIB, 3, 3), (64 * KIB, 36, 20)])
def test_a_pull_ends_while_its_threads_wait_for_another_process(
    shell: Shell, size: int, layers: int, at: int, number: signal.Signals
):
    path = shell.folder / "root" / "write.lock"
    with Locking(path, at=at) as there, closing(there.lock):
        layout = Layout()
        push(there, layout, image_of(layout, *(big_tar(size, one) for one in range(layers))), "1", "app")
        arguments = ("pull", "-q", "--platform", "linux/amd64", f"{there.authority}/app:1")
        process = shell.start(*arguments)
        until(lambda: waits(process))
        end(process, number)
        fcntl.flock(there.lock, fcntl.LOCK_UN)
        sent = sum(one.sent for one in there.requests if "/blobs/" in one.path)
        assert json.loads(shell.run("fsck", "-q", "--format", "json").stdout)["State"] == "clean"
        assert shell.run(*arguments).returncode == 0
        again = sum(one.sent for one in there.requests if "/blobs/" in one.path) - sent
        # What is lost at most is what the four connections had on the way.
        assert again <= layers * size - sent + 4 * 1024 * KIB


@pytest.mark.sampled(6)
@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("arguments", [("tag", NAME, "c:1"), ("images",), ("gc",)])
def test_a_command_ends_while_another_program_has_the_database(
    shell: Shell, arguments: tuple[str, ...], number: signal.Signals
):
    with closing(sqlite3.connect(shell.folder / "root" / "metadata.db", isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode=EXCLUSIVE")
        other.execute("BEGIN IMMEDIATE")
        process = shell.start(*arguments)
        until(lambda: heeds(process.pid, signal.SIGTERM) and has_open(process.pid, "metadata.db"))
        end(process, number)
    assert shell.run("images", "-q").returncode == 0
    assert is_clean(shell)


def has_open(pid: int, name: str) -> bool:
    return any(one.readlink().name == name for one in Path(f"/proc/{pid}/fd").iterdir() if one.is_symlink())


@pytest.mark.sampled(6)
@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize(
    "arguments",
    [
        ("save", "--format", "oci-dir", "-o", "{}/layout", NAME),
        ("save", "--append", "-o", "{}/layout/other.tar", NAME),
        ("copy", f"store:{NAME}", "oci:{}/layout:2"),
    ],
)
def test_a_command_ends_while_another_process_has_the_layout(
    shell: Shell, arguments: tuple[str, ...], number: signal.Signals
):
    layout = shell.folder / "layout"
    assert shell.run("copy", f"store:{NAME}", f"oci:{layout}:1").returncode == 0
    before = (layout / "index.json").read_bytes()
    with locked_directory(layout):
        process = shell.start(*(one.format(shell.folder) for one in arguments))
        until(lambda: waits(process))
        end(process, number)
    assert (layout / "index.json").read_bytes() == before
    assert not [one for one in layout.iterdir() if one.name.endswith(".part")]


@contextmanager
def locked_directory(path: Path) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
