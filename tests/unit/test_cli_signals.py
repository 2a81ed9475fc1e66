"""Signals while content is on its way: commands end with their status and can be repeated, servers end in order."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import threading
from contextlib import ExitStack, closing, contextmanager
from typing import TYPE_CHECKING

import pytest

import orlop
from orlop.testing.registry.fake import FakeRegistry
from orlop.testing.registry.quirks import Quirks
from tests.layout_walk import walked
from tests.unit.layouts import Layout, named
from tests.unit.pulling import push
from tests.unit.pushed import large
from tests.unit.served import UnixConnection, is_active
from tests.unit.test_cli_push import Shell
from tests.unit.test_cli_serve import PATIENCE, serve
from tests.unit.test_pull import big_tar, image_of
from tests.waiting import listens, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from orlop.testing.registry.site import Asked, Reply
    from tests.unit.test_cli_serve import Served

MIB = 1 << 20
LAYERS = 3
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
COMMANDS = ("pull", "push", "copy", "copy to a layout", "sync", "sync to a layout")


class Calling(FakeRegistry):
    """A registry that calls somebody when it gets a request of some number, and goes on with its answer."""

    def __init__(self) -> None:
        super().__init__()
        self._requests_left = 0
        self._called: Callable[[], None] | None = None
        self._counting = threading.Lock()

    def at(self, number: int, call: Callable[[], None]) -> None:
        """Call at a request from now on, the first of which has the number 1."""
        self._requests_left, self._called = number, call

    def _registry(self, asked: Asked) -> Reply:
        with self._counting:
            self._requests_left -= 1
            call = self._called if self._requests_left == 0 else None
        if call is not None:
            call()
        return super()._registry(asked)


@pytest.fixture
def there() -> Iterator[Calling]:
    with Calling() as found:
        # Without a mount, what is copied within a registry crosses the network.
        found.quirks = Quirks(mount=202)
        yield found


def prepared(command: str, shell: Shell, there: Calling) -> tuple[str, ...]:
    """Return the words of a command for which all is there that it needs."""
    layout = Layout()
    top = image_of(layout, *(big_tar(2 * MIB, number) for number in range(LAYERS)))
    source, target, folder = f"{there.authority}/app", f"{there.authority}/other", shell.folder
    if command == "push":
        shell.load(layout.top(top | named(f"{target}:1")))
        return ("push", f"{target}:1")
    push(there, layout, top, "1", "app")
    if command == "pull":
        return ("pull", "--platform", "linux/amd64", f"{source}:1")
    place = f"oci:{folder}/layout" if command.endswith("layout") else f"docker://{target}"
    if command.startswith("copy"):
        return ("copy", f"docker://{source}:1", place if command.endswith("layout") else f"{place}:1")
    plan = folder / "plan.toml"
    plan.write_text(f'[[sync]]\nsource = "docker://{source}"\ntarget = "{place}"\n')
    return ("sync", str(plan))


def is_alone(group: int) -> bool:
    """Return whether nobody is left in the process group of a command that has ended."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.sampled(96)
@pytest.mark.parametrize("request_number", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("twice", [False, True])
@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_signal_ends_a_transfer_that_then_can_be_repeated(
    tmp_path: Path, there: Calling, command: str, number: signal.Signals, *, twice: bool, request_number: int
):
    shell = Shell(tmp_path)
    arguments = prepared(command, shell, there)
    started = threading.Event()
    processes: list[subprocess.Popen[bytes]] = []

    def signalling() -> None:
        assert started.wait(PATIENCE)
        for _ in range(1 + twice):
            processes[0].send_signal(number)

    there.at(request_number, signalling)
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        shell.argv(*arguments), env=shell.environment, stdout=pipe, stderr=pipe, start_new_session=True
    )
    processes.append(process)
    started.set()
    _, err = process.communicate(timeout=PATIENCE)
    # A second signal that asks to end ends at once. Some commands need no more requests than a few.
    assert process.returncode in {128 + number, -number if twice else 128 + number, 0}
    assert process.returncode != 0 or request_number > 2
    assert b"Traceback" not in err
    assert is_alone(process.pid)
    repository = there.repository("other")
    for digest in repository.tags.values():
        assert repository.missing(repository.manifests[digest][1]) == []
    assert shell.run(*arguments).returncode == 0
    if command in {"pull", "push"}:
        assert is_clean(shell)
    elif command.endswith("layout"):
        assert len(walked(tmp_path / "layout").names) == 1


def is_clean(shell: Shell) -> bool:
    return bool(json.loads(shell.run("fsck", "-q", "--format", "json").stdout)["State"] == "clean")


@contextmanager
def asked(served: Served, head: str, body: bytes = b"") -> Iterator[socket.socket]:
    """Ask a server for something, of whose answer nothing is read."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PATIENCE)
        connection.connect(served.client.path)
        connection.sendall(f"{head}\r\nHost: localhost\r\n\r\n".encode() + body)
        yield connection


def told(served: Served, method: str, path: str) -> tuple[str, bytes]:
    """Return the location and the content of what a server answers to a client of a registry."""
    with closing(UnixConnection(served.client.path)) as connection:
        connection.request(method, path, headers={"Host": "localhost"})
        answer = connection.getresponse()
        return answer.headers.get("Location", ""), answer.read()


@pytest.mark.sampled(6)
@pytest.mark.parametrize("twice", [False, True])
@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_ends_a_server_that_has_all_kinds_of_requests_in_hand(
    tmp_path: Path, number: signal.Signals, *, twice: bool
):
    archive = large("localhost/team/app:1", 16 * MIB).pack()
    with ExitStack() as stack:
        options = ("--registry", "--engine", "--grace", "600" if twice else "0.2")
        served = stack.enter_context(serve(tmp_path, *options))
        assert served.client.post("/images/load", body=archive).status == 200
        manifest = json.loads(told(served, "GET", "/v2/team/app/manifests/1")[1])
        layer = manifest["layers"][0]["digest"]
        upload = told(served, "POST", "/v2/team/app/blobs/uploads/")[0]
        half = b"x" * MIB
        with_length = f"HTTP/1.1\r\nContent-Length: {2 * MIB}"
        for head, body in [
            (f"GET /v2/team/app/blobs/{layer} HTTP/1.1", b""),
            ("GET /events HTTP/1.1", b""),
            (f"POST /images/load {with_length}", archive[:MIB]),
            (f"PATCH {upload} {with_length}", half),
            ("GET /_ping HTTP/1.1", b""),
        ]:
            stack.enter_context(asked(served, head, body))
        silent = stack.enter_context(socket.socket(socket.AF_UNIX))
        silent.connect(served.client.path)
        until(lambda: is_active(served.client, 5))
        served.process.send_signal(number)
        if twice:
            # Two that come before the first one is heeded would be one.
            until(lambda: not listens(served.client.path))
            served.process.send_signal(number)
        _, said = served.process.communicate(timeout=PATIENCE)
        assert (served.process.returncode, said) == (0, "")
    with orlop.open(tmp_path / "root") as images:
        assert len(images.images()) == 1
    assert list((tmp_path / "root" / "ingest").iterdir()) == []
    assert is_clean(Shell(tmp_path))
