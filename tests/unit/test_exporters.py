"""What other programs write gives the image with its ID and names, however it comes."""

from __future__ import annotations

import gzip
import io
import json
import subprocess
import tarfile
from typing import TYPE_CHECKING, Any

import pytest

import orlop
from orlop import errors
from orlop.archive.members import Members
from tests.unit.exporters import HEX, ID, LAYERS, MAKERS, Made, bare, beside, engine_tests, list_of, pack
from tests.unit.layouts import CONFIG, LAYER, MANIFEST, NAME, Layout
from tests.unit.layouts import packed as packed_members

if TYPE_CHECKING:
    from pathlib import Path


def tar_of(made: Made) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in made.members:
            member = tarfile.TarInfo(name)
            if content is None:
                member.type, member.mode = tarfile.DIRTYPE, 0o755
            elif isinstance(content, str):
                member.type, member.linkname = tarfile.SYMTYPE, content
            else:
                member.size = len(content)
            tar.addfile(member, io.BytesIO(content) if isinstance(content, bytes) else None)
    return out.getvalue()


@pytest.mark.sampled(4)
@pytest.mark.parametrize("way", ["file", "stream", "compressed", "directory"])
@pytest.mark.parametrize("name", MAKERS)
def test_what_a_program_writes_is_loaded(tmp_path: Path, name: str, way: str) -> None:
    made = MAKERS[name]()
    data = tar_of(made)
    path = tmp_path / "archive"
    if way == "directory":
        path.mkdir()
        subprocess.run(["tar", "-C", path, "-xf", "-"], input=data, check=True)
    else:
        path.write_bytes(gzip.compress(data) if way == "compressed" else data)
    with orlop.open(tmp_path / "root") as images:
        loaded = {str(image.id): image for image in images.load(io.BytesIO(data) if way == "stream" else path).images}
        assert {known: tuple(name.familiar for name in image.references) for known, image in loaded.items()} == {
            ID: made.tags,
            **dict(made.more),
        }
        assert bool(loaded[ID].digests) == made.by_digest
        assert {images.inspect(known).size for known in loaded} == {sum(len(b"abc") for _ in LAYERS)}
    with orlop.Archive(path) as archive:
        for read in archive.images:
            image = loaded[str(read.id)]
            assert (read.references, read.digests) == (image.references, image.digests)
        assert len(archive.images) == len(loaded)


