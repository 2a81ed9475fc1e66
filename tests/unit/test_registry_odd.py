"""Whatever programs put into layouts is pushed to a registry, pulled, also through a cache, and deleted, as it is."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING, Any

import pytest

import orlop
from tests.unit.hosted import code, hosting
from tests.unit.layouts import CONFIG, INDEX, LAYER, MANIFEST, Layout, layer_tar
from tests.unit.odd_layouts import CASES, DOCKER, document, put
from tests.unit.pulling import REPOSITORY
from tests.unit.test_proxied_registry import proxying

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.unit.hosted import RegistryClient

MANIFESTS = {MANIFEST, INDEX, f"{DOCKER}distribution.manifest.v2+json", f"{DOCKER}distribution.manifest.list.v2+json"}
Made = dict[str, tuple[bytes, str]]


def without_rootfs(layout: Layout) -> list[dict[str, Any]]:
    """Make what says that it is an image, and does not say what its layers are."""
    config = document(layout, {"architecture": "amd64", "os": "linux"}, CONFIG)
    layer = put(layout, gzip.compress(layer_tar("a"), mtime=0), f"{LAYER}+gzip")
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer]}
    return [document(layout, manifest)]


ODD: dict[str, Callable[[Layout], list[dict[str, Any]]]] = CASES | {"without_rootfs": without_rootfs}
#: What a registry may refuse: a manifest that names a blob which is not there, and a digest that nobody uses.
REFUSED = {"data_without_a_blob": "MANIFEST_BLOB_UNKNOWN", "sha384_without_a_name": "DIGEST_INVALID"}


def path_of(digest: str) -> str:
    return "blobs/" + digest.replace(":", "/")


def manifests_of(layout: Layout, *tops: dict[str, Any]) -> Made:
    """Return the manifests that are in a layout, with their types: what an index names before the index.

    What a manifest says of itself counts: a layout may name it as another.
    """
    found: Made = {}
    for top in tops:
        raw = layout.files.get(path_of(top["digest"]))
        if raw is None or top["mediaType"] not in MANIFESTS:
            continue
        said = json.loads(raw)
        found |= manifests_of(layout, *said.get("manifests", ()))
        found[top["digest"]] = raw, said.get("mediaType", top["mediaType"])
    return found


def blobs_of(layout: Layout, manifests: Made) -> dict[str, bytes]:
    named = {name[6:].replace("/", ":"): content for name, content in layout.files.items() if name.startswith("blobs/")}
    return {digest: content for digest, content in named.items() if digest not in manifests}


def push_all(registry: RegistryClient, blobs: dict[str, bytes], manifests: Made) -> set[str]:
    """Push everything, and return the codes of what was refused."""
    refused = set()
    for digest, content in blobs.items():
        answer = registry.ask("POST", "/v2/a/blobs/uploads/", {"digest": digest}, body=content)
        refused |= set() if answer.status == 201 else {code(answer)}
    for digest, (raw, media_type) in manifests.items():
        answer = registry.put(f"/v2/a/manifests/{digest}", raw, media_type, tag=["x"])
        refused |= set() if answer.status == 201 else {code(answer)}
    return refused


@pytest.mark.sampled(12)
@pytest.mark.parametrize("kind", ODD)
def test_whatever_is_pushed_is_pulled_as_it_is_and_deleted(tmp_path: Path, kind: str) -> None:
    layout = Layout()
    manifests = manifests_of(layout, *ODD[kind](layout))
    blobs = blobs_of(layout, manifests)
    with orlop.open(tmp_path / "root") as images:
        with hosting(images, tmp_path) as registry:
            refused = push_all(registry, blobs, manifests)
            assert REFUSED[kind] in refused if kind in REFUSED else not refused
            images.gc()
        # Another server finds it, too.
        with hosting(images, tmp_path) as registry:
            if kind not in REFUSED:
                check_pulls(registry, "a", blobs, manifests)
                for digest in reversed(manifests):
                    assert registry.delete(f"/v2/a/manifests/{digest}").status == 202
            for digest in manifests:
                assert registry.get(f"/v2/a/manifests/{digest}").status == 404
            images.gc()
        assert not orlop.stores.fsck(images.root).problems


def check_pulls(registry: RegistryClient, name: str, blobs: dict[str, bytes], manifests: Made, **query: str) -> None:
    for digest, (raw, media_type) in manifests.items():
        answer = registry.get(f"/v2/{name}/manifests/{digest}", query)
        assert (answer.body, answer.headers["content-type"]) == (raw, media_type)
        assert answer.headers["docker-content-digest"] == digest
    named = "".join(raw.decode() for raw, _ in manifests.values())
    for digest, content in blobs.items():
        # Some layouts have blobs beside their manifests.
        if digest in named:
            assert registry.get(f"/v2/{name}/blobs/{digest}", query).body == content


@pytest.mark.sampled(24)
@pytest.mark.parametrize("kind", [one for one in ODD if one not in REFUSED and "sha512" not in one])
def test_whatever_an_upstream_has_is_pulled_through_a_cache_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    layout = Layout()
    manifests = manifests_of(layout, *ODD[kind](layout))
    blobs = blobs_of(layout, manifests)
    with proxying(tmp_path, monkeypatch) as (registry, cached, _):
        upstream = cached.registry
        for content in blobs.values():
            upstream.add_blob(REPOSITORY, content)
        for raw, media_type in manifests.values():
            upstream.add_manifest(REPOSITORY, raw, media_type)
        query = {"ns": cached.name.domain}
        check_pulls(registry, REPOSITORY, blobs, manifests, **query)
        # From here, by now, byte for byte.
        upstream.requests.clear()
        check_pulls(registry, REPOSITORY, blobs, manifests, **query)
        assert not [one for one in upstream.requests if one.method == "GET"]
        cached.images.gc()
        assert not orlop.stores.fsck(cached.images.root).problems
