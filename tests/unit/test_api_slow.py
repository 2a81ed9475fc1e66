"""Clients that are slow, gone, or have closed their half: over every kind of connection."""

from __future__ import annotations

import asyncio
import io
import socket
import ssl
import subprocess
import tarfile
import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

import pytest

from orlop.api.doors import Security
from orlop.api.engine.call import Bounds
from orlop.api.server import Options
from orlop.api.tls import Certificates
from orlop.api.workers import Workers
from tests.needs import need
from tests.unit.served import is_active, is_hung_up, served, serving, slowly
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import orlop


HOST = b"Host: localhost\r\n"
PING = b"GET /_ping HTTP/1.1\r\n" + HOST + b"\r\n"
SAVE = b"GET /images/big:1/get HTTP/1.1\r\n" + HOST + b"\r\n"
UPLOAD = b"POST /images/load?quiet=1 HTTP/1.1\r\n" + HOST + b"Content-Length: 100000000\r\n\r\n"


def big(images: orlop.ImageService, size: int = 24 << 20) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        member = tarfile.TarInfo("big")
        member.size = size
        tar.addfile(member, io.BytesIO(bytes(size)))
    out.seek(0)
    images.import_image(out, "big:1")


@contextmanager
def asking(path: str, first: bytes) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(60)
        client.connect(path)
        client.sendall(first)
        yield client


@contextmanager
def dripping(work: Callable[[], object]) -> Iterator[None]:
    """Do something every 50 milliseconds for a block."""
    over = threading.Event()

    def drip() -> None:
        with suppress(OSError):
            while not over.wait(0.05):
                work()

    thread = threading.Thread(target=drip)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def everything(client: socket.socket) -> bytes:
    answer = b""
    with suppress(ConnectionResetError):
        while data := client.recv(1 << 16):
            answer += data
    return answer


# Slow ones.


@pytest.mark.sampled(3)
def test_an_upload_that_drips_ends_when_patience_does(images, tmp_path):
    options = Options(Bounds(patience=1), transfers=1)
    with served(images, tmp_path, options=options) as client:
        with asking(client.path, UPLOAD) as slow, dripping(lambda: slow.sendall(b"x")):
            assert b"sent nothing for 1 seconds, or next to nothing" in everything(slow)
        assert client.post("/images/load", body=b"junk").status == 200


@pytest.mark.sampled(3)
def test_a_download_that_drips_ends_when_patience_does(images, tmp_path):
    big(images)
    options = Options(Bounds(patience=1), transfers=1)
    with served(images, tmp_path, options=options) as client:
        with asking(client.path, SAVE) as slow, dripping(lambda: slow.recv(1)):
            until(lambda: is_active(client, 1))
        assert client.post("/images/load", body=b"junk").status == 200


ANSWER = b"HTTP/1.1 200 OK\r\n"
SOURCES = {
    "in its headers": ANSWER + b"X: ",
    "in its body": ANSWER + b"Content-Length: 100000000\r\n\r\n",
    "in the length of a chunk": ANSWER + b"Transfer-Encoding: chunked\r\n\r\n1;",
    "in what it says of an error": b"HTTP/1.1 404 Not Found\r\nContent-Length: 200\r\n\r\n",
}


