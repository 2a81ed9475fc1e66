"""The same raw requests to `orlop serve` and to Engine 20.10: status, message and target are the same.

Where they are not, a table in `docs/engine-api.md` says so; a row that is not needed fails too. Requests that change
images change the same ones in both.
"""

from __future__ import annotations

import io
import json
import re
import socket
import tarfile
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import quote

import pytest

from tests.interop import odd
from tests.interop.programs import PATIENCE
from tests.interop.raw import FORM, JSON, TINY, Request, V, filtered
from tests.interop.served import serve
from tests.interop.test_words import ARCHIVES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.interop.programs import Daemon

#: What they share, an engine that is asked everything, takes all the time.
pytestmark = [pytest.mark.interop, pytest.mark.sampled(3)]

TABLE: Final = Path(__file__).parents[2] / "docs" / "engine-api.md"
_HEAD: Final = "| request | engine | orlop | why |"


class Said(NamedTuple):
    """The part of an answer that is compared."""

    status: int
    message: str


def imported(*platforms: str) -> list[Request]:
    """Return imports for platforms."""
    out = io.BytesIO()
    tarfile.open(fileobj=out, mode="w").close()
    return [
        Request("POST", f"{V}/images/create?fromSrc=-&platform={quote(text, safe='')}", out.getvalue())
        for text in platforms
    ]


