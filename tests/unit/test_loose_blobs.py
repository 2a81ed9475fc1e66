"""Blobs that stand in an index.json themselves: kept, shown, given back with what was said of them, and collected."""

from __future__ import annotations

import io
import json
import tarfile
from typing import TYPE_CHECKING, Any

import pytest

import orlop
from orlop import errors
from orlop.model.digest import Digest
from tests.unit.layouts import INDEX, REF, Layout, named, sha256, unpacked
from tests.unit.pushed import placed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.unit.pushed import Place

NOTE = b"not a manifest"
DIGEST = sha256(NOTE)
TEXT = "text/plain"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with placed(tmp_path / "root") as found:
        yield found


def note(layout: Layout, **annotations: str) -> dict[str, Any]:
    return layout.blob(NOTE, TEXT, **({"annotations": annotations} if annotations else {}))


def entries(raw: bytes) -> list[dict[str, Any]]:
    with tarfile.open(fileobj=io.BytesIO(raw)) as tar:
        file = tar.extractfile("index.json")
        assert file is not None
        found: list[dict[str, Any]] = json.loads(file.read())["manifests"]
        return found


def saved(images: orlop.ImageService, *names: str, **options: Any) -> bytes:
    target = io.BytesIO()
    images.save(names, target, **options)
    return target.getvalue()


@pytest.mark.parametrize("form", ["oci", "docker"])
@pytest.mark.parametrize("beside", [True, False])
def test_a_blob_comes_back_as_it_was_said_to_be(images: orlop.ImageService, form: str, beside: bool) -> None:  # noqa: FBT001
    layout = Layout()
    entry = note(layout, **{"org.example": "kept"})
    layout.top(*([layout.image("file", **named("app:1"))] if beside else []), entry)
    report = images.load(io.BytesIO(layout.pack()))
    assert [str(one.digest) for one in report.artifacts] == [DIGEST]
    raw = saved(images, DIGEST, format=form)
    assert entries(raw) == [entry]
    with tarfile.open(fileobj=io.BytesIO(raw)) as tar:
        blobs = [member.name for member in tar if member.isfile() and member.name.startswith("blobs/")]
        assert blobs == ["blobs/" + DIGEST.replace(":", "/")]
    if beside:
        together = entries(saved(images, "app:1", DIGEST.removeprefix("sha256:"), format="oci"))
        assert {one["mediaType"] for one in together} == {layout.image("file")["mediaType"], TEXT}


def test_its_texts_come_back_and_are_no_names(images: orlop.ImageService) -> None:
    layout = Layout()
    texts = ["app/org.example/x", "docker.io/library/app:1", "notes"]
    layout.top(*(note(layout, **{REF: text}) for text in texts))
    images.load(io.BytesIO(layout.pack()))
    assert [one["annotations"] for one in entries(saved(images, DIGEST, format="oci"))] == [{REF: one} for one in texts]
    with pytest.raises(errors.NotFound):
        images.inspect("app:1")
    with pytest.raises(errors.NotFound):
        saved(images, "app:1", format="oci")


def test_it_is_shown_and_goes_when_it_is_removed(images: orlop.ImageService, tmp_path: Path) -> None:
    layout = Layout()
    images.load(io.BytesIO(layout.top(note(layout)).pack()))
    [tree] = images.tree()
    assert (tree.kind, str(tree.digest), tree.label, tree.size) == ("blob", DIGEST, TEXT, len(NOTE))
    assert tree.available
    assert images.tree(DIGEST) == (tree,)
    images.gc()
    assert orlop.stores.fsck(tmp_path / "root").damage == ()
    assert images._store.content.has(Digest.parse(DIGEST))
    images.remove(DIGEST)
    assert images.tree() == ()
    assert not images._store.content.has(Digest.parse(DIGEST))
    assert list((tmp_path / "root/blobs/sha256").iterdir()) == []


def test_all_entries_of_it_come_back_and_go(images: orlop.ImageService) -> None:
    layout = Layout()
    said = [note(layout, **{"org.example": text, REF: text}) for text in ("one", "other")]
    said.append(note(layout, **{REF: "typed"}) | {"mediaType": "application/note"})
    images.load(io.BytesIO(layout.top(*said).pack()))
    found = entries(saved(images, DIGEST, format="oci"))
    assert sorted(found, key=str) == sorted(said, key=str)
    assert images.remove(DIGEST).lines == (("Deleted", DIGEST),)
    assert images.tree() == ()


def test_an_archive_shows_it(tmp_path: Path) -> None:
    layout = Layout()
    (tmp_path / "in.tar").write_bytes(layout.top(note(layout, **{REF: "notes"})).pack())
    with orlop.Archive(tmp_path / "in.tar") as archive:
        [one] = archive.artifacts
    assert (str(one.digest), one.type, one.names, one.size) == (DIGEST, TEXT, ("notes",), len(NOTE))


