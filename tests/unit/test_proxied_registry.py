"""A registry that stands for others, over HTTP: what comes from where, and what never leaves."""

from __future__ import annotations

import http.client
import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from orlop import errors
from orlop.api.server import Options, Serves
from orlop.model.digest import Digest
from orlop.service.hosted.repository import Hosts
from orlop.service.proxied import pull_through
from orlop.service.proxied.registry import ProxiedRegistry
from orlop.service.proxied.upstream import Upstream
from orlop.testing.registry.quirks import Failure
from tests.unit.artifacts import signature
from tests.unit.hosted import RegistryClient, code, digest_of, image_manifest, written
from tests.unit.layouts import INDEX, Layout
from tests.unit.pulling import REPOSITORY, command, push
from tests.unit.served import serving
from tests.unit.test_pull_through import Held, caching

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.unit.test_pull_through import Cached


@contextmanager
def proxying(
    folder: Path, monkeypatch: pytest.MonkeyPatch, **more: Any
) -> Iterator[tuple[RegistryClient, Cached, list[float]]]:
    """Serve a registry that stands for a fake one."""
    with caching(folder, monkeypatch, **more) as (cached, ahead):
        registry = ProxiedRegistry(cached.images.store, cached.cache, Hosts(("localhost:5000",)))
        how = Options(registry=registry)
        with serving(cached.images, "tcp://127.0.0.1:0", options=how, serves=Serves.REGISTRY) as places:
            yield RegistryClient(int(places[0].rpartition(":")[2])), cached, ahead


def path(kind: str, reference: object, name: str = REPOSITORY) -> str:
    return f"/v2/{name}/{kind}/{reference}"


@pytest.mark.sampled(2)
@pytest.mark.parametrize("names", ["", "ns"])
def test_a_client_pulls_with_and_without_saying_whose_names_it_means(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: str
) -> None:
    with proxying(tmp_path, monkeypatch) as (client, cached, _):
        top, layer = cached.push("1")
        ns = {names: cached.name.domain} if names else {}
        head = client.ask("HEAD", path("manifests", "1"), ns)
        assert (head.status, head.headers["docker-content-digest"]) == (200, str(top))
        answer = client.get(path("manifests", top), ns)
        assert (answer.status, digest_of(answer.body)) == (200, str(top))
        assert "warning" not in answer.headers
        content = cached.content(layer)
        size = client.ask("HEAD", path("blobs", layer), ns)
        assert (size.status, size.headers["content-length"]) == (200, str(len(content)))
        assert cached.gets(layer) == 0
        assert client.get(path("blobs", layer), ns).body == content
        assert client.get(path("tags", "list"), ns).json["tags"] == ["1"]


def test_what_was_not_asked_for_by_name_is_not_mixed_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with proxying(tmp_path, monkeypatch) as (client, cached, _):
        theirs, _ = cached.push("1")
        ours = digest_of(client.push_image(REPOSITORY, "1", "of our own"))
        assert client.get(path("manifests", "1")).headers["docker-content-digest"] == ours
        ns = {"ns": cached.name.domain}
        assert client.get(path("manifests", "1"), ns).headers["docker-content-digest"] == str(theirs)
        other = client.get(path("manifests", "1"), {"ns": "quay.io"})
        assert (other.status, code(other)) == (404, "NAME_UNKNOWN")
        # What is cached belongs to its own registry, and is in no list of this one.
        assert client.get("/v2/_catalog").json["repositories"] == [REPOSITORY]
        assert client.get(path("manifests", ours), ns).status == 404