@pytest.fixture(autouse=True)
def host(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that is the same everywhere."""
    amd64 = orlop.Platform("linux", "amd64")
    monkeypatch.setattr("orlop.intake.platforms.host_platform", lambda: amd64)


@pytest.mark.parametrize("way", ["file", "stream"])
def test_layers_that_the_store_has_may_be_blank(tmp_path: Path, way: str) -> None:
    """Buildpacks give an engine empty files in their place; without the layers it is refused, as engines do."""
    data = tar_of(pack(blank=1))
    path = tmp_path / "archive.tar"
    path.write_bytes(data)
    with orlop.open(tmp_path / "root") as images:
        with pytest.raises(errors.DigestMismatch):
            images.load(io.BytesIO(data) if way == "stream" else path)
        images.load(io.BytesIO(tar_of(MAKERS["nix"]())))
        (image,) = images.load(io.BytesIO(data) if way == "stream" else path).images
        assert str(image.id) == ID


def test_an_artifact_is_passed_over_only_where_nobody_sees_an_image_in_it(tmp_path: Path) -> None:
    """Graph drivers would load what has the config of an image, whatever index.json says of it."""
    made = MAKERS["containerd, an image and a chart"]()
    members = dict(made.members)
    plain = b'{"rootfs":{"type":"layers","type":"layers","diff_ids":[]},"os":1}'
    index, lists = (json.loads(members[name] or b"") for name in ("index.json", "manifest.json"))
    top = next(top for top in index["manifests"] if top["annotations"][NAME].endswith("chart:1"))
    manifest = json.loads(members["blobs/" + top["digest"].replace(":", "/")] or b"")
    layout = Layout()
    manifest["config"] = layout.blob(plain, manifest["config"]["mediaType"])
    top |= layout.document(manifest, MANIFEST)
    lists[0]["Config"] = f"blobs/sha256/{bare(plain)}"
    members |= layout.files
    members |= {"index.json": json.dumps(index).encode(), "manifest.json": json.dumps(lists).encode()}
    with orlop.open(tmp_path / "root") as images, pytest.raises(errors.InvalidImage):
        images.load(io.BytesIO(tar_of(Made(list(members.items())))))


def test_a_layer_that_is_elsewhere_is_named_with_its_place() -> None:
    layout = Layout()
    foreign = {
        "mediaType": f"{LAYER}+gzip",
        "digest": f"sha256:{'a' * 64}",
        "size": 9,
        "urls": ["https://example.com/l"],
    }
    rootfs = {"type": "layers", "diff_ids": [f"sha256:{'b' * 64}"]}
    config = layout.document({"architecture": "amd64", "os": "windows", "rootfs": rootfs}, CONFIG)
    top = layout.document({"schemaVersion": 2, "config": config, "layers": [foreign]}, MANIFEST)
    archive = orlop.Archive(io.BytesIO(layout.top(top).pack()))
    with (
        archive,
        pytest.raises(errors.InvalidArchive, match=r"is at 'https://example\.com/l'; orlop does not fetch it"),
    ):
        archive.verify()


def test_a_list_may_leave_out_tags_and_layers(tmp_path: Path) -> None:
    """Go writes empty lists as null."""
    members = dict(MAKERS["nix"]().members)
    members["manifest.json"] = list_of(f"{HEX}.json", [f"{bare(tar)}/layer.tar" for tar in LAYERS]).replace(
        b'["example/app:1.0"]', b"null"
    )
    with orlop.open(tmp_path / "root") as images:
        report = images.load(io.BytesIO(tar_of(Made(list(members.items())))))
    assert report.messages() == (f"Loaded image ID: {ID}",)


@pytest.mark.parametrize("version", [1, 3, "2", True, [], 2.5])
def test_another_schema_version_is_refused(tmp_path: Path, version: object) -> None:
    made = engine_tests(schemaVersion=version)
    with orlop.open(tmp_path / "root") as images, pytest.raises(errors.InvalidManifest, match="schemaVersion"):
        images.load(io.BytesIO(tar_of(made)))


def test_the_index_of_a_name_and_one_of_its_images_are_two(tmp_path: Path) -> None:
    layout = Layout()
    name = {"annotations": {NAME: "docker.io/example/app:1.0"}}
    one, two = layout.image("one"), layout.image("two")
    data = layout.top(layout.index(one, two, **name), two | name).pack()
    with orlop.open(tmp_path / "root") as images, pytest.raises(errors.InvalidArchive, match="to two images"):
        images.load(io.BytesIO(data))


def test_names_of_one_image_are_compared_once_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice the names of an image are about twice the look-ups of members, whatever its number of layers."""
    counts: list[int] = []
    find = Members._find

    def counted(self: Members[Any], name: str) -> str | None:
        counts[-1] += 1
        return find(self, name)

    monkeypatch.setattr(Members, "_find", counted)
    for names in (100, 200, 400):
        layout = Layout()
        top = layout.image(*map(str, range(50)))
        tags = [f"a:{number}" for number in range(names)]
        files = layout.top(*(top | {"annotations": {NAME: tag}} for tag in tags)).files
        (listed,) = json.loads(beside(top, layout, tags=tags))
        manifest = json.loads(layout.files["blobs/" + top["digest"].replace(":", "/")])
        listed["Config"] = "blobs/" + manifest["config"]["digest"].replace(":", "/")
        files["manifest.json"] = json.dumps([listed]).encode()
        counts.append(0)
        with orlop.Archive(io.BytesIO(packed_members(files))) as archive:
            assert len(archive.images[0].references) == names
    assert counts[2] - counts[1] <= 2 * (counts[1] - counts[0])
    assert counts[2] - counts[1] <= 200 * 3
