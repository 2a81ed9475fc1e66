"""The registry over a store: one store for both, names, what a repository shows, uploads that last, what was loaded."""

from __future__ import annotations

import gzip
import http.client
import io
import json
import os
import random
import socket
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import orlop
from orlop.api.registry.faults import fault
from orlop.api.registry.routes import Kind
from orlop.errors import (
    BucketUnavailable,
    DatabaseUnavailable,
    InvalidManifest,
    InvalidReference,
    LeaseLost,
    NoSpace,
    ServerBusy,
    StoreInUse,
)
from orlop.model.digest import Digest
from orlop.service.hosted.damage import Damage
from orlop.service.hosted.proofs import AGAIN, Proofs
from orlop.service.hosted.registry import HostedRegistry
from orlop.service.hosted.repository import Hosts
from orlop.store.blobs.incoming import LIFE
from orlop.store.local import local_store
from orlop.store.rows.metadata import BlobRow
from tests import engines, postgres
from tests.elsewhere import install
from tests.open_files import open_below
from tests.unit.hosted import (
    EMPTY,
    OCTETS,
    RegistryClient,
    code,
    described,
    digest_of,
    hosting,
    image_manifest,
    index_of,
    written,
)
from tests.unit.layouts import CONFIG, INDEX, LAYER, MANIFEST, Layout, layer_tar, named
from tests.waiting import PATIENCE, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orlop.api.registry.happened import Happened

A = b"some content " * 40

_COARSE = 5  # CLOCK_REALTIME_COARSE of Linux, by which file systems mark times


@pytest.fixture(params=["directory", "elsewhere", "engines"])
def images(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[orlop.ImageService]:
    """A store in a directory, one without files here, and one over real engines."""
    root: Path | str = tmp_path / "root"
    if request.param == "elsewhere":
        root = "postgresql://db/images?blobs=s3://bucket"
        install(monkeypatch, str(tmp_path / "scratch"))
    elif request.param == "engines":
        root = engines.placed(monkeypatch, tmp_path)
    with orlop.open(root) as found:
        yield found


# What looks at files is about a directory.
in_a_directory = pytest.mark.parametrize("images", ["directory"], indirect=True)


@pytest.fixture
def registry(images: orlop.ImageService, tmp_path: Path) -> Iterator[RegistryClient]:
    with hosting(images, tmp_path) as client:
        yield client


def names_of(images: orlop.ImageService) -> list[str]:
    return sorted(str(name) for one in images.images() for name in one.references if name.tag is not None)


# One store.


@pytest.mark.sampled(2)
def test_what_is_pushed_is_an_image_at_once_and_goes_as_images_do(registry, images):
    manifest = registry.push_image("team/app", "1")
    digest = digest_of(manifest)
    assert names_of(images) == ["localhost:5000/team/app:1"]
    found = images.inspect("localhost:5000/team/app:1")
    assert str(found.image.id) == json.loads(manifest)["config"]["digest"]
    images.remove("localhost:5000/team/app:1")
    assert registry.get(f"/v2/team/app/manifests/{digest}").status == 404
    assert registry.get("/v2/team/app/tags/list").json["tags"] == []
    # The lease on what was pushed a moment ago lasts.
    images.gc()
    assert registry.head(f"/v2/team/app/blobs/{json.loads(manifest)['layers'][0]['digest']}").status == 200


@pytest.mark.parametrize("images", ["engines"], indirect=True)
def test_a_server_outlives_its_database(registry, images):
    registry.push_image("a", "1")
    database = postgres.the_server()
    database.stop()
    try:
        answer = registry.get("/v2/a/manifests/1")
        assert (answer.status, code(answer), answer.headers["retry-after"]) == (503, "UNAVAILABLE", "1")
        assert b"orlop-pg" not in answer.body
    finally:
        database.start()
    assert registry.get("/v2/a/manifests/1").status == 200
    registry.push_image("a", "2")
    assert names_of(images) == ["localhost:5000/a:1", "localhost:5000/a:2"]


@in_a_directory
def test_nothing_is_stored_twice(registry, images, tmp_path):
    for name in ("a", "b", "c"):
        registry.push_image(name, "1")
        registry.push_image(name, "2")
    files = [one for folder in ("blobs", "ingest", "incoming") for one in (tmp_path / "root" / folder).rglob("*")]
    assert len([one for one in files if one.is_file()]) == 2


@pytest.mark.sampled(3)
def test_a_tag_that_moves_leaves_what_it_meant_under_its_digest(registry, images):
    first = registry.push_image("a", "1")
    second = registry.push_image("a", "1", "other")
    assert registry.get("/v2/a/manifests/1").body == second
    assert registry.get(f"/v2/a/manifests/{digest_of(first)}").body == first
    artifact = registry.push_artifact("a")
    registry.push_manifest("a", artifact, "1")
    assert names_of(images) == []
    images.gc()
    for one in (first, second, artifact):
        assert registry.get(f"/v2/a/manifests/{digest_of(one)}").body == one
    registry.push_manifest("a", first, "1")
    assert names_of(images) == ["localhost:5000/a:1"]
    assert registry.get("/v2/a/manifests/1").body == first


@pytest.mark.sampled(2)
@in_a_directory
@pytest.mark.parametrize("form", ["gzip", "zstd:3", "none"])
def test_what_was_loaded_plain_is_given_compressed_once_and_the_same_for_all(images, tmp_path, form):
    layout = Layout()
    layout.top(layout.image("x", "y", compress=False, **named("localhost:5000/loaded:1")))
    saved = tmp_path / "docker.tar"
    with orlop.open(tmp_path / "first") as first:
        first.load(_packed(layout, tmp_path))
        first.save(["localhost:5000/loaded:1"], saved, format="docker-20.10")
    images.load(saved)
    with orlop.open(tmp_path / "other") as other, hosting(other, tmp_path, compress=form) as far:
        other.load(saved)
        elsewhere = far.get("/v2/loaded/manifests/1").body
    with hosting(images, tmp_path, compress=form) as client:
        assert client.head("/v2/loaded/manifests/1").headers["docker-content-digest"] == digest_of(elsewhere)
        manifest = client.get("/v2/loaded/manifests/1")
        assert manifest.body == elsewhere
        kinds = {"gzip": f"{LAYER}+gzip", "zstd:3": f"{LAYER}+zstd", "none": LAYER}
        for layer in manifest.json["layers"]:
            assert layer["mediaType"] == kinds[form]
            got = client.get(f"/v2/loaded/blobs/{layer['digest']}").body
            assert digest_of(got) == layer["digest"]
        config = manifest.json["config"]
        assert digest_of(client.get(f"/v2/loaded/blobs/{config['digest']}").body) == config["digest"]
        before = _blobs(tmp_path)
        assert client.get(f"/v2/loaded/manifests/{digest_of(elsewhere)}").body == elsewhere
        client.get("/v2/loaded/manifests/1")
        assert _blobs(tmp_path) == before
    images.gc()
    assert _blobs(tmp_path) == before
    assert orlop.stores.fsck(images.root).problems == ()
    images.remove("localhost:5000/loaded:1")
    assert _blobs(tmp_path) == {}


def _packed(layout: Layout, folder: Path) -> Path:
    (folder / "in.tar").write_bytes(layout.pack())
    return folder / "in.tar"


def _blobs(folder: Path) -> dict[str, int]:
    return {one.name: one.stat().st_mtime_ns for one in (folder / "root" / "blobs" / "sha256").iterdir()}


def test_what_came_compressed_is_given_as_it_came(registry, images, tmp_path):
    layout = Layout()
    image = layout.image("x", **named("localhost:5000/came:1"))
    layout.top(layout.index(image, **named("localhost:5000/came:1")))
    images.load(_packed(layout, tmp_path))
    index = registry.get("/v2/came/manifests/1")
    assert index.headers["content-type"] == INDEX
    assert index.json["manifests"][0]["digest"] == image["digest"]
    manifest = registry.get(f"/v2/came/manifests/{image['digest']}")
    for one in (manifest.json["config"], *manifest.json["layers"]):
        assert digest_of(registry.get(f"/v2/came/blobs/{one['digest']}").body) == one["digest"]
    # Nothing of it can be seen through another repository.
    assert registry.get(f"/v2/other/manifests/{image['digest']}").status == 404
    assert registry.get(f"/v2/other/blobs/{manifest.json['config']['digest']}").status == 404


@pytest.mark.sampled(3)
def test_an_image_whose_layers_are_here_in_other_forms_gets_a_manifest_that_can_be_pulled(images, tmp_path):
    tar = layer_tar("x")
    packed = gzip.compress(tar, mtime=0)
    config = written(
        {"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": [digest_of(tar)]}}
    )
    saved = tmp_path / "docker.tar"
    with orlop.open(tmp_path / "first") as first, hosting(first, tmp_path) as client:
        client.push_blob("a", packed)
        client.push_blob("a", config)
        document = image_manifest(config)
        document["layers"] = [described(packed, f"{LAYER}+gzip")]
        client.push_manifest("a", written(document), "1")
        first.save(["localhost:5000/a:1"], saved, format="docker-20.10")
        # The layer is here plain, so that a pull of the same image does not fetch it.
        images.load(saved)
        images.pull(f"{client.authority}/a:1")
        name = client.authority
    with hosting(images, tmp_path, name) as client:
        manifest = client.get("/v2/a/manifests/1")
        assert manifest.body != written(document)
        for one in (manifest.json["config"], *manifest.json["layers"]):
            assert digest_of(client.get(f"/v2/a/blobs/{one['digest']}").body) == one["digest"]
        assert manifest.json["config"]["digest"] == digest_of(config)


