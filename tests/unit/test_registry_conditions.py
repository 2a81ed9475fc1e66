"""`If-Match` and `If-None-Match` at the registry: nobody's change is lost, over each kind of store."""

from __future__ import annotations

import base64
import http.client
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

import orlop
from orlop.intake.commit import commit
from orlop.service.hosted import pushing
from tests import engines
from tests.unit.hosted import code, digest_of, hosting, index_of
from tests.unit.layouts import INDEX, MANIFEST
from tests.unit.pushed import placed
from tests.unit.test_proxied_registry import path, proxying
from tests.unit.test_signatures import LIST, MINE, SIGNATURES, SIGNED, signed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.unit.hosted import RegistryClient
    from tests.unit.served import Answer

pytestmark = pytest.mark.sampled(3)

NAME = "team/app"
OTHER = digest_of(b"something else")
WHERE = f"/v2/{NAME}/manifests"
PARTS = (MINE["config"], MINE["layers"][0])


@pytest.fixture(params=["directory", "engines"])
def images(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[orlop.ImageService]:
    root: Path | str = tmp_path / "root"
    if request.param == "engines":
        root = engines.placed(monkeypatch, tmp_path)
    with orlop.open(root) as found:
        yield found


@pytest.fixture
def client(images: orlop.ImageService, tmp_path: Path) -> Iterator[RegistryClient]:
    with hosting(images, tmp_path) as found:
        yield found


@pytest.fixture
def in_directory(tmp_path: Path) -> Iterator[RegistryClient]:
    with orlop.open(tmp_path / "root") as images, hosting(images, tmp_path) as found:
        yield found


def put(client: RegistryClient, raw: bytes, reference: str, **conditions: str) -> Answer:
    kind = INDEX if b'"manifests"' in raw else MANIFEST
    headers = {name.replace("_", "-"): value for name, value in conditions.items()}
    return client.ask("PUT", f"{WHERE}/{reference}", body=raw, headers={"Content-Type": kind, **headers})


def at(client: RegistryClient, reference: str = "1") -> str | None:
    return client.head(f"{WHERE}/{reference}").headers.get("docker-content-digest")


def quoted(raw: bytes) -> str:
    return f'"{digest_of(raw)}"'


def test_a_tag_is_put_only_where_it_leads_to_what_the_client_has_read(client: RegistryClient):
    first = client.push_image(NAME)
    second = index_of(first)
    refused = put(client, first, "1", If_Match=quoted(first))
    assert (refused.status, code(refused), at(client)) == (412, "PRECONDITION_FAILED", None)
    assert put(client, first, "1", If_Match="*").status == 412
    assert put(client, first, "1", If_None_Match="*").status == 201
    for condition in ({"If_None_Match": "*"}, {"If_None_Match": quoted(first)}, {"If_Match": quoted(second)}):
        assert put(client, second, "1", **condition).status == 412
        assert at(client) == digest_of(first)
    assert put(client, second, "1", If_Match=f'"{OTHER}", {quoted(first)}', If_None_Match=f'"{OTHER}"').status == 201
    assert put(client, first, "1", If_Match="*").status == 201
    assert at(client) == digest_of(first)


def test_what_is_put_by_its_digest_has_conditions_too(client: RegistryClient):
    first = client.push_image(NAME, "1")
    index = index_of(first)
    digest = digest_of(index)
    assert put(client, index, digest, If_Match="*").status == 412
    assert put(client, index, f"{digest}?tag=1", If_None_Match="*").status == 201
    assert put(client, index, f"{digest}?tag=2", If_None_Match="*").status == 412
    assert (at(client), at(client, "2")) == (digest, None)
    assert put(client, index, digest, If_Match=quoted(index)).status == 201


def test_a_condition_counts_in_the_moment_of_the_write(
    client: RegistryClient, images: orlop.ImageService, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = client.push_image(NAME, "1")
    second, third = index_of(first), index_of(first, annotations={"a": "b"})

    def late(*args: Any, **options: Any) -> object:
        """Have somebody else put the tag after all was looked at."""
        monkeypatch.setattr(pushing, "commit", commit)
        assert put(client, third, "1").status == 201
        return commit(*args, **options)

    monkeypatch.setattr(pushing, "commit", late)
    assert put(client, second, "1", If_Match=quoted(first)).status == 412
    monkeypatch.setattr(pushing, "commit", late)
    assert put(client, second, "1", If_None_Match=quoted(first)).status == 201
    assert at(client) == digest_of(second)
    del images


@pytest.mark.sampled(3)
def test_of_many_who_put_at_once_one_does(client: RegistryClient):
    first = client.push_image(NAME)
    many = [index_of(first, annotations={"of": str(number)}) for number in range(6)]
    together = threading.Barrier(len(many))

    def first_of_all(raw: bytes) -> int:
        together.wait(60)
        return put(client, raw, "1", If_None_Match="*").status

    with ThreadPoolExecutor(len(many)) as pool:
        found = list(pool.map(first_of_all, many))
    assert sorted(found) == [201] + [412] * 5
    assert at(client) == digest_of(many[found.index(201)])


def test_a_delete_has_conditions(client: RegistryClient):
    first = client.push_image(NAME, "1")
    blob = client.push_blob(NAME, b"left")
    digest = digest_of(first)
    for target in (f"{WHERE}/1", f"{WHERE}/{digest}", f"/v2/{NAME}/blobs/{blob}"):
        refused = client.ask("DELETE", target, headers={"If-Match": f'"{OTHER}"'})
        assert (refused.status, code(refused)) == (412, "PRECONDITION_FAILED")
        assert client.ask("DELETE", target, headers={"If-None-Match": "*"}).status == 412
        assert client.ask("DELETE", target, headers={"If-Match": '"'}).status == 400
        assert client.head(target).status == 200
    for target, known in ((f"{WHERE}/1", digest), (f"{WHERE}/{digest}", digest), (f"/v2/{NAME}/blobs/{blob}", blob)):
        assert client.ask("DELETE", target, headers={"If-Match": f'"{known}"'}).status == 202
        # What is not there comes first.
        assert client.ask("DELETE", target, headers={"If-Match": f'"{known}"'}).status == 404


def test_an_image_without_a_manifest_is_something(client: RegistryClient, images: orlop.ImageService):
    first = client.push_image(NAME, "1")
    images.tag(f"localhost:5000/{NAME}:1", f"localhost:5000/{NAME}:2")
    with images.store.metadata.write() as rows:
        rows.delete_top(f"localhost:5000/{NAME}", ":2")
    assert put(client, first, "2", If_None_Match="*").status == 412
    assert put(client, first, "2", If_Match='""').status == 412
    known = client.head(f"{WHERE}/2").headers["etag"]
    assert put(client, first, "2", If_Match=known).status == 201


WEAK = [
    ('"{}"', True),
    ('W/"{}"', True),
    ("{}", True),
    ('"x", W/"{}"', True),
    ('"a,b",,"{}" ,', True),
    (' \t"{}"\t', True),
    ("*", True),
    ('"*"', False),
    ('w/"{}"', False),
    ('"{}', False),
    ("'{}'", False),
    ('"{}""x"', False),
    ('"x" "{}"', False),
    ('"x", *', False),
    ('""', False),
    (",", False),
]


@pytest.mark.parametrize(("form", "known"), WEAK)
def test_what_a_client_has_may_be_said_in_many_forms(form: str, known: object, in_directory: RegistryClient):
    digest = digest_of(in_directory.push_image(NAME, "1"))
    blob = in_directory.push_blob(NAME, b"content")
    for target, one in ((f"{WHERE}/1", digest), (f"{WHERE}/{digest}", digest), (f"/v2/{NAME}/blobs/{blob}", blob)):
        for method in ("GET", "HEAD"):
            answer = in_directory.ask(method, target, headers={"If-None-Match": form.format(one)})
            assert answer.status == (304 if known else 200)


STRONG = [
    ('"{}"', 201),
    ("{}", 201),
    ("*", 201),
    ('W/"x", "{}"', 201),
    ('W/"{}"', 412),
    ('"*"', 412),
    ('""', 412),
    ('"{}', 400),
    ('w/"{}"', 400),
    ('"x", *', 400),
    ("", 400),
    (" , ", 400),
    ("{} {}", 400),
    ('"' * 9000, 400),
    ("a" * 9000, 400),
    ("\t" * 9000 + "x y", 400),
]


@pytest.mark.parametrize(("form", "status"), STRONG)
def test_what_must_be_there_is_compared_strongly_and_never_passed_over(
    form: str, status: int, in_directory: RegistryClient
) -> None:
    first = in_directory.push_image(NAME, "1")
    answer = put(in_directory, first, "1", If_Match=form.format(*[digest_of(first)] * 2))
    assert answer.status == status
    reading = in_directory.ask("GET", f"{WHERE}/1", headers={"If-Match": form.format(*[digest_of(first)] * 2)})
    assert reading.status == {201: 200, 400: 200, 412: 412}[status]


def test_a_header_may_come_in_parts(in_directory: RegistryClient):
    first = in_directory.push_image(NAME, "1")
    for name, values, status in (
        ("If-None-Match", (quoted(first), '"other"'), 304),
        ("If-None-Match", ('"other"', quoted(first)), 304),
        ("If-Match", (quoted(first), '"other"'), 200),
    ):
        connection = http.client.HTTPConnection("127.0.0.1", in_directory.port, timeout=60)
        connection.putrequest("GET", f"{WHERE}/1")
        for value in values:
            connection.putheader(name, value)
        connection.endheaders()
        assert connection.getresponse().status == status
        connection.close()


def test_a_cache_compares_with_what_it_showed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with proxying(tmp_path, monkeypatch) as (client, cached, _):
        top, _ = cached.push("1")
        name = path("manifests", "1").split("/manifests")[0].removeprefix("/v2/")
        first = client.push_image(name)
        etag = client.head(path("manifests", "1")).headers["etag"]
        assert etag == f'"{top}"'
        for condition, status in (({"If-None-Match": "*"}, 412), ({"If-Match": quoted(first)}, 412)):
            headers = {"Content-Type": MANIFEST, **condition}
            assert client.ask("PUT", path("manifests", "1"), headers=headers, body=first).status == status
        headers = {"Content-Type": MANIFEST, "If-Match": etag}
        assert client.ask("PUT", path("manifests", "1"), headers=headers, body=first).status == 201
        assert client.head(path("manifests", "1")).headers["etag"] == quoted(first)


def test_of_those_who_join_their_signatures_at_once_nobody_loses_one(
    client: RegistryClient, images: orlop.ImageService, tmp_path: Path
) -> None:
    del images
    config, layer = (client.push_blob(NAME, base64.b64decode(SIGNED["blobs"][one["digest"]])) for one in PARTS)
    assert (config, layer) == tuple(one["digest"] for one in PARTS)
    together = threading.Barrier(4)
    with placed(tmp_path / "other", referrers="none") as place:
        for number in range(4):
            for blob in SIGNED["blobs"].values():
                place.there.add_blob(str(number), base64.b64decode(blob))
            signed(place, str(number), f"signature {number}")

        def join(number: int) -> None:
            source = f"docker://{place.name(f'{number}:{SIGNATURES}')}"
            target = f"docker://{client.authority}/{NAME}:{SIGNATURES}"
            together.wait(60)
            place.images.copy(source, target, place.registries)

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(join, range(4)))
    found = json.loads(client.get(f"{WHERE}/{SIGNATURES}").body)["layers"]
    assert sorted(one["annotations"][LIST] for one in found) == [f"signature {number}" for number in range(4)]
