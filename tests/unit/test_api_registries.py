"""`orlop serve` and registries: pushes in docker's words, logins, and whose credentials are shown to whom."""

from __future__ import annotations

import base64
import io
import json
import re
import socket
from contextlib import contextmanager
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import pytest

from orlop.registry.hosts import Hosts, Rule, Server
from orlop.registry.registries import Registries
from orlop.registry.search import place
from orlop.testing.registry.fake import FakeRegistry
from orlop.testing.registry.quirks import Failure, Quirks
from tests.unit.layouts import Layout, named
from tests.unit.pushed import reached, simple, top_digest
from tests.unit.served import served
from tests.waiting import PATIENCE

if TYPE_CHECKING:
    import http.client
    from collections.abc import Iterator
    from pathlib import Path

    import orlop
    from orlop.registry.credentials import Keychain
    from tests.unit.served import Client

USERS = {"me": "secret"}


@pytest.fixture
def client(images: orlop.ImageService, tmp_path: Path) -> Iterator[Client]:
    with served(images, tmp_path) as found:
        yield found


@contextmanager
def registry(**quirks: Any) -> Iterator[FakeRegistry]:
    with FakeRegistry(Quirks(**quirks), users=USERS) as there:
        yield there


def header(**document: Any) -> dict[str, str]:
    return {"X-Registry-Auth": base64.urlsafe_b64encode(json.dumps(document).encode()).decode()}


ME = header(username="me", password="secret")


@pytest.mark.parametrize("auth", ["none", "basic", "bearer"])
def test_a_push_is_told_in_docker_s_words(images: orlop.ImageService, client: Client, auth: str):
    with registry(auth=auth) as there:
        name = f"{there.authority}/team/app"
        layout = simple(f"{name}:1", "a")
        images.load(io.BytesIO(layout.pack()))
        lines = client.post(f"/images/{name}/push", {"tag": "1"}, headers=ME).lines
        size = len(layout.files["blobs/" + top_digest(layout).replace(":", "/")])
        assert lines[0] == {"status": f"The push refers to repository [{name}]"}
        (pushed,) = [line for line in lines if line.get("status") == "Pushed"]
        assert pushed["progressDetail"] == {}
        assert lines[-2:] == [
            {"status": f"1: digest: {top_digest(layout)} size: {size}"},
            {"progressDetail": {}, "aux": {"Tag": "1", "Digest": top_digest(layout), "Size": size}},
        ]
        images.tag(f"{name}:1", f"{name}:2")
        again = client.post(f"/images/{name}/push", {"tag": "2"}, headers=ME).lines
        assert [line["status"] for line in again if "id" in line] == ["Layer already exists"]


def test_without_a_tag_all_tags_are_pushed(images: orlop.ImageService, client: Client):
    with registry() as there:
        name = f"{there.authority}/app"
        images.load(io.BytesIO(simple(f"{name}:1", "a").pack()))
        images.tag(f"{name}:1", f"{name}:2")
        client.post(f"/images/{name}/push")
        assert sorted(there.repository("app").tags) == ["1", "2"]


@pytest.mark.parametrize(
    "headers",
    [{}, {"X-Registry-Auth": "?"}, header(), header(username="me", password="wr0ng"), header(username=1)],
)
def test_a_registry_that_refuses_is_told_in_the_last_line(
    images: orlop.ImageService, client: Client, headers: dict[str, str]
):
    with registry(auth="basic") as there:
        name = f"{there.authority}/app"
        images.load(io.BytesIO(simple(f"{name}:1", "a").pack()))
        answer = client.post(f"/images/{name}/push", {"tag": "1"}, headers=headers)
        assert answer.status == 200
        assert there.authority in answer.lines[-1]["error"]
        assert answer.lines[-1]["errorDetail"]["message"] == answer.lines[-1]["error"]
        assert b"wr0ng" not in answer.body


def test_an_image_that_is_not_there_is_told_in_the_last_line(client: Client):
    answer = client.post("/images/127.0.0.1:1/app/push", {"tag": "1"})
    assert answer.lines[-1]["error"] == "An image does not exist locally with the tag: 127.0.0.1:1/app"


@pytest.mark.parametrize(
    ("name", "tag", "early", "status", "message"),
    [
        ("UPPER", "", 500, 400, "invalid reference format: *"),
        ("nosuch", " ", 500, 400, "invalid tag format"),
        ("nosuch", "a/b", 500, 400, "invalid tag format"),
        (f"nosuch@sha256:{64 * '0'}", "x", 200, 400, "cannot import digest reference"),
    ],
)
def test_a_push_of_a_name_that_is_not_valid_is_refused(
    client: Client, name: str, tag: str, early: int, status: int, message: str
):
    assert client.post(f"/v1.41/images/{name}/push", {"tag": tag}).status == early
    answer = client.post(f"/images/{name}/push", {"tag": tag})
    assert (answer.status, fnmatchcase(answer.message, message)) == (status, True)


