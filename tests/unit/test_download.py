"""Plain downloads: servers that lead astray, send without an end, or hardly send."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

import orlop
from orlop.errors import DownloadFailed
from orlop.registry import connections, transport
from orlop.registry.download import downloaded
from orlop.registry.patience import Patience, Waiting
from orlop.streams.awaited import queued
from orlop.streams.interruption import interrupted_by
from tests.unit.served import slowly
from tests.unit.test_registry_transport import served

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

HEAD = b"HTTP/1.1 200 OK\r\n"
SHORT = Waiting(patience=Patience(connect=1, head=1, window=1, least=1000))


def again(piece: bytes, first: bytes = b"") -> Callable[[socket.socket], None]:
    """Return a server that sends a piece after the other, until nobody listens."""

    def serve(connection: socket.socket) -> None:
        connection.sendall(first)
        while True:
            connection.sendall(piece * 100)

    return serve


def fetched(url: str, waiting: Waiting | None = None) -> bytes:
    with downloaded(url, waiting=waiting) as body:
        return b"".join(iter(lambda: body.read(1 << 16), b""))


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    "endless",
    [
        again(b"HTTP/1.1 100 Continue\r\n\r\n"),
        again(b"HTTP/1.1 102 Processing\r\nX: y\r\n\r\n"),
        again(b"X: y\r\n", HEAD),
        again(b"x" * 100, HEAD + b"X: "),
        again(b"X: y\r\n", HEAD + b"Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n"),
        again(b"x" * 100, HEAD + b"Transfer-Encoding: chunked\r\n\r\n4;"),
        again(b"0" * 100, HEAD + b"Transfer-Encoding: chunked\r\n\r\n"),
    ],
    ids=["interim", "interim with headers", "headers", "header", "trailers", "extension", "size"],
)
def test_what_is_sent_without_an_end_beside_a_body_is_given_up(
    endless: Callable[[socket.socket], None], tmp_path: Path
):
    with served(endless) as url, orlop.open(tmp_path / "store") as images:
        with pytest.raises(DownloadFailed, match="cannot download"):
            images.import_image(url)
        assert images.images(all=True) == []


@pytest.mark.sampled(6)
@pytest.mark.parametrize(
    "server",
    [
        slowly(b""),
        slowly(b"x"),
        slowly(b"X: y\r\n", HEAD),
        slowly(b"x", HEAD + b"Content-Length: 100000\r\n\r\n"),
        slowly(b"1\r\nx\r\n", HEAD + b"Transfer-Encoding: chunked\r\n\r\n"),
        slowly(b"X: y\r\n", HEAD + b"Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n"),
        slowly(b"", HEAD + b"Content-Length: 4\r\n\r\nbod"),
    ],
    ids=["silence", "status", "headers", "body", "chunks", "trailers", "the last byte"],
)
def test_a_server_that_drips_is_given_up(server: Callable[[socket.socket], None]):
    with served(server) as url, pytest.raises(DownloadFailed, match="within 1 s"):
        fetched(url, SHORT)


def test_a_handshake_that_is_not_answered_is_given_up():
    with served(slowly(b"")) as url, pytest.raises(DownloadFailed, match="no connection was made within 1 s"):
        fetched(url.replace("http:", "https:"), SHORT)


def test_a_socket_that_is_being_wrapped_has_nothing_queued():
    with socket.socket() as plain:
        plain.detach()
        assert queued(plain) == 0


def test_who_waits_for_a_download_can_be_interrupted():
    class Enough(Exception):
        pass

    def check() -> None:
        raise Enough

    with served(slowly(b"")) as url, pytest.raises(Enough), interrupted_by(check):
        fetched(url)


@pytest.mark.parametrize(
    "head",
    ["HTTP/1.1 200", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nX-A: 1\r\n", "HTTP/1.1 200 OK\r\nX-A: 1\r\nContent-Le"],
)
def test_an_answer_whose_head_breaks_off_is_no_answer(head: str):
    """Which header is missing nobody knows: the body's length, or where the answer leads."""
    answer = served(lambda connection: connection.sendall(head.encode()))
    with answer as url, pytest.raises(DownloadFailed, match="ends too early"):
        fetched(url, SHORT)


