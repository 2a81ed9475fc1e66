"""Proxies: what variables say, which hosts are reached directly, and what a download sends to whom."""

from __future__ import annotations

import base64
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING

import pytest

from orlop.errors import DownloadFailed
from orlop.model.proxies import NO_PROXIES, Proxies
from orlop.registry import connections, transport
from orlop.registry.download import downloaded

if TYPE_CHECKING:
    from collections.abc import Iterator

PROXY = "http://proxy.example:3128"


@pytest.mark.parametrize(
    ("variables", "http", "https"),
    [
        ({}, None, None),
        ({"http_proxy": PROXY}, PROXY, None),
        ({"HTTPS_PROXY": PROXY}, None, PROXY),
        ({"https_proxy": "", "HTTPS_PROXY": PROXY}, None, None),
        ({"all_proxy": PROXY}, PROXY, PROXY),
        ({"ALL_PROXY": PROXY, "http_proxy": "http://other:1"}, "http://other:1", PROXY),
        ({"HTTP_PROXY": PROXY}, PROXY, None),
        ({"HTTP_PROXY": PROXY, "REQUEST_METHOD": "GET"}, None, None),
        ({"http_proxy": PROXY, "REQUEST_METHOD": "GET"}, PROXY, None),
        ({"http_proxy": PROXY, "no_proxy": "host.example"}, None, None),
        ({"http_proxy": PROXY, "NO_PROXY": "*"}, None, None),
    ],
)
def test_variables_name_proxies(variables: dict[str, str], http: str | None, https: str | None) -> None:
    proxies = Proxies.from_variables(variables)
    assert proxies.for_host("http", "host.example") == http
    assert proxies.for_host("https", "host.example") == https


@pytest.mark.parametrize(
    ("no_proxy", "direct", "through"),
    [
        ("example.com", ["example.com", "a.example.com", "EXAMPLE.com", "example.com."], ["notexample.com", "com"]),
        (".example.com", ["example.com", "a.b.example.com"], ["anexample.com"]),
        ("*.example.com", ["a.example.com"], ["anexample.com"]),
        ("a, b ,,c", ["a", "b", "c"], ["d", ""]),
        ("10.0.0.0/8,::1", ["10.1.2.3", "::1", "[::1]"], ["11.0.0.1", "::2"]),
        ("127.0.0.1", ["127.0.0.1"], ["127.0.0.2", "127.0.0.1.example.com"]),
        ("example.com:81", [], ["example.com"]),
        ("example.com:80,[::1]:80", ["example.com", "[::1]"], ["example.org"]),
        ("", [], ["example.com"]),
        (".", [], ["example.com"]),
    ],
)
def test_hosts_are_reached_directly(no_proxy: str, direct: list[str], through: list[str]) -> None:
    proxies = Proxies.from_variables({"http_proxy": PROXY, "no_proxy": no_proxy})
    assert [host for host in direct if proxies.for_host("http", host) is not None] == []
    assert [host for host in through if proxies.for_host("http", host) is None] == []


def test_the_password_of_a_proxy_is_not_shown() -> None:
    proxies = Proxies({"http": "http://user:secret@proxy.example"})
    assert "secret" not in repr(proxies)


class _Recorder(BaseHTTPRequestHandler):
    """Notes what each request asks for, and which credentials it carries."""

    seen: list[tuple[str, str | None]]

    def do_GET(self) -> None:
        self.seen.append((self.path, self.headers.get("Proxy-Authorization")))
        if self.path.endswith("/moved"):
            self.send_response(302)
            self.send_header("Location", f"http://near.example:{self.request.getsockname()[1]}/there")
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Length", "4")
        self.end_headers()
        self.wfile.write(b"body")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        pass


@pytest.fixture
def recorder() -> Iterator[tuple[int, list[tuple[str, str | None]]]]:
    seen: list[tuple[str, str | None]] = []
    handler = type("Handler", (_Recorder,), {"seen": seen})
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.server_port, seen
        server.shutdown()
        thread.join()


def _fetch(url: str, proxies: Proxies) -> bytes:
    with downloaded(url, proxies) as body:
        return body.read(100)


def test_a_download_goes_through_the_proxy_that_it_is_given(
    recorder: tuple[int, list[tuple[str, str | None]]],
) -> None:
    port, seen = recorder
    assert _fetch("http://far.example/x", Proxies({"http": f"http://u%40:p@127.0.0.1:{port}"})) == b"body"
    assert seen == [("http://far.example/x", f"Basic {base64.b64encode(b'u@:p').decode()}")]


def test_a_proxy_without_a_scheme_is_taken_for_one_of_http(recorder: tuple[int, list[tuple[str, str | None]]]) -> None:
    port, seen = recorder
    assert _fetch("http://far.example/x", Proxies({"http": f"127.0.0.1:{port}"})) == b"body"
    assert seen == [("http://far.example/x", None)]


def test_a_host_after_a_redirection_does_not_get_the_password_of_the_proxy(
    recorder: tuple[int, list[tuple[str, str | None]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    port, seen = recorder
    monkeypatch.setattr(transport, "resolved", lambda _, port: connections.resolved("127.0.0.1", port))
    proxies = Proxies({"http": f"http://user:secret@127.0.0.1:{port}"}, direct=("near.example",))
    assert _fetch("http://far.example/moved", proxies) == b"body"
    assert [path for path, _ in seen] == ["http://far.example/moved", "/there"]
    assert seen[1][1] is None


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "all_proxy", "no_proxy"])
def test_a_download_does_not_read_the_environment(
    recorder: tuple[int, list[tuple[str, str | None]]], monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    port, seen = recorder
    monkeypatch.setenv(variable, "http://127.0.0.1:1" if variable != "no_proxy" else "*")
    assert _fetch(f"http://127.0.0.1:{port}/x", NO_PROXIES) == b"body"
    assert _fetch("http://far.example/x", Proxies({"http": f"http://127.0.0.1:{port}"})) == b"body"
    assert [path for path, _ in seen] == ["/x", "http://far.example/x"]


def test_a_proxy_that_is_not_one_is_told() -> None:
    for proxy in ("socks5://127.0.0.1:1", "https://127.0.0.1:1", "http://"):
        with pytest.raises(DownloadFailed, match="its proxy is not an http:// URL"):
            _fetch("http://far.example/x", Proxies({"http": proxy}))
