"""What carries requests: time, size, encryption, proxies, and who may end it."""

from __future__ import annotations

import io
import os
import re
import select
import socket
import ssl
import subprocess
import threading
import time
import traceback
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Self

import pytest

from orlop.errors import InvalidAnswer, RegistryError, RegistryUnreachable, UnsafeRedirect
from orlop.model.digest import Digest
from orlop.model.proxies import Proxies
from orlop.model.reference import Reference
from orlop.registry.certificates import ClientCertificates, HostTrust
from orlop.registry.connections import Connection
from orlop.registry.credentials import Credentials
from orlop.registry.handshakes import AwaitedTLS, ClientContext
from orlop.registry.hosts import Hosts, Rule, Server
from orlop.registry.messages import OpenedBody, Request
from orlop.registry.origin import Origin
from orlop.registry.patience import Clock, Patience, Waiting, Watch
from orlop.registry.registries import Registries
from orlop.registry.transport import HttpTransport
from orlop.registry.uploads import Upload
from orlop.testing.registry.fake import FakeRegistry
from orlop.testing.registry.quirks import Failure
from tests.needs import need
from tests.unit.faked import LAYER, REPOSITORY, body_of, everywhere, faked, read_all
from tests.waiting import PATIENCE, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.unit.faked import Faked

HOST = "registry.test"


@contextmanager
def served(answer: bytes | Callable[[socket.socket], None]) -> Iterator[str]:
    """Serve connections with a text, or by a function, and yield the URL."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    try:
                        connection.recv(1 << 16)
                        if callable(answer):
                            answer(connection)
                        else:
                            connection.sendall(answer)
                    except OSError:
                        pass

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/v2/"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
            thread.join()


def sent(url: str, *, patience: Patience | None = None) -> bytes:
    transport = HttpTransport(HostTrust(), waiting=Waiting(patience=patience or Patience()))
    try:
        with transport.send(Request("GET", url)) as answer:
            return answer.document(1 << 20, what="the answer")
    finally:
        transport.close()


# Time.


@pytest.mark.sampled(2)
def test_a_server_that_stalls_is_given_up_and_asked_for_the_rest():
    patience = Patience(window=0.5, tries=2)
    with faked(patience=patience, stall=500_000) as fake:
        fake.registry.add_blob(REPOSITORY, LAYER)
        with pytest.raises(RegistryUnreachable, match="hardly a byte moved"):
            read_all(fake.client, LAYER)
        assert fake.registry.requests[1].headers["range"] == "bytes=500000-"


@pytest.mark.sampled(2)
def test_a_server_that_drips_is_given_up():
    with faked(patience=Patience(window=1, least=1000, tries=1), drip=True) as fake:
        fake.registry.add_blob(REPOSITORY, LAYER)
        with pytest.raises(RegistryUnreachable, match="hardly a byte moved within 1 s"):
            read_all(fake.client, LAYER)


def test_a_server_that_never_answers_is_given_up():
    stop = threading.Event()
    with served(lambda _: void(stop.wait(PATIENCE))) as url:
        with pytest.raises(RegistryUnreachable, match=r"no answer came within 0\.2 s"):
            sent(url, patience=Patience(head=0.2))
        stop.set()


def test_headers_that_drip_are_given_up():
    stop = threading.Event()

    def drip(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n")
        while not stop.wait(0.05):
            connection.sendall(b"X")

    with served(drip) as url:
        with pytest.raises(RegistryUnreachable, match=r"no answer came within 0\.5 s"):
            sent(url, patience=Patience(head=0.5))
        stop.set()


def void(_: object) -> None:
    pass


def test_only_the_time_in_which_a_server_is_waited_for_counts():
    now = [0.0]
    watch = Watch(Waiting(patience=Patience(window=10, least=100), clock=Clock(monotonic=lambda: now[0])), HOST)
    watch.begin_body()
    for count in range(1, 20):
        watch.look(count, is_awaited=False)
        watch.came(1)
        now[0] += 1000  # whoever reads does something else
        watch.look(count, is_awaited=True)
    now[0] += 9
    watch.came(100)
    watch.look(119, is_awaited=True)
    now[0] += 9
    watch.look(120, is_awaited=True)
    now[0] += 2
    with pytest.raises(RegistryUnreachable):
        watch.look(120, is_awaited=True)


class Enough(Exception):
    """The user wants no more."""


@pytest.mark.parametrize("where", ["connect", "head", "body", "upload", "pause"])
def test_whoever_waits_may_end_it_wherever_it_waits(where: str):
    # Each wait asks at once, and every second again.
    calls = [0]
    limit: int = {"connect": 0, "head": 1, "body": 8, "upload": 12, "pause": 8}[where]

    def check() -> None:
        calls[0] += 1
        if calls[0] > limit:
            raise Enough

    variants: dict[str, Any] = {"body": {"stall": 300_000}, "pause": {"failures": (Failure(503),) * 4}}
    quirks = variants.get(where, {})
    with faked(check=check, **quirks) as fake:
        fake.registry.add_blob(REPOSITORY, LAYER)
        with pytest.raises(Enough):
            _sent_and_read(fake, is_upload=where == "upload")


def _sent_and_read(fake: Faked, *, is_upload: bool) -> None:
    if is_upload:
        fake.client.start_upload(REPOSITORY).commit(Digest.of(LAYER), body_of(bytes(64 << 20)))
    read_all(fake.client, LAYER)


# Size.


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"HTTP/1.1 200 OK\r\n" + b"X: " + b"x" * 100_000 + b"\r\n\r\n", "connection"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000 + b"\r\n", "connection"),
        (b"HTTP/1.1 200 " + b"x" * 100_000 + b"\r\n\r\n", "connection"),
        (b"nonsense\r\n\r\n", "connection"),
        (b"", "connection"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", "connection"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "connection"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhalf", "connection"),
    ],
)
def test_an_answer_that_is_none_is_one_error(answer: bytes, why: str):
    with served(answer) as url, pytest.raises(RegistryUnreachable, match=why) as raised:
        sent(url)
    assert str(raised.value).isprintable()


def test_a_document_without_an_end_is_read_up_to_a_limit():
    def endless(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            connection.sendall(b" " * 100_000)

    with served(endless) as url, pytest.raises(InvalidAnswer, match="larger than 1048576 bytes"):
        sent(url)


# Connections.


def test_a_connection_is_kept_and_replaced_when_it_broke():
    with faked() as fake:
        for _ in range(5):
            fake.client.ping()
        assert fake.registry.registry.connections == 1
        fake.quirks(failures=(Failure(200, hang_up=True),))
        fake.client.ping()
        assert fake.registry.registry.connections == 2
        assert fake.pauses.taken == []
        read_whole = fake.registry.add_blob(REPOSITORY, LAYER)
        assert read_whole == str(Digest.of(LAYER))
        for _ in range(3):
            assert read_all(fake.client, LAYER) == LAYER
        assert fake.registry.registry.connections == 2


def test_a_body_that_nobody_reads_does_not_stay():
    with faked() as fake:
        fake.registry.add_blob(REPOSITORY, LAYER)
        for _ in range(3):
            answer = fake.transport.send(Request("GET", f"http://{fake.registry.authority}/v2/{REPOSITORY}/blobs/x"))
            answer.close()  # small: it is read, and the connection stays
        assert fake.registry.registry.connections == 1
        answer = fake.transport.send(
            Request("GET", f"http://{fake.registry.authority}/v2/{REPOSITORY}/blobs/{Digest.of(LAYER)}")
        )
        answer.close()
        fake.client.ping()
        assert fake.registry.registry.connections == 2


def test_a_host_that_is_not_there_is_named():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(RegistryUnreachable, match=rf"the connection to 127\.0\.0\.1:{port} failed: Connection refused"):
        sent(f"http://127.0.0.1:{port}/")
    with pytest.raises(RegistryUnreachable, match=r"cannot find the host no\.such\.host\.invalid"):
        sent("http://no.such.host.invalid/")


def test_a_header_that_is_not_valid_is_not_shown():
    with served(b"") as url, pytest.raises(RegistryUnreachable) as raised:
        HttpTransport(HostTrust()).send(Request("GET", url, (("Authorization", "Bearer s3cret\r\nX: y"),)))
    assert "s3cret" not in str(raised.value)


# Encryption.


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority, the certificate of a host that it signed, and the certificate of a client."""
    folder = tmp_path_factory.mktemp("keys")
    openssl = need("openssl")

    def run(*arguments: str) -> None:
        subprocess.run([openssl, *arguments], cwd=folder, check=True, capture_output=True)

    run("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=ca",
        "-days", "2", "-addext", "keyUsage=critical,keyCertSign,cRLSign")  # fmt: skip
    for name in (HOST, "client"):
        run(
            "req",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-keyout",
            f"{name}.key",
            "-out",
            f"{name}.csr",
            "-subj",
            f"/CN={name}",
        )
        (folder / "extensions").write_text(f"subjectAltName=DNS:{name}\nauthorityKeyIdentifier=keyid\n")
        run("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
            "-extfile", "extensions", "-out", f"{name}.crt")  # fmt: skip
    return folder


