"""Entries of an index.json on their way out: what names them, what tells them apart, and what is said of them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from orlop import errors
from tests.unit.layouts import MANIFEST, NAME, REF, Layout, named, sha256, tagged, unpacked
from tests.unit.pushed import placed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.unit.pushed import Place

SUBJECT = "io.containerd.manifest.subject"
KIND = {"kind": "dev.cosignproject.cosign/image"}


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with placed(tmp_path / "root") as found:
        yield found


def copy(place: Place, source: str, target: str, **options: Any) -> Any:
    return place.images.copy(source, target, place.registries, **options)


def entries(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((folder / "index.json").read_bytes())["manifests"]
    return found


def said(folder: Path) -> list[dict[str, str]]:
    return [entry.get("annotations", {}) for entry in entries(folder)]


def artifact(layout: Layout, subject: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    config = layout.blob(b"{}", "application/vnd.oci.empty.v1+json")
    manifest: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": "application/vnd.example.note",
        "config": config,
        "layers": [layout.blob(b"note", "text/plain")],
    }
    if subject is not None:
        manifest["subject"] = {key: subject[key] for key in ("mediaType", "digest", "size")}
    return layout.document(manifest, MANIFEST, **more)


def two_platforms(layout: Layout) -> dict[str, Any]:
    return layout.index(*(layout.image(one, architecture=one, platform=True) for one in ("amd64", "arm64")))


@pytest.mark.parametrize("kind", ["image", "index", "artifact"])
def test_a_copy_from_the_store_keeps_the_addresses(place: Place, tmp_path: Path, kind: str) -> None:
    layout = Layout()
    made = {
        "image": lambda: layout.image("file"),
        "index": lambda: two_platforms(layout),
        "artifact": lambda: artifact(layout),
    }
    top = made[kind]()
    layout.top(top | tagged("1.0"), top | tagged("app/org.X/x86_64/master"))
    place.images.load(unpacked(layout.files, tmp_path / "in"))
    copy(place, f"store:{top['digest']}", f"oci:{tmp_path}/out", all_platforms=True)
    assert said(tmp_path / "out") == [{REF: "1.0"}, {REF: "app/org.X/x86_64/master"}]
    assert {entry["digest"] for entry in entries(tmp_path / "out")} == {top["digest"]}


def test_addresses_of_one_image_are_no_reason_to_refuse_a_name(place: Place, tmp_path: Path) -> None:
    layout = Layout()
    image = layout.image("file")
    layout.top(image | tagged("1.0"), image | tagged("1.1"))
    place.images.load(unpacked(layout.files, tmp_path / "in"))
    for source in (f"store:{image['digest']}", f"oci:{tmp_path}/in"):
        folder = tmp_path / source.partition(":")[0]
        copy(place, source, f"oci:{folder}:reg.example/app:2")
        assert said(folder) == [{NAME: "reg.example/app:2", REF: "2"}]
        copy(place, source, f"dir:{folder}-dir")
        assert sha256((tmp_path / f"{folder.name}-dir" / "manifest.json").read_bytes()) == image["digest"]
    report = copy(place, f"store:{image['digest']}", f"docker://{place.name('app')}")
    assert [one.name for one in report.images] == [f"{place.name('app')}:latest"]
    other = layout.image("other") | tagged("2.0")
    unpacked(layout.top(image | tagged("1.0"), image | tagged("1.1"), other).files, tmp_path / "in")
    with pytest.raises(errors.InvalidInput, match="there are 2 images to copy"):
        copy(place, f"oci:{tmp_path}/in", f"oci:{tmp_path}/new:reg.example/app:2")


def test_an_address_stays_with_the_platform_that_is_copied(place: Place, tmp_path: Path) -> None:
    layout = Layout()
    layout.top(two_platforms(layout) | tagged("1.0"))
    unpacked(layout.files, tmp_path / "in")
    copy(place, f"oci:{tmp_path}/in", f"oci:{tmp_path}/out", platform="linux/arm64")
    assert said(tmp_path / "out") == [{REF: "1.0"}]
    assert entries(tmp_path / "out")[0]["platform"]["architecture"] == "arm64"


def test_a_copy_keeps_what_else_an_entry_says(place: Place, tmp_path: Path) -> None:
    layout = Layout()
    image = layout.image("file", platform=True)
    whole = {NAME: "docker.io/example/app:1.0", REF: "1.0"}
    signature = artifact(layout, annotations={"kind": "dev.cosignproject.cosign/sigs"})
    layout.top(image | {"annotations": whole | KIND}, signature)
    unpacked(layout.files, tmp_path / "in")
    for _ in range(2):
        copy(place, f"oci:{tmp_path}/in", f"oci:{tmp_path}/out", all_platforms=True)
        found = {entry["digest"]: entry for entry in entries(tmp_path / "out")}
        assert len(entries(tmp_path / "out")) == len(found)
        assert found == {one["digest"]: one for one in json.loads(layout.files["index.json"])["manifests"]}
    copy(place, f"oci:{tmp_path}/in:1.0", f"oci:{tmp_path}/other:reg.example/b:2")
    assert said(tmp_path / "other") == [KIND | {NAME: "reg.example/b:2", REF: "2"}]


def test_entries_of_one_digest_that_say_other_things_stay_two(place: Place, tmp_path: Path) -> None:
    layout = Layout()
    blob = layout.blob(b"a note", "text/plain")
    image = layout.image("file")
    notes = [blob | {"annotations": {"org.example": text}} for text in ("one", "two")]
    layout.top(image | named("docker.io/library/app:1"), *notes, blob | {"mediaType": "text/markdown"})
    place.images.load(unpacked(layout.files, tmp_path / "in"))
    for _ in range(2):
        place.images.save(["app:1", blob["digest"]], tmp_path / "saved", format="oci-dir")
        copy(place, f"oci:{tmp_path}/in", f"oci:{tmp_path}/copied", all_platforms=True)
        for folder in ("saved", "copied"):
            found = [entry for entry in entries(tmp_path / folder) if entry["digest"] == blob["digest"]]
            assert sorted(map(str, found)) == sorted(map(str, [*notes, blob | {"mediaType": "text/markdown"}]))
    twice = [image | {"annotations": KIND}, image | {"annotations": {"kind": "other"}}]
    unpacked(layout.top(*twice).files, tmp_path / "in")
    for _ in range(2):
        copy(place, f"oci:{tmp_path}/in", f"oci:{tmp_path}/images")
        assert sorted(said(tmp_path / "images"), key=str) == [KIND, {"kind": "other"}]


def test_an_image_that_is_asked_for_by_its_manifest_has_its_platform(place: Place, tmp_path: Path) -> None:
    layout = Layout()
    layout.top(layout.image("file", architecture="arm64", variant="v8") | tagged("1.0"))
    digest = json.loads(layout.files["index.json"])["manifests"][0]["digest"]
    report = place.images.load(unpacked(layout.files, tmp_path / "in"))
    place.images.save([digest], tmp_path / "out", format="oci-dir")
    place.images.save([str(report.images[0].id), digest], tmp_path / "both", format="oci-dir")
    for folder in ("out", "both"):
        (entry,) = entries(tmp_path / folder)
        assert entry["platform"] == {"os": "linux", "architecture": "arm64", "variant": "v8"}
        assert entry["annotations"] == {REF: "1.0"}


@pytest.mark.parametrize("first", [True, False])
def test_what_refers_to_another_says_so_even_where_it_is_asked_for(
    place: Place, tmp_path: Path, *, first: bool
) -> None:
    layout = Layout()
    image = layout.image("file", **named("docker.io/library/app:1"))
    signature = artifact(layout, image)
    place.images.load(unpacked(layout.top(image, signature).files, tmp_path / "in"))
    asked = [signature["digest"], "app:1"]
    place.images.save(asked if first else asked[::-1], tmp_path / "out", format="oci-dir")
    found = {entry["digest"]: entry.get("annotations", {}) for entry in entries(tmp_path / "out")}
    assert found[signature["digest"]] == {SUBJECT: image["digest"]}
    # Alone it refers to nothing that is there.
    place.images.save([signature["digest"]], tmp_path / "alone", format="oci-dir")
    assert said(tmp_path / "alone") == [{}]


def test_tags_of_cosign_and_a_list_of_referrers_lead_to_what_refers(place: Place, tmp_path: Path) -> None:
    layout = Layout()
    image, other = layout.image("a", **named("example.com/app:1")), layout.image("b", **named("example.com/other:1"))
    tag = image["digest"].replace(":", "-")
    signature, note = artifact(layout, **tagged(f"{tag}.sig")), artifact(layout, image)
    false = artifact(layout, other)
    unpacked(layout.top(image, other, signature, layout.index(note, false) | tagged(tag)).files, tmp_path / "in")
    source = f"oci:{tmp_path}/in:example.com/app:1"

    assert copy(place, source, f"oci:{tmp_path}/out", referrers=True).referrers == 2
    found = {entry["digest"]: entry.get("annotations", {}).get(REF) for entry in entries(tmp_path / "out")}
    assert found == {image["digest"]: "1", signature["digest"]: f"{tag}.sig", note["digest"]: None}

    copy(place, source, f"docker://{place.name('app:1')}", referrers=True)
    pushed = place.there.repository("app")
    assert pushed.tags[f"{tag}.sig"] == signature["digest"]
    assert note["digest"] in pushed.manifests
    assert false["digest"] not in pushed.manifests


def test_an_entry_is_found_by_its_position_and_by_its_digest(place: Place, tmp_path: Path) -> None:
    layout = Layout()
    first, second = layout.image("a"), layout.image("b", **tagged("1"))
    unpacked(layout.top(first, second).files, tmp_path / "in")
    for number, (name, wanted) in enumerate({"@0": first, "@1": second, f"@{first['digest']}": first}.items()):
        copy(place, f"oci:{tmp_path}/in:{name}", f"oci:{tmp_path}/out-{number}")
        assert [entry["digest"] for entry in entries(tmp_path / f"out-{number}")] == [wanted["digest"]]
    with pytest.raises(errors.ImageNotFound, match="has no '@2'"):
        copy(place, f"oci:{tmp_path}/in:@2", f"oci:{tmp_path}/none")
