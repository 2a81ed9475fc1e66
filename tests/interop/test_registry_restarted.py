"""A server of a registry that is asked to end while clients push and pull, and the next one on the same socket.

The socket belongs to somebody else, as systemd has it, so that no client is turned away meanwhile.
"""

from __future__ import annotations

import random
import signal
import socket
import subprocess
import sys
import urllib.request
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from orlop.model.manifest import OCI_MANIFEST
from orlop.testing.registry.fake import FakeRegistry
from orlop.testing.registry.quirks import Quirks
from tests.interop.programs import PATIENCE, environment
from tests.interop.test_registry_served import answer
from tests.unit.hosted import digest_of, image_manifest, written
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MIB = 1 << 20
HALF = "/v2/team/app/blobs/uploads/"
#: systemd puts the sockets behind the standard streams, and names the process.
INHERITING = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3); os.environ['LISTEN_PID'] = str(os.getpid());"
    " os.execv(sys.executable, [sys.executable, *sys.argv[2:]])"
)


@contextmanager
def serving(root: Path, listener: socket.socket, *options: str) -> Iterator[subprocess.Popen[str]]:
    """Serve a root for a block as a registry, on a socket that outlives the server."""
    argv = [sys.executable, "-c", INHERITING, str(listener.fileno()), "-m", "orlop", "--root", str(root), "serve"]
    argv += ["--registry", "--grace", str(PATIENCE), *options]
    env = environment(LISTEN_FDS="1", LISTEN_FDNAMES="registry")
    process = subprocess.Popen(argv, env=env, stderr=subprocess.PIPE, text=True, pass_fds=[listener.fileno()])
    try:
        assert process.stderr is not None
        assert process.stderr.readline().startswith("Listening on ")
        yield process
    finally:
        process.kill()
        process.communicate()


class Raw:
    """A connection of a client that does as little as it likes at once."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)

    def send(self, method: str, target: str, length: int = 0, body: bytes = b"") -> None:
        head = f"{method} {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n"
        self.socket.sendall(head.encode() + body)

    def read(self, size: int = 0, *, after: bytes = b"") -> bytes:
        """Return what comes: up to a number of bytes, or to the end of the connection."""
        found = after
        try:
            while (not size or len(found) < size) and (more := self.socket.recv(MIB)):
                found += more
        except ConnectionResetError:
            assert not size
        return found


def reached(port: int, session: str, size: int) -> None:
    """Wait until so many bytes of an upload have come."""
    until(lambda: int(answer(port, "GET", session)[1]["range"].partition("-")[2]) + 1 >= size)


def whole(port: int, target: str) -> bytes:
    """Return all of a blob."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{target}", timeout=PATIENCE) as found:
        return bytes(found.read())


@pytest.mark.sampled(3)
def test_clients_go_on_at_the_next_server_where_they_were(tmp_path: Path) -> None:
    chance = random.Random(11)
    pushed, quick, pulled = (chance.randbytes(3 * MIB) for _ in range(3))
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    with FakeRegistry(Quirks(stall=2 * MIB)) as upstream, listener:
        config = written({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}})
        manifest = written(image_manifest(config, pulled))
        for blob in (config, pulled):
            upstream.add_blob("far/app", blob)
        upstream.add_manifest("far/app", manifest, OCI_MANIFEST, tag="1")
        proxy = ("--proxy", f"{upstream.authority}=http://{upstream.authority}")
        target = f"/v2/far/app/blobs/{digest_of(pulled)}"

        with serving(tmp_path, listener, *proxy) as first:
            sessions = [answer(port, "POST", HALF)[1]["location"] for _ in range(2)]
            assert answer(port, "GET", "/v2/far/app/manifests/1")[0] == 200
            idle, slow, fast, puller = (Raw(port) for _ in range(4))
            idle.send("GET", "/v2/")
            assert idle.read(1).startswith(b"HTTP/1.1 200 ")
            slow.send("PATCH", sessions[0], len(pushed), pushed[: 2 * MIB])
            fast.send("PATCH", sessions[1], len(quick), quick[:MIB])
            puller.send("GET", target)
            got = puller.read(MIB)
            reached(port, sessions[0], MIB)
            first.send_signal(signal.SIGTERM)
            # A client without a request hears of it at once, and those with one have time.
            assert b"HTTP/1.1" not in idle.read()
            fast.socket.sendall(quick[MIB:])
            assert fast.read().startswith(b"HTTP/1.1 202 ")
            # Somebody who comes between the two waits.
            between = Raw(port)
            between.send("GET", "/v2/")
            first.send_signal(signal.SIGTERM)
            got = puller.read(after=got)
            assert b"HTTP/1.1 201 " not in slow.read()
            assert first.wait(PATIENCE) == 0
        body = got.partition(b"\r\n\r\n")[2]
        assert got.startswith(b"HTTP/1.1 200 ")
        assert pulled.startswith(body)
        assert len(body) < len(pulled)

        with serving(tmp_path, listener, *proxy) as second:
            assert between.read(1).startswith(b"HTTP/1.1 200 ")
            for session, content in zip(sessions, (pushed, quick), strict=True):
                status, headers = answer(port, "GET", session)
                assert status == 204
                at = int(headers["range"].partition("-")[2]) + 1
                assert at >= MIB
                assert answer(port, "PUT", f"{session}?digest={digest_of(content)}", content[at:])[0] == 201
                assert whole(port, f"/v2/team/app/blobs/{digest_of(content)}") == content
            assert whole(port, target) == pulled
            asked = [one.headers.get("range") for one in upstream.requests if digest_of(pulled) in one.path]
            # What the first one had was not fetched again.
            assert asked[0] is None
            assert asked[-1] is not None
            second.send_signal(signal.SIGTERM)
            assert second.wait(PATIENCE) == 0
        for one in (idle, slow, fast, puller, between):
            one.socket.close()
    checked = [sys.executable, "-m", "orlop", "--root", str(tmp_path), "fsck", "-q"]
    assert subprocess.run(checked, env=environment(), check=False, timeout=PATIENCE).returncode == 0