def encrypted(keys: Path, *, clients: bool = False) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(keys / f"{HOST}.crt", keys / f"{HOST}.key")
    if clients:
        context.load_verify_locations(keys / "ca.crt")
        context.verify_mode = ssl.CERT_REQUIRED
    return context


NAMES = {"registry": HOST, "auth": HOST, "store": HOST}


@pytest.mark.sampled(3)
def test_a_certificate_is_checked(keys: Path, tmp_path: Path):
    me = Credentials(user="me", password="secret")
    variants: list[dict[str, Any]] = [{}, {"redirect": 307}, {"location": "store"}, {"location": "absolute"}]
    for quirks in variants:
        trust = HostTrust(added=[str(keys / "ca.crt")])
        with faked(
            me, users={"me": "secret"}, tls=encrypted(keys), trust=trust, names=NAMES, auth="bearer", **quirks
        ) as fake:
            fake.registry.add_blob(REPOSITORY, LAYER)
            assert read_all(fake.client, LAYER) == LAYER
            fake.client.start_upload(REPOSITORY).commit(Digest.of(LAYER), body_of(LAYER))
    for names, trust, why in (
        (NAMES, HostTrust(), r"is not trusted: .*certs\.d/registry\.test"),
        ({"registry": "other.test"}, HostTrust(added=[str(keys / "ca.crt")]), "is not trusted: Hostname mismatch"),
    ):
        # Also where plain HTTP would be spoken to a server that does not speak TLS.
        with (
            faked(tls=encrypted(keys), trust=trust, names=names, may_be_plain=True) as fake,
            pytest.raises(RegistryUnreachable, match=why),
        ):
            fake.client.ping()
        assert fake.registry.requests == []
        assert fake.pauses.taken == []


