"""The name and password of a URL: sent to its server alone, and neither shown nor kept."""

from __future__ import annotations

import json
import threading
import traceback
from base64 import b64encode
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING

import pytest

import orlop
from orlop.api.engine.shapes.fault import fault
from orlop.api.engine.shapes.progress import error_line
from orlop.api.engine.versions import ApiVersion
from orlop.api.record import record_of
from orlop.cli.main import run
from orlop.cli.show import output
from orlop.errors import DownloadFailed, InvalidInput, NotSupported
from orlop.model.proxies import Proxies
from orlop.model.urls import is_torn, scrubbed, without_credentials
from orlop.registry.download import check_url
from orlop.streams.tar_write import END

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

EXPECTED = f"Basic {b64encode(b'user:w0qcr@t').decode()}"


class Server(HTTPServer):
    """A server of an empty tar that remembers what authorization each request has."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen: list[str | None] = []
        self.elsewhere = ""

    def url(self, path: str) -> str:
        return f"http://user:w0qcr%40t@127.0.0.1:{self.server_port}{path}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.seen.append(self.headers["Authorization"])
        port = self.server.server_port
        places = {
            "/own": "/root.tar",
            "/away": self.server.elsewhere,
            "/known": f"http://else:wh%2Fere@127.0.0.1:{port}/root.tar",
            "/torn": f"http://user:w0q/kr1pt@127.0.0.1:{port}/root.tar",
            "/ftp": f"ftp://user:w0qkr1pt@127.0.0.1:{port}/root.tar",
            "/port": "http://user:w0qkr1pt@127.0.0.1:nope/root.tar",
        }
        if self.path in places:
            self.send_response(302)
            self.send_header("Location", places[self.path])
            self.end_headers()
        elif self.path == "/root.tar":
            self.send_response(200)
            self.send_header("Content-Length", str(len(END)))
            self.end_headers()
            self.wfile.write(END)
        else:
            self.send_error(404)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        pass


@pytest.fixture
def servers() -> Iterator[tuple[Server, Server]]:
    with Server() as first, Server() as second:
        first.elsewhere = f"http://127.0.0.1:{second.server_port}/root.tar"
        threads = [threading.Thread(target=one.serve_forever, args=(0.01,)) for one in (first, second)]
        for thread in threads:
            thread.start()
        yield first, second
        for one, thread in zip((first, second), threads, strict=True):
            one.shutdown()
            thread.join()


def test_a_url_s_own_server_alone_gets_its_password(tmp_path: Path, servers: tuple[Server, Server]) -> None:
    first, second = servers
    with orlop.open(tmp_path / "root") as images:
        for path in ("/root.tar", "/own", "/away"):
            image = images.inspect(str(images.import_image(first.url(path)))).image
            bare = f"Imported from http://127.0.0.1:{first.server_port}{path}"
            assert (image.comment, image.history[0].comment) == (bare, bare)
    assert first.seen == [EXPECTED] * 4
    assert second.seen == [None]


def test_no_error_shows_a_password(tmp_path: Path, servers: tuple[Server, Server]) -> None:
    with orlop.open(tmp_path / "root") as images:
        for url in (servers[0].url("/nothing"), "http://user:w0qcr%40t@127.0.0.1:1/", "http://user:w0qcr%40t@h:nope/"):
            with pytest.raises(DownloadFailed) as failed:
                images.import_image(url)
            shown = f"{failed.value}{failed.value!r}{failed.value.__cause__!r}"
            assert "w0qcr" not in shown
            assert "user" not in shown
    with pytest.raises(InvalidInput) as refused:
        check_url("http://user:w0qcr%40t@h:nope/")
    assert str(refused.value) == 'parse "http://h:nope/": invalid port ":nope" after host'


def test_a_redirection_s_password_goes_to_its_server(tmp_path: Path, servers: tuple[Server, Server]) -> None:
    first, _ = servers
    with orlop.open(tmp_path / "root") as images:
        images.import_image(f"http://127.0.0.1:{first.server_port}/known")
    assert first.seen == [None, f"Basic {b64encode(b'else:wh/ere').decode()}"]


def everything_of(error: BaseException | None) -> str:
    """All that a traceback shows of an error and its causes."""
    return "" if error is None else "".join(traceback.format_exception(error))


@pytest.mark.parametrize(
    "url",
    [
        *(
            "http://user:w0q/kr1pt@127.0.0.1:1/",
            "http://user:w0q?kr1pt@127.0.0.1:1/",
            "http://user:w0q#kr1pt@127.0.0.1:1/",
        ),
        *(
            "http://user:w0q@kr1pt@127.0.0.1:1/",
            "http://user:w0q\u2100kr1pt@127.0.0.1:1/",
            "http://user:w0qkr1pt@[::1/",
        ),
        *(
            "http://user:w0qkr1pt@127.0.0.1:nope/",
            "http://user:w0q%zzkr1pt@127.0.0.1:1/",
            "http://w0qkr1pt@127.0.0.1:1/",
        ),
        *("http://user:w0qkr1pt@/", "http://user:w0q kr1pt@127.0.0.1:1/", "http://user:w0q\nkr1pt@127.0.0.1:1/"),
        *(
            "HTTP://user:w0qkr1pt@127.0.0.1:1/",
            "ftp://user:w0qkr1pt@127.0.0.1/x",
            "http://user:w0q\udcffkr1pt@127.0.0.1:1/",
        ),
    ],
)
def test_no_url_is_shown_with_its_password(tmp_path: Path, capfd: pytest.CaptureFixture[str], url: str) -> None:
    status = run(["--debug", "--root", str(tmp_path / "root"), "import", url])
    shown = "".join(capfd.readouterr())
    assert status != 0
    assert shown.count("Error: ") >= 1
    for part in ("w0q", "kr1pt"):
        assert part not in shown
    with pytest.raises(InvalidInput) if is_torn(url) else suppress(InvalidInput) as refused:
        check_url(url)
    assert refused is None or "w0q" not in str(refused.value)


@pytest.mark.parametrize("path", ["/torn", "/ftp", "/port"])
def test_no_redirection_is_shown_with_its_password(tmp_path: Path, servers: tuple[Server, Server], path: str) -> None:
    url = f"http://127.0.0.1:{servers[0].server_port}{path}"
    with orlop.open(tmp_path / "root") as images, pytest.raises(DownloadFailed) as failed:
        images.import_image(url)
    shown = everything_of(failed.value)
    assert "w0q" not in shown
    assert "kr1pt" not in shown


@pytest.mark.parametrize(
    "proxy",
    [
        *("http://user:w0q/kr1pt@127.0.0.1:1", "http://user:w0q@kr1pt@127.0.0.1:1", "user:w0qkr1pt@127.0.0.1:1"),
        *("https://user:w0qkr1pt@127.0.0.1:1", "http://user:w0qkr1pt@127.0.0.1:nope", "http://user:w0q\u2100kr1pt@[x"),
        "http://user:w0qkr1pt@",
    ],
)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_no_proxy_is_shown_with_its_password(tmp_path: Path, scheme: str, proxy: str) -> None:
    proxies = Proxies({"http": proxy, "https": proxy})
    with (
        orlop.open(tmp_path / "root", proxies=proxies) as images,
        pytest.raises(DownloadFailed) as failed,
    ):
        images.import_image(f"{scheme}://example.invalid/root.tar")
    shown = everything_of(failed.value)
    assert "w0q" not in shown
    assert "kr1pt" not in shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("no URL: a@b", "no URL: a@b"),
        ("at 'https://u:p@h/x', which", "at 'https://h/x', which"),
        ("a://u:p@h b://q:r@i/j@k", "a://h b://i/j@k"),
        ("x://a,b://u:p@h", "x://h"),
        ("http://u:p/q@h/", "http://h/"),
    ],
)
def test_texts_lose_the_passwords_of_their_urls(text: str, shown: str) -> None:
    assert scrubbed(text) == shown


def test_answers_and_logs_have_no_password(capfd: pytest.CaptureFixture[str]) -> None:
    error = NotSupported("https://user:w0qkr1pt@example.com/layer is elsewhere")
    bodies = (json.dumps(fault(error, ApiVersion(1, 50)).document), error_line(str(error)).decode())
    output.complain(f"Warning: {error}")
    for shown in (*bodies, capfd.readouterr().err):
        assert "https://example.com/layer" in shown
        assert "w0qkr1pt" not in shown


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://u:p/q@host/", "http://host/"),
        ("http://u:p?q@host/a@b", "http://b"),
        ("http://host:8/a@b", "http://host:8/a@b"),
        ("http://[::1]:8/a@b", "http://[::1]:8/a@b"),
        ("u:p/q@host", "host"),
        ("host/a?b=c://u:p@d", "host/a?b=c://u:p@d"),
        ("https://u:p@host:8/a@b?c=d@e", "https://host:8/a@b?c=d@e"),
        ("https://token@host", "https://host"),
        ("u:p@host/x", "host/x"),
        ("http://host/a@b", "http://host/a@b"),
        ("http://host?a@b", "http://host?a@b"),
        ("http://u:p@q@host/", "http://host/"),
    ],
)
def test_a_url_without_credentials_is_otherwise_the_same(url: str, shown: str) -> None:
    assert without_credentials(url) == shown


@pytest.mark.parametrize(
    ("query", "kept"),
    [
        (b"fromSrc=http://u:p@host/x&tag=1", "fromSrc=http://host/x&tag=1"),
        (b"fromSrc=http%3A%2F%2Fu%3Ap%40host%2Fx", "fromSrc=http%3A%2F%2Fhost%2Fx"),
        (b"repo=a&fromSrc=u%3Ap%40host", "repo=a&fromSrc=host"),
        (b"fromSrc=http://host/a@b", "fromSrc=http://host/a@b"),
        (b"filters=a@b", "filters=a@b"),
        (b"fromSrc=http://u:p/q@host/x&tag=1", "fromSrc=http://host/x&tag=1"),
        (b"fromSrc=http%3A%2F%2Fu%3Ap%2Fq%40host%2Fx%26y", "fromSrc=http%3A%2F%2Fhost%2Fx%26y"),
        (b"fromSrc=u%3Ap%2Fq%40host&repo=a%20b", "fromSrc=host&repo=a%20b"),
        (b"a=http://u:p@host/x", "a=http://host/x"),
    ],
)
def test_the_record_of_a_request_has_no_password(query: bytes, kept: str) -> None:
    scope = {"method": "POST", "raw_path": b"/images/create", "query_string": query}
    assert record_of(scope).target == f"/images/create?{kept}"