@contextmanager
def source(first: bytes, drop: bytes) -> Iterator[str]:
    """A server that answers with the first bytes, and then drips until its client is gone."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            with suppress(OSError), listener.accept()[0] as connection:
                connection.recv(1 << 16)
                slowly(drop, first)(connection)

        thread = threading.Thread(target=answer)
        thread.start()
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}/root.tar"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


@pytest.mark.sampled(6)
@pytest.mark.parametrize("drop", [b"x", b""], ids=["drips", "is silent"])
@pytest.mark.parametrize("where", SOURCES)
def test_an_import_whose_source_drips_ends_when_patience_does(images, tmp_path, where, drop):
    options = Options(Bounds(patience=1), transfers=1)
    with served(images, tmp_path, options=options) as client, source(SOURCES[where], drop) as url:
        answer = client.post("/images/create", {"fromSrc": url})
        assert b"error reading body" in answer.body or b"it was too slow for 1 seconds" in answer.body
        assert client.post("/images/load", body=b"junk").status == 200
    assert images.images(all=True) == []


@pytest.mark.sampled(3)
@pytest.mark.parametrize("where", SOURCES)
def test_an_import_whose_source_drips_ends_with_its_client(images, tmp_path, where):
    options = Options(transfers=1)
    with served(images, tmp_path, options=options) as client, source(SOURCES[where], b"x") as url:
        request = f"POST /images/create?fromSrc={url} HTTP/1.1\r\n".encode() + HOST + b"\r\n"
        with asking(client.path, request):
            until(lambda: is_active(client, 2))
        assert client.post("/images/load", body=b"junk").status == 200


@pytest.mark.sampled(2)
def test_an_import_whose_source_drips_loses_its_turn_while_others_wait(images, tmp_path, monkeypatch):
    monkeypatch.setattr("orlop.api.workers._HURRY", 1)
    options = Options(transfers=1)
    with served(images, tmp_path, options=options) as client, source(SOURCES["in its body"], b"x") as url:
        request = f"POST /images/create?fromSrc={url} HTTP/1.1\r\n".encode() + HOST + b"\r\n"
        with asking(client.path, request):
            until(lambda: is_active(client, 2))
            assert client.post("/images/load", body=b"junk").status == 200


@pytest.mark.sampled(2)
def test_a_client_that_keeps_up_is_waited_for_however_long_it_takes(images, tmp_path):
    big(images, 3 << 20)
    options = Options(Bounds(patience=2, rate=10_000))
    with served(images, tmp_path, options=options) as client, asking(client.path, SAVE) as slow:
        answer, begin = b"", time.monotonic()
        while time.monotonic() < begin + 4:
            answer += slow.recv(20_000)
            time.sleep(0.05)
        while not answer.endswith(b"\r\n0\r\n\r\n") and (data := slow.recv(1 << 16)):
            answer += data
        assert answer.endswith(b"\r\n0\r\n\r\n")


@pytest.mark.sampled(3)
def test_whoever_drips_loses_the_turn_while_others_wait(images, tmp_path, monkeypatch):
    monkeypatch.setattr("orlop.api.workers._HURRY", 1)
    with (
        served(images, tmp_path, options=Options(transfers=1)) as client,
        asking(client.path, UPLOAD) as slow,
        dripping(lambda: slow.sendall(b"x")),
    ):
        until(lambda: is_active(client, 2))
        assert client.post("/images/load", body=b"junk").status == 200
        assert b"sent nothing for 1 seconds" in everything(slow)


def test_turns_come_in_the_order_of_coming():
    async def come() -> list[int]:
        workers, order = Workers(1), list[int]()

        async def load(number: int) -> None:
            async with workers.turn(None):
                order.append(number)
                await asyncio.sleep(0)

        async with asyncio.TaskGroup() as tasks:
            for number in range(5):
                tasks.create_task(load(number))
        return order

    assert asyncio.run(come()) == [0, 1, 2, 3, 4]


@pytest.mark.sampled(2)
@pytest.mark.parametrize("request_", [UPLOAD + bytes(200_000), SAVE], ids=["upload", "download"])
def test_who_is_gone_waits_for_no_turn(images, tmp_path, request_):
    with served(images, tmp_path, options=Options(transfers=1)) as client, asking(client.path, UPLOAD):
        until(lambda: is_active(client, 2))
        with ExitStack() as stack:
            for _ in range(20):
                stack.enter_context(asking(client.path, b"")).setblocking(False)
                gone = stack.enter_context(asking(client.path, b""))
                gone.settimeout(0.2)
                with suppress(OSError):
                    gone.sendall(request_)
            until(lambda: is_active(client, 22))
        until(lambda: is_active(client, 2))


@pytest.mark.sampled(3)
def test_a_client_that_takes_no_list_is_given_up(images, tmp_path):
    images.import_image(io.BytesIO(empty_tar()), "a:1")
    for number in range(300):
        images.tag("a:1", f"registry.example.com/{'x' * 200}:{number}")
    listing = b"GET /images/json HTTP/1.1\r\n" + HOST + b"\r\n"
    options = Options(Bounds(patience=1))
    with served(images, tmp_path, options=options) as client, asking(client.path, listing * 20) as slow:
        # Between two answers nothing is active, so that only the end itself shows that it was given up.
        until(lambda: is_hung_up(slow))
        until(lambda: is_active(client, 1))
        # It ends with what the kernel had for it.
        assert len(everything(slow)) < 20 * 300 * 200


def empty_tar() -> bytes:
    return bytes(10240)


# Half-closed ones.


@pytest.fixture(params=["unix", "tcp", "tls"])
def line(request, images, tmp_path) -> Iterator[Callable[[], socket.socket]]:
    """Connect over each kind of transport."""
    security, context = Security(anonymous=True), None
    if request.param == "tls":
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=localhost"]
        files = ["-keyout", "key.pem", "-out", "cert.pem"]
        subprocess.run([need("openssl"), "req", "-x509", *key, *files], cwd=tmp_path, check=True, capture_output=True)
        security = Security(Certificates(str(tmp_path / "cert.pem"), str(tmp_path / "key.pem")), anonymous=True)
        context = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
    place = f"unix://{tmp_path}/s" if request.param == "unix" else "tcp://127.0.0.1:0"
    with serving(images, place, security=security) as (where,), ExitStack() as stack:

        def connect() -> socket.socket:
            if request.param == "unix":
                client = stack.enter_context(socket.socket(socket.AF_UNIX))
                client.connect(where.removeprefix("unix://"))
            else:
                client = stack.enter_context(socket.create_connection(("127.0.0.1", int(where.rpartition(":")[2]))))
            client.settimeout(30)
            if context is None:
                return client
            return stack.enter_context(context.wrap_socket(client, server_hostname="localhost"))

        yield connect


def after_the_end(client: socket.socket) -> bytes:
    """Close the writing half, and return what comes."""
    if isinstance(client, ssl.SSLSocket):
        # Python's own cannot go on reading: the stream ends below it.
        socket.socket.shutdown(client, socket.SHUT_WR)
    else:
        client.shutdown(socket.SHUT_WR)
    return everything(client)


def test_a_client_that_closes_its_half_gets_its_answers(line):
    client = line()
    client.sendall(PING + PING)
    answer = after_the_end(client)
    assert answer.count(b"HTTP/1.1 200 OK\r\n") == 2
    assert answer.endswith(b"OK")


def test_a_client_that_closes_its_half_gets_a_whole_image(line, images):
    big(images, 3 << 20)
    client = line()
    client.sendall(SAVE)
    assert after_the_end(client).endswith(b"\r\n0\r\n\r\n")


def test_a_load_that_is_closed_in_its_midst_is_none(line, images, data):
    archive = (data / "dockerd-20.10-overlay2" / "tiny.tar").read_bytes()
    client = line()
    client.sendall(UPLOAD.replace(b"100000000", str(len(archive)).encode()) + archive[:-1])
    assert b"hung up before it had sent everything" in after_the_end(client)
    assert images.images() == []


def test_events_end_for_a_client_that_closes_its_half(line):
    client = line()
    client.sendall(b"GET /events HTTP/1.1\r\n" + HOST + b"\r\n")
    assert client.recv(1000).startswith(b"HTTP/1.1 200 OK\r\n")
    assert after_the_end(client).endswith(b"0\r\n\r\n")


def test_close_notify_closes_a_half_too(images, tmp_path):
    """`SSLObject` can do what Python's sockets cannot: close the writing half, and read on."""
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=localhost"]
    files = ["-keyout", "key.pem", "-out", "cert.pem"]
    subprocess.run([need("openssl"), "req", "-x509", *key, *files], cwd=tmp_path, check=True, capture_output=True)
    security = Security(Certificates(str(tmp_path / "cert.pem"), str(tmp_path / "key.pem")), anonymous=True)
    context = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with (
        serving(images, "tcp://127.0.0.1:0", security=security) as (where,),
        socket.create_connection(("127.0.0.1", int(where.rpartition(":")[2]))) as client,
    ):
        client.settimeout(30)

        def step(work: Callable[[], bytes | None]) -> bytes | None:
            while True:
                try:
                    return work()
                except ssl.SSLWantReadError:
                    client.sendall(outgoing.read())
                    if not (data := client.recv(1 << 16)):
                        return b""
                    incoming.write(data)

        step(tls.do_handshake)
        tls.write(PING)
        with suppress(ssl.SSLWantReadError):
            tls.unwrap()
        client.sendall(outgoing.read())
        answer = b""
        with suppress(ssl.SSLError):
            while data := step(lambda: tls.read(1 << 16)):
                answer += data
        assert answer.endswith(b"OK")
