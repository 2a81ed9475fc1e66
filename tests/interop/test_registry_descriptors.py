"""A registry that can open no more files says so, and goes on where it can again."""

from __future__ import annotations

import http.client
import json
import random
import resource
import sys
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from orlop.testing.registry.fake import FakeRegistry
from tests.interop.programs import PATIENCE
from tests.interop.served import serve
from tests.unit.hosted import OCTETS, RegistryClient, digest_of
from tests.unit.layouts import MANIFEST
from tests.unit.synced import add_image

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.interop.served import Served

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux can bound another process")
#: Larger than what is read and sent at once, and than what is handed on at once.
CONTENT = random.Random(1).randbytes(3 << 20)
SMALL = b"a few bytes"


class Line:
    """A connection that stays open, by which requests follow each other."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)

    def ask(
        self, method: str, target: str, body: bytes | None = None, media_type: str = OCTETS
    ) -> tuple[int, dict[str, str]]:
        self._connection.request(method, target, body, {"Content-Type": media_type})
        answer = self._connection.getresponse()
        answer.read()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}

    def close(self) -> None:
        self._connection.close()


@contextmanager
def exhausted(server: Served) -> Iterator[None]:
    """Have a server open nothing more for a block; what it has open stays."""
    before = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (3, before[1]))
    try:
        yield
    finally:
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, before)


def test_whatever_needs_a_file_is_asked_for_again_later(tmp_path: Path) -> None:
    heard: list[str] = []
    # A connection to the database is kept for each thread: with none so far, those are needed too.
    with serve(tmp_path / "root", "--registry", tcp=True, heard=heard) as server:
        registry = RegistryClient(int(server.host.rpartition(":")[2]))
        manifest = registry.push_image("a", "1")
        large, small = registry.push_blob("a", CONTENT), registry.push_blob("a", SMALL)
        parts = [registry.begin("a").headers["location"] for _ in range(3)]
        asked: dict[str, tuple[Any, ...]] = {
            "a large blob": ("GET", f"/v2/a/blobs/{large}"),
            "a small blob": ("GET", f"/v2/a/blobs/{small}"),
            "an upload begins": ("POST", "/v2/b/blobs/uploads/"),
            "an upload in one": ("POST", f"/v2/b/blobs/uploads/?digest={digest_of(SMALL)}", SMALL),
            "a large one in one": ("POST", f"/v2/b/blobs/uploads/?digest={digest_of(CONTENT)}", CONTENT),
            "a small part": ("PATCH", parts[0], SMALL),
            "a large part": ("PATCH", parts[1], CONTENT),
            "the end": ("PUT", f"{parts[2]}?digest={digest_of(CONTENT)}", CONTENT),
            "a cancelled upload": ("DELETE", parts[0]),
            "a manifest": ("PUT", "/v2/a/manifests/2", manifest, MANIFEST),
            "a tag goes": ("DELETE", "/v2/a/manifests/1"),
        }
        found = {}
        for what, request in asked.items():
            with closing(Line(registry.port)) as line:
                assert line.ask("GET", "/v2/")[0] == 200
                with exhausted(server):
                    found[what] = line.ask(*request)
        # Some need no file that is not open.
        statuses = {what: status for what, (status, _) in found.items()}
        allowed = {"a manifest": (201, 503), "a tag goes": (202, 503)}
        assert all(status in allowed.get(what, (503,)) for what, status in statuses.items()), f"{statuses} {heard}"
        assert all("retry-after" in headers for status, headers in found.values() if status == 503)
        # All of it is possible again.
        for what in ("an upload begins", "a large one in one", "a large part", "the end", "a large blob"):
            with closing(Line(registry.port)) as line:
                assert line.ask(*asked[what])[0] in {200, 201, 202}, what
        assert registry.get(f"/v2/a/blobs/{large}").body == CONTENT
        assert json.loads(server.orlop("fsck", "-q", "--format", "json"))["State"] == "clean"
    assert all("open files" in one for one in heard), heard


def test_a_database_that_cannot_be_opened_for_want_of_files_is_nobodys_fault(tmp_path: Path) -> None:
    heard: list[str] = []
    with (
        serve(tmp_path / "root", "--registry", "--engine", tcp=True, heard=heard) as server,
        closing(Line(int(server.host.rpartition(":")[2]))) as line,
    ):
        assert line.ask("GET", "/v2/")[0] == 200
        # Nothing was open before; what is asked in vain opens nothing either.
        for target in ("/v2/a/tags/list", "/images/json"):
            with exhausted(server):
                status, headers = line.ask("GET", target)
            assert (status, "retry-after" in headers) == (503, True), target
        assert (line.ask("GET", "/v2/a/tags/list")[0], line.ask("GET", "/images/json")[0]) == (404, 200)
    assert all("open files" in one for one in heard), heard


def test_a_cache_asks_nobody_where_it_cannot_and_the_upstream_is_not_taken_for_away(tmp_path: Path) -> None:
    heard: list[str] = []
    with FakeRegistry() as upstream:
        add_image(upstream, "team/app", "1", "text")
        where = f"--proxy=up.example.com=http://{upstream.authority}"
        with serve(tmp_path / "root", "--registry", where, tcp=True, heard=heard) as server:
            registry = RegistryClient(int(server.host.rpartition(":")[2]))
            target = "/v2/team/app/manifests/1?ns=up.example.com"
            with closing(Line(registry.port)) as line:
                assert line.ask("GET", "/v2/a/tags/list?ns=up.example.com")[0] in {200, 404}
                with exhausted(server):
                    status, headers = line.ask("GET", target)
                assert (status, "retry-after" in headers) == (503, True)
                assert line.ask("GET", target)[0] == 200
    assert all("open files" in one for one in heard), heard