def test_a_server_that_would_rather_speak_http_2_is_spoken_to_in_1_1(keys: Path):
    agreed: list[str | None] = []

    class Agreeing(ssl.SSLSocket):
        def recv_into(self, *words: Any, **options: Any) -> int:
            count = super().recv_into(*words, **options)
            agreed.append(self.selected_alpn_protocol())
            return count

    context = encrypted(keys)
    context.set_alpn_protocols(["h2", "http/1.1"])
    context.sslsocket_class = Agreeing
    with faked(tls=context, trust=HostTrust(added=[str(keys / "ca.crt")]), names=NAMES) as fake:
        fake.client.start_upload(REPOSITORY).commit(Digest.of(LAYER), body_of(LAYER))
        assert fake.registry.repository(REPOSITORY).blobs[str(Digest.of(LAYER))] == LAYER
    assert set(agreed) == {"http/1.1"}


def test_the_authorities_of_the_system_are_trusted_though_they_are_read_late(
    keys: Path, monkeypatch: pytest.MonkeyPatch
):
    # Whoever runs the tests may have named a folder, which may have another authority of this name.
    monkeypatch.setenv("SSL_CERT_DIR", os.devnull)
    monkeypatch.setenv("SSL_CERT_FILE", str(keys / "ca.crt"))
    with faked(tls=encrypted(keys), names=NAMES) as fake:
        fake.client.ping()
    monkeypatch.setenv("SSL_CERT_FILE", os.devnull)
    with faked(tls=encrypted(keys), names=NAMES, patience=Patience(tries=1)) as fake:
        with pytest.raises(RegistryUnreachable, match="is not trusted"):
            fake.client.ping()
        assert fake.registry.requests == []


def test_the_authorities_of_the_system_are_read_for_servers_that_speak_tls_alone(
    keys: Path, monkeypatch: pytest.MonkeyPatch
):
    read: list[object] = []
    monkeypatch.setattr(ClientContext, "load_default_certs", lambda *_: read.append(None))
    with faked(may_be_plain=True) as fake:
        fake.client.ping()
    assert read == []
    with faked(tls=encrypted(keys), trust=HostTrust(added=[str(keys / "ca.crt")]), names=NAMES) as fake:
        fake.client.ping()
        fake.quirks(failures=(Failure(503, hang_up=True),))
        fake.client.ping()
        assert fake.registry.registry.connections == 2
    assert len(read) == 1
    with FakeRegistry(tls=encrypted(keys), names=NAMES) as registry:
        transport = HttpTransport(HostTrust(unverified=[registry.authority]), resolve=everywhere)
        answer = transport.send(Request("GET", f"https://{registry.authority}/v2/"))
        assert answer.status == 200
        answer.close()
        transport.close()
    assert len(read) == 1


def test_a_host_that_was_named_need_not_be_trusted(keys: Path):
    with faked(tls=encrypted(keys), names=NAMES) as fake:
        fake.transport._trust = HostTrust(unverified=[fake.registry.authority])
        fake.client.ping()


@pytest.mark.sampled(3)
def test_a_client_shows_its_certificate_to_the_host_that_it_is_for(keys: Path, tmp_path: Path):
    with faked(tls=encrypted(keys, clients=True), names=NAMES, patience=Patience(tries=1)) as fake:
        folder = tmp_path / fake.registry.authority
        folder.mkdir()
        (folder / "ca.crt").write_bytes((keys / "ca.crt").read_bytes())
        fake.transport._trust = HostTrust([str(tmp_path)])
        with pytest.raises(RegistryUnreachable):
            fake.client.ping()
        for kind, suffix in (("crt", "cert"), ("key", "key")):
            (folder / f"client.{suffix}").write_bytes((keys / f"client.{kind}").read_bytes())
        fake.transport._trust = HostTrust([str(tmp_path)])
        fake.client.ping()
        pair = ClientCertificates((str(keys / "ca.crt"),), ((str(keys / "client.crt"), str(keys / "client.key")),))
        fake.transport._trust = HostTrust(given={fake.registry.authority: pair})
        fake.client.ping()


def test_plain_http_is_spoken_where_it_may_be_and_tls_is_not_spoken():
    with faked(may_be_plain=True) as fake:
        fake.image()
        assert fake.client.exchange.origin.scheme == "https"
        fake.client.get_manifest(REPOSITORY, "1")
        fake.client.get_manifest(REPOSITORY, "1")
        assert fake.client.exchange.origin.scheme == "http"
        assert len(fake.registry.requests) == 2
        assert fake.registry.registry.connections == 2
        assert fake.pauses.taken == []


