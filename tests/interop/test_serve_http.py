"""What Engine 20.10 and `orlop serve` answer to requests as bytes, side by side: status lines, whole answers, ends.

Where they differ, a table in `docs/engine-api.md` says so; a row that is not needed fails too.
"""

from __future__ import annotations

import re
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from tests.interop.served import serve

if TYPE_CHECKING:
    from tests.interop.programs import Daemon, Docker

pytestmark = pytest.mark.interop

TABLE: Final = Path(__file__).parents[2] / "docs" / "engine-api.md"
_HEAD: Final = "| request | Engine | orlop | why |"
_STATUS: Final = re.compile(r"^HTTP/1\.([01]) (\d{3})", re.MULTILINE)

HOST = "Host: d\r\n"
PING = f"GET /_ping HTTP/1.1\r\n{HOST}"
NONE = f"POST /images/nosuch/tag?repo=x HTTP/1.1\r\n{HOST}Connection: close\r\n"
LOAD = f"POST /images/load?quiet=1 HTTP/1.1\r\n{HOST}"
EVENTS = f"GET /events HTTP/1.1\r\n{HOST}\r\n"

#: Requests after which the client closes its writing half.
CLOSED: Final = {
    "ping, closed": f"{PING}\r\n",
    "ping and close, closed": f"{PING}Connection: close\r\n\r\n",
    "tag, closed": f"POST /images/nosuch/tag?repo=x HTTP/1.1\r\n{HOST}Content-Length: 0\r\n\r\n",
    "list, closed": f"GET /images/json HTTP/1.1\r\n{HOST}\r\n",
    "load, closed": f"{LOAD}Content-Length: 4\r\n\r\njunk",
    "load in chunks, closed": f"{LOAD}Transfer-Encoding: chunked\r\n\r\n4\r\njunk\r\n0\r\n\r\n",
    "load, closed in its midst": f"{LOAD}Content-Length: 4000\r\n\r\njunk",
    "load in chunks, closed in its midst": f"{LOAD}Transfer-Encoding: chunked\r\n\r\n4\r\njunk\r\n",
    "load after 100, closed": f"{LOAD}Expect: 100-continue\r\nContent-Length: 4\r\n\r\njunk",
    "two requests, closed": f"{PING}\r\nGET /images/json HTTP/1.1\r\n{HOST}\r\n",
    "a request and a half, closed": f"{PING}\r\nGET /images/json HTTP/1.1\r\n",
    "half a head, closed": "GET /_ping HTTP/1.1\r\nHo",
    "half a line, closed": "GET /_pi",
    "nothing, closed": "",
    "events, closed": EVENTS,
    "events of the past, closed": f"GET /events?since=1&until=2 HTTP/1.1\r\n{HOST}\r\n",
    "HTTP/1.0, closed": "GET /_ping HTTP/1.0\r\n\r\n",
}