# Names.


@pytest.mark.sampled(2)
def test_a_repository_is_named_after_the_host_that_is_asked_if_it_is_one_of_the_registrys(images, tmp_path):
    hosts = ("registry.example.com", "mirror.example.com:8443")
    with hosting(images, tmp_path, *hosts) as client:
        for host in ("registry.example.com", "MIRROR.example.com:8443", client.authority):
            RegistryClient(client.port, host).push_image("team/app", "1", host[:3].lower())
        assert names_of(images) == ["mirror.example.com:8443/team/app:1", "registry.example.com/team/app:1"]
        by_address = client.get("/v2/team/app/manifests/1").body
        assert RegistryClient(client.port, "registry.example.com").get("/v2/team/app/manifests/1").body == by_address
        other = RegistryClient(client.port, "mirror.example.com:8443").get("/v2/team/app/manifests/1").body
        assert other != by_address
        assert client.get("/v2/_catalog").json == {"repositories": ["team/app"]}


@pytest.mark.parametrize("name", ["a/b", "registry", "https://x.example", "x.example:", "", "user@x.example", "X Y"])
def test_a_name_of_a_registry_is_one_that_images_can_begin_with(name):
    with pytest.raises(InvalidReference):
        Hosts((name,))


def test_a_name_that_is_too_long_with_its_host_is_refused(registry):
    answer = registry.get(f"/v2/{'a' * 245}/tags/list")
    assert (answer.status, code(answer)) == (400, "NAME_INVALID")


# What a repository shows.


def test_a_blob_is_seen_only_through_a_repository_that_has_it(registry):
    manifest = registry.push_image("mine", "1")
    document = json.loads(manifest)
    for one in (document["config"], document["layers"][0]):
        for method in ("GET", "HEAD", "DELETE"):
            assert registry.ask(method, f"/v2/theirs/blobs/{one['digest']}").status == 404
    assert registry.get(f"/v2/theirs/manifests/{digest_of(manifest)}").status == 404
    refused = registry.put("/v2/theirs/manifests/1", manifest)
    assert (refused.status, code(refused)) == (400, "MANIFEST_BLOB_UNKNOWN")
    # An index may name it, and shows nothing of it.
    registry.push_manifest("theirs", index_of(manifest), "all", INDEX)
    assert registry.get(f"/v2/theirs/manifests/{digest_of(manifest)}").status in {200, 404}


NONDISTRIBUTABLE = "application/vnd.oci.image.layer.nondistributable.v1.tar"


def naming(config: bytes, *layers: dict[str, Any], **more: Any) -> bytes:
    """Return a manifest of a config, and of layers that are only described."""
    document = {"schemaVersion": 2, "mediaType": MANIFEST, "config": described(config, EMPTY)}
    return written(document | {"layers": [described(config, EMPTY), *layers]} | more)


