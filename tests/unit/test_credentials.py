"""The name and password of a URL: sent to its server alone, and neither shown nor kept."""

from __future__ import annotations

import threading
from base64 import b64encode
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING

import pytest

import orlop
from orlop.api.record import record_of
from orlop.errors import DownloadFailed, InvalidInput
from orlop.service.download import check_url, without_credentials
from orlop.streams.tar_write import END

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

EXPECTED = f"Basic {b64encode(b'user:s3cr@t').decode()}"


class Server(HTTPServer):
    """A server of an empty tar that remembers what authorization each request has."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen: list[str | None] = []
        self.elsewhere = ""

    def url(self, path: str) -> str:
        return f"http://user:s3cr%40t@127.0.0.1:{self.server_port}{path}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.seen.append(self.headers["Authorization"])
        places = {"/own": "/root.tar", "/away": self.server.elsewhere}
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
        for url in (servers[0].url("/nothing"), "http://user:s3cr%40t@127.0.0.1:1/", "http://user:s3cr%40t@h:nope/"):
            with pytest.raises(DownloadFailed) as failed:
                images.import_image(url)
            shown = f"{failed.value}{failed.value!r}{failed.value.__cause__!r}"
            assert "s3cr" not in shown
            assert "user" not in shown
    with pytest.raises(InvalidInput) as refused:
        check_url("http://user:s3cr%40t@h:nope/")
    assert str(refused.value) == 'parse "http://h:nope/": invalid port ":nope" after host'


@pytest.mark.parametrize(
    ("url", "shown"),
    [
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
    ],
)
def test_the_record_of_a_request_has_no_password(query: bytes, kept: str) -> None:
    scope = {"method": "POST", "raw_path": b"/images/create", "query_string": query}
    assert record_of(scope).target == f"/images/create?{kept}"