def test_what_clients_see_of_the_upstream_they_need_not_push(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with proxying(tmp_path, monkeypatch) as (client, cached, _):
        cached.push("1")
        manifest = client.get(path("manifests", "1")).body
        document = json.loads(manifest)
        blobs = [one["digest"] for one in (document["config"], *document["layers"])]
        for blob in blobs:
            assert client.head(path("blobs", blob)).status == 200
        client.push_manifest(REPOSITORY, manifest, "mine")
        # It is an image of the store, and does not need the upstream any more.
        assert {str(name) for one in cached.images.images() for name in one.references if name.tag} == {
            f"localhost:5000/{REPOSITORY}:mine"
        }
        cached.asked()
        for blob in blobs:
            assert digest_of(client.get(path("blobs", blob)).body) == blob
        assert cached.asked() == []


def test_a_push_does_not_ask_the_upstream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with proxying(tmp_path, monkeypatch, tries=1) as (client, cached, _):
        cached.push("1")
        cached.asked()
        cached.pulled.quirks(failures=_away(100))
        for name in (REPOSITORY, "mine"):
            lacking = client.head(path("blobs", digest_of(b"new"), name))
            assert lacking.status == 404
            client.push_image(name, "2")
        assert cached.asked() == []
        # What cannot be had is named, so that the client can send it.
        document = image_manifest(b"{}", b"neither here nor there")
        answer = client.put(path("manifests", "3"), written(document))
        assert (answer.status, code(answer)) == (400, "MANIFEST_BLOB_UNKNOWN")
        assert cached.asked() == []


def test_nothing_is_pushed_to_or_deleted_from_the_upstream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with proxying(tmp_path, monkeypatch) as (client, cached, _):
        top, _ = cached.push("1")
        assert client.get(path("manifests", "1")).status == 200
        cached.asked()
        client.push_image("mine", "1")
        assert client.ask("DELETE", path("manifests", top), {"ns": cached.name.domain}).status == 404
        assert cached.asked() == []
        assert client.get(path("manifests", "1")).status == 200


def test_a_client_gets_parts_of_a_blob_that_is_under_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with proxying(tmp_path, monkeypatch) as (client, cached, _):
        _, layer = cached.push("1")
        client.get(path("manifests", "1"))
        content = cached.content(layer)
        held = Held(monkeypatch, 2 << 20)
        answer = client.get(path("blobs", layer), headers={"Range": "bytes=1000-1999"})
        assert (answer.status, answer.body) == (206, content[1000:2000])
        held.goes_on.set()
        answer = client.get(path("blobs", layer), headers={"Range": f"bytes={len(content) - 10}-"})
        assert (answer.status, answer.body) == (206, content[-10:])
        assert cached.gets(layer) == 1


def test_wrong_bytes_end_with_a_broken_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with proxying(tmp_path, monkeypatch) as (client, cached, _):
        _, layer = cached.push("1")
        client.get(path("manifests", "1"))
        cached.pulled.quirks(corrupt=True)
        with pytest.raises((http.client.IncompleteRead, ConnectionError)):
            client.get(path("blobs", layer))
        cached.pulled.quirks()
        assert client.get(path("blobs", layer)).body == cached.content(layer)


def test_a_stale_answer_has_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with proxying(tmp_path, monkeypatch, tries=1) as (client, cached, ahead):
        cached.push("1")
        assert client.get(path("manifests", "1")).status == 200
        cached.pulled.quirks(failures=_away(3))
        ahead[0] = 3600
        answer = client.get(path("manifests", "1"))
        assert answer.status == 200
        assert answer.headers["warning"].startswith('299 - "')
        cached.pulled.quirks(failures=_away(3))
        lost = client.get(path("manifests", "2"))
        assert (lost.status, code(lost)) == (502, "UNKNOWN")


def _away(times: int) -> tuple[Failure, ...]:
    return (Failure(503, methods="HEAD GET"),) * times


def test_what_is_missing_is_answered_as_a_registry_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with proxying(tmp_path, monkeypatch) as (client, cached, _):
        cached.push("1")
        nowhere = Digest.of(b"nowhere")
        for kind, reference, word in (
            ("manifests", "2", "MANIFEST_UNKNOWN"),
            ("manifests", nowhere, "MANIFEST_UNKNOWN"),
            ("blobs", nowhere, "BLOB_UNKNOWN"),
        ):
            answer = client.get(path(kind, reference))
            assert (answer.status, code(answer)) == (404, word)
        lists = client.get(path("tags", "list", "no/such"))
        assert (lists.status, code(lists)) == (404, "NAME_UNKNOWN")


def test_what_a_client_shows_is_not_shown_to_the_upstream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with proxying(tmp_path, monkeypatch) as (client, cached, _):
        _, layer = cached.push("1")
        secret = {"Authorization": "Basic c2VjcmV0OnNlY3JldA==", "Cookie": "secret"}
        assert client.get(path("manifests", "1"), headers=secret).status == 200
        assert client.get(path("blobs", layer), headers=secret).status == 200
        for request in cached.registry.requests:
            names = {name.lower() for name in request.headers}
            assert not names & {"authorization", "cookie"}


def test_referrers_come_from_the_upstream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with proxying(tmp_path, monkeypatch) as (client, cached, _):
        layout = Layout()
        top = layout.image("a")
        signed = signature(layout, top)
        push(cached.registry, layout, top, "1")
        found = client.get(path("referrers", top["digest"]))
        assert (found.status, found.headers["content-type"]) == (200, INDEX)
        assert [one["digest"] for one in found.json["manifests"]] == [signed["digest"]]
        assert client.get(path("manifests", signed["digest"])).status == 200


def test_a_list_of_the_upstream_may_name_what_it_has_no_longer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with proxying(tmp_path, monkeypatch, referrers="none") as (client, cached, _):
        layout = Layout()
        top = layout.image("a")
        signed = [signature(layout, top, str(number).encode()) for number in range(2)]
        index = layout.document({"schemaVersion": 2, "mediaType": INDEX, "manifests": signed}, INDEX)
        push(cached.registry, layout, index, top["digest"].replace(":", "-"))
        del cached.registry.repository(REPOSITORY).manifests[signed[0]["digest"]]
        found = client.get(path("referrers", top["digest"]))
        assert [one["digest"] for one in found.json["manifests"]] == [signed[1]["digest"]]


def test_pages_of_lists_lead_on_in_the_same_registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pull_through, "_MOST_REFERRERS", 2)
    with proxying(tmp_path, monkeypatch) as (client, cached, _):
        layout = Layout()
        top = layout.image("a")
        signed = [signature(layout, top, str(number).encode()) for number in range(5)]
        for tag in ("1", "2", "3"):
            push(cached.registry, layout, top, tag)
        client.push_image(REPOSITORY, "ours")
        ns = {"ns": cached.name.domain}
        tags, referrers = list[str](), list[str]()
        for target, member, found in (
            (path("tags", "list") + "?n=2", "tags", tags),
            (path("referrers", top["digest"]), "manifests", referrers),
            (path("referrers", top["digest"]), "manifests", theirs := list[str]()),
        ):
            answer = client.get(target, ns if found is not theirs else {})
            while True:
                found += [one if member == "tags" else one["digest"] for one in answer.json[member]]
                following = answer.headers.get("link", "").partition(">")[0].removeprefix("<")
                if not following:
                    break
                answer = client.get(following)
        assert tags == ["1", "2", "3"]
        assert referrers == theirs == sorted(one["digest"] for one in signed)
        # The upstream is asked for all of a list once, and for the first page of each client anew.
        lists = [one for one in cached.registry.requests if "/referrers/" in one.target]
        assert len(lists) == 2
        # What this registry has itself hides what is elsewhere, on each page.
        mine = digest_of(client.push_artifact(REPOSITORY, {key: top[key] for key in ("mediaType", "digest", "size")}))
        answer = client.get(path("referrers", top["digest"]), {"last": mine})
        assert answer.json["manifests"] == []