@pytest.mark.sampled(6)
@pytest.mark.parametrize(
    "way", ["elsewhere", "foreign", "address", "member", "index", "after", "config", "manifest", "deleted"]
)
def test_a_manifest_does_not_show_what_its_repository_does_not_have(registry, way):
    """Whoever knows the digest of somebody else's content only names it, in every way that a manifest has."""
    secret = layer_tar("secret")
    if way != "after":
        registry.push_image("theirs/app", "1", "secret")
    digest, config = digest_of(secret), b"{}"
    registry.push_blob("mine/app", config)
    named = {"mediaType": NONDISTRIBUTABLE, "digest": digest, "size": len(secret)}
    raw, kind = naming(config, named), MANIFEST
    if way == "foreign":
        raw = naming(config, named | {"mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"})
    elif way == "address":
        raw = naming(config, named | {"mediaType": LAYER, "urls": ["https://example.com/layer"]})
    elif way == "member":
        raw = naming(config, blobs=[named | {"mediaType": LAYER}])
    elif way == "index":
        raw = written(
            {"schemaVersion": 2, "mediaType": INDEX, "manifests": [], "blobs": [named | {"mediaType": LAYER}]}
        )
        kind = INDEX
    elif way in {"config", "manifest"}:
        top = registry.get("/v2/theirs/app/manifests/1")
        other = top.body if way == "manifest" else None
        digest = top.headers["docker-content-digest"] if other else json.loads(top.body)["config"]["digest"]
        raw = naming(config, named | {"digest": digest})
    put = registry.put("/v2/mine/app/manifests/1", raw, kind)
    assert (put.status, code(put) if put.status == 400 else "") in {(201, ""), (400, "MANIFEST_BLOB_UNKNOWN")}
    if way == "after":
        registry.push_image("theirs/app", "1", "secret")
    if way == "deleted":
        # What a manifest names stays for a day after it, where its repository has it.
        assert registry.delete(f"/v2/mine/app/manifests/{digest_of(raw)}").status == 202
    for ask in (registry.get, registry.head):
        assert ask(f"/v2/mine/app/blobs/{digest}").status == 404
        assert ask(f"/v2/mine/app/manifests/{digest}").status == 404
    mount = registry.ask("POST", "/v2/more/app/blobs/uploads/", {"mount": digest, "from": "mine/app"})
    assert mount.status == 202
    if way != "manifest":
        assert registry.get(f"/v2/theirs/app/blobs/{digest}").status == 200


@pytest.mark.sampled(2)
def test_a_layer_that_is_said_to_be_elsewhere_and_was_pushed_all_the_same_can_be_pulled(registry, images, monkeypatch):
    layer = gzip.compress(layer_tar("far"))
    named = {"mediaType": f"{NONDISTRIBUTABLE}+gzip", "digest": digest_of(layer), "size": len(layer)}
    for name in ("a", "b"):
        for content in (b"{}", layer):
            registry.push_blob(name, content)
        registry.push_manifest(name, naming(b"{}", named), "1")
    # After the day for which blobs are kept that nothing names.
    real = images.store.now
    monkeypatch.setattr(images.store, "now", lambda: real() + 2 * LIFE * 1_000_000_000)
    with images.store.metadata.write() as rows:
        for name in ("a", "b"):
            images.store.leases.keep_nothing(rows, f"localhost:5000/{name}")
    for name in ("a", "b"):
        assert registry.get(f"/v2/{name}/blobs/{digest_of(layer)}").body == layer
    # Neither who pushes it as well, nor who deletes it, takes it from the others.
    registry.push_blob("c", layer)
    registry.push_blob("c", b"{}")
    registry.push_manifest("c", naming(b"{}", named), "1")
    assert registry.delete(f"/v2/b/manifests/{digest_of(naming(b'{}', named))}").status == 202
    for name in ("a", "c"):
        assert registry.get(f"/v2/{name}/blobs/{digest_of(layer)}").body == layer


def test_a_cache_that_an_index_lists_can_be_pulled_as_long_as_the_index(registry, images, monkeypatch):
    layer, settings = gzip.compress(layer_tar("cached")), b'{"layers":[]}'
    listed = [described(layer, f"{LAYER}+gzip"), described(settings, "application/vnd.buildkit.cacheconfig.v0")]
    raw = written({"schemaVersion": 2, "mediaType": INDEX, "manifests": listed})
    registry.push_blob("theirs/app", layer)
    # Naming a layer of others shows it to nobody.
    lacking = registry.put("/v2/mine/app/manifests/cache", raw, INDEX)
    assert (lacking.status, code(lacking)) == (400, "MANIFEST_BLOB_UNKNOWN")
    for content in (layer, settings):
        registry.push_blob("mine/app", content)
    registry.push_manifest("mine/app", raw, "cache", INDEX)
    # After the day for which blobs are kept that nothing names.
    real = images.store.now
    monkeypatch.setattr(images.store, "now", lambda: real() + 2 * LIFE * 1_000_000_000)
    with images.store.metadata.write() as rows:
        for name in ("mine", "theirs"):
            images.store.leases.keep_nothing(rows, f"localhost:5000/{name}/app")
    for content in (layer, settings):
        assert registry.get(f"/v2/mine/app/blobs/{digest_of(content)}").body == content
        assert registry.get(f"/v2/theirs/app/blobs/{digest_of(content)}").status == 404


@pytest.mark.sampled(3)
@pytest.mark.parametrize("is_image", [True, False], ids=["image", "artifact"])
def test_an_index_does_not_show_what_came_with_the_index_of_another_repository(images, tmp_path, is_image):
    """What was loaded or pulled as an index has no names of its own for its parts, unlike what was pushed."""
    with orlop.open(tmp_path / "other") as other, hosting(other, tmp_path) as client:
        child = client.push_image("theirs/app") if is_image else client.push_artifact("theirs/app")
        client.push_manifest("theirs/app", index_of(child), "1", INDEX)
        with (tmp_path / "saved.tar").open("wb") as file:
            other.save(["localhost:5000/theirs/app:1"], file, format="oci")
    images.load(tmp_path / "saved.tar")
    target = f"/v2/{{}}/manifests/{digest_of(child)}"
    blob = f"/v2/{{}}/blobs/{json.loads(child)['layers'][0]['digest']}"
    with hosting(images, tmp_path) as registry:
        put = registry.put("/v2/mine/app/manifests/1", index_of(child, annotations={"of": "mine"}), INDEX)
        assert put.status == (201 if is_image else 400)
        for where in (target, blob):
            assert registry.get(where.format("mine/app")).status == 404
            assert registry.get(where.format("theirs/app")).status == 200
        # What a repository has may be named there by further indexes.
        registry.push_manifest("theirs/app", index_of(child, annotations={"of": "theirs"}), "2", INDEX)
        assert registry.get(target.format("theirs/app")).status == 200


