"""Archives that lack what their reader has: what is left out, what is named, and what a load makes of it."""

from __future__ import annotations

import io
import json
import tarfile
from typing import TYPE_CHECKING, Any

import pytest

import orlop
from orlop import errors
from orlop.model.holdings import Holdings
from tests.layout_walk import walked
from tests.unit.layouts import Layout, everything, layer_tar, named, sha256
from tests.unpacked import unpack

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OLD, NEW = "docker.io/example/app:1", "docker.io/example/app:2"
FORMATS = ("docker", "docker-20.10", "oci")


def layout(*, compress: bool = True) -> Layout:
    """Two images, of which the second has the layers of the first and one more."""
    made = Layout()
    first = made.image("a", "b", compress=compress, **named(OLD))
    return made.top(first, made.image("a", "b", "c", compress=compress, **named(NEW)))


def loaded(root: Path, *layouts: Layout) -> orlop.ImageService:
    images = orlop.open(root)
    for one in layouts:
        images.load(io.BytesIO(one.pack()))
    return images


@pytest.fixture
def images(tmp_path: Path) -> Iterator[orlop.ImageService]:
    with loaded(tmp_path / "here", layout()) as service:
        yield service


@pytest.fixture
def there(tmp_path: Path) -> Iterator[orlop.ImageService]:
    with orlop.open(tmp_path / "there") as service:
        yield service


def saved(images: orlop.ImageService, *names: str, **options: Any) -> bytes:
    out = io.BytesIO()
    images.save(names, out, **options)
    return out.getvalue()


def sizes(raw: bytes) -> dict[str, int]:
    with tarfile.open(fileobj=io.BytesIO(raw)) as archive:
        return {member.name: member.size for member in archive if member.isfile()}


def layers_in(raw: bytes) -> int:
    """How many members are tars, plain or compressed."""
    with tarfile.open(fileobj=io.BytesIO(raw)) as archive:
        found = [archive.extractfile(member) for member in archive if member.isfile()]
        heads = [file.read(512) for file in found if file is not None]
    return sum(head.startswith((b"\x1f\x8b", b"\x28\xb5\x2f\xfd")) or head[257:262] == b"ustar" for head in heads)


def only(name: str) -> Layout:
    made = Layout()
    return made.top(made.image(*(("a", "b") if name == OLD else ("a", "b", "c")), **named(name)))


@pytest.mark.parametrize("form", FORMATS)
def test_it_has_one_layer_and_loads_where_the_others_are(
    images: orlop.ImageService, there: orlop.ImageService, form: str
) -> None:
    whole, part = saved(images, NEW, format=form), saved(images, NEW, format=form, since=[OLD])
    assert (layers_in(whole), layers_in(part)) == (3, 1)
    there.load(io.BytesIO(saved(images, OLD, format=form)))
    there.load(io.BytesIO(part))
    assert there.inspect(NEW).image.id == images.inspect(NEW).image.id
    assert saved(there, NEW, format="docker") == saved(images, NEW, format="docker")


@pytest.mark.parametrize("form", FORMATS)
def test_all_that_is_missing_is_named_and_nothing_changes(
    images: orlop.ImageService, there: orlop.ImageService, tmp_path: Path, form: str
) -> None:
    there.load(io.BytesIO(only(OLD).pack()))
    there.remove(OLD)
    before = everything(tmp_path / "there")
    part = saved(images, NEW, format=form, since=[OLD])
    with pytest.raises(errors.InvalidArchive) as caught:
        there.load(io.BytesIO(part))
    image = images.inspect(NEW).image
    text = str(caught.value)
    for position, diff_id in enumerate(image.rootfs.diff_ids[:2]):
        digest = [layer["digest"] for layer in _manifest(layout(), 1)["layers"]][position]
        assert str(diff_id) in text or digest in text
    assert str(image.id) in text
    assert "example/app:2" in text
    assert caught.value.exit_code == 3
    assert everything(tmp_path / "there") == before


def _manifest(made: Layout, number: int) -> dict[str, Any]:
    top = json.loads(made.files["index.json"])["manifests"][number]
    found: dict[str, Any] = json.loads(made.files["blobs/" + top["digest"].replace(":", "/")])
    return found


def test_a_layout_keeps_its_digests_and_says_what_it_lacks(
    images: orlop.ImageService, there: orlop.ImageService, tmp_path: Path
) -> None:
    report = images.save([NEW], tmp_path / "part", format="oci-dir", since=[OLD])
    part, manifest = walked(tmp_path / "part"), _manifest(layout(), 1)
    lacking = {layer["digest"] for layer in manifest["layers"][:2]}
    assert part.absent == lacking
    assert part.names == {NEW: json.loads(layout().files["index.json"])["manifests"][1]["digest"]}
    assert set(part.index["annotations"]["dev.orlop.omitted"].split()) == lacking
    assert {str(layer.digest) for layer in report.left_out} == lacking
    assert "2 layers" in report.messages()[-1]
    there.load(io.BytesIO(only(OLD).pack()))
    there.load(tmp_path / "part")
    # What arrives later is no longer missing.
    images.save([OLD], tmp_path / "part", format="oci-dir")
    part = walked(tmp_path / "part")
    assert not part.absent
    assert "annotations" not in part.index
    there.save([NEW], tmp_path / "again", format="oci-dir")
    assert walked(tmp_path / "again").names == {NEW: part.names[NEW]}