@pytest.mark.sampled(3)
def test_plain_http_is_not_spoken_to_a_server_that_spoke_tls(keys: Path):
    """A reset, by the registry or by its token server, is a failure then, and not a reason to lay encryption off."""
    me = Credentials(user="me", password="secret")
    trust = HostTrust(added=[str(keys / "ca.crt")])
    for is_token_server in (False, True):
        with (
            served(b"") as silent,
            faked(me, users={"me": "secret"}, tls=encrypted(keys), trust=trust, names=NAMES, may_be_plain=True,
                  patience=Patience(tries=2), auth="bearer") as fake,
        ):  # fmt: skip
            if is_token_server:
                place = silent.removeprefix("http://127.0.0.1")
                fake.quirks(auth="bearer", realm=f"https://{HOST}{place}")
            else:
                fake.client.ping()
                fake.quirks(auth="bearer", failures=(Failure(503, hang_up=True),) * 9)
            with pytest.raises(RegistryUnreachable):
                fake.client.ping()
            assert fake.client.exchange.origin.scheme == "https"


def test_plain_http_is_not_spoken_to_a_server_that_hangs_up_after_its_handshake(keys: Path) -> None:
    """It can encrypt, so that neither requests nor credentials go to it without encryption."""
    me = Credentials(user="me", password="secret")
    trust = HostTrust(added=[str(keys / "ca.crt")])
    failures = (Failure(503, hang_up=True),) * 9
    with faked(me, users={"me": "secret"}, tls=encrypted(keys), trust=trust, names=NAMES, may_be_plain=True,
               patience=Patience(tries=2), failures=failures) as fake:  # fmt: skip
        with pytest.raises(RegistryUnreachable):
            fake.client.ping()
        assert fake.client.exchange.origin.scheme == "https"


@pytest.mark.parametrize("first", [b"\x16\x03\x03\x00\x7a\x02\x00", b"\x15\x03\x03\x00\x02\x02\x28"])
def test_plain_http_is_not_spoken_to_a_server_that_begins_with_tls(first: bytes) -> None:
    asked: list[bytes] = []

    def begins(connection: socket.socket) -> None:
        asked.append(first)
        # What comes at once may be read in one step with what is sent.
        time.sleep(0.2)
        connection.sendall(first)

    waiting = Waiting(patience=Patience(tries=2, pause=0.01))
    transport = HttpTransport(HostTrust(), waiting=waiting)
    with served(begins) as url:
        host = Origin.of(url).authority
        client, _ = Registries(transport, hosts=Hosts(), waiting=waiting).to_push(Reference.parse(f"{host}/app"))
        with pytest.raises(RegistryUnreachable):
            client.ping()
        assert client.exchange.origin.scheme == "https"
        assert len(asked) == 2
    transport.close()


def test_a_certificate_that_comes_early_is_looked_at_with_the_authorities_of_the_system(
    keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first step of a handshake does not wait; here it does, as if the answer were there at once."""
    monkeypatch.setenv("SSL_CERT_FILE", str(keys / "ca.crt"))
    usual, waited = AwaitedTLS.settimeout, []

    def settimeout(self: AwaitedTLS, seconds: float | None) -> None:
        waited.append(seconds)
        usual(self, seconds or PATIENCE)

    monkeypatch.setattr(AwaitedTLS, "settimeout", settimeout)
    with faked(tls=encrypted(keys), names=NAMES, patience=Patience(tries=1)) as fake:
        fake.client.ping()
        fake.transport.close()
        fake.client.ping()
        assert fake.registry.registry.connections == 3
    assert 0 in waited


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_plain_http_is_not_spoken_to_a_server_that_agrees_in_one_step_and_hangs_up(
    keys: Path, version: ssl.TLSVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes first after that does not belong to a handshake, or nothing comes."""
    usual = AwaitedTLS.settimeout
    monkeypatch.setattr(AwaitedTLS, "settimeout", lambda self, seconds: usual(self, seconds or PATIENCE))
    me = Credentials(user="me", password="secret")
    trust = HostTrust(added=[str(keys / "ca.crt")])
    context = encrypted(keys)
    context.maximum_version = version
    with faked(me, users={"me": "secret"}, tls=context, trust=trust, names=NAMES, may_be_plain=True,
               patience=Patience(tries=2), failures=(Failure(503, hang_up=True),) * 2) as fake:  # fmt: skip
        with pytest.raises(RegistryUnreachable, match=r"closed|end|reset"):
            fake.client.ping()
        assert fake.client.exchange.origin.scheme == "https"
        fake.client.ping()


def test_plain_http_is_not_spoken_to_a_server_that_begins_with_tls_in_one_step_and_hangs_up(
    keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = AwaitedTLS.settimeout
    monkeypatch.setattr(AwaitedTLS, "settimeout", lambda self, seconds: usual(self, seconds or PATIENCE))
    context = encrypted(keys)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    begun: list[bytes] = []

    def begin(listener: socket.socket) -> None:
        while True:
            try:
                connection = listener.accept()[0]
            except OSError:
                return
            with connection:
                came, going = ssl.MemoryBIO(), ssl.MemoryBIO()
                came.write(connection.recv(1 << 16))
                with suppress(ssl.SSLError):
                    context.wrap_bio(came, going, server_side=True).do_handshake()
                answer = going.read()
                begun.append(answer[: 5 + int.from_bytes(answer[3:5], "big")])
                connection.sendall(begun[-1])

    waiting = Waiting(patience=Patience(tries=2, pause=0.01))
    transport = HttpTransport(HostTrust(), waiting=waiting)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=begin, args=(listener,), daemon=True)
        thread.start()
        host = f"127.0.0.1:{listener.getsockname()[1]}"
        client, _ = Registries(transport, hosts=Hosts(), waiting=waiting).to_push(Reference.parse(f"{host}/app"))
        with pytest.raises(RegistryUnreachable):
            client.ping()
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
    assert client.exchange.origin.scheme == "https"
    assert [one[:1] for one in begun] == [b"\x16"] * 2
    transport.close()


def test_authorities_are_read_where_the_first_message_came_early_and_the_certificate_later(
    keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(keys / "ca.crt"))
    usual, early, was_read = ssl.SSLSocket.do_handshake, [], threading.Event()

    def do_handshake(self: ssl.SSLSocket, block: bool = False) -> None:  # noqa: FBT001, FBT002 - as the library has it
        if self.gettimeout() != 0:
            return usual(self, block)
        with suppress(ssl.SSLWantReadError):
            usual(self, block)
        waited = select.poll()
        waited.register(self, select.POLLIN)
        early.append(waited.poll(PATIENCE * 1000))
        try:
            return usual(self, block)
        finally:
            was_read.set()

    def split(listener: socket.socket) -> None:
        with listener.accept()[0] as connection:
            came, going = ssl.MemoryBIO(), ssl.MemoryBIO()
            server = encrypted(keys).wrap_bio(came, going, server_side=True)

            def step(work: Callable[[], object]) -> None:
                while True:
                    try:
                        work()
                    except ssl.SSLWantReadError:
                        if answer := going.read():
                            first = 5 + int.from_bytes(answer[3:5], "big")
                            connection.sendall(answer[:first])
                            was_read.wait(PATIENCE)
                            connection.sendall(answer[first:])
                        came.write(connection.recv(1 << 16))
                    else:
                        return

            step(server.do_handshake)
            step(lambda: server.read(1 << 16))
            server.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            connection.sendall(going.read())

    monkeypatch.setattr(ssl.SSLSocket, "do_handshake", do_handshake)
    waiting = Waiting(patience=Patience(tries=1, connect=10))
    here = socket.getaddrinfo
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=split, args=(listener,), daemon=True)
        thread.start()
        place = ("127.0.0.1", listener.getsockname()[1])
        transport = HttpTransport(
            HostTrust(), waiting=waiting, resolve=lambda *_: here(*place, type=socket.SOCK_STREAM)
        )
        with transport.send(Request("GET", f"https://{HOST}:{place[1]}/v2/")) as answer:
            assert answer.status == 200
        transport.close()
        thread.join()
    assert len(early) == 1


