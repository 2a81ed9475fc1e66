"""Who may ask a server: tokens, web pages, read-only servers, limits; and where it listens."""

from __future__ import annotations

import http.client
import io
import os
import re
import socket
import stat
import tarfile
import threading
from contextlib import ExitStack, closing, contextmanager
from typing import TYPE_CHECKING

import pytest

import orlop
from orlop import errors
from orlop.api.doors import Security, doors
from orlop.api.engine.call import Bounds
from orlop.api.listeners import Activation, Address, Listener
from orlop.api.server import Options
from orlop.api.tls import Certificates
from tests.unit.served import Client, is_active, is_hung_up, served, serving
from tests.waiting import PATIENCE, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ANYBODY = Security(anonymous=True)


class TCPClient(Client):
    """Asks a server on a port of this machine, at a place such as ``tcp://127.0.0.1:80``."""

    def connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self.path.removeprefix("tcp://"), timeout=60)


# Addresses.


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("unix:///run/x.sock", Address("unix", "/run/x.sock")),
        ("tcp://127.0.0.1:80", Address("tcp", "127.0.0.1", 80)),
        ("tcp://localhost:0/", Address("tcp", "localhost", 0)),
        ("tcp://[::1]:2375", Address("tcp", "::1", 2375)),
        ("tcp://[::1]", Address("tcp", "::1")),
        ("tcp://host", Address("tcp", "host")),
        ("tcp://:2376", Address("tcp", "", 2376)),
        ("fd://", Address("fd", "")),
        ("fd://4", Address("fd", "4")),
        ("fd://api", Address("fd", "api")),
    ],
)
def test_an_address_is_written_as_docker_writes_it(text, address):
    assert Address.parse(text) == address


NO_ADDRESSES = """
    x  /run/x.sock  unix://  unix://relative  tcp://a:b  tcp://a:65536  tcp://a:-1  tcp://a/b  http://a  fd:3
    npipe:////./pipe/docker_engine
"""


@pytest.mark.parametrize("text", ["", f"unix:///{'x' * 107}", *NO_ADDRESSES.split()])
def test_what_is_no_address_is_refused(text):
    with pytest.raises(errors.InvalidAddress):
        Address.parse(text)


LOCAL = ["tcp://127.0.0.9:1", "tcp://[::1]:1", "tcp://localhost:1", "unix:///x"]
REMOTE = ["tcp://0.0.0.0:1", "tcp://:1", "tcp://10.0.0.1:1", "tcp://name:1"]


@pytest.mark.parametrize("text", LOCAL + REMOTE)
def test_only_some_addresses_stay_on_this_machine(text):
    assert Address.parse(text).is_local is (text in LOCAL)


# Sockets.


def test_a_unix_socket_is_for_its_owner_alone(tmp_path):
    path = tmp_path / "s"
    listener = Listener(Address("unix", str(path)))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    listener.close()
    assert not path.exists()


def test_a_unix_socket_may_be_for_a_group(tmp_path):
    path = tmp_path / "s"
    listener = Listener(Address("unix", str(path)), group=os.getgid())
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    assert path.stat().st_gid == os.getgid()
    listener.close()


@pytest.mark.parametrize("what", ["a link", "a file"])
def test_what_takes_the_place_of_a_socket_is_not_opened_to_a_group(tmp_path, monkeypatch, what):
    """Others may write to its directory, too."""
    path, own = tmp_path / "s", tmp_path / "own"
    own.touch(0o600)
    real = os.umask

    def umask(mode: int) -> int:
        if path.is_socket():
            path.unlink()
            path.symlink_to(own) if what == "a link" else path.touch(0o600)
        return real(mode)

    monkeypatch.setattr(os, "umask", umask)
    with pytest.raises(errors.ListenFailed, match="its socket was replaced"):
        Listener(Address("unix", str(path)), group=os.getgid())
    assert [stat.S_IMODE(one.stat().st_mode) for one in (path, own)] == [0o600, 0o600]


