"""`orlop push` as a user runs it: its words, its statuses, and what a kill leaves."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from orlop.testing.registry.quirks import Quirks
from tests.unit.holding import Holding
from tests.unit.pushed import again, large, simple, top_digest
from tests.waiting import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.unit.layouts import Layout

MIB = 1 << 20
LAYER = int(os.environ.get("ORLOP_LAYER_MIB", "100")) * MIB


@pytest.fixture
def there() -> Iterator[Holding]:
    with Holding() as found:
        yield found


class Shell:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {"HOME": str(folder), "PATH": os.environ["PATH"], "LANG": "C.UTF-8"}

    def argv(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "orlop", "--root", str(self.folder / "root"), *arguments]

    def run(self, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            self.argv(*arguments), input=stdin, env=self.environment, capture_output=True, check=False, timeout=120
        )

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        pipe = subprocess.PIPE
        return subprocess.Popen(self.argv(*arguments), env=self.environment, stdout=pipe, stderr=pipe)

    def load(self, layout: Layout) -> None:
        assert self.run("load", "-q", stdin=layout.pack()).returncode == 0


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


@pytest.mark.sampled(3)
def test_docker_s_words_are_at_the_end(shell: Shell, there: Holding):
    name = f"{there.authority}/team/app"
    layout = simple(f"{name}:1.0", "a")
    shell.load(layout)
    first = shell.run("push", f"{name}:1.0")
    assert (first.returncode, first.stderr) == (0, b"")
    size = len(layout.files["blobs/" + top_digest(layout).replace(":", "/")])
    lines = first.stdout.decode().splitlines()
    assert lines[0] == f"The push refers to repository [{name}]"
    assert lines[1].endswith(": Pushed")
    assert lines[2:] == [f"1.0: digest: {top_digest(layout)} size: {size}"]
    assert shell.run("push", f"{name}:1.0").stdout.decode().splitlines() == [lines[0], lines[2]]
    assert shell.run("push", "-q", f"{name}:1.0").stdout.decode() == f"{name}:1.0\n"
    shell.run("tag", f"{name}:1.0", f"{there.authority}/other:1")
    mounted = shell.run("push", f"{there.authority}/other:1").stdout.decode().splitlines()
    assert mounted[1].endswith(": Mounted from team/app")


@pytest.mark.sampled(4)
@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("push", "--compress", "lzma", "{}/app:1"), 2, "lzma"),
        (("push",), 2, "Missing argument"),
        (("push", "-a", "{}/app:1"), 3, "has a tag"),
        (("push", "{}/app:2"), 4, "does not exist locally"),
        (("push", "--platform", "linux/s390x", "{}/app:1"), 4, "does not match"),
    ],
)
def test_what_goes_wrong_is_one_sentence(
    shell: Shell, there: Holding, arguments: tuple[str, ...], status: int, words: str
):
    shell.load(simple(f"{there.authority}/app:1", "a"))
    result = shell.run(*(one.format(there.authority) for one in arguments))
    assert result.returncode == status, result.stderr
    assert words in result.stderr.decode()
    assert result.stderr.decode().count("Error: ") == 1
    assert there.requests == []


@pytest.mark.sampled(2)
def test_a_registry_that_refuses_is_named(shell: Shell, there: Holding):
    there.quirks = Quirks(auth="basic")
    shell.load(simple(f"{there.authority}/app:1", "a"))
    result = shell.run("push", f"{there.authority}/app:1")
    assert result.returncode == 1
    (line,) = result.stderr.decode().splitlines()
    assert there.authority in line


@pytest.mark.sampled(4)
def test_after_a_kill_at_half_of_a_layer_half_of_it_is_sent(shell: Shell, there: Holding):
    size = LAYER
    name = f"{there.authority}/app:1"
    shell.load(large(name, size))
    there.hold_from(size // 2)
    process = shell.start("push", "-q", name)
    assert there.holds.wait(PATIENCE)
    process.kill()
    process.communicate()
    there.let_go()
    assert shell.run("push", "-q", name).returncode == 0
    assert there.repository("app").tags
    assert sum(one.received for one in there.requests) <= again(size)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_push_that_waits_and_what_was_acknowledged_stays(
    shell: Shell, there: Holding, number: signal.Signals
):
    size = 40 * MIB
    name = f"{there.authority}/app:1"
    shell.load(large(name, size))
    there.hold_from(size // 2)
    process = shell.start("push", "-q", name)
    assert there.holds.wait(PATIENCE)
    process.send_signal(number)
    process.communicate(timeout=PATIENCE)
    assert process.returncode != 0
    there.let_go()
    assert shell.run("push", "-q", name).returncode == 0
    assert sum(one.received for one in there.requests) <= again(size)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("layers", [1, 3])
def test_a_signal_ends_a_push_that_waits_for_an_answer(shell: Shell, layers: int):
    """A registry may take minutes to answer; nobody has to wait for it who does not want to."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        name = f"127.0.0.1:{server.getsockname()[1]}/app:1"
        shell.load(simple(name, *(f"file{number}" for number in range(layers))))
        waits = threading.Event()
        connections: list[socket.socket] = []

        def answer(connection: socket.socket) -> None:
            while True:
                head = b""
                while not head.endswith(b"\r\n\r\n"):
                    try:
                        data = connection.recv(1)
                    except ConnectionResetError:
                        data = b""  # The push ended, and left an answer unread.
                    if not data or head[:1] == b"\x16":
                        connection.close()
                        return
                    head += data
                if head.startswith(b"POST"):
                    waits.set()
                    return
                connection.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")

        def accept() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                connections.append(connection)
                threading.Thread(target=answer, args=(connection,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        process = shell.start("push", "-q", name)
        assert waits.wait(60)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        assert process.returncode != 0
        assert b"Traceback" not in err
        for connection in connections:
            connection.close()