def test_an_upload_is_gone_for_another_repository(registry):
    session = registry.begin("mine")
    location = session.headers["location"].replace("/mine/", "/theirs/")
    for method in ("GET", "PATCH", "PUT", "DELETE"):
        answer = registry.ask(method, f"{location}?digest={digest_of(A)}", body=None if method == "GET" else A)
        assert (answer.status, code(answer)) == (404, "BLOB_UPLOAD_UNKNOWN")
    for key in ("..", "0" * 32, "%2e%2e%2fmetadata.db", "x" * 32):
        assert registry.get(f"/v2/mine/blobs/uploads/{key}").status == 404
    assert registry.finish(session, digest_of(A), A).status == 201


# Uploads last.


def test_an_upload_goes_on_at_another_server(images, tmp_path):
    with hosting(images, tmp_path) as client:
        session = client.patch(client.begin("a"), A[:300])
    with orlop.open(images.root) as again, hosting(again, tmp_path) as client:
        state = client.get(session.headers["location"])
        assert (state.status, state.headers["range"]) == (204, "0-299")
        session = client.patch(state, A[300:], f"300-{len(A) - 1}")
        assert client.finish(session, digest_of(A)).status == 201
        assert client.get(f"/v2/a/blobs/{digest_of(A)}").body == A


def test_open_uploads_are_counted(registry):
    def counted() -> list[str]:
        connection = http.client.HTTPConnection("127.0.0.1", registry.port, timeout=60)
        with closing(connection):
            connection.request("GET", "/metrics")
            text = connection.getresponse().read().decode()
        return [line for line in text.splitlines() if line.startswith("orlop_registry_uploads_open ")]

    sessions = [registry.begin(name) for name in ("a", "a", "b")]
    assert counted() == ["orlop_registry_uploads_open 3"]
    registry.delete(sessions[0].headers["location"])
    registry.finish(sessions[1], digest_of(A), A)
    assert counted() == ["orlop_registry_uploads_open 1"]


@in_a_directory
def test_what_is_left_of_an_upload_is_checked_when_it_goes_on(images, tmp_path):
    with hosting(images, tmp_path) as client:
        session = client.patch(client.begin("a"), A[:300])
        file = tmp_path / "root" / "incoming" / session.headers["docker-upload-uuid"]
    file.write_bytes(b"x" * 300)
    with hosting(images, tmp_path) as client:
        answer = client.finish(client.patch(session, A[300:]), digest_of(A))
        assert (answer.status, code(answer)) == (400, "DIGEST_INVALID")
        assert client.get(session.headers["location"]).status == 404


def test_an_upload_that_nobody_continues_goes_and_so_does_a_blob_that_no_manifest_names(tmp_path):
    clock = [1_800_000_000]
    with closing(local_store(str(tmp_path / "root"), now=lambda: clock[0] * 1_000_000_000)) as store:
        images = orlop.ImageService(store)
        with hosting(images, tmp_path) as client:
            session = client.patch(client.begin("a"), A)
            blob = client.push_blob("a", b"never named")
            layer = client.push_blob("a", layer_tar("x"))
            path = tmp_path / "root" / "incoming" / session.headers["docker-upload-uuid"]
            os.utime(path, (clock[0], clock[0]))
            os.utime(f"{path}.about", (clock[0], clock[0]))
            clock[0] += LIFE - 1
            images.gc()
            assert client.get(session.headers["location"]).headers["range"] == f"0-{len(A) - 1}"
            for digest in (blob, layer):
                assert client.head(f"/v2/a/blobs/{digest}").status == 200
            clock[0] += 1200
            planned = {(one.kind, one.size > 0) for one in images.gc(dry_run=True).garbage}
            assert ("unfinished", True) in planned
            images.gc()
            assert client.get(session.headers["location"]).status == 404
            for digest in (blob, layer):
                assert client.head(f"/v2/a/blobs/{digest}").status == 404
        assert list((tmp_path / "root" / "incoming").iterdir()) == []
        assert list((tmp_path / "root" / "blobs" / "sha256").iterdir()) == []


def test_uploads_that_nobody_continues_make_room_where_there_are_too_many(registry, images, tmp_path, monkeypatch):
    monkeypatch.setattr("orlop.service.hosted.uploads._MOST_UPLOADS", 3)
    sessions = [registry.begin("a") for _ in range(3)]
    full = registry.ask("POST", "/v2/a/blobs/uploads/")
    assert (full.status, code(full), full.headers["retry-after"]) == (429, "TOOMANYREQUESTS", "1")
    # A quarter of an hour later two of them have not been touched.
    folder = Path(images.store.incoming._root.path) / "incoming"
    for session in sessions[:2]:
        key = session.headers["docker-upload-uuid"]
        os.utime(folder / key, (time.time() - 900, time.time() - 900))
    uploads = images.store.now
    monkeypatch.setattr(images.store, "now", lambda: uploads() + 2_000_000_000)
    registry.begin("a")
    assert [registry.get(one.headers["location"]).status for one in sessions] == [404, 404, 204]
    registry.begin("a")
    assert registry.ask("POST", "/v2/a/blobs/uploads/").status == 429


@pytest.mark.sampled(3)
def test_a_manifest_does_not_name_more_than_is_looked_for(registry):
    registry.push_blob("a", b"{}")

    def put(count: int, kind: str = MANIFEST) -> Any:
        named = [{"mediaType": "a/b", "digest": f"sha256:{number:064x}", "size": 1} for number in range(count)]
        index = written({"schemaVersion": 2, "mediaType": INDEX, "manifests": named})
        return registry.put("/v2/a/manifests/1", naming(b"{}", *named) if kind == MANIFEST else index, kind)

    few, many = put(300), put(6000)
    assert (few.status, code(few), len(few.json["errors"])) == (400, "MANIFEST_BLOB_UNKNOWN", 200)
    assert "and 100 more" in few.json["errors"][0]["message"]
    for refused in (many, put(6000, INDEX)):
        assert (refused.status, code(refused)) == (400, "MANIFEST_INVALID")
        assert len(refused.body) < 1000


def test_a_blob_that_is_too_large_is_refused_in_one_part_and_in_many(images, tmp_path):
    with hosting(images, tmp_path, most=1000) as client:
        session = client.patch(client.begin("a"), b"x" * 600)
        answer = client.patch(session, b"x" * 600)
        assert (answer.status, code(answer)) == (413, "SIZE_INVALID")
        answer = client.finish(client.begin("a"), digest_of(b"y" * 1001), b"y" * 1001)
        assert (answer.status, code(answer)) == (413, "SIZE_INVALID")
        client.push_blob("a", b"z" * 1000)