def test_a_socket_that_a_killed_server_left_behind_is_replaced(tmp_path):
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    listener = Listener(Address("unix", str(path)))
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    listener.close()


def test_a_socket_in_use_and_a_file_are_left_alone(tmp_path):
    path = tmp_path / "s"
    first = Listener(Address("unix", str(path)))
    with pytest.raises(errors.ListenFailed, match="another server"):
        Listener(Address("unix", str(path)))
    first.close()
    path.write_text("precious")
    with pytest.raises(errors.ListenFailed, match="not a socket"):
        Listener(Address("unix", str(path)))
    assert path.read_text() == "precious"


def test_the_socket_of_a_successor_is_not_removed(tmp_path):
    path = tmp_path / "s"
    first = Listener(Address("unix", str(path)))
    path.unlink()
    second = Listener(Address("unix", str(path)))
    first.close()
    assert path.exists()
    second.close()


def test_a_place_where_nobody_can_listen_is_an_error(tmp_path):
    with pytest.raises(errors.ListenFailed, match="No such file"):
        Listener(Address("unix", str(tmp_path / "nosuch" / "s")))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(errors.ListenFailed, match="in use"):
            Listener(Address("tcp", "127.0.0.1", taken.getsockname()[1]))
    with pytest.raises(errors.ListenFailed):
        Listener(Address("tcp", "nosuch.invalid", 1))


def test_a_socket_of_systemd_must_have_been_handed_over():
    with pytest.raises(errors.ListenFailed, match="systemd"):
        Listener(Address("fd", ""), activation=Activation())
    with pytest.raises(errors.ListenFailed, match="systemd"):
        Listener(Address("fd", "nosuch"), activation=Activation(1, ("api",)))


# Doors.


@pytest.mark.parametrize("place", ["tcp://0.0.0.0:0", "tcp://:0", "tcp://192.0.2.1:0"])
def test_tcp_beyond_this_machine_needs_tls(place):
    for security in (ANYBODY, Security(token="secret"), Security()):
        with pytest.raises(errors.InvalidAddress, match="tls"):
            doors([Address.parse(place)], security)


def test_tcp_on_this_machine_needs_a_token_or_consent():
    with pytest.raises(errors.InvalidAddress, match="--token-file"):
        doors([Address.parse("tcp://127.0.0.1:0")], Security())


def test_certificates_that_cannot_be_read_are_an_error(tmp_path):
    certificates = Certificates(str(tmp_path / "nosuch"), str(tmp_path / "nosuch"))
    with pytest.raises(errors.ListenFailed, match="TLS"):
        doors([Address.parse("tcp://127.0.0.1:0")], Security(certificates, token="x"))


def test_what_was_opened_is_closed_again_where_one_place_fails(tmp_path):
    path = tmp_path / "s"
    with pytest.raises(errors.ListenFailed):
        doors([Address("unix", str(path)), Address("unix", str(tmp_path / "nosuch" / "s"))], Security())
    assert not path.exists()


# Requests.


def test_a_server_with_a_token_answers_nobody_else(images):
    with serving(images, "tcp://127.0.0.1:0", security=Security(token="sesame")) as (place,):
        client = TCPClient(place)
        for headers in (
            {},
            {"Authorization": "Bearer wrong"},
            {"Authorization": "Basic sesame"},
            {"X-Token": "sesame"},
        ):
            answer = client.get("/_ping", headers=headers)
            assert answer.status == 401
            assert answer.headers["www-authenticate"] == 'Bearer realm="orlop"'
        assert client.get("/_ping", headers={"Authorization": "Bearer sesame"}).status == 200
        assert client.get("/metrics").status == 401


def test_a_unix_socket_asks_for_no_token(images, tmp_path):
    with served(images, tmp_path, security=Security(token="sesame")) as client:
        assert client.get("/_ping").status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example.com"},
        {"Origin": "null"},
        {"Origin": "http://localhost:2375"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-origin"},
    ],
)
def test_web_pages_are_not_answered(images, tmp_path, headers):
    with served(images, tmp_path) as client:
        assert client.post("/images/prune", headers=headers).status == 403
        assert client.get("/images/json", headers=headers).status == 403
        assert client.get("/images/json", headers={"Sec-Fetch-Site": "none"}).status == 200