def test_upstreams_are_read_once() -> None:
    there = Upstream.parse("docker.io=https://mirror.example.com:8443/hub")
    assert (there.host, there.server.location, there.server.plain_http) == (
        "docker.io",
        "mirror.example.com:8443/hub",
        False,
    )
    assert Upstream.parse("quay.io").server.location == "quay.io"
    assert Upstream.parse("docker.io=http://127.0.0.1:5001/").server.plain_http


@pytest.mark.parametrize(
    "text",
    ["", "docker", "=https://a.b", "docker.io=", "docker.io=ftp://a.b", "docker.io=https://u:secret@a.b",
     "docker.io=https://a.b?x", "a/b=https://a.b", "docker.io=https://", "docker.io=https://a.b/UPPER"],
)  # fmt: skip
def test_what_is_not_an_upstream_is_refused(text: str) -> None:
    with pytest.raises(errors.InvalidInput) as caught:
        Upstream.parse(text)
    assert "secret" not in str(caught.value)


@pytest.mark.sampled(3)
def test_a_proxy_without_a_registry_is_refused(tmp_path: Path) -> None:
    done = command(tmp_path, "serve", "--proxy", "docker.io")
    assert (done.returncode, "need --registry" in done.stderr) == (2, True)
    wrong = command(tmp_path, "serve", "--registry", "--proxy", "docker.io=ftp://a.b")
    assert (wrong.returncode, "cannot be a registry that is cached" in wrong.stderr) == (3, True)