def test_a_client_that_breaks_off_finds_what_has_come(registry):
    content = os.urandom(3 << 20)
    session = registry.begin("a")
    path, uploaded = session.headers["location"], 5 << 18
    with socket.create_connection(("127.0.0.1", registry.port), timeout=30) as line:
        head = f"PATCH {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(content)}\r\n\r\n"
        line.sendall(head.encode() + content[:uploaded])
    state = registry.get(path)
    reached = int(state.headers["range"].partition("-")[2]) + 1
    assert reached <= uploaded + 1
    # Whatever has come by the next request is what that goes on from.
    while True:
        reached = int(registry.get(path).headers["range"].partition("-")[2])
        reached += reached > 0
        answer = registry.patch(session, content[reached:], f"{reached}-{len(content) - 1}")
        if answer.status == 202:
            break
        assert answer.status in {416, 503}
    assert registry.finish(answer, digest_of(content)).status == 201


# Large blobs are sent by the kernel.


@pytest.mark.sampled(2)
def test_answers_in_a_row_on_one_connection_come_one_after_the_other(registry):
    content = os.urandom(3 << 20)
    path = f"/v2/a/blobs/{registry.push_blob('a', content)}"
    connection = http.client.HTTPConnection("127.0.0.1", registry.port, timeout=60)
    for _ in range(3):
        connection.request("GET", path)
        assert connection.getresponse().read() == content
        connection.request("GET", "/v2/a/tags/list")
        assert connection.getresponse().read()
    connection.close()
    with socket.create_connection(("127.0.0.1", registry.port), timeout=60) as line:
        line.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode() * 2)
        line.shutdown(socket.SHUT_WR)
        found = b"".join(iter(lambda: line.recv(1 << 20), b""))
    assert found.count(content) == 2
    assert found.endswith(content)


@pytest.mark.sampled(3)
def test_a_client_that_hangs_up_in_a_blob_leaves_nothing_open(registry, tmp_path):
    content = os.urandom(24 << 20)
    path = f"/v2/a/blobs/{registry.push_blob('a', content)}"
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", registry.port), timeout=60) as line:
            line.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            assert line.recv(1 << 16)
    # The store has its directories open all the time.
    until(lambda: not open_below(f"{tmp_path}/root/blobs/sha256/"))
    assert registry.get(path, headers={"Range": "bytes=5-2000004"}).body == content[5:2000005]


# What happens is told, and what may not happen is refused.


def test_what_happens_is_told(images, tmp_path):
    heard: list[Happened] = []
    with hosting(images, tmp_path, heard=heard) as client:
        manifest = client.push_image("a", "1")
        client.get("/v2/a/manifests/1")
        client.head("/v2/a/manifests/1")
        client.delete("/v2/a/manifests/1")
    told = [(one.action, one.repository, one.tag, one.media_type) for one in heard]
    assert told == [
        ("push", "a", "", OCTETS),
        ("push", "a", "", OCTETS),
        ("push", "a", "1", MANIFEST),
        ("pull", "a", "1", MANIFEST),
        ("delete", "a", "1", ""),
    ]
    assert heard[2].digest == heard[3].digest == digest_of(manifest)
    assert heard[2].size == len(manifest)


@in_a_directory
def test_a_store_that_is_only_read_shows_what_it_has(images, tmp_path):
    with hosting(images, tmp_path) as client:
        manifest = client.push_image("a", "1")
    with closing(local_store(images.root)) as store:
        hosted = HostedRegistry(store, Hosts(("localhost:5000",)))
        repository = hosted.hosts.repository("a")
        assert hosted.manifest(repository, "1").raw == manifest
        layer = Digest.parse(json.loads(manifest)["layers"][0]["digest"])
        assert hosted.blob(repository, layer).size == json.loads(manifest)["layers"][0]["size"]


@pytest.mark.sampled(2)
def test_an_image_of_two_manifests_loses_the_one_that_is_deleted(registry, images):
    first = registry.push_image("a", "1")
    second = written(json.loads(first) | {"annotations": {"a": "b"}})
    registry.push_manifest("a", second, "2")
    assert registry.delete(f"/v2/a/manifests/{digest_of(first)}").status == 202
    assert registry.get(f"/v2/a/manifests/{digest_of(first)}").status == 404
    assert registry.get("/v2/a/manifests/2").body == second
    assert names_of(images) == ["localhost:5000/a:2"]
    assert registry.get("/v2/a/tags/list").json["tags"] == ["2"]


@pytest.mark.sampled(2)
def test_one_manifest_in_two_repositories_goes_from_one(registry, images):
    artifact = registry.push_artifact("a")
    registry.push_artifact("b")
    image = registry.push_image("a", "1")
    registry.push_image("b", "1")
    for one in (artifact, image):
        assert registry.delete(f"/v2/a/manifests/{digest_of(one)}").status == 202
        assert registry.get(f"/v2/a/manifests/{digest_of(one)}").status == 404
        assert registry.get(f"/v2/b/manifests/{digest_of(one)}").body == one
    images.gc()
    for one in (artifact, image):
        assert registry.get(f"/v2/b/manifests/{digest_of(one)}").body == one


def test_the_config_of_an_image_is_a_blob(registry):
    manifest = registry.push_image("a", "1")
    config = json.loads(manifest)["config"]
    assert config["mediaType"] == CONFIG
    assert len(registry.get(f"/v2/a/blobs/{config['digest']}").body) == config["size"]


# Many at once.


