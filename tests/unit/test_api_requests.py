"""What a request may look like: paths, versions, queries and forms, read as Go's servers read them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

import orlop
from docs.generate_openapi import served as endpoints
from tests.unit.served import served

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orlop.service.image_service import ImageService
    from tests.unit.served import Client

TINY = "example/tiny:1.0"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
OLD = (
    "client version {} is too old. Minimum supported API version is 1.24,"
    " please upgrade your client to a newer version\n"
)
READ_BY_NONE = {"/_ping": {200}, "/version": {200}, "/info": {200}, "/metrics": {200}}
READ_BY_LATER_ONES = {"/images/{name}/json", "/images/{name}/history", "/system/df"}


@pytest.fixture
def images(tmp_path, data) -> Iterator[ImageService]:
    with orlop.open(tmp_path / "root") as images:
        images.load(data / "dockerd-20.10-overlay2" / "multi.tar")
        yield images


@pytest.fixture
def client(images, tmp_path) -> Iterator[Client]:
    with served(images, tmp_path) as client:
        yield client


# Paths.


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("target", "location"),
    [
        ("/images//json?all=1&x=%20", "/images/json?all=1&x=%20"),
        ("//version", "/version"),
        ("/v1.41//images/json", "/v1.41/images/json"),
        ("/images/a//b/json", "/images/a/b/json"),
        ("/images/a%2F%2Fb%20c/json", "/images/a/b%20c/json"),
        ("/images/./json", "/images/json"),
        ("/images/../../etc/passwd", "/etc/passwd"),
        ("/images//", "/images/"),
        ("*", "/%2A"),
    ],
)
def test_another_spelling_of_a_path_leads_to_the_path(client, target, location):
    for method in ("GET", "POST", "DELETE"):
        answer = client.ask(method, target)
        assert (answer.status, answer.headers["location"], answer.body) == (301, location, b"")


def test_nothing_is_done_under_another_spelling(client, images):
    assert client.delete("/images//example/tiny:1.0").status == 301
    assert images.inspect(TINY)


@pytest.mark.parametrize(
    "target", ["/images/json/", "/v1.41", "/v1.41/", "/v/images/json", "/v1.99/nosuch", "/images/"]
)
def test_what_is_near_a_path_is_not_found(client, target):
    answer = client.get(target)
    assert (answer.status, answer.message) == (404, "page not found")


@pytest.mark.parametrize("target", ["/images/json", "/nosuch", "*", "/v1.41/images/x/json"])
def test_the_options_of_a_path_are_not_told(client, target):
    answer = client.ask("OPTIONS", target)
    assert (answer.status, answer.body) == (200, b"")


@pytest.mark.parametrize("target", ["/images/", "/images/%20", "/images/%20%20"])
def test_a_removal_without_a_name_is_refused(client, target):
    answer = client.delete(target)
    assert (answer.status, answer.message) == (400, "image name cannot be blank")


def test_a_path_with_a_broken_escape_is_refused(client):
    answer = client.get("/images/%zz/json")
    assert (answer.status, answer.message) == (400, 'invalid URL escape "%zz"')


# Versions.


@pytest.mark.parametrize("version", ["1", "1..41", "1.23", "1.023", "0.99", "."])
def test_a_client_too_old_for_json_is_told_in_plain_text(client, version):
    answer = client.get(f"/v{version}/images/json")
    assert (answer.status, answer.headers["content-type"]) == (400, "text/plain; charset=utf-8")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.body.decode() == OLD.format(version)


def test_the_options_of_a_path_have_a_version_and_those_of_the_server_none(client):
    assert [client.ask("OPTIONS", f"/v{version}/nosuch").status for version in ("1.41", "1.99", "1.11")] == [
        200,
        400,
        400,
    ]
    assert "server" in client.ask("OPTIONS", "/nosuch").headers
    whole = client.ask("OPTIONS", "*")
    assert (whole.status, {*whole.headers} - {"connection"}) == (200, {"content-length", "date"})


@pytest.mark.parametrize("version", ["1.11", "1.99"])
@pytest.mark.parametrize("method", ["GET", "OPTIONS"])
def test_of_a_version_that_is_not_served_an_answer_does_not_tell_of_experiments(client, version, method):
    headers = client.ask(method, f"/v{version}/images/json").headers
    assert {"api-version", "ostype", "server"} <= headers.keys()
    assert "docker-experimental" not in headers


@pytest.mark.parametrize("version", ["1.041", "1.41.0", "01.41", "1.41.7"])
def test_a_version_is_read_number_by_number(client, version):
    assert "VirtualSize" in client.get(f"/v{version}/images/json").json[0]


@pytest.mark.sampled(2)
@pytest.mark.parametrize("version", ["1.56", "1.55.1", "2", f"1.{10**30}"])
@pytest.mark.parametrize("target", ["/images/json", "/containers/x/json", "/swarm", "/tasks/x"])
def test_a_version_that_is_too_new_is_refused_for_whatever_engines_have(client, version, target):
    answer = client.get(f"/v{version}{target}")
    assert answer.status == 400
    assert answer.message == f"client version {version} is too new. Maximum supported API version is 1.55"


# Queries.


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("a=%zz", 'invalid URL escape "%zz"'),
        ("%z=1", 'invalid URL escape "%z"'),
        ("a=1&b=%", 'invalid URL escape "%"'),
        ("a=1;b=2", "invalid semicolon separator in query"),
        ("a=%zz&b;c", "invalid semicolon separator in query"),
    ],
)
def test_a_query_that_cannot_be_read_is_refused_by_every_endpoint_that_asks(client, images, query, message):
    before = client.get("/images/json?all=1").json
    for method, path in endpoints():
        target = path.replace("{name}", "bridge" if "networks" in path else TINY)
        for version in ("", "/v1.41"):
            answer = client.ask(method, f"{version}{target}?{query}")
            passing = READ_BY_NONE.get(path, READ_BY_NONE.get(f"{method} {path}", set()))
            if version and path in READ_BY_LATER_ONES:
                passing = {200}
            hint = f"{method} {version}{path}: if it reads no query, add it to READ_BY_NONE or READ_BY_LATER_ONES"
            assert answer.status in (passing or {400}), hint
            assert passing or answer.message == message
    assert client.get("/images/json?all=1").json == before


def test_of_a_parameter_that_is_given_twice_the_first_counts(client, images):
    assert client.post(f"/images/{TINY}/tag?repo=first&repo=second&tag=1&tag=2").status == 201
    assert images.inspect("first:1")
    assert len(client.get("/images/json?all=0&all=1").json) == len(client.get("/images/json").json)
    assert client.delete(f"/images/{TINY}?platforms=&force=1").status == 400


def test_an_escaped_semicolon_and_a_plus_are_parts_of_values(client):
    for filters, status in (("%7B%22label%22:%5B%22a%3Bb%22%5D%7D", 200), ("%7B%22label%22+:%5B%5D%7D", 200)):
        assert client.get(f"/images/json?filters={filters}").status == status


# Forms.


def test_a_form_in_the_body_counts_before_the_query(client, images):
    tagged = client.post(f"/images/{TINY}/tag?repo=query&tag=q", body=b"repo=form&tag=v1", headers=FORM)
    assert tagged.status == 201
    assert images.inspect("form:v1").image.id == images.inspect(TINY).image.id
    assert client.post(f"/images/{TINY}/tag?tag=q", body=b"repo=form", headers=FORM).status == 201
    assert images.inspect("form:q")
    assert client.get("/images/query:q/json").status == 404


@pytest.mark.parametrize(
    "kind",
    [
        "application/x-www-form-urlencoded; charset=utf-8",
        "APPLICATION/X-WWW-FORM-URLENCODED",
        f"{FORM['Content-Type']}; x",
    ],
)
def test_the_type_of_a_form_may_have_parameters(client, images, kind):
    assert client.post(f"/images/{TINY}/tag", body=b"repo=form", headers={"Content-Type": kind}).status == 201


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("", b"repo=form"),
        ("application/json", b'{"repo":"form"}'),
        (
            "multipart/form-data; boundary=X",
            b'--X\r\nContent-Disposition: form-data; name="repo"\r\n\r\nform\r\n--X--\r\n',
        ),
    ],
)
def test_no_other_body_is_a_form(client, kind, body):
    assert client.post(f"/images/{TINY}/tag", body=body, headers={"Content-Type": kind}).status == 400


def test_only_some_methods_have_forms(client, images):
    body = b"noprune=1&platforms=x&force=1&all=1"
    assert client.delete("/images/example/imported", body=body, headers=FORM).status == 200
    assert len(client.get("/images/json", body=b"all=1", headers=FORM).json) == len(images.images())


@pytest.mark.parametrize("body", [b"filters=%zz", b"a;b", b"filters={"])
def test_a_form_that_cannot_be_read_is_refused(client, images, body):
    assert client.post("/images/prune", body=body, headers=FORM).status == 400
    assert client.post("/images/prune", body=b"filters=%7B%22nosuch%22:%5B%5D%7D", headers=FORM).status == 400
    assert len(images.images()) == 3


def test_a_form_has_a_bound(client):
    answer = client.post(f"/images/{TINY}/tag", body=b"repo=" + b"x" * (1 << 18), headers=FORM)
    assert answer.status == 413


def test_the_parameters_of_an_import_may_be_a_form(client, images):
    answer = client.post("/images/create", body=b"fromSrc=-&repo=of-a-form", headers=FORM)
    assert answer.lines == [{"status": str(images.inspect("of-a-form").image.id)}]


def test_an_archive_is_read_whatever_its_type(client, images, data):
    archive = (data / "dockerd-20.10-overlay2" / "dup.tar").read_bytes()
    assert client.post("/images/load", body=archive, headers=FORM).lines[-1]["stream"].startswith("Loaded image")
    assert "status" in client.post("/images/create?fromSrc=-&repo=x", body=bytes(1024), headers=FORM).lines[-1]


# Filters.


@pytest.mark.parametrize(
    ("filters", "all_of_them"),
    [({"reference": []}, False), ({"reference": {}}, False), ({"label": []}, True), ({"before": []}, True)],
)
def test_a_filter_without_values(client, filters, all_of_them):
    for version in ("", "/v1.41"):
        found = client.get(f"{version}/images/json", {"filters": json.dumps(filters)}).json
        assert len(found) == (3 if all_of_them else 0)


def test_a_dangling_filter_without_values_is_what_each_engine_takes_it_for(client):
    query = {"filters": '{"dangling":[]}'}
    assert client.get("/v1.41/images/json", query).json == []
    assert client.get("/images/json", query).message == "invalid filter 'dangling'"


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("pattern", "tags"),
    [
        ("docker.io/library/plain", {"plain:1", "plain:2"}),
        ("docker.io/library/plain:*", {"plain:1", "plain:2"}),
        ("docker.io/library/plain:1", {"plain:1"}),
        ("docker.io/library/*", {"plain:1", "plain:2"}),
        ("docker.io/example/tiny", {TINY}),
        ("docker.io/*/tiny", {TINY}),
        ("*/example/tiny:1.0", {TINY}),
        ("docker.io/plain", set()),
        ("index.docker.io/library/plain", set()),
        ("docker.io/registry.example.com:5000/team/committed", set()),
    ],
)
def test_patterns_fit_canonical_names_as_in_engine_29(client, images, pattern, tags):
    images.tag(TINY, "plain:1")
    images.tag(TINY, "plain:2")
    query = {"filters": json.dumps({"reference": [pattern]})}

    def found(prefix: str) -> set[str]:
        return {tag for image in client.get(f"{prefix}/images/json", query).json for tag in image["RepoTags"]}

    assert found("") == found("/v1.54") == found("/v1.42") == tags
    assert found("/v1.41") == set()
    listed = images.images(filters=[f"reference={pattern}"])
    assert {name.familiar for image in listed for name in image.repo_tags} == tags


def test_who_is_behind_an_image_is_told_with_its_manifests_only(client):
    for query in ({"identity": "1"}, {"identity": "1", "manifests": "0"}):
        answer = client.get("/images/json", query)
        assert (answer.status, answer.message) == (400, "conflicting options: identity requires manifests=1")
        assert client.get("/v1.53/images/json", query).status == 200
    assert client.get("/images/json", {"identity": "1", "manifests": "1"}).status == 200
    assert client.get("/images/json", {"identity": "0"}).status == 200