@pytest.mark.parametrize("name", ["scratch", "library/scratch", "docker.io/library/scratch:1", "scratch:"])
def test_the_image_without_content_is_not_pulled(client: Client, name: str):
    for version in ("/v1.41", ""):
        answer = client.post(f"{version}/images/create", {"fromImage": name})
        assert (answer.status, answer.message) == (403, "'scratch' is a reserved name")


@pytest.mark.parametrize("auth", ["basic", "bearer"])
def test_a_login_is_checked_with_the_registry(client: Client, auth: str):
    with registry(auth=auth) as there:
        body = {"username": "me", "password": "secret", "serveraddress": there.authority}
        answer = client.post("/auth", body=json.dumps(body), headers={"Content-Type": "application/json"})
        assert (answer.status, answer.json) == (200, {"Status": "Login Succeeded", "IdentityToken": ""})
        refused = client.post("/auth", body=json.dumps(body | {"password": "wr0ng"}))
        assert refused.status == 401
        assert "wr0ng" not in refused.message


def test_a_login_that_another_host_would_get_is_refused(
    images: orlop.ImageService, client: Client, monkeypatch: pytest.MonkeyPatch
):
    with registry(auth="none") as there, reached() as registries:
        rule = Rule(prefix="registry.example.com", server=Server(location=there.authority, plain_http=True))
        elsewhere = Hosts([rule])

        @contextmanager
        def network(keychain: Keychain) -> Iterator[Registries]:
            yield Registries(registries._transport, keychain=keychain, hosts=elsewhere)

        monkeypatch.setattr(images, "network", network)
        body = {"username": "me", "password": "secret", "serveraddress": "registry.example.com"}
        refused = client.post("/auth", body=json.dumps(body))
        assert refused.status == 400
        assert there.authority in refused.message
        assert there.requests == []


@pytest.mark.parametrize("body", ["", "[]", "{", json.dumps({"serveraddress": "no host"})])
def test_a_login_that_cannot_be_read_is_refused(client: Client, body: str):
    assert client.post("/auth", body=body).status == 400


@pytest.mark.sampled(2)
@pytest.mark.parametrize("name", ["username", "password", "auth", "email", "serveraddress", "identitytoken"])
@pytest.mark.parametrize("value", [1, 0, False, [], {}])
def test_a_login_with_something_else_than_texts_asks_no_registry(client: Client, name: str, value: object):
    with registry(auth="basic") as there:
        body = {"username": "me", "password": "secret", "serveraddress": there.authority} | {name: value}
        refused = client.post("/auth", body=json.dumps(body))
        assert (refused.status, refused.message) == (400, f"the {name} of a login is not a text")
        assert there.requests == []


def test_a_registry_is_asked_for_its_manifest_where_a_client_says_who_it_is(images: orlop.ImageService, client: Client):
    with registry(auth="basic") as there:
        name = f"{there.authority}/app"
        layout = Layout()
        children = [layout.image(one, architecture=one, platform=True) for one in ("amd64", "arm64")]
        layout.top(layout.index(*children, **named(f"{name}:1")))
        images.load(io.BytesIO(layout.pack()))
        client.post(f"/images/{name}/push", {"tag": "1"}, headers=ME)
        shown = client.get(f"/distribution/{name}:1/json", headers=ME).json
        assert shown["Descriptor"]["digest"] == top_digest(layout)
        assert [one["architecture"] for one in shown["Platforms"]] == ["amd64", "arm64"]
        digest = children[0]["digest"]
        one = client.get(f"/distribution/{name}@{digest}/json", headers=ME).json
        assert [platform["architecture"] for platform in one["Platforms"]] == ["amd64"]
        assert client.get(f"/distribution/{name}:9/json", headers=ME).status == 404


@pytest.mark.sampled(2)
def test_registries_that_do_not_answer_keep_nobody_from_the_store(client: Client):
    asking: list[http.client.HTTPConnection] = []
    with socket.create_server(("127.0.0.1", 0), backlog=64) as silent:
        host = f"127.0.0.1:{silent.getsockname()[1]}"
        body = json.dumps({"username": "me", "password": "secret", "serveraddress": host})
        look, login = ("GET", f"/v1.44/distribution/{host}/a/json", None), ("POST", "/v1.44/auth", body)
        for method, path, sent in [look, login] * 6:
            connection = client.connection()
            connection.request(method, path, body=sent, headers=ME)
            asking.append(connection)
        waiting, _ = silent.accept()
        mine = client.connection()
        mine.connect()
        assert mine.sock is not None
        mine.sock.settimeout(PATIENCE)
        mine.request("GET", "/v1.44/images/json")
        answer = mine.getresponse()
        assert answer.status == 200
        answer.read()
        mine.close()
        # What is asked ends with its client: the registry sees that nobody waits any more.
        for one in asking:
            one.close()
        with waiting:
            waiting.settimeout(PATIENCE)
            while waiting.recv(1 << 16):
                pass