#: Requests after which the client waits; most of them ask for the end of the connection.
OPEN: Final = {
    "LF": f"{PING}Connection: close\r\n\r\n".replace("\r\n", "\n"),
    "LF and HTTP/1.0": "GET /_ping HTTP/1.0\n\n",
    "LF, then CR LF": f"GET /_ping HTTP/1.1\n{HOST}Connection: close\n\r\n",
    "CR LF, then LF": f"GET /_ping HTTP/1.1\r\n{HOST}Connection: close\r\n\n",
    "LF and chunks": f"{LOAD}Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n".replace("\r\n", "\n")
    + "4\r\njunk\r\n0\r\n\r\n",
    "LF in chunks": f"{LOAD}Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n4\njunk\n0\n\n",
    "HTTP/1.0": "GET /_ping HTTP/1.0\r\n\r\n",
    "HTTP/1.0 and events": "GET /events?since=1&until=2 HTTP/1.0\r\n\r\n",
    "HTTP/1.2": f"GET /_ping HTTP/1.2\r\n{HOST}Connection: close\r\n\r\n",
    "HTTP/9.9": f"GET /_ping HTTP/9.9\r\n{HOST}\r\n",
    "no Host": "GET /_ping HTTP/1.1\r\n\r\n",
    "two Hosts": f"{PING}{HOST}\r\n",
    "an empty Host": "GET /_ping HTTP/1.1\r\nHost:\r\nConnection: close\r\n\r\n",
    "a bad Host": "GET /_ping HTTP/1.1\r\nHost: a b\r\n\r\n",
    "an empty line first": f"\r\n{PING}Connection: close\r\n\r\n",
    "a length and an encoding": f"{NONE}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "one length twice": f"{NONE}Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
    "two lengths": f"{NONE}Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    "a list of lengths": f"{NONE}Content-Length: 3, 3\r\n\r\nabc",
    "a length with a sign": f"{NONE}Content-Length: +3\r\n\r\nabc",
    "a folded header": f"{PING}Connection: close\r\nX-A: b\r\n c\r\n\r\n",
    "a folded first header": f"GET /_ping HTTP/1.1\r\n X-A: b\r\n{HOST}\r\n",
    "a bare CR": f"{PING}X-A: b\rc\r\n\r\n",
    "a NUL": f"{PING}X-A: b\0c\r\n\r\n",
    "a NUL in a name": f"{PING}X-\0A: b\r\n\r\n",
    "a space before the colon": f"{PING}X-A : b\r\n\r\n",
    "a space in a name": f"{PING}X A: b\r\n\r\n",
    "no colon": f"{PING}X-A\r\n\r\n",
    "no name": f"{PING}Connection: close\r\n: b\r\n\r\n",
    "gzip and chunked": f"{NONE}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunked twice": f"{NONE}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "identity": f"{NONE}Transfer-Encoding: identity\r\n\r\n",
    "chunked in capitals": f"{NONE}Transfer-Encoding: CHUNKED\r\n\r\n0\r\n\r\n",
    "chunked in HTTP/1.0": "POST /images/nosuch/tag?repo=x HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "an extension of a chunk": f"{NONE}Transfer-Encoding: chunked\r\n\r\n0;a=b\r\n\r\n",
    "trailers": f"{NONE}Transfer-Encoding: chunked\r\n\r\n0\r\nX: y\r\n\r\n",
    "a body that is not read": f"{PING}Connection: close\r\nContent-Length: 3\r\n\r\nabc",
    "an unknown method": f"FOO /_ping HTTP/1.1\r\n{HOST}Connection: close\r\n\r\n",
    "a method that is none": f"G@T /_ping HTTP/1.1\r\n{HOST}\r\n",
    "a whole URL": f"GET http://other/_ping HTTP/1.1\r\n{HOST}Connection: close\r\n\r\n",
    "two spaces": f"GET  /_ping HTTP/1.1\r\n{HOST}\r\n",
    "a space in the target": f"GET /_ping x HTTP/1.1\r\n{HOST}\r\n",
    "no version": "GET /_ping\r\n\r\n",
    "a bad escape": f"GET /%zz HTTP/1.1\r\n{HOST}\r\n",
    "OPTIONS *": f"OPTIONS * HTTP/1.1\r\n{HOST}Connection: close\r\n\r\n",
    "CONNECT": f"CONNECT d:1 HTTP/1.1\r\n{HOST}Connection: close\r\n\r\n",
    "another expectation": f"{PING}Connection: close\r\nExpect: x\r\n\r\n",
    "100 for no body": f"{PING}Connection: close\r\nExpect: 100-continue\r\n\r\n",
    "100 for a body that is not read": f"{NONE}Expect: 100-continue\r\nContent-Length: 4\r\n\r\n",
    "100 in HTTP/1.0": "POST /images/load HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\njunk",
    "three requests": f"{PING}\r\n{PING}\r\n{PING}Connection: close\r\n\r\n",
    "a request after a load": f"{LOAD}Content-Length: 4\r\n\r\njunk{PING}Connection: close\r\n\r\n",
    "a request after a body that is not read": f"{PING}Content-Length: 3\r\n\r\nabc{PING}Connection: close\r\n\r\n",
    "junk after a request": f"{PING}\r\nJUNK\r\n\r\n",
    "two requests of HTTP/1.0": "GET /_ping HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /_ping HTTP/1.0\r\n\r\n",
    "a trailer that was announced": f"{NONE}Trailer: X\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: y\r\n\r\n",
    "a trailer that must not be": f"{NONE}Trailer: Content-Length\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a chunk that is none": f"{NONE}Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    "an empty length": f"{NONE}Content-Length:\r\n\r\n",
    "a negative length": f"{NONE}Content-Length: -1\r\n\r\n",
    "HTTP/2 if it may be": f"{PING}Connection: Upgrade, close\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n\r\n",
    "HTTP/2 at once": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a WebSocket": f"{PING}Connection: Upgrade, close\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\r\n",
    "a session": f"POST /session HTTP/1.1\r\n{HOST}Connection: Upgrade, close\r\nUpgrade: h2c\r\n\r\n",
    "a whole URL without a path": f"GET http://other HTTP/1.1\r\n{HOST}Connection: close\r\n\r\n",
    "a whole URL with a query": f"GET http://other/images/json?all=1 HTTP/1.1\r\n{HOST}Connection: close\r\n\r\n",
    "a target without a slash": f"GET _ping HTTP/1.1\r\n{HOST}Connection: close\r\n\r\n",
    "a fragment": f"GET /_ping#x HTTP/1.1\r\n{HOST}Connection: close\r\n\r\n",
    "400 headers": f"{PING}Connection: close\r\n" + "".join(f"X-{n}: y\r\n" for n in range(400)) + "\r\n",
    "a header of 60 KB": f"{PING}Connection: close\r\nX-A: {'a' * 60_000}\r\n\r\n",
    "a header of 70 KB": f"{PING}Connection: close\r\nX-A: {'a' * 70_000}\r\n\r\n",
    "bytes beyond ASCII in a header": f"{PING}Connection: close\r\nX-A: \xff\r\n\r\n",
    "bytes beyond ASCII in a target": f"GET /\xff HTTP/1.1\r\n{HOST}Connection: close\r\n\r\n",
}