@pytest.mark.parametrize("form", FORMATS)
def test_what_the_other_side_has_is_asked_there(
    images: orlop.ImageService, there: orlop.ImageService, form: str
) -> None:
    there.load(io.BytesIO(only(OLD).pack()))
    lines = "\n".join(there.have().lines())
    had = Holdings.read(lines.encode().splitlines())
    assert had == there.have()
    part = saved(images, NEW, format=form, without=had)
    assert part == saved(images, NEW, format=form, since=[OLD])
    there.load(io.BytesIO(part))
    assert there.have().chains == images.have().chains
    assert layers_in(saved(images, NEW, format=form, without=images.have())) == 0


def test_only_what_is_there_is_had(images: orlop.ImageService, tmp_path: Path) -> None:
    whole = images.have()
    assert len(whole.blobs) == len(whole.chains) == 3
    second = _manifest(layout(), 0)["layers"][1]["digest"]
    (tmp_path / "here" / "blobs" / second.replace(":", "/")).unlink()
    part = images.have()
    assert {str(digest) for digest in whole.blobs - part.blobs} == {second}
    # A chain needs all that is below it.
    assert len(part.chains) == 1
    assert images.have([OLD]).chains < whole.chains
    with pytest.raises(errors.NotFound):
        images.have(["nothing"])


def test_engines_find_a_layer_by_its_chain_and_layouts_by_its_digest(tmp_path: Path) -> None:
    made = Layout()
    made.top(made.image("a", "b", **named(OLD)), made.image("z", "b", **named(NEW)))
    with loaded(tmp_path / "root", made) as images:
        docker = sizes(saved(images, NEW, format="docker", since=[OLD]))
        assert f"blobs/{sha256(layer_tar('b')).replace(':', '/')}" in docker
        assert layers_in(saved(images, NEW, format="docker-20.10", since=[OLD])) == 2
        assert layers_in(saved(images, NEW, format="oci", since=[OLD])) == 1


def test_a_layer_that_one_image_must_bring_is_there_for_all(tmp_path: Path, there: orlop.ImageService) -> None:
    made = Layout()
    second, third = "docker.io/example/second:1", "docker.io/example/third:1"
    made.top(
        made.image("a", "b", **named(OLD)),
        made.image("a", "b", "c", **named(second)),
        made.image("z", "b", **named(third)),
    )
    with loaded(tmp_path / "root", made) as images:
        there.load(io.BytesIO(saved(images, OLD)))
        for form in FORMATS:
            there.load(io.BytesIO(saved(images, second, third, format=form, since=[OLD])))
            assert there.inspect(third).image.id == images.inspect(third).image.id
            for name in (second, third):
                there.remove(name)


def test_a_layer_that_is_there_in_another_form_will_do(
    images: orlop.ImageService, there: orlop.ImageService, tmp_path: Path
) -> None:
    there.load(io.BytesIO(saved(images, OLD)))
    report = there.load(io.BytesIO(saved(images, NEW, format="oci", since=[OLD])))
    assert report.in_other_form == tuple(images.inspect(OLD).image.rootfs.diff_ids)
    assert "2 layers" in report.warnings()[0]
    assert saved(there, NEW) == saved(images, NEW)
    # The manifest as it came names bytes that are not there, and is not written.
    there.save([NEW], tmp_path / "out", format="oci-dir")
    assert not walked(tmp_path / "out").absent


def test_nothing_is_said_where_every_form_is_there(images: orlop.ImageService, there: orlop.ImageService) -> None:
    there.load(io.BytesIO(only(OLD).pack()))
    assert there.load(io.BytesIO(saved(images, NEW, format="oci", since=[OLD]))).warnings() == ()


def test_what_is_left_out_is_not_compressed(images: orlop.ImageService, tmp_path: Path) -> None:
    part = saved(images, NEW, format="oci", since=[OLD], compress="zstd")
    with tarfile.open(fileobj=io.BytesIO(part)) as archive:
        unpack(archive, tmp_path / "part")
    found = walked(tmp_path / "part")
    manifest = json.loads((tmp_path / "part" / "blobs" / found.tops[0].replace(":", "/")).read_bytes())
    types = [layer["mediaType"].rpartition("+")[2] for layer in manifest["layers"]]
    assert types == ["gzip", "gzip", "zstd"]
    assert found.absent == {layer["digest"] for layer in manifest["layers"][:2]}


def test_artifacts_come_whole(tmp_path: Path) -> None:
    made = Layout()
    artifact = made.document(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "artifactType": "application/x",
            "config": made.blob(b"{}", "application/vnd.oci.empty.v1+json"),
            "layers": [made.blob(b"a blob", "application/x")],
        },
        "application/vnd.oci.image.manifest.v1+json",
        **named(OLD),
    )
    with loaded(tmp_path / "root", made.top(artifact)) as images:
        images.save([OLD], tmp_path / "out", format="oci-dir", since=[OLD], without=images.have())
    assert not walked(tmp_path / "out").absent


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("# orlop-have 2\n", "version"),
        ("sha256:00 blob\n", "line 1"),
        (f"# a comment\n\n{sha256(b'')} layer\n", "line 3"),
        (f"{sha256(b'')}\n", "line 1"),
        ("x" * 100_000, "line 1"),
        (f"{sha256(b'')} blob blob\n", "line 1"),
        ("\udcff\n", "line 1"),
    ],
)
def test_a_list_that_cannot_be_read_is_refused(text: str, words: str) -> None:
    with pytest.raises(errors.InvalidInput, match=words):
        Holdings.read(text.encode("utf-8", "surrogateescape").splitlines())


def test_lists_are_joined_as_text(images: orlop.ImageService) -> None:
    old, new = (list(images.have([name]).lines()) for name in (OLD, NEW))
    both = Holdings.read(line.encode() for line in sorted({*old, *new}))
    assert both == images.have()
    assert old[0] == "# orlop-have 1"
    assert Holdings.read([b""]) == Holdings()