def test_what_a_client_shows_goes_to_the_registry_that_it_names(images: orlop.ImageService, client: Client):
    with registry(auth="bearer", location="store", redirect=307) as there:
        name = f"{there.authority}/app"
        images.load(io.BytesIO(simple(f"{name}:1", "a", "b").pack()))
        client.post(f"/images/{name}/push", {"tag": "1"}, headers=ME)
        assert list(there.repository("app").tags) == ["1"]
        assert {one.site for one in there.requests if "authorization" in one.headers} == {"registry", "auth"}


@pytest.mark.sampled(2)
@pytest.mark.parametrize("auth", ["none", "basic", "bearer"])
def test_a_registry_that_can_be_searched_is_searched(client: Client, auth: str):
    with registry(auth=auth, search=200) as there:
        for name in ("team/app", "team/other", "app"):
            there.repository(name)
        there.repository("team/app").tags["1"] = "sha256:0"

        def found(term: str = "app", **asked: str) -> Any:
            return client.get("/images/search", {"term": f"{there.authority}/{term}", **asked}, headers=ME).json

        assert found() == [
            {"star_count": 0, "is_official": True, "name": "app", "is_automated": False, "description": "about app"},
            {
                "star_count": 1,
                "is_official": False,
                "name": "team/app",
                "is_automated": False,
                "description": "about team/app",
            },
        ]
        assert [one["name"] for one in found(limit="1")] == ["app"]
        for filters, names in (
            ('{"stars":["1"]}', ["team/app"]),
            ('{"is-official":["true"]}', ["app"]),
            ('{"is-official":{"false":true},"is-automated":{"0":true}}', ["team/app"]),
        ):
            assert [one["name"] for one in found(filters=filters)] == names
        assert found("a&n=9") == []
        there.requests.clear()
        found("team")
        assert [one.target for one in there.requests if one.site == "registry"][-1] == "/v1/search?q=team&n=25"


@pytest.mark.sampled(4)
def test_a_registry_that_cannot_be_searched_says_so(client: Client):
    with registry() as there:
        answer = client.get("/images/search", {"term": f"{there.authority}/app"})
        assert "cannot be searched" in answer.message
        assert answer.status >= 400
    assert client.get("/images/search", {"term": f"{there.authority}/app"}).status >= 500


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"term": ""}, "nothing to search for"),
        ({"term": "https://r.test/app"}, "should not have a scheme"),
        ({"limit": "0"}, r"[lL]imit \d+ is outside the range of \[1, 100\]"),
        ({"limit": "101"}, r"[lL]imit \d+ is outside the range of \[1, 100\]"),
        ({"filters": '{"stars":["many"]}'}, "[iI]nvalid filter 'stars=many'"),
        ({"filters": '{"is-official":["true","false"]}'}, r"[iI]nvalid filter 'is-official=\[false true\]'"),
        ({"filters": '{"name":["x"]}'}, "[iI]nvalid filter 'name'"),
    ],
)
def test_a_search_that_cannot_be_read_is_refused_before_anybody_is_asked(
    client: Client, asked: dict[str, str], why: str
):
    with registry(search=200) as there:
        answer = client.get("/images/search", {"term": f"{there.authority}/app"} | asked)
        assert answer.status == 400
        assert re.search(why, answer.message)
        assert there.requests == []


@pytest.mark.parametrize("sent", [b"", b"[]", b'{"results":7}', b"<html></html>"])
def test_what_is_not_a_list_of_what_was_found_is_told(client: Client, sent: bytes):
    with registry(search=200, failures=(Failure(200, body=sent),)) as there:
        answer = client.get("/images/search", {"term": f"{there.authority}/app"})
        assert "does not answer with a list" in answer.message


def test_docker_hub_is_searched_at_a_host_of_its_own():
    """It is another origin, to which the exchange sends no credentials."""
    assert place("registry-1.docker.io", "a b&n=9", 5) == "https://index.docker.io/v1/search?q=a+b%26n%3D9&n=5"
    assert place("quay.io", "app", 25) == "/v1/search?q=app&n=25"
