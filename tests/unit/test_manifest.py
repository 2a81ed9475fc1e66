"""Manifests and indexes."""

from __future__ import annotations

import json
import tarfile
from typing import TYPE_CHECKING

import pytest

from orlop.errors import InvalidManifest
from orlop.model.descriptor import Descriptor
from orlop.model.digest import Digest
from orlop.model.manifest import (
    DOCKER_INDEX,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
    Index,
    Manifest,
    parse_manifest,
)
from orlop.model.platform import Platform

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = {"mediaType": OCI_CONFIG, "digest": "sha256:" + "1" * 64, "size": 2}
LAYER = {"mediaType": OCI_LAYER, "digest": "sha256:" + "2" * 64, "size": 1024}
MANIFEST = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": CONFIG, "layers": [LAYER]}
INDEX = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [{**LAYER, "mediaType": OCI_MANIFEST}]}


def raw(document: object) -> bytes:
    return json.dumps(document).encode()


@pytest.mark.parametrize("media_type", [OCI_MANIFEST, DOCKER_MANIFEST, ""])
def test_a_manifest_has_a_config_and_layers(media_type):
    manifest = parse_manifest(raw({**MANIFEST, "mediaType": media_type}))
    assert isinstance(manifest, Manifest)
    assert manifest.config == Descriptor(OCI_CONFIG, Digest("sha256", "1" * 64), 2)
    assert [layer.size for layer in manifest.layers] == [1024]
    assert manifest.media_type == media_type


@pytest.mark.parametrize("media_type", [OCI_INDEX, DOCKER_INDEX])
def test_an_index_has_manifests_with_platforms(media_type):
    entry = {
        **LAYER,
        "platform": {"os": "linux", "architecture": "arm64", "variant": "v8", "os.version": "1", "os.features": ["f"]},
        "annotations": {"b": "1", "a": "2"},
        "urls": ["https://example.com/x"],
        "artifactType": "t",
    }
    index = parse_manifest(raw({**INDEX, "mediaType": media_type, "manifests": [entry]}))
    assert isinstance(index, Index)
    assert index.manifests[0].platform == Platform("linux", "arm64", "v8", "1", ("f",))
    assert index.manifests[0].annotations == {"b": "1", "a": "2"}
    assert Index.from_json(index.to_json()).manifests == index.manifests


def test_keys_match_with_case_folded():
    manifest = Manifest.from_json(
        raw(MANIFEST)[:-1] + b',"Subject":' + raw(LAYER) + b',"annotations":{"A":"x","a":"y"}}'
    )
    assert manifest.subject is not None
    assert manifest.annotations == {"A": "x", "a": "y"}


@pytest.mark.parametrize(
    "more",
    [
        b',"layers":[]',
        b',"LAYERS":[]',
        b',"Layer\\u017f":[]',
        b',"annotations":{"a":"x","a":"y"}',
        b',"annotations":{"a":"x"},"Annotations":{}',
        b',"subject":{"digest":"","Digest":""}',
        b',"x":[[{"a":1,"A":1}]]',
    ],
)
def test_a_key_that_stands_twice_is_refused(more: bytes):
    # Go takes the last of them, other readers the first, or tell them apart by their case.
    with pytest.raises(InvalidManifest, match="more than once"):
        Manifest.from_json(raw(MANIFEST)[:-1] + more + b"}")


@pytest.mark.parametrize(
    "document",
    [
        {**MANIFEST, "manifests": []},
        {**INDEX, "layers": []},
        {**INDEX, "CONFIG": CONFIG},
        {**INDEX, "fsLayers": []},
        {**INDEX, "mediaType": OCI_MANIFEST},
        {**MANIFEST, "mediaType": DOCKER_INDEX},
        {"schemaVersion": 2},
        {**MANIFEST, "schemaVersion": 1},
        {**MANIFEST, "schemaVersion": "2"},
        {**MANIFEST, "schemaVersion": 2.0},
        {**MANIFEST, "config": None},
        {**MANIFEST, "config": []},
        {**MANIFEST, "layers": {}},
        {**MANIFEST, "layers": [None]},
        {**MANIFEST, "layers": [{**LAYER, "size": -1}]},
        {**MANIFEST, "layers": [{**LAYER, "size": True}]},
        {**MANIFEST, "layers": [{**LAYER, "size": 1.5}]},
        {**MANIFEST, "layers": [{**LAYER, "digest": "sha256:../x"}]},
        {**MANIFEST, "layers": [{**LAYER, "digest": None}]},
        {**MANIFEST, "layers": [{**LAYER, "mediaType": 5}]},
        {**MANIFEST, "layers": [{**LAYER, "urls": [1]}]},
        {**MANIFEST, "annotations": {"a": 1}},
        {**MANIFEST, "annotations": []},
        [],
        None,
    ],
)
def test_what_is_neither_or_both_or_malformed_is_refused(document):
    with pytest.raises(InvalidManifest):
        parse_manifest(raw(document))