UNREADABLE: Final = [
    *(
        Request(method, f"{V}{path}?{query}")
        for method, path in [
            ("GET", "/_ping"),
            ("GET", "/version"),
            ("GET", "/info"),
            ("GET", "/events"),
            ("GET", "/system/df"),
            ("GET", "/images/json"),
            ("GET", "/images/get"),
            ("GET", "/images/search"),
            ("GET", "/images/example/tiny:1.0/json"),
            ("GET", "/images/example/tiny:1.0/history"),
            ("GET", "/images/example/tiny:1.0/get"),
            ("POST", "/images/example/tiny:1.0/tag"),
            ("POST", "/images/example/tiny:1.0/push"),
            ("POST", "/images/load"),
            ("POST", "/images/create"),
            ("POST", "/images/prune"),
            ("DELETE", "/images/example/tiny:1.0"),
            ("GET", "/distribution/example/tiny/json"),
            ("POST", "/commit"),
            ("GET", "/containers/json"),
            ("GET", "/networks"),
            ("GET", "/volumes"),
            ("GET", "/plugins"),
            ("POST", "/containers/prune"),
            ("POST", "/networks/prune"),
            ("POST", "/volumes/prune"),
            ("POST", "/build/prune"),
        ]
        for query in ("a;b", "a=%zz")
    ),
    Request("GET", f"{V}/images/json?a=%"),
    Request("GET", f"{V}/images/json?%z=1"),
    Request("GET", f"{V}/images/json?a=%zz&b;c"),
    Request("GET", f"{V}/images/%zz/json"),
]
PATHS: Final = [
    Request(method, target)
    for method, target in [
        ("GET", f"{V}/images//json?all=1&x=%20"),
        ("GET", "//version"),
        ("POST", f"{V}/images/./prune"),
        ("GET", f"{V}/images/a//b/json"),
        ("GET", f"{V}/images/a%2F%2Fb%20c/json"),
        ("GET", f"{V}/images/../json"),
        ("POST", f"{V}/images//tag?repo=x"),
        ("GET", "*"),
        ("OPTIONS", "*"),
        ("OPTIONS", f"{V}/images/json"),
        ("GET", f"{V}/images/json/"),
        ("GET", f"{V}/images/"),
        ("POST", f"{V}/images/"),
        ("DELETE", f"{V}/images/"),
        ("DELETE", f"{V}/images/%20"),
        ("DELETE", f"{V}/images/foo/"),
        ("HEAD", f"{V}/images/json"),
        ("PUT", f"{V}/images/json"),
        ("POST", f"{V}/_ping"),
        ("HEAD", f"{V}/_ping"),
        ("GET", "/v1.41"),
        ("GET", "/v1.41/"),
        ("GET", "/v/images/json"),
        ("GET", "/v1.99/nosuch"),
        ("GET", "/v1/images/json"),
        ("GET", "/v1..41/images/json"),
        ("GET", "/v1.041/_ping"),
        ("GET", "/v1.41.0/_ping"),
        ("GET", f"/v1.{10**30}/_ping"),
    ]
]
ODD: Final = [
    Request(method, f"{V}{path}")
    for path in [
        "/containers/json",
        "/containers/x/json",
        "/containers/x/start",
        "/containers/x",
        "/containers",
        "/exec/x/json",
        "/exec/x",
        "/images",
        "/images/get",
        "/images/load",
        "/networks",
        "/networks/x",
        "/nodes/x",
        "/plugins",
        "/plugins/x/json",
        "/secrets/x",
        "/services/x",
        "/swarm",
        "/swarm/leave",
        "/tasks/x",
        "/volumes",
        "/volumes/x",
        "/build/prune",
        "/commit",
        "/events",
        "/info",
        "/system/df",
        "/version",
    ]
    for method in ("GET", "HEAD", "PUT", "PATCH", "DELETE", "FOO")
    if (method, path) not in {("GET", "/events"), ("PUT", "/volumes/x")}
]
FILTERS: Final = [
    *(
        request
        for path in ("/images/json", "/containers/json", "/networks", "/volumes", "/plugins")
        for request in filtered(path, "{", "[]", '"x"', '{"nosuch":["x"]}', '{"label":{"a":true},"name":["x"]}')
    ),
    *filtered(
        "/images/json",
        "null",
        '{"label":[]}',
        '{"reference":[]}',
        '{"reference":[null]}',
        '{"reference":["["]}',
        '{"reference":["docker.io/example/tiny"]}',
        '{"dangling":[]}',
        '{"dangling":["maybe"]}',
        '{"dangling":["1"]}',
        '{"dangling":{"true":false}}',
        '{"dangling":["true","false"]}',
        '{"before":[]}',
        '{"since":["nosuch"]}',
        '{"before":["UPPER"]}',
    ),
    *(
        request
        for path in ("/images/prune", "/containers/prune", "/networks/prune")
        for request in filtered(path, "{", '{"nosuch":["x"]}', '{"until":["x"]}', '{"until":["1h","2h"]}')
    ),
    *filtered("/images/prune", '{"dangling":["maybe"]}'),
    *filtered("/volumes/prune", "{", '{"until":["1h"]}'),
    *filtered("/build/prune", "{", '{"nosuch":["x"]}', '{"label":["x"]}'),
    *filtered("/events", "{"),
]
PARAMETERS: Final = [
    Request("GET", f"{V}/containers/json?limit=x"),
    Request("GET", f"{V}/containers/json?limit=-1&all=maybe"),
    Request("GET", f"{V}/images/json?all=1&all=0"),
    Request("GET", f"{V}/images/json?all=0&all=1"),
    Request("GET", f"{V}/images/json?all=no"),
    Request("GET", f"{V}/images/json?filter=nosuch"),
    Request("GET", f"{V}/images/json", b"all=1", FORM),
    Request("GET", f"{V}/images/get?names="),
    Request("GET", f"{V}/images/get?names=UPPER&names=nosuch"),
    Request("GET", f"{V}/images/get?names=nosuch&names=UPPER"),
    Request("GET", f"{V}/images/get"),
    Request("GET", f"{V}/events?since=x"),
    Request("GET", f"{V}/events?since=2&until=1"),
    Request("GET", f"{V}/events?since=-5&until=1.5"),
    Request("GET", f"{V}/system/df?type=nosuch"),
    Request("GET", f"{V}/networks/nosuch"),
    Request("GET", f"{V}/networks/bridge"),
    Request("GET", f"{V}/distribution/UPPER/json"),
    Request("POST", f"{TINY}/tag"),
    Request("POST", f"{TINY}/tag?repo=UPPER"),
    Request("POST", f"{TINY}/tag?repo=a@sha256:{'0' * 64}"),
    Request("POST", f"{TINY}/tag?repo=sha256"),
    Request("POST", f"{TINY}/tag?repo=x&tag=%20"),
    Request("POST", f"{V}/images/nosuch/tag?repo=UPPER"),
    Request("POST", f"{TINY}/tag?repo=twice&tag=1&tag=2&repo=other"),
    Request("DELETE", f"{V}/images/twice:1"),
    Request("POST", f"{TINY}/tag?repo=query&tag=q", b"repo=form&tag=v1", FORM),
    Request("DELETE", f"{V}/images/form:v1", b"force=1", FORM),
    Request("POST", f"{TINY}/tag?tag=q", b"repo=form", f"{FORM.upper()}; charset=utf-8"),
    Request("DELETE", f"{V}/images/form:q"),
    Request("POST", f"{TINY}/tag", b"repo=form", f"{FORM}; x"),
    Request("DELETE", f"{V}/images/form"),
    Request("POST", f"{TINY}/tag", b"repo=form"),
    Request(
        "POST",
        f"{TINY}/tag",
        b'--X\r\nContent-Disposition: form-data; name="repo"\r\n\r\nform\r\n--X--\r\n',
        "multipart/form-data; boundary=X",
    ),
    Request("POST", f"{TINY}/tag", b"repo=%zz", FORM),
    Request("POST", f"{TINY}/tag?a;b", b"repo=%zz", FORM),
    Request("POST", f"{TINY}/tag", b"a;b", FORM),
    Request("POST", f"{V}/images/prune", b"filters=%7B%22nosuch%22:%5B%5D%7D", FORM),
    Request("POST", f"{V}/images/load", b"junk=%zz", FORM),
]
IMPORTS: Final = [
    *imported(
        "  ",
        "/",
        "/linux",
        "linux/",
        "linux/\u00e9",
        "a/b/c/d",
        "linux/*",
        "nintendo64",
        "linux",
        "LINUX",
        "amd64",
        "linux/x86_64",
        "linux/sparc64",
        "linux/arm64/v8",
        "macos",
        "windows/amd64",
    ),
    *(
        Request("POST", f"{V}/images/create{query}")
        for query in [
            "",
            "?fromSrc=-",
            "?fromSrc=-&repo=UPPER",
            "?fromSrc=-&repo=x&tag=%20",
            "?fromSrc=-&changes=FROB%20x",
            "?fromSrc=http://127.0.0.1:9/x",
            "?fromSrc=127.0.0.1:9/x",
            "?fromSrc=%2Fdata%2Ffile.tar",
            "?fromSrc=ftp://x/y",
            "?fromSrc=://",
            "?fromSrc=http://127.0.0.1:bad/x",
            "?fromSrc=http://a%20b/",
            "?fromSrc=%25zz",
            "?fromImage=x&platform=nintendo64",
            "?fromImage=UPPER",
            "?fromImage=x&tag=%20",
        ]
    ),
    *(
        Request("POST", f"{V}/images/create?fromSrc=-&repo=x&tag=changed&changes={quote(change)}")
        for change in [
            "",
            " ",
            "# nothing",
            "ENV",
            "EXPOSE x",
            "FROM x",
            "HEALTHCHECK x",
            "STOPSIGNAL x",
            "CMD x\n\nENV a=b",
        ]
    ),
    Request("DELETE", f"{V}/images/x:changed"),
    Request("POST", "/v1.31/images/create?fromImage=UPPER&platform=nintendo64"),
    Request("POST", f"{V}/images/create", b"fromSrc=-&repo=form", FORM),
    Request("DELETE", f"{V}/images/form"),
]
_NAMES: Final = [
    *("docker.io/example/tiny:1.0", "8126e24b2462", "sha256:", "8", "8126E24B2462", "sha256:8126e24b2462"),
    *(f"example/tiny:1.0@sha256:{'0' * 64}", "@", "a:b:c", "a@b", "-x", "a/", "/a", "a%00b", "%2e%2e", "x" * 300),
    *("example%2Ftiny%3A1.0", "localhost:5000/x", "[::1]/x", f"example/tiny:{'a' * 129}", "%C3%A9"),
]
NAMES: Final = [
    *(Request("GET", f"{V}/images/{name}/{what}") for name in _NAMES for what in ("json", "history", "get")),
    *(Request("POST", f"{V}/images/{name}/tag?repo=named&tag=x") for name in _NAMES),
    *(
        Request("POST", f"{TINY}/tag{query}")
        for query in [
            *("?repo=&tag=", "?tag=x", "?repo=x:y", "?repo=x:y&tag=z", "?repo=x&tag=a:b", f"?repo=x&tag={'a' * 129}"),
            *(f"?repo={'a' * 300}", "?repo=localhost:5000/a&tag=b", "?repo=docker.io/library/q&tag=r", "?repo=x%00"),
            *("?repo=%C3%A9", f"?repo=x@sha256:{'0' * 64}&tag=y", "?repo=x&tag=1&force=maybe", "?repo=./x"),
            *("?repo=a//b", f"?repo={'b' * 64}", "?repo=x&tag=.a", "?repo=x&tag=-a", "?repo=x&tag=_a"),
        ]
    ),
    *(
        Request("DELETE", f"{V}/images/{name}")
        for name in [
            *("nosuch?force=maybe", "x?noprune=maybe", f"sha256:{'0' * 64}", "0" * 12, "0" * 64, "localhost:5000/a"),
            *("localhost:5000/a:b?noprune=1", "x:_a?force=1&noprune=1", "q:r", "named:x", f"x:z@sha256:{'0' * 64}"),
        ]
    ),
    *(Request(method, f"{TINY}/{what}") for method in ("HEAD", "PUT", "PATCH") for what in ("json", "get", "tag")),
    *(Request("GET", f"/v1.{minor}/images/nosuch/json") for minor in (24, 25, 30, 40)),
]
SEARCHES: Final = [
    *(Request("GET", f"{V}/images/search?term=x&limit={limit}") for limit in ("0", "-1", "101", "x")),
    *(
        Request("GET", f"{V}/images/search?term=x&filters={quote(text)}")
        for text in ["{", '{"nosuch":["x"]}', '{"stars":["x"]}', '{"is-official":["x"]}', '{"is-automated":["no"]}']
    ),
]
NETWORKS: Final = [
    *(
        Request("GET", f"{V}{path}/")
        for path in [
            *("/_ping", "/version", "/info", "/events", "/system/df", "/containers/json", "/images", "/networks"),
            *("/volumes", "/plugins", "/containers/x/json", "/exec/x/json", "/volumes/x", "/plugins/x/json", "/swarm"),
        ]
    ),
    *(Request("POST", f"{V}{path}/") for path in ["/images/prune", "/build/prune", "/networks/prune", "/networks"]),
    *(Request(method, f"{V}/networks/{name}") for method in ("GET", "DELETE") for name in ("a/b", "%20", "a/")),
    Request("DELETE", f"{V}/networks/"),
    Request("DELETE", f"{V}/networks"),
    *(
        Request("POST", f"{V}/networks/nosuch/{verb}", body, kind)
        for verb in ("connect", "disconnect")
        for body, kind in [
            (b"", ""),
            (b"", JSON),
            (b"{", JSON),
            (b"[]", JSON),
            (b"{}", JSON),
            (b'{"Container":"x"}', JSON),
            (b'{"container":"x","Force":true}', JSON),
            (b'{"Container":5}', JSON),
            (b'{"Container":"x"}', "text/plain"),
            (b'{"Container":"x"} {', JSON),
            (b"Container=x", FORM),
        ]
    ),
    Request("POST", f"{V}/networks//connect", b'{"Container":"x"}', JSON),
    Request("POST", f"{V}/networks/a/b/connect", b'{"Container":"x"}', JSON),
]
NOTHING: Final = [
    *(Request("POST", f"{V}/build/prune?keep-storage={size}") for size in ("x", "1.5", "%201", "9" * 30, "-1", "")),
    *(Request("GET", f"{V}{path}limit={'9' * 30}") for path in ("/containers/json?", "/images/search?term=x&")),
    *filtered("/containers/json", '{"status":["x"]}'),
    *filtered("/volumes", '{"dangling":["x"]}'),
    *filtered("/networks", '{"type":["x"]}'),
    *filtered("/plugins", '{"enabled":["x"]}'),
    *filtered("/build/prune", '{"id":[""]}', '{"unused-for":["x"]}', '{"id":["a","b"]}'),
    *filtered("/volumes/prune", '{"all":["x"]}'),
    *(Request("GET", f"{V}/images/{name}/{what}") for name in ("%ff", "a%ffb") for what in ("json", "history")),
    Request("POST", f"{TINY}/tag?repo=127.0.0.1:9/pushed"),
    Request("POST", f"{V}/images/127.0.0.1:9/pushed/push", b"{", JSON),
]
#: To the engine no value is every value: it removes whatever no container uses.
EMPTYING: Final = filtered("/images/prune", '{"dangling":null}', '{"dangling":{}}')
REQUESTS: Final = [
    *(*UNREADABLE, *PATHS, *ODD, *FILTERS, *PARAMETERS, *NAMES, *SEARCHES, *NETWORKS, *IMPORTS),
    *(*NOTHING, *odd.REQUESTS, *EMPTYING),
]