def test_it_is_added_to_a_layout_and_copied(place: Place, tmp_path: Path) -> None:
    images, registries = place.images, place.registries
    layout = Layout()
    files = layout.top(layout.image("file", **named("app:1")), note(layout)).files
    unpacked(files, tmp_path / "in")
    images.copy(f"oci:{tmp_path}/in", f"oci:{tmp_path}/out", registries)
    assert (tmp_path / "out/blobs" / DIGEST.replace(":", "/")).read_bytes() == NOTE
    images.copy(f"oci:{tmp_path}/in", "store:", registries)
    images.save(["app:1"], tmp_path / "added", format="oci-dir")
    images.save([DIGEST], tmp_path / "added", format="oci-dir")
    found = [json.loads((tmp_path / where / "index.json").read_bytes())["manifests"] for where in ("out", "added")]
    assert [sorted(one["digest"] for one in each) for each in found] == [
        sorted(one["digest"] for one in json.loads(files["index.json"])["manifests"])
    ] * 2
    with pytest.raises(errors.InvalidInput, match=f"{DIGEST} is a blob of the type 'text/plain'"):
        images.copy(f"oci:{tmp_path}/in:{DIGEST}", f"docker://{place.there.authority}/notes:1", registries)


@pytest.mark.parametrize(
    ("change", "error"),
    [({"size": 3}, errors.SizeMismatch), ({"content": b"other than said"[: len(NOTE)]}, errors.DigestMismatch)],
)
def test_one_that_is_not_what_is_said_is_refused(
    images: orlop.ImageService, change: dict[str, Any], error: type[Exception]
) -> None:
    layout = Layout()
    entry = note(layout)
    content = change.pop("content", NOTE)
    layout.top(layout.image("file", **named("app:1")), entry | change)
    layout.files["blobs/" + DIGEST.replace(":", "/")] = content
    with pytest.raises(error):
        images.load(io.BytesIO(layout.pack()))
    assert images.images(all=True) == []
    assert images.tree() == ()


def test_one_that_is_not_there_is_passed_over(images: orlop.ImageService) -> None:
    layout = Layout()
    layout.top(layout.image("file", **named("app:1")), note(layout))
    del layout.files["blobs/" + DIGEST.replace(":", "/")]
    assert images.load(io.BytesIO(layout.pack())).artifacts == ()


def test_an_index_that_claims_to_keep_a_blob_stays_an_index(images: orlop.ImageService) -> None:
    layout = Layout()
    image = layout.image("file")
    kept = {"schemaVersion": 2, "mediaType": "application/vnd.dev.orlop.loose.v1+json", "manifests": [image]}
    layout.top(layout.document(kept, INDEX, **named("app:1")))
    images.load(io.BytesIO(layout.pack()))
    [entry] = entries(saved(images, "app:1", format="oci"))
    assert entry["digest"] == json.loads(layout.files["index.json"])["manifests"][0]["digest"]


@pytest.mark.parametrize(
    "media_type",
    ["application/vnd.oci.artifact.manifest.v1+json", "application/vnd.cncf.oras.artifact.manifest.v1+json"],
)
def test_an_artifact_of_a_withdrawn_type_keeps_its_blobs(images: orlop.ImageService, media_type: str) -> None:
    layout = Layout()
    parts = [note(layout), layout.blob(b"another", "application/octet-stream")]
    entry = layout.document({"mediaType": media_type, "artifactType": "example/sbom", "blobs": parts}, media_type)
    images.load(io.BytesIO(layout.top(entry).pack()))
    images.gc()
    with tarfile.open(fileobj=io.BytesIO(raw := saved(images, entry["digest"], format="oci"))) as tar:
        assert {"blobs/" + one["digest"].replace(":", "/") for one in (entry, *parts)} <= set(tar.getnames())
    assert entries(raw) == [entry]
    with pytest.raises(errors.NotFound):
        saved(images, parts[0]["digest"], format="oci")
    images.remove(entry["digest"])
    assert not any(images._store.content.has(Digest.parse(one["digest"])) for one in (entry, *parts))


def test_a_copy_of_such_an_artifact_has_its_blobs(place: Place, tmp_path: Path) -> None:
    layout = Layout()
    part = note(layout)
    media_type = "application/vnd.oci.artifact.manifest.v1+json"
    layout.top(layout.document({"mediaType": media_type, "blobs": [part]}, media_type))
    unpacked(layout.files, tmp_path / "in")
    place.images.copy(f"oci:{tmp_path}/in", f"oci:{tmp_path}/out", place.registries)
    assert (tmp_path / "out/blobs" / DIGEST.replace(":", "/")).read_bytes() == NOTE


def test_one_that_cannot_be_read_is_a_blob(images: orlop.ImageService) -> None:
    layout = Layout()
    entry = layout.blob(b"[]", "application/vnd.oci.artifact.manifest.v1+json")
    images.load(io.BytesIO(layout.top(entry).pack()))
    assert entries(saved(images, entry["digest"], format="oci")) == [entry]
