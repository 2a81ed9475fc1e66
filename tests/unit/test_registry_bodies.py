"""Large bodies that a thread reads from the socket itself: what follows them, and clients that are slow or gone."""

from __future__ import annotations

import os
import re
import socket
import threading
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import orlop
from orlop.api.engine.call import Bounds
from orlop.api.handed import Handed
from tests.unit.hosted import digest_of, hosting
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.unit.hosted import RegistryClient

MIB = 1 << 20
CONTENT = os.urandom(3 * MIB)


@pytest.fixture
def images(tmp_path: Path) -> Iterator[orlop.ImageService]:
    with orlop.open(tmp_path / "root") as found:
        yield found


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How much of each body was read from its socket."""
    found: list[int] = []
    close = Handed.close

    def noted(handed: Handed) -> None:
        found.append(handed.size)
        close(handed)

    monkeypatch.setattr(Handed, "close", noted)
    return found


@contextmanager
def asking(registry: RegistryClient, request: bytes) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", registry.port), timeout=60) as line:
        line.sendall(request)
        yield line


def everything(line: socket.socket) -> bytes:
    return b"".join(iter(lambda: line.recv(MIB), b""))


def patch(location: str, length: int, *headers: str) -> bytes:
    lines = [f"PATCH {location} HTTP/1.1", "Host: localhost", f"Content-Length: {length}", *headers, "", ""]
    return "\r\n".join(lines).encode()


def statuses(answers: bytes) -> list[int]:
    return [int(one) for one in re.findall(rb"HTTP/1\.1 (\d+)", answers)]


def sockets() -> int:
    """Return how many sockets this process has."""
    found = 0
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            found += str(entry.readlink()).startswith("socket:")
    return found


LAST = b"GET /v2/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def test_what_follows_a_large_body_is_the_next_request(images, tmp_path, read):
    with hosting(images, tmp_path) as registry:
        location = registry.begin("a").headers["location"]
        end = f"PUT {location}?digest={digest_of(CONTENT)} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
        request = patch(location, len(CONTENT)) + CONTENT + end + LAST
        with asking(registry, request) as line:
            assert statuses(everything(line)) == [202, 201, 200]
        assert registry.get(f"/v2/a/blobs/{digest_of(CONTENT)}").body == CONTENT
    assert read == [len(CONTENT)]


def test_a_client_that_waits_to_be_asked_for_its_body_is_asked(images, tmp_path, read):
    with hosting(images, tmp_path) as registry:
        location = registry.begin("a").headers["location"]
        with asking(registry, patch(location, len(CONTENT), "Expect: 100-continue")) as line:
            assert line.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
            line.sendall(CONTENT + LAST)
            assert statuses(everything(line)) == [202, 200]
    assert read == [len(CONTENT)]


def test_a_body_that_is_refused_unread_does_not_become_requests(images, tmp_path, read):
    smuggled = (b"GET /v2/_catalog HTTP/1.1\r\nHost: localhost\r\n\r\n" * 100_000)[: 3 * MIB]
    with hosting(images, tmp_path) as registry:
        location = registry.begin("a").headers["location"]
        request = patch(location, len(smuggled), f"Content-Range: 5-{len(smuggled) + 4}") + smuggled + LAST
        with asking(registry, request) as line:
            assert statuses(everything(line)) == [416, 200]
        assert registry.get(location).headers["range"] == "0-0"
    assert sum(read) < len(smuggled)


@pytest.mark.sampled(3)
def test_a_client_that_stops_in_the_midst_is_given_up_and_goes_on_later(images, tmp_path, read):
    with hosting(images, tmp_path, bounds=Bounds(patience=1)) as registry:
        location = registry.begin("a").headers["location"]
        with asking(registry, patch(location, len(CONTENT)) + CONTENT[:MIB]) as line:
            answer = everything(line)
        assert statuses(answer) == [408]
        assert b"sent nothing for 1 seconds" in answer
        session = registry.get(location)
        reached = int(session.headers["range"].partition("-")[2]) + 1
        assert 0 < reached <= MIB
        assert registry.patch(session, CONTENT[reached:]).status == 202
        assert registry.finish(session, digest_of(CONTENT)).status == 201
    assert read[0] >= reached
    assert read[1] == len(CONTENT) - reached


@pytest.mark.sampled(3)
def test_a_client_that_drips_is_given_up(images, tmp_path, read):
    over = threading.Event()
    with hosting(images, tmp_path, bounds=Bounds(patience=1)) as registry:
        location = registry.begin("a").headers["location"]
        with asking(registry, patch(location, len(CONTENT))) as line:

            def drip() -> None:
                while not over.wait(0.05):
                    try:
                        line.sendall(b"x")
                    except OSError:
                        return

            thread = threading.Thread(target=drip)
            thread.start()
            try:
                assert statuses(everything(line)) == [408]
            finally:
                over.set()
                thread.join()
        # Whoever is next has its turn.
        assert registry.push_blob("a", CONTENT)
    assert read[0] < 1000


@pytest.mark.parametrize("is_half", [True, False], ids=["half", "whole"])
def test_a_client_that_hangs_up_leaves_nothing_open(images, tmp_path, read, is_half):
    with hosting(images, tmp_path) as registry:
        before = sockets()
        location = registry.begin("a").headers["location"]
        with asking(registry, patch(location, len(CONTENT)) + CONTENT[:MIB]) as line:
            if is_half:
                line.shutdown(socket.SHUT_WR)
                assert statuses(everything(line)) == [408]
        until(lambda: len(read) == 1)
        session = registry.get(location)
        reached = int(session.headers["range"].partition("-")[2]) + 1
        assert registry.patch(session, CONTENT[reached:]).status == 202
        until(lambda: sockets() <= before)