def answered(path: Path, request: str, *, closes: bool) -> str:
    """Return the versions and statuses of the answers to some bytes, and how they end."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(30)
        client.connect(str(path))
        client.sendall(request.encode("latin-1"))
        if closes:
            client.shutdown(socket.SHUT_WR)
        answer, end = b"", "closed"
        try:
            while data := client.recv(1 << 16):
                answer += data
                # A server that has answered, and does not close at once, keeps the connection open.
                client.settimeout(5)
        except OSError as error:
            end = type(error).__name__
    statuses = [f"1.{minor} {status}" for minor, status in re.findall(_STATUS, answer.decode("latin-1"))]
    return ", ".join([*statuses, end])


def expected() -> dict[str, tuple[str, str]]:
    """Return the table of differences: Engine's answer, and orlop's, by request."""
    lines = TABLE.read_text().split(_HEAD, 1)[1].split("\n\n", 1)[0].splitlines()[2:]
    rows = [[cell.strip(" `") for cell in line.strip("|").split(" | ")] for line in lines]
    return {name: (engine, own) for name, engine, own, _ in rows}


@pytest.mark.sampled(3)
def test_requests_are_answered_as_an_engine_answers_them(tmp_path: Path, daemon: Daemon, docker: Docker) -> None:
    del docker
    engine = Path(daemon.docker.env["DOCKER_HOST"].removeprefix("unix://"))
    found = {}
    with serve(tmp_path / "root") as server:
        for name, request in {**CLOSED, **OPEN}.items():
            both = [answered(path, request, closes=name in CLOSED) for path in (engine, server.socket)]
            if both[0] != both[1]:
                found[name] = (both[0], both[1])
    assert found == expected()


VERSIONS: Final = (
    "",
    "/v1.41",
    "/v1.99",
    "/v2",
    "/v1.11",
    "/v1",
    "/v1..41",
    "/v.",
    "/v",
    "/v1.x",
    "/V1.41",
    f"/v{10**20}.1",
)
PATHS: Final = (
    "/images/json",
    "/nosuch",
    "/_ping",
    "",
    "/",
    "/swarm",
    "/containers/nosuch/json",
)
METHODS: Final = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "DELETE", "TRACE", "get")
_OWN: Final = re.compile(r"^(Date|Server|Api-Version): .*|^Content-Length: .*", re.MULTILINE | re.IGNORECASE)
_NUMBERS: Final = re.compile(r"(?<=API version is )1\.\d+")


def told(path: Path, method: str, target: str) -> list[str]:
    """Return a whole answer, but for what two servers say of themselves: its status, its headers in order, its body."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(30)
        client.connect(str(path))
        client.sendall(f"{method} {target} HTTP/1.1\r\n{HOST}Connection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: client.recv(1 << 16), b"")).decode("latin-1")
    head, _, body = answer.partition("\r\n\r\n")
    status, *headers = head.split("\r\n")
    told = sorted(_OWN.sub(lambda found: found[1] or "", line).lower() for line in headers)
    return [status, *told, _NUMBERS.sub("*", body)]


@pytest.mark.sampled(2)
def test_versions_and_methods_are_answered_with_the_headers_of_an_engine(tmp_path, daemon, docker):
    del docker
    engine = Path(daemon.docker.env["DOCKER_HOST"].removeprefix("unix://"))
    with serve(tmp_path / "root") as server:
        targets = ["*", *(version + path for version in VERSIONS for path in PATHS)]
        differ = {
            f"{method} {target}": both
            for method in METHODS
            for target in targets
            if (method == "OPTIONS" or target != "*") and target
            if len({*map(tuple, both := [told(path, method, target) for path in (engine, server.socket)])}) > 1
        }
    assert differ == {}