HOSTS = {
    **dict.fromkeys(["127.0.0.1", "localhost:1", "[::1]:99", "LOCALHOST", "localhost:"], 200),
    **dict.fromkeys(["localhost:1.evil.example.com", "127.0.0.1:x", "[::1]evil.example.com", "[::1]:1:2"], 403),
    **dict.fromkeys(["evil.example.com", "evil.example.com:2375", "127.0.0.1.evil.example.com"], 403),
    "": 400,
}


@pytest.mark.parametrize("host", HOSTS)
def test_a_name_that_somebody_let_point_to_this_machine_is_not_served(images, host):
    with serving(images, "tcp://127.0.0.1:0", security=ANYBODY) as (place,):
        assert TCPClient(place).get("/_ping", headers={"Host": host}).status == HOSTS[host]


def test_a_server_that_only_shows_changes_nothing(images, tmp_path, data):
    images.load(data / "dockerd-20.10-overlay2" / "tiny.tar")
    with served(images, tmp_path, security=Security(read_only=True)) as client:
        for method, path in [
            ("POST", "/images/load"),
            ("POST", "/images/create?fromSrc=-"),
            ("POST", "/images/prune"),
            ("POST", "/images/example/tiny:1.0/tag?repo=x"),
            ("DELETE", "/images/example/tiny:1.0"),
        ]:
            assert client.ask(method, path).status == 403
        assert client.get("/images/example/tiny:1.0/get").status == 200
        assert ["Read-only", "true"] in client.get("/info").json["DriverStatus"]
    assert [str(name) for image in images.images() for name in image.references] == ["docker.io/example/tiny:1.0"]


def test_a_store_that_cannot_be_written_says_so(images, tmp_path, data, monkeypatch):
    images.load(data / "dockerd-20.10-overlay2" / "tiny.tar")
    images.close()
    monkeypatch.setattr(os, "access", lambda path, mode, real=os.access: mode != os.W_OK and real(path, mode))
    with orlop.open(tmp_path / "root") as shown, served(shown, tmp_path) as client:
        assert len(client.get("/images/json").json) == 1
        assert client.post("/images/prune").status == 403
        assert client.get("/images/example/tiny:1.0/get").status == 200
        (line,) = client.post("/images/load", body=b"x").lines
        assert "read-only" in line["error"]


# Bounds.


def test_an_upload_that_is_too_large_is_not_taken(images, tmp_path, data):
    archive = (data / "dockerd-20.10-overlay2" / "multi.tar").read_bytes()
    options = Options(Bounds(body=len(archive) - 1))
    with served(images, tmp_path, options=options) as client:
        (line,) = client.post("/images/load", body=archive).lines
        assert "more than" in line["error"]
        assert client.post("/images/create", {"fromSrc": "-"}, body=archive).status == 413
    assert images.images() == []


@contextmanager
def stalled(client: Client, count: int) -> Iterator[list[socket.socket]]:
    """Uploads that have begun and do not go on."""
    with ExitStack() as stack:
        waiting = [stack.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(count)]
        for one in waiting:
            one.settimeout(60)
            one.connect(client.path)
            one.sendall(b"POST /images/load HTTP/1.1\r\nHost: d\r\nContent-Length: 100000\r\n\r\nabc")
        yield waiting


def test_a_busy_server_says_so(images, tmp_path):
    options = Options(Bounds(requests=2))
    with served(images, tmp_path, options=options) as client, ExitStack() as stack:
        with images._store.metadata.write():
            # They wait for the store, which somebody else writes. Of those that come at once the first are let in.
            for _ in range(5):
                stack.enter_context(closing(client.connection())).request("POST", "/images/prune")
            until(lambda: client.get("/images/json").status == 503)
            assert client.get("/images/json").headers["retry-after"] == "1"
            assert client.get("/_ping").status == 200
        until(lambda: client.get("/images/json").status == 200)