@pytest.mark.sampled(3)
def test_pushes_and_deletes_and_collections_at_once_lose_nothing(registry, images):
    """Clients that share layers push, delete what they pushed, and push again, while a collection runs all the time."""
    errors: list[BaseException] = []
    done = threading.Event()
    kept: dict[str, bytes] = {}

    def push(number: int) -> None:
        name, manifest = f"shared/{number % 2}", b""
        try:
            for turn in range(3):
                manifest = registry.push_image(name, f"t{number}", "base", annotations={"of": f"{number}-{turn}"})
                assert registry.get(f"/v2/{name}/manifests/t{number}").body == manifest
                if turn < 2:
                    assert registry.delete(f"/v2/{name}/manifests/{digest_of(manifest)}").status == 202
            kept[f"/v2/{name}/manifests/t{number}"] = manifest
        except BaseException as error:  # noqa: BLE001 - seen by the test
            errors.append(error)

    def collect() -> None:
        try:
            while not done.is_set():
                images.gc()
        except BaseException as error:  # noqa: BLE001 - seen by the test
            errors.append(error)

    collector = threading.Thread(target=collect)
    collector.start()
    threads = [threading.Thread(target=push, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    done.set()
    collector.join()
    assert errors == []
    for path, manifest in kept.items():
        assert registry.get(path).body == manifest
        for layer in json.loads(manifest)["layers"]:
            blob = f"{path.partition('/manifests/')[0]}/blobs/{layer['digest']}"
            assert digest_of(registry.get(blob).body) == layer["digest"]
    assert orlop.stores.fsck(images.root).problems == ()


# What is wrong with the store, or with the request.


@pytest.mark.sampled(2)
def test_a_manifest_whose_layers_are_elsewhere_goes_out_as_it_came(registry):
    """Its layers may be known by other images, so that one could be made for it that has them all."""
    near, far = layer_tar("near"), layer_tar("far")
    config = written(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [digest_of(near), digest_of(far)]},
        }
    )
    for blob in (near, far, config):
        registry.push_blob("a", blob)
    whole = written(image_manifest(config, near, far))
    assert registry.put("/v2/a/manifests/whole", whole).status == 201
    foreign = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
    layers = [described(near, LAYER), described(gzip.compress(far), foreign)]
    partial = written(image_manifest(config) | {"layers": layers})
    assert registry.put("/v2/a/manifests/partial", partial).status == 201
    assert registry.get("/v2/a/manifests/partial").body == partial


@in_a_directory
@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
@pytest.mark.parametrize("is_cut", [True, False])
def test_a_blob_whose_file_is_gone_is_not_there_until_it_is_pushed_again(registry, tmp_path, algorithm, is_cut):
    digest = digest_of(A, algorithm)
    assert registry.finish(registry.begin("a"), digest, A).status == 201
    (file,) = (tmp_path / "root" / "blobs" / algorithm).iterdir()
    if is_cut:
        file.chmod(0o600)
        os.truncate(file, 10)
    else:
        file.unlink()
    # Clients ask by HEAD whether they have to push.
    for method in ("HEAD", "GET"):
        answer = registry.ask(method, f"/v2/a/blobs/{digest}")
        assert answer.status == 404
        assert str(tmp_path).encode() not in answer.body
    assert registry.finish(registry.begin("a"), digest, A).status == 201
    assert registry.get(f"/v2/a/blobs/{digest}").body == A


@pytest.mark.sampled(6)
@pytest.mark.parametrize("method", ["PATCH", "PUT"])
@pytest.mark.parametrize("sent", [0, 1, 99, 101, 3 << 20])
def test_a_chunk_that_is_not_as_long_as_its_range_is_refused_and_nothing_of_it_is_kept(registry, method, sent):
    content = bytes(4 << 20)
    session = registry.patch(registry.begin("a"), content[:50], "0-49")
    place = session.headers["location"]
    body = (content[at : at + 70_000] for at in range(0, sent, 70_000)) if sent > 101 else iter([content[:sent]])
    query = {"digest": digest_of(content)} if method == "PUT" else None
    # A generator is sent without a Content-Length.
    refused = registry.ask(method, place, query, body=body, headers={"Content-Range": "50-149"})
    assert (refused.status, code(refused)) == (400, "BLOB_UPLOAD_INVALID")
    assert registry.get(place).headers["range"] == "0-49"
    # The upload goes on where it was acknowledged.
    session = registry.patch(session, b"x" * 100, "50-149")
    assert session.headers["range"] == "0-149"
    assert registry.finish(session, digest_of(content[:50] + b"x" * 100)).status == 201


def flip(file: Path, *, silently: bool) -> bytes:
    """Change one bit of a file in its place, as a disk does (``silently``) or as a program does; return its bytes."""
    before = file.stat()
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.chmod(0o600)
    with file.open("r+b") as changed:
        changed.write(content)
    if silently:
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    return bytes(content)


@pytest.mark.sampled(2)
@in_a_directory
@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
@pytest.mark.parametrize("silently", [True, False])
@pytest.mark.parametrize("content", [A, layer_tar("a")], ids=["blob", "layer"])
def test_a_blob_with_flipped_bits_is_replaced_by_a_push(registry, images, tmp_path, algorithm, silently, content):
    digest = digest_of(content, algorithm)
    assert registry.finish(registry.begin("a"), digest, content).status == 201
    folder = tmp_path / "root" / "blobs" / algorithm
    (file,) = folder.iterdir()
    damaged = flip(file, silently=silently)
    # What a program wrote is seen by the file's times, so that clients that ask first push it, too.
    assert registry.head(f"/v2/a/blobs/{digest}").status == (200 if silently else 404)
    mount = registry.ask("POST", "/v2/b/blobs/uploads/", {"mount": digest, "from": "a"})
    assert mount.status == (201 if silently else 202)
    assert registry.finish(registry.begin("a"), digest, content).status == 201
    assert registry.get(f"/v2/a/blobs/{digest}").body == content
    assert registry.head(f"/v2/a/blobs/{digest}").status == 200
    (aside,) = (tmp_path / "root" / "quarantine").iterdir()
    assert aside.read_bytes() == damaged
    # Right bytes stay where they are.
    inode = file.stat().st_ino
    assert registry.finish(registry.begin("a"), digest, content).status == 201
    assert file.stat().st_ino == inode
    assert {one.kind for one in orlop.stores.fsck(images.root).problems} == {"quarantined"}


@in_a_directory
@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
@pytest.mark.parametrize("size", [100, 3 << 20], ids=["small", "large"])
def test_whoever_pulls_a_blob_whose_bits_a_disk_has_flipped_has_it_mended_by_the_next_push(
    images, tmp_path, algorithm, size, caplog
):
    content = random.Random(size).randbytes(size)
    digest = digest_of(content, algorithm)
    with hosting(images, tmp_path) as registry:
        assert registry.finish(registry.begin("a"), digest, content).status == 201
        # It was hashed a moment ago.
        assert registry.get(f"/v2/a/blobs/{digest}").body == content
    folder = tmp_path / "root" / "blobs" / algorithm
    (file,) = folder.iterdir()
    damaged = flip(file, silently=True)
    with hosting(images, tmp_path) as registry:
        assert registry.head(f"/v2/a/blobs/{digest}").status == 200
        assert registry.get(f"/v2/a/blobs/{digest}").body == damaged
        until(lambda: registry.head(f"/v2/a/blobs/{digest}").status == 404)
        assert registry.get(f"/v2/a/blobs/{digest}").status == 404
        mount = registry.ask("POST", "/v2/b/blobs/uploads/", {"mount": digest, "from": "a"})
        assert mount.status == 202
        assert registry.finish(registry.begin("a"), digest, content).status == 201
        assert registry.get(f"/v2/a/blobs/{digest}").body == content
    (warning,) = [one for one in caplog.records if "is damaged" in one.message]
    assert digest in warning.message
    (aside,) = (tmp_path / "root" / "quarantine").iterdir()
    assert aside.read_bytes() == damaged