def said(path: Path, request: Request) -> Said:
    """Send a request, and return what is answered: of a failure the sentence, of a redirection the target."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PATIENCE)
        connection.connect(str(path))
        connection.sendall(request.raw())
        answer = b""
        try:
            while chunk := connection.recv(1 << 16):
                answer += chunk
        except ConnectionResetError:
            # Go's server does not wait for the rest of a body that it will not read.
            pass
    head, _, body = answer.partition(b"\r\n\r\n")
    status = int(head.split(None, 2)[1]) if head else 0
    if found := re.search(rb"(?im)^location: (\S+)", head):
        return Said(status, found[1].decode())
    return Said(status, "" if status < 300 else message(body))


def message(body: bytes) -> str:
    """Return the sentence of an error, or a body that is none as it is."""
    try:
        document: Any = json.JSONDecoder().raw_decode(body.decode())[0]
    except ValueError:
        return body.decode().strip()
    return str(document["message"]) if isinstance(document, dict) else ""


def differences() -> list[tuple[str, Said, Said]]:
    """Read the table: a pattern of requests, and patterns of what each answers."""
    table = TABLE.read_text().partition(_HEAD)[2].partition("\n\n")[0]
    rows = re.findall(r"^\| `(.+?)` \| (\d+) `(.*?)` \| (\d+) `(.*?)` \| [^|]+ \|$", table, flags=re.MULTILINE)
    return [(key, Said(int(one), theirs), Said(int(other), ours)) for key, one, theirs, other, ours in rows]


def fits(pattern: Said, found: Said) -> bool:
    """Return whether an answer is as a row of the table says."""
    escaped = pattern.message.replace("[", "[[]")
    return pattern.status == found.status and fnmatchcase(found.message, escaped)


def row_of(request: Request, theirs: Said, ours: Said) -> str | None:
    """Return the row that explains a difference."""
    for key, one, other in differences():
        if fnmatchcase(request.key, key.replace("[", "[[]")) and fits(one, theirs) and fits(other, ours):
            return f"{key} {one} {other}"
    return None


@pytest.fixture(scope="module")
def answers(daemon: Daemon, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[tuple[Request, Said, Said]]]:
    """What both answered, in the order in which they were asked."""
    daemon.docker.wipe()
    with serve(tmp_path_factory.mktemp("requests") / "root") as server:
        for archive in ARCHIVES:
            server.orlop("load", "-q", "-i", archive)
            daemon.docker("load", "-q", "-i", archive)
        engine = daemon.folder / "docker.sock"
        yield [(request, said(engine, request), said(server.socket, request)) for request in REQUESTS]
    daemon.docker.wipe()


def test_requests_are_answered_as_by_an_engine(answers: list[tuple[Request, Said, Said]]) -> None:
    unexplained = [
        f"{request.key}\n  engine: {theirs.status} {theirs.message}\n  orlop:  {ours.status} {ours.message}"
        for request, theirs, ours in answers
        if theirs != ours and row_of(request, theirs, ours) is None
    ]
    if unexplained:
        pytest.fail("\n".join(unexplained), pytrace=False)


def test_every_listed_difference_is_one(answers: list[tuple[Request, Said, Said]]) -> None:
    needed = {row_of(request, theirs, ours) for request, theirs, ours in answers if theirs != ours}
    assert differences()
    assert [row for row in differences() if f"{row[0]} {row[1]} {row[2]}" not in needed] == []
