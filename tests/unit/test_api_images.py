"""Images over HTTP: lists, inspection, history, names, removal, as docker's clients ask for them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

import orlop
from tests.unit.served import served

if TYPE_CHECKING:
    from tests.unit.served import Client

TINY = "sha256:8126e24b2462f21d011c30e61cf0a955bed4bdaf1731e35ef3add4927267f3b2"
COMMITTED = "registry.example.com:5000/team/committed:2.0"


@pytest.fixture
def images(tmp_path, data):
    with orlop.open(tmp_path / "root") as images:
        images.load(data / "dockerd-20.10-overlay2" / "multi.tar")
        yield images


@pytest.fixture
def client(images, tmp_path):
    with served(images, tmp_path) as client:
        yield client


def tags(client: Client, query: dict[str, str] | None = None) -> set[str]:
    return {tag for image in client.get("/images/json", query).json for tag in image["RepoTags"]}


def test_every_answer_of_a_route_says_who_answers(client):
    ping = client.get("/_ping")
    assert (ping.status, ping.body) == (200, b"OK")
    assert ping.headers["content-type"] == "text/plain; charset=utf-8"
    others = [client.get(target) for target in ("/images/json", "/images/nosuch/json")]
    for answer in (ping, *others):
        assert answer.headers["api-version"] == "1.55"
        assert answer.headers["ostype"] == "linux"
        assert answer.headers["docker-experimental"] == "false"
        assert answer.headers["server"] == f"orlop/{orlop.__version__} (linux)"
        assert "date" in answer.headers


def test_a_ping_may_ask_for_the_headers_alone(client):
    answer = client.ask("HEAD", "/_ping")
    assert (answer.status, answer.headers["content-length"], answer.body) == (200, "0", b"")


@pytest.mark.parametrize("version", ["1.24", "1.41", "1.55"])
def test_a_version_in_the_path_is_the_version_of_the_answer(client, version):
    (image, *_) = client.get(f"/v{version}/images/json").json
    assert ("VirtualSize" in image) == (version != "1.55")


@pytest.mark.parametrize(
    ("version", "message"),
    [
        ("1.56", "client version 1.56 is too new. Maximum supported API version is 1.55"),
    ],
)
def test_a_version_that_is_not_served_is_refused(client, version, message):
    answer = client.get(f"/v{version}/images/json")
    assert (answer.status, answer.message) == (400, message)


def test_what_the_api_does_not_have_is_not_found(client):
    for method, target in [
        ("GET", "/nosuch"),
        ("PUT", "/images/json"),
        ("HEAD", "/images/json"),
        ("GET", "/v1.x/info"),
    ]:
        assert client.ask(method, target).status == 404
    absent = client.get("/nosuch")
    assert absent.message == "page not found"
    # An engine says what it is only where it has a route.
    assert not {"api-version", "docker-experimental", "ostype", "server"}.intersection(absent.headers)


def test_images_are_listed_and_filtered(client):
    assert tags(client) == {"example/tiny:1.0", "example/imported:latest", COMMITTED}
    assert tags(client, {"filters": json.dumps({"reference": {"example/*": True}})}) == {
        "example/tiny:1.0",
        "example/imported:latest",
    }
    assert tags(client, {"filters": json.dumps({"label": ["x=y"]})}) == {"example/imported:latest"}
    assert client.get("/images/json", {"filters": "{"}).status == 400
    assert client.get("/images/json", {"filters": '{"nosuch":["x"]}'}).message == "invalid filter 'nosuch'"


def test_all_shows_what_only_other_images_need(client):
    client.delete("/images/example/tiny:1.0")
    assert TINY not in [image["Id"] for image in client.get("/images/json").json]
    assert TINY in [image["Id"] for image in client.get("/images/json", {"all": "1"}).json]


def test_an_image_is_inspected_by_any_of_its_names(client):
    for name in ("example/tiny:1.0", "docker.io/example/tiny:1.0", TINY, TINY[7:19]):
        assert client.get(f"/images/{name}/json").json["Id"] == TINY
    assert client.get(f"/images/{COMMITTED}/json").json["RepoTags"] == [COMMITTED]
    assert client.get("/images/example%2Ftiny:1.0/json").json["Id"] == TINY


def test_the_history_of_an_image_is_told(client):
    (newest, *_) = client.get("/images/example/tiny:1.0/history").json
    assert (newest["Id"], newest["Tags"], newest["Size"]) == (TINY, ["example/tiny:1.0"], 0)


def test_an_image_that_is_not_there_is_not_found_in_the_words_of_each_engine(client):
    old, new = client.get("/v1.41/images/nosuch/json"), client.get("/images/nosuch/json")
    assert (old.status, old.message) == (404, "no such image: nosuch: No such image: nosuch:latest")
    assert (new.status, new.message) == (404, "No such image: nosuch:latest")
    assert client.get("/images/nosuch/history").message == "No such image: nosuch:latest"


@pytest.mark.sampled(2)
@pytest.mark.parametrize("name", ["UPPER", "...", "-", "%00", "a b", "%ff", "%20"])
def test_a_name_that_is_none_is_refused(client, name):
    answer = client.get(f"/images/{name.replace(' ', '%20')}/json")
    assert answer.status == 400
    assert answer.message.startswith("invalid reference format")


def test_an_image_gets_one_more_name(client, images):
    answer = client.post("/images/example/tiny:1.0/tag", {"repo": "other/name", "tag": "7"})
    assert (answer.status, answer.body) == (201, b"")
    assert str(images.inspect("other/name:7").image.id) == TINY
    client.post(f"/images/{TINY}/tag", {"repo": "plain"})
    assert "plain:latest" in tags(client)


@pytest.mark.parametrize(
    ("name", "repository", "old", "new"),
    [("nosuch", "x", 404, 404), ("example/tiny:1.0", "UPPER", 500, 400), ("example/tiny:1.0", "", 500, 400)],
)
def test_a_name_that_cannot_be_given_is_refused(client, name, repository, old, new):
    query = {"repo": repository, "tag": "1"}
    assert client.post(f"/v1.41/images/{name}/tag", query).status == old
    assert client.post(f"/images/{name}/tag", query).status == new


def test_a_name_is_removed_and_the_image_with_its_last_name(client):
    client.post("/images/example/imported:latest/tag", {"repo": "second"})
    assert client.delete("/images/second").json == [{"Untagged": "second:latest"}]
    untagged, *deleted = client.delete("/images/example/imported:latest").json
    assert untagged == {"Untagged": "example/imported:latest"}
    assert [list(line) for line in deleted] == [["Deleted"], ["Deleted"]]
    assert client.delete("/images/example/imported:latest").status == 404


def test_an_image_that_others_need_is_not_removed(client):
    client.post("/images/example/tiny:1.0/tag", {"repo": "second"})
    answer = client.delete(f"/images/{TINY}")
    assert answer.status == 409
    assert (
        answer.message
        == "conflict: unable to delete 8126e24b2462 (cannot be forced) - image has dependent child images"
    )