def test_a_blob_that_many_pull_is_proved_once_a_day():
    now, proved = [0.0], []
    one, other = (BlobRow(Digest.of(name), 1, "none") for name in (b"one", b"other"))
    proofs = Proofs(lambda blob: proved.append(blob.digest), clock=lambda: now[0])
    for asked in (one, other, one, other):
        proofs.was_read(asked)
    until(lambda: len(proved) == 2)
    now[0] = AGAIN - 1
    proofs.was_read(one)
    now[0] = AGAIN
    proofs.was_read(other)
    until(lambda: len(proved) == 3)
    assert proved == [one.digest, other.digest, other.digest]
    proofs.was_hashed(one.digest)
    proofs.was_read(one)
    now[0] = 2 * AGAIN
    proofs.was_read(one)
    until(lambda: len(proved) == 4)
    assert proved[3] == one.digest


def test_a_proof_that_cannot_be_made_does_not_stop_the_next_one():
    asked: list[Digest] = []

    def prove(blob: BlobRow) -> bool:
        asked.append(blob.digest)
        raise NoSpace("no")

    proofs = Proofs(prove)
    blobs = [BlobRow(Digest.of(bytes([number])), 1, "none") for number in range(3)]
    for blob in blobs:
        proofs.was_read(blob)
    until(lambda: len(asked) == 3)
    assert asked == [blob.digest for blob in blobs]
    # The next one who reads it has it tried again.

    def is_tried_again() -> bool:
        proofs.was_read(blobs[2])
        return len(asked) > 3

    until(is_tried_again)
    assert asked[3] == blobs[2].digest


def test_a_proof_waits_for_the_next_reader_where_the_system_has_no_thread(monkeypatch):
    def no_thread(*_: object, **__: object) -> None:
        raise RuntimeError("can't start new thread")

    proved: list[Digest] = []
    proofs = Proofs(lambda blob: proved.append(blob.digest))
    blob = BlobRow(Digest.of(b"one"), 1, "none")
    with monkeypatch.context() as patched:
        patched.setattr("orlop.service.hosted.proofs.started", no_thread)
        proofs.was_read(blob)
    proofs.was_read(blob)
    until(lambda: proved == [blob.digest])


def put_in_place(place: Path, kind: str, elsewhere: Path) -> None:
    if kind == "directory":
        place.mkdir()
        (place / "file").write_text("mine")
    elif kind == "link":
        elsewhere.write_text("mine")
        place.symlink_to(elsewhere)
    else:
        os.mkfifo(place)


@pytest.mark.sampled(3)
@in_a_directory
@pytest.mark.parametrize("is_known", [True, False])
@pytest.mark.parametrize("kind", ["directory", "link", "pipe"])
@pytest.mark.parametrize("content", [A, layer_tar("a")], ids=["blob", "layer"])
def test_what_is_not_a_file_in_the_place_of_a_blob_is_set_aside_by_a_push(
    registry, images, tmp_path, content, kind, is_known
):
    folder = tmp_path / "root" / "blobs" / "sha256"
    place = folder / digest_of(content).partition(":")[2]
    if is_known:
        registry.push_blob("a", content)
        place.unlink()
    # Rows come before blobs.
    assert list(images.images()) == []
    put_in_place(place, kind, tmp_path / "elsewhere")
    assert registry.head(f"/v2/a/blobs/{digest_of(content)}").status == 404
    assert registry.get(f"/v2/a/blobs/{digest_of(content)}").status == 404
    registry.push_blob("a", content)
    assert registry.get(f"/v2/a/blobs/{digest_of(content)}").body == content
    assert place.is_file()
    assert not place.is_symlink()
    (aside,) = (tmp_path / "root" / "quarantine").iterdir()
    if kind == "directory":
        assert (aside / "file").read_text() == "mine"
    if kind == "link":
        assert (tmp_path / "elsewhere").read_text() == "mine"
    assert {one.kind for one in orlop.stores.fsck(images.root).problems} == {"quarantined"}


@in_a_directory
def test_a_manifest_needs_blobs_that_are_not_damaged(registry, tmp_path):
    manifest = registry.push_image("a", "1")
    for file in (tmp_path / "root" / "blobs" / "sha256").iterdir():
        flip(file, silently=False)
    refused = registry.put("/v2/a/manifests/2", manifest)
    assert (refused.status, code(refused)) == (400, "MANIFEST_BLOB_UNKNOWN")
    registry.push_image("a", "2")


@in_a_directory
def test_a_file_that_only_looks_changed_is_read_once(registry, images, tmp_path, monkeypatch):
    digest = registry.push_blob("a", A)
    (file,) = (tmp_path / "root" / "blobs" / "sha256").iterdir()
    content = file.read_bytes()
    file.chmod(0o600)
    with file.open("r+b") as changed:
        changed.write(content)
    reads = noted_reads(images, monkeypatch)
    for _ in range(3):
        assert registry.head(f"/v2/a/blobs/{digest}").status == 200
    assert len(reads) == 1