@pytest.mark.parametrize(
    ("data", "fits"),
    [
        *(("e30=", True), ("e3\r\n0=\n", True), ("", True), (None, True)),
        *(("e3x=", False), ("e30gIA==", False), ("e30", False), ("e3 0=", False)),
        *(("?", False), ("é", False), (1, False)),
    ],
)
@pytest.mark.parametrize("place", ["manifests", "config", "layers", "subject"])
def test_content_that_a_descriptor_carries_is_what_it_names(data: object, place: str, *, fits: bool):
    """Some programs read it, others the blob."""
    empty = {"mediaType": OCI_CONFIG, "digest": str(Digest.of(b"{}")), "size": 2, "data": data}
    document = INDEX if place == "manifests" else MANIFEST
    document = {**document, place: [empty] if place in {"manifests", "layers"} else empty}
    if fits:
        parse_manifest(raw(document))
    else:
        with pytest.raises(InvalidManifest, match="invalid manifest: data of"):
            parse_manifest(raw(document))


def test_bytes_that_are_no_json_are_refused():
    with pytest.raises(InvalidManifest):
        parse_manifest(b"{} x")


def test_a_manifest_is_no_index_and_an_index_no_manifest():
    with pytest.raises(InvalidManifest):
        Manifest.from_json(raw(INDEX))
    with pytest.raises(InvalidManifest):
        Index.from_json(raw(MANIFEST))


@pytest.mark.parametrize("folder", ["dockerd-29-overlay2", "dockerd-29-containerd"])
def test_the_documents_of_an_engine_are_written_again_to_the_byte(data: Path, folder: str):
    with tarfile.open(data / folder / "multi.tar") as archive:
        files = {member.name: content.read() for member in archive if (content := archive.extractfile(member))}
    index = Index.from_json(files["index.json"])
    assert index.to_json() == files["index.json"]
    for descriptor in index.manifests:
        blob = files[f"blobs/sha256/{descriptor.digest.hex}"]
        manifest = parse_manifest(blob)
        assert Digest.of(blob) == descriptor.digest
        if folder == "dockerd-29-overlay2":
            assert manifest.to_json() == blob


LEADING = [
    b'"config": {"mediaType": "%s", "digest": "a:b", "size": 1}, "layers": []',
    b'"config": {"digest": "a:b", "size": 1, "%s": 1}, "layers": []',
    b'"config": {"digest": "a:b", "size": 1}, "layers": [], "blobs": [{"digest": "%s"}]',
    b'"config": {"digest": "a:b", "size": 1}, "layers": [], "config%s": {}',
    b'"manifests": [{"MEDIATYPE": "%s", "digest": "a:b", "size": 1}]',
    b'"manifests": [], "subject": {"mediaType": "%s", "digest": "a:b", "size": 1}',
]


@pytest.mark.parametrize("bad", [b"\\u0000", b"x\\u0000y", b"\xff", b"\\ud800", b"x\\udc00", b"\xed\xa0\x80"])
@pytest.mark.parametrize("members", LEADING)
def test_a_text_that_databases_read_differently_is_refused_where_rows_are_kept_of_it(members, bad):
    with pytest.raises(InvalidManifest, match="holds a NUL, or something that is not UTF-8"):
        parse_manifest(b'{"schemaVersion": 2, ' + members.replace(b"%s", bad) + b"}")


def test_such_a_text_is_taken_where_no_row_is_kept_of_it():
    document = (
        f'{{"config": {{"digest": "{"sha256:" + "a" * 64}", "size": 1}}, "layers": [], "annotations": {{"a": "%s"}}}}'
    )
    read = parse_manifest((document % r"\u0000 \ud800").encode())
    assert read.annotations == {"a": "\0 \ufffd"}