def moved(location: str) -> bytes:
    return f"HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode()


@contextmanager
def named_here(monkeypatch: pytest.MonkeyPatch, *hosts: str) -> Iterator[None]:
    """Have names lead to this machine for a block."""

    def found(host: str, port: int) -> object:
        assert host in hosts
        return connections.resolved("127.0.0.1", port)

    with monkeypatch.context() as patch:
        patch.setattr(transport, "resolved", found)
        yield


@pytest.mark.parametrize(
    "location", ["http://127.0.0.1/x", "http://10.1.2.3/x", "http://169.254.169.254/latest", "http://[::1]/x"]
)
def test_a_server_of_the_internet_does_not_lead_to_a_private_place(location: str, monkeypatch: pytest.MonkeyPatch):
    with served(moved(location)) as url, named_here(monkeypatch, "far.example"):
        port = url.split(":")[2].split("/")[0]
        with pytest.raises(DownloadFailed, match="leads to http"):
            fetched(f"http://far.example:{port}/x")


def test_a_name_to_which_a_server_leads_does_not_hide_an_address_of_the_link(monkeypatch: pytest.MonkeyPatch):
    asked: list[str] = []

    def found(host: str, port: int) -> object:
        asked.append(host)
        address = "127.0.0.1" if host == "far.example" else "169.254.169.254"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    reach = connections.Connection._reach

    def only_here(connection: connections.Connection, sock: socket.socket, address: Any, limit: float) -> None:
        # Nothing is sent to such an address from here.
        assert address[0] == "127.0.0.1"
        reach(connection, sock, address, limit)

    monkeypatch.setattr(transport, "resolved", found)
    monkeypatch.setattr(connections.Connection, "_reach", only_here)
    with served(moved("http://innocent.example/latest")) as url:
        port = url.split(":")[2].split("/")[0]
        with pytest.raises(DownloadFailed, match="has a link-local address"):
            fetched(f"http://far.example:{port}/x")
    assert asked == ["far.example", "innocent.example"]


@pytest.mark.parametrize("location", ["file:///etc/passwd", "ftp://far.example/x", "http://a b/"])
def test_a_server_leads_to_a_url_of_http_alone(location: str):
    with served(moved(location)) as url, pytest.raises(DownloadFailed, match="safe to follow"):
        fetched(url)


@pytest.mark.parametrize("location", ["http://h\\@x/", "http://h/\\@x", "http://a b@x/", "http://a:b/c@x/", "//a@x/"])
def test_a_place_of_which_programs_find_different_hosts_is_refused(location: str):
    with served(moved(location)) as url, pytest.raises(DownloadFailed, match=r"leads to|safe to follow"):
        fetched(url)


def test_redirections_have_an_end():
    with served(moved("/again")) as url, pytest.raises(DownloadFailed, match="more than 10 times"):
        fetched(url)


@pytest.mark.parametrize(("host", "is_sent"), [("far.example", True), ("near.example", False)])
def test_a_password_is_sent_to_its_own_server_alone(host: str, is_sent: bool, monkeypatch: pytest.MonkeyPatch):  # noqa: FBT001
    heard: list[bytes] = []

    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        def serve() -> None:
            for answer in (moved(f"http://{host}:{port}/there"), HEAD + b"Content-Length: 4\r\n\r\nbody"):
                connection, _ = listener.accept()
                with connection:
                    heard.append(connection.recv(1 << 16))
                    connection.sendall(answer.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1))

        thread = threading.Thread(target=serve)
        thread.start()
        with named_here(monkeypatch, "far.example", "near.example"):
            assert fetched(f"http://user:secret@far.example:{port}/") == b"body"
        thread.join()
    assert [b"Authorization: Basic dXNlcjpzZWNyZXQ=" in request for request in heard] == [True, is_sent]


def test_a_refusal_is_told_with_its_words():
    answer = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 9\r\n\r\nnot today"
    with served(answer) as url, pytest.raises(DownloadFailed, match="403 Forbidden: not today") as raised:
        fetched(url)
    assert raised.value.answered == 403