def noted_reads(images: orlop.ImageService, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Return a list that gets each blob which is opened to be read and checked from now on."""
    reads: list[Any] = []
    kind = type(images.store.blobs)
    opened = kind.open

    def noted(blobs: Any, blob: Any) -> Any:
        reads.append(blob.digest)
        return opened(blobs, blob)

    monkeypatch.setattr(kind, "open", noted)
    return reads


@in_a_directory
def test_blobs_of_a_plain_copy_of_a_store_are_read_once_whoever_asks_and_however_often_it_is_served(
    registry, images, tmp_path, monkeypatch
):
    digests = [registry.push_blob("a", A + bytes([number])) for number in range(3)]
    files = sorted((tmp_path / "root" / "blobs" / "sha256").iterdir())
    for file in files:
        rewritten(file)
    reads = noted_reads(images, monkeypatch)
    with images.store.metadata.read() as rows:
        blobs = [row for digest in digests if (row := rows.blob(Digest.parse(digest))) is not None]
    # The second one knows nothing of what the first one has read, as a server that starts anew.
    for damage in (Damage(images.store), Damage(images.store)):
        assert [damage.has(blob) for blob in blobs] == [True] * 3
    assert sorted(map(str, reads)) == sorted(digests)
    assert all(file.stat().st_ctime_ns > file.stat().st_mtime_ns for file in files)
    # What is written to later is doubted again.
    flip(files[0], silently=False)
    assert [Damage(images.store).has(blob) for blob in blobs].count(False) == 1


@in_a_directory
def test_many_who_ask_for_a_doubtful_blob_wait_for_one_reader(registry, images, tmp_path, monkeypatch):
    digest = registry.push_blob("a", A)
    rewritten(next((tmp_path / "root" / "blobs" / "sha256").iterdir()))
    reads = noted_reads(images, monkeypatch)
    damage = Damage(images.store)
    with images.store.metadata.read() as rows:
        blob = rows.blob(Digest.parse(digest))
    assert blob is not None
    looked = Damage._verdict
    together = threading.Barrier(4)

    def look(self: Damage, *asked: Any) -> bool | None:
        found = looked(self, *asked)
        if threading.current_thread() not in seen:
            seen.add(threading.current_thread())
            together.wait(PATIENCE)
        return found

    seen: set[threading.Thread] = set()
    monkeypatch.setattr(Damage, "_verdict", look)
    found: list[bool] = []
    threads = [threading.Thread(target=lambda: found.append(damage.has(blob))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert found == [True] * 4
    assert len(reads) == 1


def rewritten(file: Path) -> None:
    """Write a file's bytes once more, so that they are the last thing that changed, as in a plain copy (``cp -r``)."""
    content = file.read_bytes()
    mode = file.stat().st_mode & 0o777
    file.chmod(0o600 | mode)
    with file.open("r+b") as changed:
        changed.write(content)
    until(lambda: time.clock_gettime_ns(_COARSE) > file.stat().st_mtime_ns)


@in_a_directory
def test_pushing_alone_keeps_the_space_that_removals_need(registry, tmp_path):
    assert not (tmp_path / "root" / "metadata.db.reserve").exists()
    registry.push_blob("a", A)
    assert (tmp_path / "root" / "metadata.db.reserve").stat().st_size > 0


def test_too_many_parameters_are_the_fault_of_the_client(registry):
    query = "&".join(f"a{number}=1" for number in range(101))
    for method, target in (("POST", "/v2/a/blobs/uploads/"), ("GET", "/v2/a/tags/list"), ("GET", "/v2/_catalog")):
        answer = registry.ask(method, f"{target}?{query}")
        assert answer.status == 400


def test_a_page_of_the_catalog_that_cannot_be_counted_has_the_code_of_pages(registry):
    answer = registry.get("/v2/_catalog?n=-1")
    assert (answer.status, code(answer)) == (400, "PAGINATION_NUMBER_INVALID")


@in_a_directory
def test_a_client_does_not_hear_where_the_store_is(registry, tmp_path):
    registry.push_blob("a", A)
    incoming = tmp_path / "root" / "incoming"
    incoming.rename(tmp_path / "aside")
    incoming.write_bytes(b"")
    answer = registry.ask("POST", "/v2/a/blobs/uploads/")
    assert answer.status >= 500
    assert str(tmp_path).encode() not in answer.body
    full = fault(NoSpace(f"cannot write {tmp_path}: no space left on device"), "PATCH", Kind.UPLOAD)
    assert (full.status_code, str(tmp_path).encode() in full.body) == (507, False)
    assert b"disk is full" in full.body


@pytest.mark.parametrize("target", ["/v2/a/manifests/1", f"/v2/a/blobs/uploads/?digest={digest_of(A)}"])
def test_a_body_that_announces_too_much_is_refused_before_it_comes(images, tmp_path, target):
    method = "PUT" if "manifests" in target else "POST"
    head = f"{method} {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {1 << 40}\r\n\r\n"
    with (
        hosting(images, tmp_path, most=10 << 20) as client,
        closing(socket.create_connection(("127.0.0.1", client.port), timeout=PATIENCE)) as connection,
    ):
        connection.sendall(head.encode())
        assert connection.recv(12) == b"HTTP/1.1 413"


def test_a_manifest_that_another_registry_spoils_is_not_the_fault_of_the_client():
    spoilt = InvalidManifest("invalid JSON")
    assert [fault(spoilt, method, Kind.MANIFEST).status_code for method in ("GET", "HEAD", "PUT")] == [502, 502, 400]


@pytest.mark.parametrize("kind", [BucketUnavailable, DatabaseUnavailable, LeaseLost, ServerBusy, StoreInUse])
def test_what_may_be_possible_later_is_asked_for_again_by_clients(kind):
    answer = fault(kind("it is away"), "GET", Kind.BLOB)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert json.loads(bytes(answer.body))["errors"][0]["code"] == "UNAVAILABLE"


def test_indexes_are_nested_no_deeper_than_readers_follow_them(registry, images):
    pushed = registry.push_image("deep", "base", "x")
    kind = MANIFEST
    for _ in range(64):
        pushed, kind = written({"schemaVersion": 2, "mediaType": INDEX, "manifests": [described(pushed, kind)]}), INDEX
        registry.push_manifest("deep", pushed, "1", INDEX)
    for media_type in (INDEX, ""):
        deeper = written({"schemaVersion": 2, "mediaType": INDEX, "manifests": [described(pushed, media_type)]})
        refused = registry.put("/v2/deep/manifests/2", deeper, INDEX)
        assert (refused.status, code(refused)) == (400, "MANIFEST_INVALID")
        assert "nested more than 64 deep" in refused.body.decode()
    out = io.BytesIO()
    images.save(["localhost:5000/deep:1"], out, format="oci")
    out.seek(0)
    assert images.load(out).images


def test_a_manifest_of_more_values_than_memory_is_for_is_refused(
    registry: RegistryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orlop.service.hosted.pushing._MOST_VALUES", 100)
    head = {"schemaVersion": 2, "mediaType": INDEX, "manifests": []}
    few, many = (json.dumps(head | {"annotations": {str(i): "" for i in range(count)}}) for count in (50, 150))
    kind = {"Content-Type": INDEX}
    assert registry.ask("PUT", "/v2/app/manifests/1", body=few.encode(), headers=kind).status == 201
    refused = registry.ask("PUT", "/v2/app/manifests/2", body=many.encode(), headers=kind)
    assert (refused.status, code(refused)) == (400, "MANIFEST_INVALID")