def test_transfers_and_slow_clients_keep_nobody_from_asking(images, tmp_path):
    options = Options(Bounds(requests=4), transfers=1)
    with served(images, tmp_path, options=options) as client, stalled(client, 3):
        until(lambda: is_active(client, 4))
        with stalled(client, 1):
            until(lambda: is_active(client, 5))
            answer = client.post("/images/load", body=b"")
            assert (answer.status, answer.headers["retry-after"]) == (503, "1")
            assert client.get("/images/json").status == 200


def test_who_follows_events_keeps_nobody_out(images, tmp_path):
    with served(images, tmp_path, options=Options(Bounds(requests=2, followers=3))) as client, ExitStack() as stack:
        for _ in range(3):
            connection = stack.enter_context(closing(client.connection()))
            connection.request("GET", "/events")
            assert connection.getresponse().status == 200
        answer = client.get("/events")
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        assert "3 clients follow events already" in answer.message
        assert client.get("/_ping").status == 200
        stack.close()
        until(lambda: client.get("/events?until=1").status == 200)


def test_transfers_wait_for_their_turn(images, tmp_path, data):
    archive = (data / "dockerd-20.10-overlay2" / "tiny.tar").read_bytes()
    head = (
        f"POST /images/load HTTP/1.1\r\nHost: d\r\nContent-Length: {len(archive)}\r\nConnection: close\r\n\r\n".encode()
    )
    with served(images, tmp_path, options=Options(transfers=1)) as client, socket.socket(socket.AF_UNIX) as slow:
        slow.connect(client.path)
        slow.sendall(head + archive[:100])
        until(lambda: is_active(client, 2))
        answers: list[bytes] = []
        second = threading.Thread(target=lambda: answers.append(client.post("/images/load", body=archive).body))
        second.start()
        until(lambda: is_active(client, 3))
        assert answers == []
        assert client.get("/images/json").status == 200
        slow.sendall(archive[100:])
        second.join(PATIENCE)
        assert b"Loaded image" in answers[0]
        assert slow.recv(100).startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.sampled(2)
def test_a_client_that_stops_in_the_midst_of_an_upload_is_given_up(images, tmp_path):
    with served(images, tmp_path, options=Options(Bounds(patience=0.3))) as client:
        with socket.socket(socket.AF_UNIX) as slow:
            slow.settimeout(30)
            slow.connect(client.path)
            slow.sendall(b"POST /images/load HTTP/1.1\r\nHost: d\r\nContent-Length: 100000\r\n\r\nabc")
            answer = slow.recv(100000)
            while b"\r\n0\r\n\r\n" not in answer and (more := slow.recv(100000)):
                answer += more
        assert b"sent nothing for 0.3 seconds" in answer


@pytest.mark.sampled(2)
def test_a_client_that_takes_nothing_is_given_up(images, tmp_path):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        member = tarfile.TarInfo("big")
        member.size = 32 << 20
        tar.addfile(member, io.BytesIO(bytes(member.size)))
    out.seek(0)
    images.import_image(out, "big")
    options = Options(Bounds(patience=0.3))
    with served(images, tmp_path, options=options) as client, socket.socket(socket.AF_UNIX) as slow:
        slow.connect(client.path)
        slow.sendall(b"GET /images/big/get HTTP/1.1\r\nHost: d\r\n\r\n")
        # Nobody but the server itself hangs up.
        until(lambda: is_hung_up(slow))
        until(lambda: is_active(client, 1))


# What is not proper HTTP.