@pytest.mark.parametrize("is_refused", [False, True])
def test_a_body_is_sent_on_where_answers_only_announce_one(*, is_refused: bool) -> None:
    body = bytes(16 << 20) + b"."

    def announce(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n")
        if is_refused:
            connection.sendall(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n")
            over.wait(PATIENCE)
            return
        while (piece := connection.recv(1 << 20)) and not piece.endswith(b"."):
            pass
        connection.sendall(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")

    over = threading.Event()
    with served(announce) as url:
        transport = HttpTransport(HostTrust(), waiting=Waiting(patience=Patience(head=5, window=5)))
        opened = OpenedBody(lambda offset: io.BytesIO(body[offset:]), len(body))
        try:
            with transport.send(Request("PUT", url, (), opened)) as answer:
                assert answer.status == (413 if is_refused else 201)
        finally:
            over.set()
            transport.close()


@pytest.mark.parametrize("stage", ["begin_body", "begin_head"])
@pytest.mark.parametrize("speed", [0, 100, 1024])
def test_a_server_that_takes_what_the_system_has_of_a_body_is_not_given_up(stage: str, speed: int) -> None:
    """Megabytes may wait in the system, and nothing more is sent as long as they are too many."""
    now, queued = [0.0], [4 << 20]
    watch = Watch(Waiting(clock=Clock(monotonic=lambda: now[0])), HOST)
    watch.queued = lambda: queued[0]
    getattr(watch, stage)()

    def take() -> None:
        for _ in range(1500):
            watch.look(is_awaited=True)
            now[0] += 1
            queued[0] -= speed

    seconds = Patience().window if stage == "begin_body" else Patience().head
    if speed * seconds >= Patience().least:
        take()
    else:
        with pytest.raises(RegistryUnreachable):
            take()


def test_what_a_server_has_not_taken_is_seen() -> None:
    waiting = Waiting()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        connection = Connection("127.0.0.1", listener.getsockname()[1], timeout=PATIENCE)
        watch = Watch(waiting, HOST)
        connection.begin(watch)
        assert watch.queued() == 0
        connection.connect()
        connection.sock.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                connection.sock.send(bytes(1 << 20))
        before = watch.queued()
        assert before > 0
        with listener.accept()[0] as server:
            until(lambda: not server.recv(1 << 20) or watch.queued() < before)
        connection.close()
        assert watch.queued() == 0


def test_a_server_that_drips_twenty_bytes_a_second_is_given_up() -> None:
    now = [0.0]
    watch = Watch(Waiting(clock=Clock(monotonic=lambda: now[0])), HOST)
    watch.begin_body()

    def drip() -> None:
        for _ in range(100):
            watch.look(is_awaited=True)
            now[0] += 1
            watch.came(20)

    with pytest.raises(RegistryUnreachable, match="hardly a byte moved within 60 s"):
        drip()
    assert now[0] < 63


def test_plain_http_is_not_spoken_for_every_failure_of_tls(keys: Path):
    context = encrypted(keys)
    context.set_ciphers("NULL-SHA256@SECLEVEL=0")
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    trust = HostTrust(added=[str(keys / "ca.crt")])
    with faked(tls=context, trust=trust, names=NAMES, may_be_plain=True, patience=Patience(tries=2)) as fake:
        with pytest.raises(RegistryUnreachable, match="cannot speak TLS"):
            fake.client.ping()
        assert fake.client.exchange.origin.scheme == "https"


def test_a_body_that_was_begun_is_not_sent_again_over_plain_http(keys: Path):
    opened: list[int] = []

    def opener(offset: int) -> io.BytesIO:
        opened.append(offset)
        return io.BytesIO(LAYER)

    trust = HostTrust(added=[str(keys / "ca.crt")])
    failures = (Failure(503, hang_up=True, methods="PATCH"),) * 9
    with faked(tls=encrypted(keys), trust=trust, names=NAMES, may_be_plain=True, failures=failures) as fake:
        upload = Upload(fake.client.exchange, REPOSITORY, f"/v2/{REPOSITORY}/blobs/uploads/1")
        with pytest.raises(RegistryUnreachable):
            upload.send(OpenedBody(opener, len(LAYER)))
        assert opened == [0]
        assert fake.client.exchange.origin.scheme == "https"


def test_a_host_is_left_unverified_for_the_names_that_say_so_alone(keys: Path):
    # As in CVE-2020-15136: what is said of one endpoint is not true of the others.
    with FakeRegistry(tls=encrypted(keys), names=NAMES) as registry:
        host = registry.authority
        rule = Rule(prefix=f"{host}/loose", server=Server(location=f"{host}/loose", verify=False))
        transport = HttpTransport(HostTrust(), resolve=everywhere)
        registries = Registries(transport, hosts=Hosts([rule]), waiting=Waiting(patience=Patience(tries=1)))
        loose = registries.to_push(Reference.parse(f"{host}/loose/app"))[0]
        strict = registries.to_push(Reference.parse(f"{host}/strict/app"))[0]
        loose.ping()
        with pytest.raises(RegistryUnreachable, match="is not trusted"):
            strict.ping()
        loose.ping()
        transport.close()


def test_plain_http_is_not_spoken_where_it_may_not_be():
    with faked(patience=Patience(tries=2)) as fake:
        fake.client.exchange.origin = type(fake.client.exchange.origin).of(f"https://{fake.registry.authority}")
        with pytest.raises(RegistryUnreachable, match="cannot speak TLS"):
            fake.client.ping()
        assert fake.registry.requests == []


def test_a_registry_that_does_not_know_that_it_is_encrypted_is_told_why(keys: Path):
    trust = HostTrust(added=[str(keys / "ca.crt")])
    with faked(tls=encrypted(keys), trust=trust, names=NAMES, location="http") as fake:
        with pytest.raises(UnsafeRedirect, match="X-Forwarded-Proto"):
            fake.client.start_upload(REPOSITORY)
        for tag in "abc":
            fake.image(tag=tag)
        # The next page is asked for as the first was.
        fake.quirks(link="http", page=1)
        assert list(fake.client.tags(REPOSITORY)) == ["a", "b", "c"]


# Proxies.


def _bare(piece: bytes) -> bytes:
    """Return a request as its server wants it, and anything else as it is."""
    return re.sub(rb"^(\w+) http://[^/]*", rb"\1 ", piece)


class Proxy:
    """A proxy that carries plain requests, and tunnels."""

    def __init__(self) -> None:
        self.heads: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._carry, args=(connection,), daemon=True).start()

    def _carry(self, client: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            piece = client.recv(1 << 16)
            if not piece:
                client.close()
                return
            head += piece
        self.heads.append(head)
        port = int(re.findall(rb":(\d+)", head)[0])
        server = socket.create_connection(("127.0.0.1", port))
        if head.startswith(b"CONNECT"):
            client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        else:
            server.sendall(_bare(head))
        back = threading.Thread(target=self._pump, args=(server, client), daemon=True)
        back.start()
        self._pump(client, server)
        back.join()
        client.close()
        server.close()

    @staticmethod
    def _pump(source: socket.socket, target: socket.socket) -> None:
        try:
            while piece := source.recv(1 << 16):
                target.sendall(_bare(piece))
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass


@pytest.mark.parametrize("tls", [False, True])
def test_a_proxy_carries_requests_and_sees_its_own_password_alone(keys: Path, tls: bool):  # noqa: FBT001
    me = Credentials(user="me", password="secret")
    with Proxy() as proxy:
        url = f"http://who:p%40ss@127.0.0.1:{proxy.port}"
        with faked(
            me,
            users={"me": "secret"},
            names=NAMES,
            auth="basic",
            proxies=Proxies({"http": url, "https": url}),
            tls=encrypted(keys) if tls else None,
            trust=HostTrust(added=[str(keys / "ca.crt")]),
        ) as fake:
            fake.image()
            fake.client.get_manifest(REPOSITORY, "1")
            fake.client.get_manifest(REPOSITORY, "1")
            assert fake.registry.requests[-1].headers["authorization"].startswith("Basic ")
            assert all("proxy-authorization" not in one.headers for one in fake.registry.requests) or not tls
            assert len(proxy.heads) == 1
            assert b"Proxy-Authorization: Basic d2hvOnBAc3M=" in proxy.heads[0]
            assert (b"CONNECT registry.test:" in proxy.heads[0]) is tls
            assert b"bWU6c2VjcmV0" not in proxy.heads[0]  # me:secret


def test_no_proxy_is_asked_for_this_machine_and_for_exceptions():
    proxies = Proxies({"http": "http://proxy.invalid:1"}, (HOST,))
    for names in ({}, NAMES):
        with faked(names=names, proxies=proxies) as fake:
            fake.client.ping()


@pytest.mark.parametrize("url", ["socks5://127.0.0.1:1", "http://user:pa/ss@127.0.0.1:1", "https://127.0.0.1:1"])
def test_a_proxy_that_cannot_be_spoken_to_is_told_without_its_password(url: str):
    transport = HttpTransport(HostTrust(), proxies=Proxies({"http": url}), resolve=everywhere)
    with pytest.raises(RegistryUnreachable, match="its proxy is not an http:// URL") as raised:
        transport.send(Request("GET", "http://registry.test/"))
    assert "pa" not in str(raised.value).partition("proxy")[2].replace("that can be read", "")


def test_errors_of_the_registry_are_errors_of_orlop():
    with faked(failures=(Failure(500, body=b"\xff\x00oops"),) * 9) as fake, pytest.raises(RegistryError, match="oops"):
        fake.client.ping()


# Answers that are made to last, or to be misread.


def flood(before: bytes, unit: bytes) -> Callable[[socket.socket], None]:
    def send(connection: socket.socket) -> None:
        connection.sendall(before)
        while True:
            connection.sendall(unit * 1000)

    return send


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n"


@pytest.mark.parametrize(
    ("before", "unit"),
    [
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (b"", b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"),
        (b"HTTP/1.1 100 Continue\r\n", b"X: " + b"y" * 60000 + b"\r\n"),
        (CHUNKED + b"0\r\n", b"X: y\r\n"),
        (CHUNKED + b"0\r\n", b"X: " + b"y" * 60000 + b"\r\n"),
    ],
)
def test_what_surrounds_a_body_has_an_end(before: bytes, unit: bytes):
    with served(flood(before, unit)) as url, pytest.raises((RegistryUnreachable, InvalidAnswer)):
        sent(url)


def test_what_surrounds_a_body_is_not_progress():
    now = [0.0]
    watch = Watch(Waiting(patience=Patience(window=10, least=100), clock=Clock(monotonic=lambda: now[0])), HOST)
    watch.begin_body()

    def surround() -> None:
        for count in range(1, 20):
            watch.look(count * 1000, is_awaited=True)
            now[0] += 1

    with pytest.raises(RegistryUnreachable, match="hardly a byte moved"):
        surround()


@pytest.mark.sampled(3)
def test_a_large_body_is_not_limited():
    content = b"x" * (5 << 20)
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(content)
    chunks = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 400_000 + b"0\r\n\r\n"
    for answer, size in ((head + content, len(content)), (chunks, 400_000)):
        transport = HttpTransport(HostTrust())
        with served(answer) as url, transport.send(Request("GET", url)) as found:
            assert len(found.document(1 << 23, what="it")) == size
        transport.close()


@pytest.mark.parametrize("status", [b"103 Early Hints", b"102 Processing", b"199 X", b"100 Continue"])
def test_an_interim_answer_is_not_the_answer(status: bytes):
    interim = b"HTTP/1.1 %s\r\nLink: </x>\r\n\r\n" % status
    with served(interim * 3 + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody") as url:
        assert sent(url) == b"body"


@pytest.mark.parametrize(
    ("method", "status"), [("HEAD", b"200 OK"), ("GET", b"204 No Content"), ("GET", b"304 Not Modified")]
)
def test_an_answer_that_has_no_body_leaves_its_connection_whole(method: str, status: bytes):
    def answer(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 %s\r\nTransfer-Encoding: chunked\r\n\r\n" % status)
        connection.recv(1 << 16)
        connection.sendall(b"HTTP/1.1 201 Created\r\nContent-Length: 4\r\n\r\nbody")

    transport = HttpTransport(HostTrust())
    with served(answer) as url:
        with transport.send(Request(method, url)) as first:
            assert first.document(10, what="it") == b""
        # What may not be sent twice goes out over the connection that was kept.
        with transport.send(Request("PUT", url)) as second:
            assert (second.status, second.document(10, what="it")) == (201, b"body")
    transport.close()


@pytest.mark.parametrize("size", [b"-1", b"-ffff", b"-0x10"])
def test_a_chunk_is_not_less_than_nothing(size: bytes):
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    transport = HttpTransport(HostTrust())
    with (
        served(head + size + b"\r\n" + b"x" * 5000) as url,
        transport.send(Request("GET", url)) as answer,
        pytest.raises(RegistryUnreachable),
    ):
        answer.read(10)
    transport.close()


def test_a_secret_that_is_not_valid_is_in_no_trace_and_no_log(caplog: pytest.LogCaptureFixture):
    headers = (("Authorization", "Bearer s3cret\n"),)
    with served(b"") as url, pytest.raises(RegistryUnreachable) as raised:
        HttpTransport(HostTrust()).send(Request("GET", url, headers))
    assert "s3cret" not in "".join(traceback.format_exception(raised.value))
    with served(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nbad line\r\nX: y\r\n\r\n") as url:
        sent(f"{url}?signature=s3cret")
    assert "s3cret" not in caplog.text


@pytest.mark.parametrize("url", ["http://p.test:99999", "http://p.test:x", "http://[::1", "http://p.test:-1"])
def test_a_proxy_without_a_valid_port_is_told(url: str):
    transport = HttpTransport(HostTrust(), proxies=Proxies({"http": url}), resolve=everywhere)
    with pytest.raises(RegistryUnreachable, match="its proxy is not"):
        transport.send(Request("GET", "http://r.test/v2/"))


def test_a_proxy_may_have_any_bytes_for_its_password():
    transport = HttpTransport(HostTrust(), proxies=Proxies({"http": "http://u:\udcff@p.test:1"}), resolve=everywhere)
    with pytest.raises(RegistryUnreachable, match="failed"):
        transport.send(Request("GET", "http://r.test/v2/"))


def test_the_answer_of_a_proxy_has_an_end():
    with served(flood(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n")) as url:
        proxies = Proxies({"https": url.removesuffix("/v2/")})
        transport = HttpTransport(HostTrust(), proxies=proxies, resolve=everywhere)
        # Python 3.14 counts the headers of a proxy itself.
        with pytest.raises((InvalidAnswer, RegistryUnreachable), match=r"not a part|more than \d+ headers"):
            transport.send(Request("GET", "https://r.test/v2/"))


class _Stop(Exception):
    pass


def ended(waits: threading.Event, url: str, **options: Any) -> list[type[BaseException]]:
    """What a thread raises that sends a request, and whose wait is ended once it waits."""

    def check() -> None:
        if waits.is_set():
            raise _Stop

    found: list[type[BaseException]] = []

    def send() -> None:
        try:
            transport.send(Request("GET", url))
        except BaseException as error:  # noqa: BLE001 - what is tested
            found.append(type(error))

    transport = HttpTransport(HostTrust(), waiting=Waiting(check=check), **options)
    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    return found


def test_a_handshake_ends_when_it_is_no_longer_wanted():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        waits, heard = threading.Event(), []

        def serve() -> None:
            connection, _ = silent.accept()
            with connection:
                heard.append(connection.recv(1))
                waits.set()
                while piece := connection.recv(1 << 16):
                    heard.append(piece)

        server = threading.Thread(target=serve)
        server.start()
        assert ended(waits, f"https://127.0.0.1:{silent.getsockname()[1]}/") == [_Stop]
        server.join(PATIENCE)
        assert heard
        assert not server.is_alive()


def test_a_search_for_an_address_ends_when_it_is_no_longer_wanted():
    waits, never = threading.Event(), threading.Event()

    def resolve(host: str, port: int) -> list[Any]:
        waits.set()
        never.wait(60)
        return everywhere(host, port)

    try:
        assert ended(waits, "http://registry.example.com/", resolve=resolve) == [_Stop]
    finally:
        never.set()


@pytest.mark.parametrize(
    "address", ["169.254.169.254", "fe80::1%lo", "fd00:ec2::254", "::ffff:169.254.1.1", "64:ff9b::a9fe:a9fe"]
)
def test_a_name_to_which_a_registry_leads_does_not_hide_an_address_of_the_link(address: str):
    asked: list[str] = []

    def resolve(host: str, port: int) -> list[tuple[Any, ...]]:
        asked.append(host)
        if host == HOST:
            return everywhere(host, port)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    names = {"registry": HOST, "store": "innocent.test"}
    with faked(redirect=307, names=names, resolve=resolve) as fake:
        fake.registry.add_blob(REPOSITORY, LAYER)
        with pytest.raises(UnsafeRedirect, match=r"leads to innocent\.test"):
            read_all(fake.client, LAYER)
    assert asked == [HOST, "innocent.test"]


def test_a_name_with_an_address_of_the_link_and_others_leads_to_the_others():
    def resolve(host: str, port: int) -> list[tuple[Any, ...]]:
        hidden = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("169.254.169.254", port))]
        return [*(hidden if host == "innocent.test" else []), *everywhere(host, port)]

    with faked(redirect=307, names={"registry": HOST, "store": "innocent.test"}, resolve=resolve) as fake:
        fake.registry.add_blob(REPOSITORY, LAYER)
        assert read_all(fake.client, LAYER) == LAYER


def test_a_host_that_was_named_may_be_of_the_link(monkeypatch: pytest.MonkeyPatch):
    reached: list[str] = []

    def reach(connection: Connection, sock: socket.socket, address: Any, limit: float) -> None:
        reached.append(address[0])
        raise ConnectionRefusedError

    def resolve(host: str, port: int) -> list[tuple[Any, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("169.254.1.1", port))]

    # Nothing is sent to such an address from here.
    monkeypatch.setattr(Connection, "_reach", reach)
    names = {"registry": "registry.local"}
    with faked(names=names, resolve=resolve, patience=Patience(tries=1)) as fake, pytest.raises(RegistryUnreachable):
        fake.client.ping()
    assert reached == ["169.254.1.1"]
