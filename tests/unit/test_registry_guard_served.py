"""A guard in front of the registry itself: what a client sees over HTTP."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

import orlop
from orlop.api.listeners import Address
from orlop.api.registry.guard.access import Access
from orlop.api.server import Options, Serves
from orlop.service.hosted.registry import HostedRegistry
from orlop.service.hosted.repository import Hosts
from tests.unit.guarded import RULES, TOKENS, basic, write_access, write_users
from tests.unit.hosted import RegistryClient, described, digest_of, written
from tests.unit.layouts import MANIFEST
from tests.unit.served import serving
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Guarded:
    """A registry that is served behind a guard, and its users."""

    def __init__(self, port: int, access: Access, folder: Path) -> None:
        self.client = RegistryClient(port)
        self.port = port
        self.access = access
        self.folder = folder

    def ask(self, method, target, user=None, **how):
        headers = {**how.pop("headers", {}), **({} if user is None else {"Authorization": self.header(user)})}
        return self.client.ask(method, target, headers=headers, **how)

    def header(self, user):
        return user if " " in user else basic(user)

    def plain(self, method, target, headers=()):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, target, headers=dict(headers))
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def push(self, repository, tag, user, content=b"layer"):
        """Push an image as clients do, and return the digest of its manifest."""
        for blob in (content, b"{}"):
            begun = self.ask("POST", f"/v2/{repository}/blobs/uploads/", user)
            assert begun.status == 202, begun.body
            where = begun.headers["location"]
            done = self.ask("PUT", f"{where}?digest={digest_of(blob)}", user, body=blob)
            assert done.status == 201, done.body
        manifest = written(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "artifactType": "application/x",
                "config": described(b"{}", "application/vnd.oci.empty.v1+json"),
                "layers": [described(content, "application/octet-stream")],
            }
        )
        target = f"/v2/{repository}/manifests/{tag}"
        put = self.ask("PUT", target, user, body=manifest, headers={"Content-Type": MANIFEST})
        assert put.status == 201, put.body
        return digest_of(manifest)


@pytest.fixture
def guarded(tmp_path: Path):
    @contextmanager
    def open_(text: str = RULES) -> Iterator[Guarded]:
        folder = tmp_path / "access"
        folder.mkdir(exist_ok=True)
        with orlop.open(tmp_path / "store") as service, Access(str(write_access(folder, text))) as access:
            registry = HostedRegistry(service.store, Hosts(("registry.test",)))
            options = Options(registry=registry, access=access, listeners=access.listeners)
            with serving(service, "tcp://127.0.0.1:0", options=options, serves=Serves.REGISTRY) as places:
                port = Address.parse(places[0]).port
                assert port is not None
                yield Guarded(port, access, folder)

    return open_


def test_an_image_is_pushed_and_pulled_by_those_who_may(guarded):
    with guarded() as registry:
        digest = registry.push("shared/app", "one", "anna")
        for user, status in (("ben", 200), (None, 401)):
            assert registry.ask("GET", "/v2/shared/app/manifests/one", user).status == status
            assert registry.ask("GET", f"/v2/shared/app/blobs/{digest_of(b'layer')}", user).status == status
        registry.push("team/app", "one", "anna")
        # The answer does not tell whether there is such an image.
        for name in ("team/app", "team/missing"):
            for target in (f"/v2/{name}/manifests/one", f"/v2/{name}/blobs/{digest}"):
                answer = registry.ask("GET", target, "ben")
                assert (answer.status, answer.json["errors"][0]["code"]) == (403, "DENIED")


def test_the_catalog_shows_only_what_may_be_pulled_page_by_page(guarded):
    with guarded() as registry:
        for name in ("shared/a", "shared/b", "team/a", "home/anna/a"):
            registry.push(name, "one", "anna")
        assert registry.ask("GET", "/v2/_catalog", "ben").json == {"repositories": ["shared/a", "shared/b"]}
        page = registry.ask("GET", "/v2/_catalog?n=1", "ben")
        assert page.json == {"repositories": ["shared/a"]}
        assert "last=shared" in page.headers["link"]
        last = registry.ask("GET", "/v2/_catalog?n=1&last=shared/a", "ben")
        assert last.json == {"repositories": ["shared/b"]}
        assert "link" not in last.headers


def test_a_mount_needs_the_right_to_pull_from_its_source(guarded):
    with guarded() as registry:
        registry.push("team/base", "one", "anna")
        registry.push("shared/base", "one", "anna", content=b"other")
        for user, source, content, status in (
            ("ben", "team/base", b"layer", 202),
            ("ben", "shared/base", b"other", 201),
            ("anna", "team/base", b"layer", 201),
        ):
            # Without a source that is looked for where the user may pull from, and nowhere else.
            for named in (f"&from={source}", "&from=", ""):
                target = f"/v2/shared/{user}/blobs/uploads/?mount={digest_of(content)}{named}"
                assert registry.ask("POST", target, user).status == status


def test_an_upload_belongs_to_whoever_began_it(guarded):
    with guarded() as registry:
        where = registry.ask("POST", "/v2/shared/app/blobs/uploads/", "anna").headers["location"]
        for method in ("GET", "PATCH", "PUT", "DELETE"):
            answer = registry.ask(method, f"{where}?digest={digest_of(b'x')}", "ben", body=b"x")
            assert (answer.status, answer.json["errors"][0]["code"]) == (404, "BLOB_UPLOAD_UNKNOWN")
        assert registry.ask("GET", where, "anna").status == 204


def test_the_token_server_is_served_beside_the_registry(guarded):
    with guarded(RULES + TOKENS) as registry:
        status, body = registry.plain(
            "GET", "/token?scope=repository:shared/app:pull,push", [("Authorization", basic("anna"))]
        )
        assert status == 200
        bearer = f"Bearer {json.loads(body)['token']}"
        registry.push("shared/app", "one", bearer)
        assert registry.ask("GET", "/v2/shared/app/manifests/one", bearer).status == 200
        assert registry.ask("GET", "/v2/shared/other/manifests/one", bearer).status == 401


def test_too_large_a_part_ends_and_the_upload_goes_on(guarded):
    with guarded(f'{RULES}[limits]\nupload = "100"\n') as registry:
        where = registry.ask("POST", "/v2/shared/app/blobs/uploads/", "anna").headers["location"]
        assert registry.ask("PATCH", where, "anna", body=b"x" * 80).status == 202
        assert registry.ask("PATCH", where, "anna", body=b"x" * 80).status == 413
        put = registry.ask("PUT", f"{where}?digest={digest_of(b'x' * 80)}", "anna")
        assert put.status == 201


@pytest.mark.parametrize("is_sized", [True, False])
def test_what_an_upload_did_not_take_does_not_count_against_it(guarded, is_sized):
    text = f'{RULES}[limits]\nupload = "100"\n'
    with guarded(text) as registry:
        where = registry.ask("POST", "/v2/shared/app/blobs/uploads/", "anna").headers["location"]
        wrong = {"Content-Range": "50-129"}
        assert registry.ask("PATCH", where, "anna", body=b"x" * 80, headers=wrong).status == 416
        body = b"x" * 101 if is_sized else iter([b"x" * 60, b"x" * 60])
        assert registry.ask("PATCH", where, "anna", body=body).status == 413
        assert registry.ask("GET", where, "anna").headers["range"] == "0-0"
        assert registry.ask("PATCH", where, "anna", body=b"x" * 80).status == 202
    # A server that has not seen the parts before counts them all the same.
    with guarded(text) as registry:
        assert registry.ask("PATCH", where, "anna", body=b"x" * 21).status == 413
        assert registry.ask("PUT", f"{where}?digest={digest_of(b'x' * 100)}", "anna", body=b"x" * 20).status == 201


def test_receivers_are_told_of_pushes_and_the_audit_log_has_the_rest(guarded, tmp_path):
    hook = '[[webhook]]\nname = "ci"\nurl = "http://127.0.0.1:1/"\nqueue = "hooks"\n'
    with guarded(f'audit = "audit"\n{RULES}{hook}') as registry:
        digest = registry.push("shared/app", "one", "anna")
        until(lambda: registry.access.webhooks.waiting() == {"ci": 3})
        # A line is written once the client has its answer.
        until(lambda: len((registry.folder / "audit").read_text().splitlines()) == 5)
        audit = [json.loads(line) for line in (registry.folder / "audit").read_text().splitlines()]
        assert [(one["action"], one["status"]) for one in audit] == [("upload", 202), ("upload", 201)] * 2 + [
            ("push", 201)
        ]
        assert (audit[-1]["user"], audit[-1]["digest"], audit[-1]["reference"]) == ("anna", digest, "one")
        _, metrics = registry.plain("GET", "/metrics", [("Authorization", basic("anna"))])
        assert "orlop_registry_webhook_waiting 3\n" in metrics
    events = [json.loads(one.read_text())["events"][0] for one in sorted((registry.folder / "hooks").glob("*.json"))]
    assert [one["action"] for one in events] == ["push"] * 3
    assert events[-1]["target"]["digest"] == digest
    assert events[-1]["target"]["tag"] == "one"
    assert events[-1]["actor"] == {"name": "anna"}


def test_the_audit_log_counts_what_the_kernel_moves(guarded):
    content = bytes(3 << 20)
    with guarded(f'audit = "audit"\n{RULES}') as registry:
        registry.push("shared/app", "one", "anna", content)
        assert len(registry.ask("GET", f"/v2/shared/app/blobs/{digest_of(content)}", "anna").body) == len(content)

        def lines():
            return [json.loads(line) for line in (registry.folder / "audit").read_text().splitlines()]

        until(lambda: any(one["action"] == "pull" for one in lines()))
        assert max(one["received"] for one in lines()) == len(content)
        assert [one["sent"] for one in lines() if one["action"] == "pull"] == [len(content)]


def test_health_is_for_all_and_what_is_counted_for_users(guarded):
    with guarded() as registry:
        assert registry.plain("GET", "/health") == (200, "ok\n")
        assert registry.plain("GET", "/metrics")[0] == 401
        registry.ask("GET", "/v2/shared/app/tags/list", "anna")
        status, text = registry.plain("GET", "/metrics", [("Authorization", basic("anna"))])
        assert status == 200
        assert 'orlop_http_requests_total{route="/v2/{name}/tags/list",method="GET",status="404"} 1' in text
        assert "orlop_registry_uploads_open 0\n" in text
        # What the guard has answered is counted too.
        assert 'orlop_http_requests_total{route="other",method="GET",status="401"} 1' in text


def test_the_file_is_read_again_while_the_server_works(guarded, caplog):
    with guarded() as registry:
        assert registry.ask("GET", "/v2/", "anna").status == 200
        write_users(registry.folder, {"ben": "secret-b"})
        registry.access.renew()
        assert registry.ask("GET", "/v2/", "anna").status == 401
        assert registry.ask("GET", "/v2/", "ben").status == 200
        # A mistake changes nothing, and is told with its line.
        (registry.folder / "access.toml").write_text("htpasswd = 5\n")
        registry.access.renew()
        assert "line 1: htpasswd must be a text" in caplog.text
        assert registry.ask("GET", "/v2/", "ben").status == 200


def test_a_right_that_is_taken_away_is_gone_though_the_audit_log_cannot_be_opened(guarded, tmp_path, caplog):
    (tmp_path / "access" / "log").mkdir(parents=True)
    with guarded(f'audit = "log/audit"\n{RULES}') as registry:
        assert registry.ask("GET", "/v2/shared/app/tags/list", "anna").status == 404
        log = registry.folder / "log"
        log.rename(registry.folder / "moved")
        write_users(registry.folder, {"ben": "secret-b"})
        registry.access.renew()
        assert registry.ask("GET", "/v2/shared/app/tags/list", "anna").status == 401
        assert "the audit log continues in its old file" in caplog.text
        registry.ask("GET", "/v2/shared/after/tags/list", "ben")
        until(lambda: "shared/after" in (registry.folder / "moved" / "audit").read_text())


@pytest.mark.parametrize(
    "path",
    [
        "/v2/shared/../team/app/manifests/one",
        "/v2/shared/%2e%2e/team/app/manifests/one",
        "/v2/shared%2f..%2f..%2fteam/app/manifests/one",
        "/v2//team/app/manifests/one",
        "//v2/team/app/manifests/one",
        "/v2/./team/app/manifests/one",
        "/V2/team/app/manifests/one",
        "/v2/team/app/manifests/one/",
        "/v2/TEAM/app/manifests/one",
        "/v2/team/app/manifests/one%00",
        "/v2/team%5capp/manifests/one",
        "/v2/team/app/manifests/one;/v2/public/app/manifests/x",
        "/v2/public/app/blobs/uploads/../../../../team/app/manifests/one",
    ],
)
def test_no_path_leads_around_the_guard(guarded, path):
    with guarded() as registry:
        digest = registry.push("team/app", "one", "anna")
        for user in (None, "ben"):
            headers = [] if user is None else [("Authorization", basic(user))]
            status, body = registry.plain("GET", path, headers)
            assert status in {400, 401, 403, 404}
            assert digest not in body
            assert "artifactType" not in body


def test_a_client_that_tries_tls_first_is_answered_though_its_head_never_ends(guarded):
    """Go's clients of registries begin with a ClientHello; if plain HTTP answers it, they go on without TLS."""
    hello, nothing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        ssl.create_default_context().wrap_bio(nothing, hello, server_hostname="registry.test").do_handshake()
    with guarded() as registry, socket.create_connection(("127.0.0.1", registry.port), timeout=60) as connection:
        connection.sendall(hello.read())
        # A head that is awaited for too long is answered with 408.
        assert connection.recv(64).startswith(b"HTTP/1.1 400 ")
