"""Lists in documents, names and settings that `lists` does not have: of manifests, layers, requests and registries."""

from __future__ import annotations

import json
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from orlop.api.head import Refused, parse_head
from orlop.errors import OrlopError
from orlop.inside.baseline import read_reports
from orlop.model.image import Image
from orlop.model.manifest import Index, parse_manifest
from orlop.model.reference import Reference
from orlop.registry.hostfiles import rules_in
from orlop.registry.hosts import Hosts
from orlop.registry.links import next_page
from tests.hostile import tars
from tests.hostile.growth import Growing, opened
from tests.hostile.made import DIFF, config, docker, hardlink, version_1
from tests.unit.layouts import INDEX, MANIFEST, sha256

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Prepare = Callable[[int, Path], Callable[[], object]]

_DESCRIPTOR: Final = {"mediaType": MANIFEST, "digest": DIFF, "size": 1}


def read(make: Callable[[int], Any], work: Callable[[Any], object], *, times: int = 1) -> Prepare:
    """Read a value that is made of a count, so many times; it may be refused."""

    def prepare(count: int, _: Path) -> Callable[[], object]:
        value = make(count)

        def run() -> None:
            for _ in range(times):
                with suppress(OrlopError, ValueError, Refused):
                    work(value)

        return run

    return prepare


def manifest(**more: Any) -> bytes:
    named = {"schemaVersion": 2, "mediaType": MANIFEST, "config": _DESCRIPTOR, "layers": [_DESCRIPTOR]}
    return json.dumps(named | more).encode()


def index(*entries: dict[str, Any], **more: Any) -> bytes:
    return json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries} | more).encode()


def texts(count: int) -> dict[str, str]:
    return {str(number): "" for number in range(count)}


def head(lines: bytes) -> bytes:
    return b"GET / HTTP/1.1\r\nHost: d\r\n" + lines + b"\r\n"


def layer_of(make: Callable[[int], bytes]) -> Prepare:
    """Load an image whose layer has these entries, and list its files."""

    def prepare(count: int, folder: Path) -> Callable[[], object]:
        layer = make(count) + tars.END
        files = docker(c__json=config(sha256(layer)), l__tar=layer)
        (folder / "archive.tar").write_bytes(tars.tar(tars.files(files)))
        images = opened(folder)

        def run() -> None:
            images.load(folder / "archive.tar")
            with images.files("a:1") as found:
                assert len(list(found)) > 1

        return run

    return prepare


def first_file(rest: Callable[[int], bytes]) -> Callable[[int], bytes]:
    return lambda count: tars.member(b"a", b"x") + b"".join(map(rest, range(count)))


def with_attributes(count: int) -> bytes:
    """Entries that have extended attributes each."""
    records = {b"SCHILY.xattr.user.a": b"1", b"SCHILY.xattr.user.b": b"2"}
    return b"".join(tars.pax(records) + tars.member(b"%d" % number) for number in range(count))


def mirrored(count: int, folder: Path) -> Callable[[], object]:
    """Rules for names, and mirrors of one of them, in a file."""
    path = folder / "registries.toml"
    rules = "".join(f'[[registry]]\nprefix = "r{number}.example.com"\n' for number in range(count))
    mirrors = "".join(f'[[registry.mirror]]\nlocation = "m{number}.example.com"\n' for number in range(count))
    path.write_text(f'{rules}[[registry]]\nprefix = "example.com"\n{mirrors}')

    def run() -> None:
        hosts = Hosts(rules_in(str(path)))
        for number in range(10):
            hosts.to_pull(Reference.parse(f"r{number}.example.com/a"))
            hosts.to_pull(Reference.parse(f"example.com/{number}"))

    return run


def repositories(count: int, folder: Path) -> Callable[[], object]:
    """Names of an archive of version 1."""
    files = version_1({"a": {}})
    (child,) = json.loads(version_1()["repositories"])["a"].values()
    files["repositories"] = json.dumps({f"r{number}": {"1": child} for number in range(count)}).encode()
    (folder / "archive.tar").write_bytes(tars.tar(tars.files(files)))
    return partial(opened(folder).load, folder / "archive.tar")


def findings(count: int) -> bytes:
    """A baseline: what an audit found before."""
    shared = {"Rule": "a", "Kind": "risk", "Severity": "high", "Text": "t", "Layer": 1, "Seen": True, "Size": 1}
    found = [
        shared | {"Path": f"/{number}", "PathBytes": "", "Fingerprint": f"{number:064x}"} for number in range(count)
    ]
    return json.dumps({"Format": 1, "Image": "a:1", "Findings": found, "Known": []}).encode()


LISTED: Final = (
    Growing("annotations of a manifest", 10_000, read(lambda n: manifest(annotations=texts(n)), parse_manifest)),
    Growing(
        "a long annotation", 1_000_000, read(lambda n: manifest(annotations={"a": "x" * n}), parse_manifest, times=10)
    ),
    Growing("annotations of an index", 20_000, read(lambda n: index(annotations=texts(n)), Index.of_layout)),
    Growing(
        "URLs of layers",
        2000,
        read(lambda n: manifest(layers=[_DESCRIPTOR | {"urls": ["http://x"] * 9}] * n), parse_manifest),
    ),
    Growing(
        "entries of a list by unknown digests",
        2000,
        read(
            lambda n: index(*({"mediaType": MANIFEST, "digest": f"a:{i}", "size": 1} for i in range(n))),
            partial(Index.of_layout, may_be_strange=True),
        ),
    ),
    Growing(
        "instructions for children", 20_000, read(lambda n: config(config={"OnBuild": ["RUN a"] * n}), Image.from_json)
    ),
    Growing(
        "volumes", 20_000, read(lambda n: config(config={"Volumes": {f"/{i}": {} for i in range(n)}}), Image.from_json)
    ),
    Growing("headers", 500, read(lambda n: head(b"a: b\r\n" * n), parse_head, times=20)),
    Growing("cookies", 4000, read(lambda n: head(b"Cookie: " + b"a=b; " * n + b"\r\n"), parse_head, times=50)),
    Growing(
        "parameters of a query",
        4000,
        read(lambda n: b"GET /?" + b"a=b&" * n + b" HTTP/1.1\r\nHost: d\r\n\r\n", parse_head, times=50),
    ),
    Growing(
        "links to pages",
        1000,
        read(
            lambda n: ", ".join(['</v2/a?n=1>; rel="prev"'] * n),
            lambda text: next_page("http://127.0.0.1/v2/", [text]),
            times=20,
        ),
    ),
    Growing("findings of a baseline", 2000, read(findings, read_reports)),
    Growing("rules and mirrors of registries", 250, mirrored),
    Growing("names of version 1", 1000, repositories),
    Growing("hard links to one file", 4000, layer_of(first_file(lambda i: hardlink(b"l%d" % i, b"a")))),
    Growing("whiteouts", 4000, layer_of(first_file(lambda i: tars.member(b".wh.f%d" % i)))),
    Growing("files with attributes", 2000, layer_of(with_attributes)),
    Growing("files of one name", 4000, layer_of(first_file(lambda _: tars.member(b"b")))),
)
"""These lists."""