def raw(path: Path | str, content: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(30)
        connection.connect(str(path))
        connection.sendall(content)
        answer = b""
        try:
            while more := connection.recv(100000):
                answer += more
        except ConnectionResetError:
            pass
    return answer


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET\r\n\r\n", 400),
        (b"GET /_ping HTTP/9.9\r\n\r\n", 505),
        (b"GET /\xff HTTP/1.1\r\nHost: d\r\n\r\n", 400),
        (b"GET /_ping HTTP/1.1\r\nHost: d\r\nContent-Length: x\r\n\r\n", 400),
        (b"GET /_ping HTTP/1.1\r\nHost: d\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST /images/load HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"GET /_ping HTTP/1.1\r\nHost: d\r\nX: " + b"x" * (70 << 10), 431),
        (b"GET /" + b"x" * (70 << 10), 431),
    ],
    ids=["words", "short", "version", "bytes", "length", "negative", "chunk", "header", "target"],
)
def test_what_is_no_http_is_refused(images, tmp_path, content, status):
    with served(images, tmp_path) as client:
        answer = raw(client.path, content)
        assert answer.startswith(b"HTTP/1.1 %d " % status)
        assert answer.count(b"HTTP/1.1") == 1
        assert client.get("/_ping").status == 200


def test_several_requests_on_one_connection_are_answered_in_order(images, tmp_path):
    with served(images, tmp_path) as client:
        connection = client.connection()
        for _ in range(3):
            connection.request("GET", "/images/json")
            response = connection.getresponse()
            assert (response.status, response.read()) == (200, b"[]\n")
        connection.close()
        both = b"GET /nosuch HTTP/1.1\r\nHost: d\r\n\r\nGET /_ping HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n"
        answer = raw(client.path, both)
        assert re.findall(rb"HTTP/1.1 (\d+)", answer) == [b"404", b"200"]


def test_a_head_that_never_comes_is_given_up(images, tmp_path, monkeypatch):
    monkeypatch.setattr("orlop.api.connection._HEAD_SECONDS", 0.3)
    with served(images, tmp_path) as client:
        assert raw(client.path, b"GET /_ping HTTP/1.1\r\n").startswith(b"HTTP/1.1 408 ")


def test_the_oldest_connection_that_waits_makes_room_for_a_new_one(images, tmp_path):
    with (
        served(images, tmp_path, options=Options(connections=12)) as client,
        stalled(client, 2) as working,
        ExitStack() as stack,
    ):
        until(lambda: is_active(client, 3))
        idle = [stack.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(10)]
        for one in idle:
            one.settimeout(60)
            one.connect(client.path)
        assert client.get("/_ping").status == 200
        # The first had to go, the last is still there, and so is who works.
        assert idle[0].recv(1) == b""
        idle[-1].sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
        assert idle[-1].recv(100).startswith(b"HTTP/1.0 200 OK\r\n")
        working[0].sendall(bytes(100000 - 3))
        assert working[0].recv(100).startswith(b"HTTP/1.1 200 OK\r\n")


def test_a_connection_in_reserve_is_closed_without_a_word(images, tmp_path, monkeypatch):
    monkeypatch.setattr("orlop.api.connection._HEAD_SECONDS", 0.3)
    with served(images, tmp_path) as client:
        assert raw(client.path, b"") == b""


def test_a_body_is_not_taken_without_end_once_it_is_answered(images, tmp_path, monkeypatch):
    monkeypatch.setattr("orlop.api.connection._MOST_UNREAD", 1 << 20)
    head = b"POST /images/load HTTP/1.1\r\nHost: d\r\nContent-Length: 1000000000\r\n\r\n"
    with served(images, tmp_path) as client, socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(30)
        connection.connect(client.path)
        connection.sendall(head + b"junk" * 1000)
        answer = b""
        while b"\r\n0\r\n\r\n" not in answer:
            answer += connection.recv(100000)
        assert b"errorDetail" in answer
        with pytest.raises(OSError, match=r"Broken pipe|reset"):
            connection.sendall(bytes(100 << 20))


def test_nothing_more_is_taken_from_who_is_not_let_in(images, tmp_path):
    with served(images, tmp_path, security=Security(read_only=True)) as client:
        head = b"POST /images/load HTTP/1.1\r\nHost: d\r\nContent-Length: 1000000000\r\n\r\n"
        answer = raw(client.path, head + bytes(1000))
        assert answer.startswith(b"HTTP/1.1 403 ")
        assert b"connection: close" in answer
