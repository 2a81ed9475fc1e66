"""What a manifest is, has one answer: from an archive, a directory, a pipe or a registry, and in the store."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from typing import TYPE_CHECKING, Any

import pytest

import orlop
from orlop import errors
from orlop.model.manifest import kind_of, parse_manifest
from tests.unit.layouts import CONFIG, LAYER, MANIFEST, Layout, layer_tar, named, packed, sha256, unpacked
from tests.unit.odd_layouts import CASES, image
from tests.unit.pulling import pulling, push

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

HOST = orlop.Platform("linux", "amd64")


@pytest.fixture(autouse=True)
def _on_amd64(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orlop.intake.platforms.host_platform", lambda: HOST)


def of_type(layer: str, config: str = CONFIG, **more: Any) -> Callable[[Layout], dict[str, Any]]:
    return lambda layout: image(layout, "a", types=(MANIFEST, config, layer), **more)


def mixed(layout: Layout) -> dict[str, Any]:
    """One layer of a known type, and one that only its bytes show to be a layer."""
    tars = [layer_tar("a"), layer_tar("b")]
    config = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": list(map(sha256, tars))}}
    layers = [layout.blob(tars[0], LAYER), layout.blob(tars[1], "application/x-thing")]
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": layout.document(config, CONFIG), "layers": layers}
    return layout.document(manifest, MANIFEST)


KINDS: dict[str, tuple[Callable[[Layout], dict[str, Any]], str]] = {
    "plain": (of_type(f"{LAYER}+gzip"), "image"),
    "without a type of its config": (of_type(f"{LAYER}+gzip", "application/octet-stream"), "image"),
    "an unknown type that begins like a layer": (of_type("application/x-thing"), "artifact"),
    "an unknown type that does not": (of_type("application/x-thing", pack=lambda tar: tar[::-1]), "artifact"),
    "a misspelt type": (of_type(f"{LAYER}+br"), "artifact"),
    "encrypted": (of_type(f"{LAYER}+gzip+encrypted", pack=lambda tar: gzip.compress(tar)[::-1]), "artifact"),
    "encrypted, and begins like a layer": (of_type(f"{LAYER}+encrypted"), "artifact"),
    "mixed": (mixed, "artifact"),
}


def from_file(layout: Layout, top: dict[str, Any], place: Path) -> orlop.LoadReport:
    (place / "in.tar").write_bytes(layout.top(top | named("docker.io/example/app:1")).pack())
    with orlop.open(place / "root") as images:
        return images.load(place / "in.tar")


def from_directory(layout: Layout, top: dict[str, Any], place: Path) -> orlop.LoadReport:
    folder = unpacked(layout.top(top | named("docker.io/example/app:1")).files, place / "in")
    with orlop.open(place / "root") as images:
        return images.load(folder)


def from_a_pipe(layout: Layout, top: dict[str, Any], place: Path) -> orlop.LoadReport:
    with orlop.open(place / "root") as images:
        return images.load(io.BytesIO(layout.top(top | named("docker.io/example/app:1")).pack()))


def from_a_registry(layout: Layout, top: dict[str, Any], place: Path) -> orlop.LoadReport:
    with pulling(place) as there:
        push(there.registry, layout, top, "1")
        return there.pull().images


@pytest.mark.sampled(6)
@pytest.mark.parametrize("way", [from_file, from_directory, from_a_pipe, from_a_registry])
@pytest.mark.parametrize("name", KINDS)
def test_a_manifest_is_the_same_from_everywhere(name: str, way: Any, tmp_path: Path):
    make, kind = KINDS[name]
    layout = Layout()
    top = make(layout)
    report = way(layout, top, tmp_path)
    assert (len(report.images), len(report.artifacts)) == ((1, 0) if kind == "image" else (0, 1))
    raw = layout.files["blobs/" + top["digest"].replace(":", "/")]
    assert kind_of(parse_manifest(raw)) == kind
    with orlop.open(tmp_path / "root") as images:
        tree = images.tree()
        images.save([tree[0].names[0]], str(tmp_path / "out"), format="oci-dir", platform="all")
    assert [(one.kind, str(one.digest)) for one in tree] == [(kind, top["digest"])]
    written = {path.name for path in (tmp_path / "out" / "blobs" / "sha256").iterdir()}
    assert written == {one.rpartition("/")[2] for one in layout.files if one.startswith("blobs/")}
    assert orlop.stores.fsck(tmp_path / "root").problems == ()


def manifests(layout: Layout) -> Iterator[bytes]:
    for name, content in layout.files.items():
        if name.startswith("blobs/") and content.startswith(b'{"schemaVersion": 2') and b'"config"' in content:
            yield content


@pytest.mark.sampled(4)
@pytest.mark.parametrize("name", CASES)
def test_what_is_kept_as_an_image_is_one_by_its_types(name: str, tmp_path: Path):
    layout = Layout()
    layout.top(*CASES[name](layout))
    configs = {}
    for raw in manifests(layout):
        document = json.loads(raw)
        configs[document["config"]["digest"]] = kind_of(parse_manifest(raw))
    with orlop.open(tmp_path / "root") as images:
        kept = {str(one.id) for one in images.load(io.BytesIO(layout.pack())).images}
    assert all(configs.get(one, "image") == "image" for one in kept)


@pytest.mark.parametrize("platform", [None, "linux/amd64"])
def test_a_config_is_judged_only_where_it_is_what_the_manifest_names(platform: str | None, tmp_path: Path):
    """A damaged one without layers would make an artifact of an image."""
    layout = Layout()
    top = layout.image("a", **named("docker.io/example/app:1"))
    config = json.loads(layout.files["blobs/" + top["digest"].replace(":", "/")])["config"]
    key = "blobs/" + config["digest"].replace(":", "/")
    layout.files[key] = layout.files[key].replace(b"rootfs", b"rootfx")
    layout.top(top)
    with orlop.open(tmp_path / "root") as images:
        with pytest.raises(errors.DigestMismatch, match="the config"):
            images.load(io.BytesIO(layout.pack()), platform=platform)
        assert images.tree() == ()


def test_a_damaged_config_of_another_platform_harms_nothing(tmp_path: Path):
    layout = Layout()
    children = [layout.image(one, architecture=one, platform=True) for one in ("amd64", "arm64")]
    config = json.loads(layout.files["blobs/" + children[1]["digest"].replace(":", "/")])["config"]
    layout.files["blobs/" + config["digest"].replace(":", "/")] = b"x" * config["size"]
    layout.top(layout.index(*children, **named("docker.io/example/app:1")))
    with orlop.open(tmp_path / "root") as images:
        assert len(images.load(io.BytesIO(layout.pack()), platform="linux/amd64").images) == 1


def docker_archive(number: int) -> bytes:
    """Return an archive of some images as Engine 25 writes it: both documents, and configs that are read for each."""
    layout, listed, entries = Layout(), [], []
    for one in range(number):
        top = layout.image(f"{one}", compress=False)
        manifest = json.loads(layout.files["blobs/" + top["digest"].replace(":", "/")])
        places = ["blobs/" + part["digest"].replace(":", "/") for part in (manifest["config"], *manifest["layers"])]
        listed.append({"Config": places[0], "RepoTags": [f"example/app:{one}"], "Layers": places[1:]})
        entries.append(top | named(f"docker.io/example/app:{one}"))
    return packed(layout.top(*entries).files | {"manifest.json": json.dumps(listed).encode()})


def test_a_document_that_is_looked_at_twice_counts_once(tmp_path: Path):
    """The configs of such an archive are read for each of its two documents."""
    (tmp_path / "in.tar").write_bytes(docker_archive(20))

    def values(raw: bytes) -> int:
        return 1 + sum(map(raw.count, (b",", b"[", b"{")))

    with tarfile.open(tmp_path / "in.tar") as tar:
        read = [tar.extractfile(one).read() for one in tar if one.isfile()]  # type: ignore[union-attr]
    documents = sum(values(raw) for raw in read if raw.startswith((b"{", b"[")))
    # Each image is referred to by its entry and by its name, too.
    most = documents + 20 * 6
    with orlop.Archive(tmp_path / "in.tar", limits=orlop.Limits(json_values_total=most)) as archive:
        assert len(archive.images) == 20
