"""Content of every kind is kept, reached, given back and repaired, and goes when nothing leads to it any more."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import sqlite3
import tarfile
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

import orlop
from orlop import errors
from orlop.model.digest import Digest
from orlop.model.manifest import kind_of, parse_manifest
from orlop.store.local import local_store
from orlop.streams.compression import zstd_module
from tests.layout_walk import walked
from tests.unpacked import unpack

if TYPE_CHECKING:
    from pathlib import Path

ALL = [
    "artifact-zoo",
    "attestations-artifact",
    "buildkit-cache",
    "buildx-annotations",
    "buildx-docker-types",
    "buildx-provenance",
    "cosign-tags",
    "crane-pull-oci",
    "data-only",
    "digests-and-data",
    "engine29-artifact",
    "engine29-referrers",
    "engine29-sparse",
    "names",
    "nested-index",
    "oras-copy-recursive",
    "referrers-untagged",
    "regctl-referrers",
    "skopeo-multi",
    "skopeo-single",
    "sparse-platforms",
    "umoci",
]
EMPTY = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
REF_NAME, IMAGE_NAME = "org.opencontainers.image.ref.name", "io.containerd.image.name"


def layout(data: Path, name: str, place: Path) -> Path:
    """Unpack a fixture, which is a directory or a tar itself, into a directory."""
    raw = zstd_module().decompress((data / "oci" / f"{name}.tar.zst").read_bytes())
    folder = place / "from"
    folder.mkdir()
    with tarfile.open(fileobj=io.BytesIO(raw)) as tar:
        unpack(tar, folder)
    return folder / name if (folder / name).is_dir() else folder


def everything(root: Path) -> list[str]:
    """Return names for all that nothing else in a store leads to."""
    with local_store(root) as store, store.metadata.read() as rows:
        told = [f"{row.name}{row.suffix}" for row in rows.references() if row.suffix[0] == ":"]
        tops = dict(store.content.tops())
        told += [str(name) for names in tops.values() for name in names if str(name) not in told]
        told += [str(digest) for digest in tops if not tops[digest] or store.content.addresses(digest)]
        for digest in rows.manifest_digests():
            led = any(edge.role == "child" for edge in rows.edges_to(digest))
            about = [edge.child for edge in rows.edges(digest) if edge.role == "subject"]
            if digest not in tops and not led and not any(rows.manifest(one) for one in about):
                told.append(str(digest))
    return told


def present(folder: Path) -> set[str]:
    return set(walked(folder).found)


@pytest.mark.sampled(6)
@pytest.mark.parametrize("name", ALL)
def test_a_layout_comes_back_with_every_descriptor_and_name(data, tmp_path, name):
    source = layout(data, name, tmp_path)
    root = tmp_path / "root"
    with orlop.open(root) as images:
        images.load(source)
        images.gc()
    told = everything(root)
    with orlop.open(root) as images:
        images.save(told, tmp_path / "to", format="oci-dir")
    assert present(tmp_path / "to") == present(source)
    before, after = walked(source), walked(tmp_path / "to")
    for entry in before.entries:
        notes = entry.get("annotations", {})
        if text := notes.get(IMAGE_NAME) or notes.get(REF_NAME):
            same = [one.get("annotations", {}) for one in after.entries if one["digest"] == entry["digest"]]
            texts = {each for one in same for each in (one.get(REF_NAME, ""), one.get(IMAGE_NAME, ""))}
            assert any(each == text or each.endswith(text.partition("@")[0].rpartition("/")[2]) for each in texts)
    assert orlop.stores.fsck(root).problems == ()


@pytest.mark.parametrize("way", ["file", "stream"])
def test_what_is_no_layer_is_kept_from_a_tar_and_a_pipe(tmp_path, way):
    noise = b"no tar at all, " * 200_000
    source = packed(artifact(noise))
    if way == "file":
        (tmp_path / "a.tar").write_bytes(source)
    with orlop.open(tmp_path / "root") as images:
        report = images.load(tmp_path / "a.tar" if way == "file" else io.BytesIO(source))
        assert [one.references[0].familiar for one in report.artifacts] == ["example/thing:1"]
        assert report.messages() == ("Loaded artifact: example/thing:1",)
    with local_store(tmp_path / "root") as store:
        assert read(store, digest_of(noise)) == noise
        node = store.content.node(report.artifacts[0].digest)
        assert (node.kind, node.artifact_type) == ("artifact", "application/vnd.example.thing")
        assert store.content.named(report.artifacts[0].references[0]) == node.digest


def read(store: Any, digest: str) -> bytes:
    with store.content.open(Digest.parse(digest)) as reader:
        return b"".join(iter(lambda: reader.read(1 << 16), b""))


def digest_of(raw: bytes) -> str:
    return f"sha256:{hashlib.sha256(raw).hexdigest()}"


def artifact(blob: bytes, *, subject: dict[str, Any] | None = None, note: str = "") -> tuple[bytes, list[bytes]]:
    document: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactType": "application/vnd.example.thing",
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": EMPTY, "size": 2},
        "layers": [{"mediaType": "application/x-thing", "digest": digest_of(blob), "size": len(blob)}],
        "annotations": {"note": note},
    }
    if subject is not None:
        document["subject"] = subject
    return json.dumps(document).encode(), [b"{}", blob]


def descriptor(raw: bytes) -> dict[str, Any]:
    kind = "index" if b'"manifests"' in raw else "manifest"
    return {
        "mediaType": f"application/vnd.oci.image.{kind}.v1+json",
        "digest": digest_of(raw),
        "size": len(raw),
    }


def packed(*entries: tuple[bytes, list[bytes]], names: tuple[str, ...] = ("example/thing:1",)) -> bytes:
    """Return a tar that is a layout of some manifests, the first of them with names."""
    tops = []
    for number, (raw, _) in enumerate(entries):
        told = {"annotations": {IMAGE_NAME: f"docker.io/{names[number]}"}} if number < len(names) else {}
        tops.append(descriptor(raw) | told)
    files = {
        "oci-layout": b'{"imageLayoutVersion":"1.0.0"}',
        "index.json": json.dumps({"schemaVersion": 2, "manifests": tops}).encode(),
    }
    for raw, below in entries:
        files |= {f"blobs/sha256/{hashlib.sha256(one).hexdigest()}": one for one in (raw, *below)}
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return out.getvalue()


def test_a_name_that_goes_takes_what_nothing_else_reaches(tmp_path):
    one = artifact(b"shared" * 100, note="one")
    other = (artifact(b"shared" * 100, note="other")[0], [b"own" * 10, b"{}", b"shared" * 100])
    about = artifact(b"signature" * 9, subject=descriptor(one[0]))
    with orlop.open(tmp_path / "root") as images:
        images.load(io.BytesIO(packed(one, other, about, names=("example/one:1", "example/other:1"))))
        lines = images.remove("example/one:1")
        assert lines.untagged == ("example/one:1",)
        assert lines.deleted == (digest_of(one[0]),)
        assert images.gc().garbage == ()
    with local_store(tmp_path / "root") as store:
        there = {str(blob.digest) for blob in store.metadata.read().__enter__().blobs()}
        assert there == {EMPTY, digest_of(b"shared" * 100)}
    assert {path.name for path in (tmp_path / "root" / "blobs" / "sha256").iterdir()} == {
        one.partition(":")[2] for one in there
    }


def test_a_name_moves_between_an_image_and_an_artifact(data, tmp_path):
    with orlop.open(tmp_path / "root") as images:
        images.load(data / "dockerd-29-overlay2" / "tiny.tar")
        (image,) = images.images()
        images.load(io.BytesIO(packed(artifact(b"x" * 600), names=("example/tiny:1.0",))))
        # As of two images, the later one has the name.
        with pytest.raises(errors.ImageNotFound):
            images.inspect("example/tiny:1.0")
        assert [one.references for one in images.images()] == [()]
        images.tag(image.id, "example/tiny:1.0")
        assert images.inspect("example/tiny:1.0").image.id == image.id
        assert images.gc().garbage == ()
    assert not (tmp_path / "root" / "blobs" / "sha256" / hashlib.sha256(b"x" * 600).hexdigest()).exists()


def test_what_other_content_needs_is_not_removed_by_its_digest(data, tmp_path):
    source = layout(data, "oras-copy-recursive", tmp_path)
    with orlop.open(tmp_path / "root") as images:
        images.load(source)
        with local_store(tmp_path / "root") as store, store.metadata.read() as rows:
            about = next(
                digest for digest in rows.manifest_digests() if any(e.role == "subject" for e in rows.edges(digest))
            )
        with pytest.raises(errors.ImageInUse, match="belongs to other content"):
            images.remove(str(about))


def test_removing_an_image_takes_its_referrers_along(data, tmp_path):
    source = layout(data, "oras-copy-recursive", tmp_path)
    with orlop.open(tmp_path / "root") as images:
        images.load(source)
        for image in images.images(all=True):
            images.remove(str(image.id), force=True)
        for name in everything(tmp_path / "root"):
            images.remove(name)
        assert images.gc().garbage == ()
    assert list((tmp_path / "root" / "blobs" / "sha256").iterdir()) == []
    with local_store(tmp_path / "root") as store, store.metadata.read() as rows:
        assert rows.manifest_digests() == []


def test_damage_of_every_kind_is_found_and_repaired(data, tmp_path):
    source = layout(data, "oras-copy-recursive", tmp_path)
    root = tmp_path / "root"
    with orlop.open(root) as images:
        images.load(source)
    with local_store(root) as store, store.metadata.read() as rows:
        blobs = [blob.digest for blob in rows.opaque_blobs()]
        manifest = next(d for d in rows.manifest_digests() if any(e.role == "subject" for e in rows.edges(d)))
    with closing(sqlite3.connect(root / "metadata.db")) as database, database:
        database.execute("DELETE FROM edge WHERE parent = ?", (str(manifest),))
    whole = {path.name: path.read_bytes() for path in (root / "blobs" / "sha256").iterdir()}
    gone, bad = (root / "blobs" / "sha256" / blob.hex for blob in blobs[:2])
    gone.unlink()
    bad.chmod(0o600)
    bad.write_bytes(b"?" * bad.stat().st_size)
    bad.chmod(0o400)
    found = {problem.kind for problem in orlop.stores.fsck(root).problems}
    assert {"blob-missing", "blob-damaged", "edges-wrong"} <= found
    orlop.stores.fsck(root, repair=True, sources=[source])
    assert [one for one in orlop.stores.fsck(root).problems if one.kind != "quarantined"] == []
    assert {path.name: path.read_bytes() for path in (root / "blobs" / "sha256").iterdir()} == whole


BAD = {
    "both-config-and-manifests": "a manifest and an index at once",
    "data-lies": "not the content of",
    "diff-ids-wrong": "diff ID",
    "digest-traversal": "invalid digest",
    "index-loop": "has the digest",
    "layout-version-2": "version",
    "media-type-mismatch": "descriptor says",
    "missing-layer": "no such member",
    "subject-loop": "has the digest",
    "subject-self": "has the digest",
    "wrong-bytes": "has the digest",
    "wrong-layer": "not a layer tar",
    "wrong-size": "bytes, but its descriptor says",
}
ODD = {
    "artifact-named-like-image": (0, 1),
    "deep": (1, 0),
    "digest-of-unknown-algorithm": (1, 0),
    "no-platform-index": (2, 0),
    "same-platform-twice": (2, 0),
}


@pytest.mark.sampled(2)
def test_faults_are_refused_and_what_is_only_odd_is_kept(data, tmp_path):
    folder = layout(data, "bad", tmp_path)
    assert {path.name for path in folder.iterdir()} == BAD.keys() | ODD.keys()
    for number, path in enumerate(sorted(folder.iterdir())):
        root = tmp_path / str(number)
        with orlop.open(root) as images:
            if path.name in BAD:
                with pytest.raises((errors.InvalidInput, errors.IntegrityError), match=BAD[path.name]):
                    images.load(path)
                assert images.gc().garbage == ()
            else:
                report = images.load(path)
                assert (len(report.images), len(report.artifacts)) == ODD[path.name]
        assert orlop.stores.fsck(root).problems == ()


def test_kinds_are_told_by_content(data, tmp_path):
    source = layout(data, "artifact-zoo", tmp_path)
    kinds = {}
    for entry in walked(source).entries:
        raw = (source / "blobs" / "sha256" / entry["digest"].partition(":")[2]).read_bytes()
        kinds[entry["annotations"][REF_NAME]] = kind_of(parse_manifest(raw))
    assert {name for name, kind in kinds.items() if kind == "image"} == {"kustomize-as-image"}
    assert set(kinds.values()) == {"image", "artifact"}


BLOB = b"blob" * 500


@pytest.mark.parametrize(
    ("layers", "digest"),
    [("LAYERS", "Digest"), ("layer\u017f", "digest"), ("layers", "dige\u017ft"), ("layers", "dige\\u017ft")],
)
def test_a_key_in_any_case_keeps_what_it_names(tmp_path, layers, digest):
    raw = artifact(BLOB)[0].decode()
    start = raw.index('"layers"')
    raw = raw[:start] + raw[start:].replace('"digest"', f'"{digest}"', 1).replace('"layers"', f'"{layers}"', 1)
    with orlop.open(tmp_path / "root") as images:
        images.load(io.BytesIO(packed((raw.encode(), [b"{}", BLOB]))))
        assert images.gc().garbage == ()
    with local_store(tmp_path / "root") as store:
        assert read(store, digest_of(BLOB)) == BLOB


def test_what_a_manifest_names_is_kept_however_deep_the_rest_is_or_it_is_refused(tmp_path):
    """Rows find with SQLite, which reads fewer levels than Go, what a document names."""
    raw, below = artifact(BLOB)
    for depth, is_kept in ((800, True), (2100, False), (9000, False)):
        deep = raw[:-1] + b', "more": ' + b"[" * depth + b"]" * depth + b"}"
        with orlop.open(tmp_path / str(depth)) as images:
            if not is_kept:
                with pytest.raises(errors.InvalidManifest, match="nested deeper than 900"):
                    images.load(io.BytesIO(packed((deep, below))))
                continue
            images.load(io.BytesIO(packed((deep, below))))
            assert images.gc().garbage == ()
        with local_store(tmp_path / str(depth)) as store:
            assert read(store, digest_of(BLOB)) == BLOB


def test_a_layer_that_is_elsewhere_leaves_its_platform_out_and_not_the_others(data, tmp_path):
    source = layout(data, "skopeo-multi", tmp_path)
    blobs = source / "blobs" / "sha256"
    (entry,) = json.loads((source / "index.json").read_bytes())["manifests"]
    index = json.loads((blobs / entry["digest"][7:]).read_bytes())
    child = index["manifests"][0]
    manifest = json.loads((blobs / child["digest"][7:]).read_bytes())
    others = b"".join((blobs / one["digest"][7:]).read_bytes() for one in index["manifests"][1:])
    layer = next(one for one in manifest["layers"] if one["digest"].encode() not in others)
    (blobs / layer["digest"][7:]).unlink()
    layer["urls"] = ["https://example.com/layer"]
    raw = json.dumps(manifest).encode()
    child |= descriptor(raw)
    whole = json.dumps(index).encode()
    entry |= descriptor(whole)
    for one in (raw, whole):
        (blobs / hashlib.sha256(one).hexdigest()).write_bytes(one)
    (source / "index.json").write_bytes(json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode())
    with orlop.open(tmp_path / "root") as images:
        report = images.load(source)
        assert len(report.images) == len(index["manifests"]) - 1
        images.gc()
        images.save([str(report.images[0].references[0])], tmp_path / "to", format="oci-dir")
    assert {digest_of(raw), digest_of(whole)} <= present(tmp_path / "to")


def test_a_blob_without_a_row_is_recorded_again_and_not_removed(tmp_path):
    root, packed_blob = tmp_path / "root", gzip.compress(b"no tar" * 99)
    with orlop.open(root) as images:
        images.load(io.BytesIO(packed(artifact(BLOB), artifact(packed_blob), names=("example/a:1", "example/b:1"))))
    with closing(sqlite3.connect(root / "metadata.db")) as database:
        whole = database.execute("SELECT * FROM blob ORDER BY digest").fetchall()
        database.execute("DELETE FROM blob WHERE digest <> ?", (digest_of(packed_blob),))
        database.execute("UPDATE blob SET compression = 'zstd'")
        database.commit()
    assert sorted(one.kind for one in orlop.stores.fsck(root).problems) == ["blob-wrong", "stray", "stray"]
    with orlop.open(root) as images:
        assert images.gc().garbage == ()
    report = orlop.stores.fsck(root, repair=True)
    assert sorted(one.kind for one in report.repairs) == ["blob-wrong", "stray", "stray"]
    assert orlop.stores.fsck(root).problems == ()
    with closing(sqlite3.connect(root / "metadata.db")) as database:
        assert database.execute("SELECT * FROM blob ORDER BY digest").fetchall() == whole


@pytest.mark.parametrize("begin", [b"\x1f\x8b\x08\0", b"\x28\xb5\x2f\xfd", b"gzip", b"tar"], ids=repr)
def test_what_only_begins_like_a_layer_is_kept_from_a_pipe(tmp_path, begin):
    noise = begin + bytes(range(256)) * 9000
    if begin == b"gzip":
        noise = gzip.compress(os.urandom(3 << 20), mtime=0)
    elif begin == b"tar":
        # A member and then something else.
        noise = packed(artifact(b"x"))[:-1024] + b"no header" * 100_000
    with orlop.open(tmp_path / "root") as images:
        images.load(io.BytesIO(packed(artifact(noise))))
        assert list((tmp_path / "root" / "ingest").iterdir()) == []
    with local_store(tmp_path / "root") as store:
        assert read(store, digest_of(noise)) == noise
    assert orlop.stores.fsck(tmp_path / "root").problems == ()


def test_an_image_whose_foreign_layer_is_elsewhere_is_kept_with_its_place(data, tmp_path):
    source = layout(data, "layer-types", tmp_path)
    foreign = next(one for one in json.loads((source / "index.json").read_bytes())["manifests"][1:])
    (layer, *_) = json.loads((source / "blobs" / "sha256" / foreign["digest"][7:]).read_bytes())["layers"]
    with orlop.open(tmp_path / "root") as images:
        report = images.load(source)
        assert len(report.images) == 1
        assert [str(artifact.digest) for artifact in report.artifacts] == [foreign["digest"]]
        images.gc()
        images.save([foreign["digest"]], tmp_path / "to", format="oci-dir")
    again = json.loads((tmp_path / "to" / "blobs" / "sha256" / foreign["digest"][7:]).read_bytes())
    assert again["layers"][0] == layer
    assert layer["urls"]
    assert layer["digest"] not in present(tmp_path / "to")


def test_a_layer_that_is_distributed_must_be_there(data, tmp_path):
    source = layout(data, "layer-types", tmp_path)
    index = json.loads((source / "index.json").read_bytes())
    (entry,) = index["manifests"] = index["manifests"][1:]
    old = source / "blobs" / "sha256" / entry["digest"][7:]
    raw = old.read_bytes().replace(b"nondistributable.v1.tar+gzip", b"v1.tar+gzip")
    entry |= descriptor(raw)
    (source / "blobs" / "sha256" / entry["digest"][7:]).write_bytes(raw)
    (source / "index.json").write_bytes(json.dumps(index).encode())
    with orlop.open(tmp_path / "root") as images:
        with pytest.raises(errors.InvalidArchive, match=r"is at 'https://example\.invalid/layer\.tgz'"):
            images.load(source)
        assert not list(images.images())
