"""Images saved as OCI layouts: what came in goes out under the same digests, and what is made is always the same."""

from __future__ import annotations

import io
import json
import os
import stat
import subprocess
import sys
import tarfile
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

import orlop
from orlop import errors
from orlop.archive import oci_content, oci_directory
from orlop.service import holding, save_oci
from orlop.streams.compression import zstd_module
from tests.layout_walk import files, walked
from tests.unit.artifacts import attestation, signature
from tests.unit.layouts import NAME, REF, Layout, named, packed, tagged
from tests.unit.pulling import command
from tests.unpacked import unpack

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.layout_walk import Walked


@pytest.fixture(autouse=True)
def host(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that is the same everywhere."""
    from orlop.model.platform import Platform

    monkeypatch.setattr("orlop.intake.platforms.host_platform", lambda: Platform("linux", "arm64"))


def fixture(data: Path, name: str, folder: Path) -> Path:
    """Unpack a layout that a program wrote, and return its directory."""
    target = folder / name
    target.mkdir(parents=True)
    raw = zstd_module().decompress((data / "oci" / f"{name}.tar.zst").read_bytes())
    with tarfile.open(fileobj=io.BytesIO(raw)) as archive:
        unpack(archive, target)
    return target / name if (target / name).is_dir() else target


def id_of(images: orlop.ImageService, name: str) -> orlop.ImageID:
    return images.inspect(name).image.id


def saved(images: orlop.ImageService, names: list[str], place: Path, **options: Any) -> Walked:
    images.save(names, place, format="oci-dir", **options)
    return walked(place)


def untarred(raw: bytes, folder: Path) -> Path:
    with tarfile.open(fileobj=io.BytesIO(raw)) as archive:
        unpack(archive, folder)
    return folder


def two_platforms(name: str | None = "docker.io/example/app:1.0", **more: Any) -> Layout:
    layout = Layout()
    children = [
        layout.image("first", platform=True, architecture="amd64"),
        layout.image("second", platform=True, architecture="arm64"),
    ]
    return layout.top(layout.index(*children, **(named(name) if name else {}), **more))


# What came.


@pytest.mark.parametrize(
    ("fixture_name", "names"),
    [
        ("buildx-annotations", None),
        ("buildx-docker-types", None),
        ("crane-pull-oci", None),
        ("names", None),
        ("skopeo-multi", None),
        ("skopeo-single", []),
        ("umoci", []),
    ],
)
def test_what_programs_wrote_comes_out_with_equal_digests(
    data: Path, tmp_path: Path, images: orlop.ImageService, fixture_name: str, names: list[str] | None
) -> None:
    source = fixture(data, fixture_name, tmp_path / "in")
    report = images.load(source)
    asked = [str(name) for image in report.images for name in image.references] if names is None else names
    out = saved(images, asked or [str(image.id) for image in report.images], tmp_path / "out")
    came = walked(source)
    assert set(out.tops) == set(came.tops)
    assert out.found == came.found
    assert not out.absent
    assert out.names.keys() == {str(orlop.Reference.parse(name)) for name in asked}


def test_a_tar_holds_what_a_directory_does(data: Path, tmp_path: Path, images: orlop.ImageService) -> None:
    images.load(fixture(data, "skopeo-multi", tmp_path / "in"))
    (image,) = [image for image in images.images() if image.repo_tags]
    name = str(image.repo_tags[0])
    out = io.BytesIO()
    assert images.save([name], out, format="oci") == orlop.SaveReport()
    images.save([name], tmp_path / "saved.tar", format="oci")
    images.save([name], tmp_path / "out", format="oci-dir")
    assert (tmp_path / "saved.tar").read_bytes() == out.getvalue() == b"".join(images.save_chunks([name], format="oci"))
    assert files(untarred(out.getvalue(), tmp_path / "untarred")) == files(tmp_path / "out")
    with tarfile.open(fileobj=io.BytesIO(out.getvalue())) as archive:
        members = archive.getmembers()
    assert [member.name for member in members] == sorted(member.name for member in members)
    assert {(member.mtime, member.uid, member.uname) for member in members} == {(0, 0, "")}


def test_what_is_saved_loads_again_as_it_was(data: Path, tmp_path: Path, images: orlop.ImageService) -> None:
    images.load(fixture(data, "crane-pull-oci", tmp_path / "in"))
    names = [str(name) for image in images.images() for name in image.repo_tags]
    raw = b"".join(images.save_chunks(names, format="oci"))
    with orlop.open(tmp_path / "other") as other:
        other.load(io.BytesIO(raw))
        assert b"".join(other.save_chunks(names[::-1], format="oci")) == raw
        assert [image.references for image in other.images()] == [image.references for image in images.images()]


def test_a_name_that_was_added_here_stands_for_the_index_that_came(tmp_path: Path, images: orlop.ImageService) -> None:
    layout = two_platforms()
    images.load(io.BytesIO(layout.pack()))
    images.tag("example/app:1.0", "registry.example.com/mirror/app:2")
    out = saved(images, ["registry.example.com/mirror/app:2"], tmp_path / "out")
    index = json.loads(layout.files["index.json"])["manifests"][0]["digest"]
    assert out.names == {"registry.example.com/mirror/app:2": index}


def test_an_id_stands_for_the_manifest_of_its_image_alone(tmp_path: Path, images: orlop.ImageService) -> None:
    layout = two_platforms()
    images.load(io.BytesIO(layout.pack()))
    out = saved(images, [str(id_of(images, "example/app:1.0"))], tmp_path / "out")
    (entry,) = out.entries
    assert entry["platform"] == {"architecture": "arm64", "os": "linux"}
    assert "annotations" not in entry
    assert "blobs/" + entry["digest"].replace(":", "/") in layout.files


def test_a_digest_stands_for_what_has_it(tmp_path: Path, images: orlop.ImageService) -> None:
    layout = two_platforms()
    images.load(io.BytesIO(layout.pack()))
    (top,) = json.loads(layout.files["index.json"])["manifests"]
    index = json.loads(layout.files["blobs/" + top["digest"].replace(":", "/")])
    for digest in (top["digest"], index["manifests"][0]["digest"]):
        out = saved(images, [f"example/app@{digest}"], tmp_path / digest)
        assert out.tops == [digest]


def test_what_an_index_names_needs_no_entry(tmp_path: Path, images: orlop.ImageService) -> None:
    images.load(io.BytesIO(two_platforms().pack()))
    # The name by digest of the other platform's manifest belongs to the repository, too.
    out = saved(images, ["example/app"], tmp_path / "out")
    assert len(out.entries) == 1
    everything = [str(image.id) for image in images.images(all=True)]
    assert saved(images, ["example/app:1.0", *everything], tmp_path / "more").tops == out.tops


def test_the_image_whose_own_layers_are_not_here_gets_a_manifest_that_is_true(
    tmp_path: Path, images: orlop.ImageService
) -> None:
    """A manifest that names other bytes than those that the store has would be a broken layout."""
    layout = Layout()
    top = layout.image("file", compress=True, **named("example/app:1"))
    images.load(io.BytesIO(layout.top(top).pack()))
    config = json.loads(layout.files["blobs/" + top["digest"].replace(":", "/")])["config"]
    with images._store.metadata.write() as rows:
        (diff,) = images.image_store.get(id_of(images, "example/app:1")).rootfs.diff_ids
        (blob,) = rows.blobs_of(diff)
        other = json.loads(layout.files["blobs/" + top["digest"].replace(":", "/")])
        other["layers"][0]["digest"] = "sha256:" + "0" * 64
        raw = json.dumps(other).encode()
        from orlop.model.digest import Digest
        from orlop.store.rows.metadata import ManifestRow

        image = id_of(images, "example/app:1")
        rows.put_manifest(ManifestRow(Digest.of(raw), top["mediaType"], raw), [image])
        images._store.references.set(orlop.Reference.parse(f"example/app@{Digest.of(raw)}"), image)
    report = images.save([f"example/app@{Digest.of(raw)}"], tmp_path / "out", format="oci-dir")
    out = walked(tmp_path / "out")
    assert out.tops == [top["digest"]]
    assert not out.absent
    assert {config["digest"], str(blob.digest)} < out.found.keys()
    assert report.remade == (image,)
    assert str(image) in report.messages()[0]


@pytest.mark.parametrize("form", ["oci", "oci-dir"])
def test_a_name_that_means_two_digests_is_refused_before_anything_is_written(
    tmp_path: Path, images: orlop.ImageService, form: str
) -> None:
    tops = []
    for other in ("amd64", "s390x"):
        layout = Layout()
        children = [layout.image(name, platform=True, architecture=name) for name in ("arm64", other)]
        tops.append(layout.index(*children, **named("example/app:1")))
        images.load(io.BytesIO(layout.top(tops[-1]).pack()))
    older, name = f"example/app:1@{tops[0]['digest']}", "example/app:1"
    for asked in ([name, older], [older, name], ["example/app", older]):
        with pytest.raises(errors.InvalidInput, match=r"give the name example/app:1 to sha256:\w+ and to sha256:"):
            images.save(asked, tmp_path / "out", format=form)
    assert not (tmp_path / "out").exists()
    # The same digest under two spellings, and two digests of which one has no tag, do not contradict.
    newer = f"example/app:1@{tops[1]['digest']}"
    images.save([name, newer, f"example/app@{tops[0]['digest']}"], tmp_path / "out", format=form)
    with orlop.open(tmp_path / "other") as again:
        again.load(tmp_path / "out")


@pytest.mark.sampled(2)
@pytest.mark.parametrize("form", ["oci", "oci-dir"])
def test_layers_that_are_here_in_another_form_only_are_saved(
    tmp_path: Path, images: orlop.ImageService, form: str
) -> None:
    """As after a repair: the row of the old form stays, since a manifest names it, and its bytes are gone."""
    layout = two_platforms()
    images.load(io.BytesIO(layout.pack()))
    single = Layout()
    own = single.image("only", compress=True, **named("example/single:1"))
    images.load(io.BytesIO(single.top(own).pack()))
    for name, architecture in (("second", "arm64"), ("only", "amd64")):
        plain = Layout()
        other = plain.image(name, architecture=architecture, compress=False, **named(f"example/{name}:plain"))
        images.load(io.BytesIO(plain.top(other).pack()))
    image, alone = id_of(images, "example/app:1.0"), id_of(images, "example/single:1")
    with images._store.metadata.read() as rows:
        for each in (image, alone):
            (diff_id,) = images.image_store.get(each).rootfs.diff_ids
            (blob,) = [row for row in rows.blobs_of(diff_id) if row.compression == "gzip"]
            (tmp_path / "root/blobs/sha256" / blob.digest.hex).unlink()

    def carried(name: str, **options: Any) -> tuple[list[str], tuple[Any, ...]]:
        report = images.save([name], tmp_path / f"out{len(seen)}", format=form, **options)
        with orlop.open(tmp_path / f"root{len(seen)}") as again:
            seen.append([str(each.id) for each in again.load(tmp_path / f"out{len(seen)}").images])
        return seen[-1], report.remade

    seen: list[list[str]] = []
    assert carried("example/single:1") == ([str(alone)], (alone,))
    # An index without the image that the name stands for would be another image to whoever loads it.
    assert carried("example/app:1.0") == ([str(image)], (image,))
    assert carried("example/app:1.0", platform="linux/arm64") == ([str(image)], (image,))
    other_platform, remade = carried("example/app:1.0", platform="linux/amd64")
    assert (other_platform != [str(image)], remade) == (True, ())
    with pytest.raises(errors.PlatformNotFound, match="lacks linux/arm64"):
        images.save(["example/app:1.0"], tmp_path / "all", format=form, platform="all")


# What is made.


def test_an_image_of_a_docker_archive_gets_a_manifest_that_is_always_the_same(data: Path, tmp_path: Path) -> None:
    seen = []
    for name, archive in (("one", "dockerd-20.10-overlay2/multi.tar"), ("two", "dockerd-20.10-vfs/multi.tar")):
        with orlop.open(tmp_path / name) as images:
            images.load(data / archive)
            seen.append(b"".join(images.save_chunks(["example/tiny:1.0"], format="oci")))
            again = b"".join(images.save_chunks(["example/tiny:1.0"], format="oci"))
            assert again == seen[-1]
            out = saved(images, ["example/tiny:1.0"], tmp_path / f"{name}-out")
            (entry,) = out.entries
            assert entry["mediaType"] == "application/vnd.oci.image.manifest.v1+json"
            assert {kind for kind, _ in out.found.values()} == {
                "application/vnd.oci.image.manifest.v1+json",
                "application/vnd.oci.image.config.v1+json",
                "application/vnd.oci.image.layer.v1.tar",
            }
            config = json.loads((tmp_path / f"{name}-out/blobs" / entry["digest"].replace(":", "/")).read_bytes())
            assert config["config"]["digest"] == str(id_of(images, "example/tiny:1.0"))


@pytest.mark.parametrize(
    ("pack", "media_type"),
    [
        (lambda tar: tar, "application/vnd.oci.image.layer.v1.tar"),
        (lambda tar: __import__("gzip").compress(tar, mtime=0), "application/vnd.oci.image.layer.v1.tar+gzip"),
        (lambda tar: zstd_module().compress(tar), "application/vnd.oci.image.layer.v1.tar+zstd"),
        (lambda tar: __import__("bz2").compress(tar), "application/vnd.oci.image.layer.v1.tar"),
        (lambda tar: __import__("lzma").compress(tar), "application/vnd.oci.image.layer.v1.tar"),
    ],
    ids=["plain", "gzip", "zstd", "bzip2", "xz"],
)
def test_a_made_manifest_says_how_its_layers_are_kept(
    tmp_path: Path, images: orlop.ImageService, pack: Any, media_type: str
) -> None:
    tar = packed({"file": b"content" * 1000})
    images.import_image(io.BytesIO(pack(tar)), "example/made:1")
    out = saved(images, ["example/made:1"], tmp_path / "out")
    assert not out.absent
    layers = [digest for digest, (kind, _) in out.found.items() if kind == media_type]
    assert len(layers) == 1
    with orlop.open(tmp_path / "other") as other:
        report = other.load(tmp_path / "out")
        assert [str(image.id) for image in report.images] == [str(id_of(images, "example/made:1"))]


def test_images_share_the_blobs_of_their_layers(data: Path, tmp_path: Path, images: orlop.ImageService) -> None:
    images.load(data / "dockerd-20.10-overlay2/multi.tar")
    names = ["example/tiny:1.0", "registry.example.com:5000/team/committed:2.0"]
    out = saved(images, names, tmp_path / "out")
    manifests = [json.loads((tmp_path / "out/blobs" / top.replace(":", "/")).read_bytes()) for top in out.tops]
    first, second = ({layer["digest"] for layer in manifest["layers"]} for manifest in manifests)
    assert first & second
    assert len([kind for kind, _ in out.found.values() if "layer" in kind]) == len(first | second)


# Names.


def test_a_name_stands_in_both_annotations(tmp_path: Path, images: orlop.ImageService) -> None:
    layout = Layout()
    images.load(io.BytesIO(layout.top(layout.image("file", **named("alpine:3"))).pack()))
    images.tag("alpine:3", "localhost:5000/team/alpine:other")
    out = saved(images, ["alpine:3", "localhost:5000/team/alpine:other"], tmp_path / "out")
    assert [entry["annotations"] for entry in out.entries] == [
        {NAME: "docker.io/library/alpine:3", REF: "3"},
        {NAME: "localhost:5000/team/alpine:other", REF: "other"},
    ]


def test_a_tag_of_two_repositories_is_written_in_full(tmp_path: Path, images: orlop.ImageService) -> None:
    layout = Layout()
    tops = [layout.image(name, **named(f"example/{name}:1.0")) for name in ("one", "two")]
    images.load(io.BytesIO(layout.top(*tops).pack()))
    report = images.save(["example/two:1.0", "example/one:1.0"], tmp_path / "out", format="oci-dir")
    assert [entry["annotations"][REF] for entry in walked(tmp_path / "out").entries] == [
        "docker.io/example/one:1.0",
        "docker.io/example/two:1.0",
    ]
    assert [str(name) for name in report.in_full] == ["docker.io/example/one:1.0", "docker.io/example/two:1.0"]
    assert len(report.messages()) == 2


def test_equal_images_in_any_order_give_equal_bytes(data: Path, tmp_path: Path, images: orlop.ImageService) -> None:
    images.load(data / "dockerd-20.10-overlay2/multi.tar")
    names = ["example/tiny:1.0", "example/imported", "registry.example.com:5000/team/committed:2.0"]
    one = b"".join(images.save_chunks(names, format="oci"))
    assert b"".join(images.save_chunks([*reversed(names), names[0]], format="oci")) == one


# Platforms, and what the store has not.


def test_an_index_is_written_with_the_platforms_that_are_here_and_says_what_is_left_out(
    tmp_path: Path, images: orlop.ImageService
) -> None:
    layout = two_platforms()
    images.load(io.BytesIO(layout.pack()), platform="linux/arm64")
    report = images.save(["example/app:1.0"], tmp_path / "out", format="oci-dir")
    out = walked(tmp_path / "out")
    (top,) = json.loads(layout.files["index.json"])["manifests"]
    assert out.tops == [top["digest"]]
    (omitted,) = report.omitted
    assert str(omitted.index) == top["digest"]
    assert out.absent == {str(child.digest) for child in omitted.manifests}
    assert out.index["annotations"] == {"dev.orlop.omitted": " ".join(out.absent)}
    assert "linux/amd64" in report.messages()[0]


def test_attestations_come_along(data: Path, tmp_path: Path, images: orlop.ImageService) -> None:
    source = fixture(data, "attestations-artifact", tmp_path / "in")
    images.load(source)
    name = str(next(image for image in images.images() if image.repo_tags).repo_tags[0])
    out = saved(images, [name], tmp_path / "out")
    came = walked(source)
    assert set(out.tops) == set(came.tops)
    assert not out.absent
    assert out.found == came.found


@pytest.mark.parametrize("wanted", ["linux/amd64", "linux/arm64", "amd64"])
def test_one_platform_is_its_manifest_without_the_index(
    tmp_path: Path, images: orlop.ImageService, wanted: str
) -> None:
    images.load(io.BytesIO(two_platforms().pack()))
    out = saved(images, ["example/app:1.0"], tmp_path / "out", platform=wanted)
    (entry,) = out.entries
    assert entry["platform"]["architecture"] == wanted.rpartition("/")[2]
    assert entry["annotations"] == {NAME: "docker.io/example/app:1.0", REF: "1.0"}
    assert len(out.found) == 3
    assert not out.absent
    assert "annotations" not in out.index


def test_several_platforms_are_the_index_with_what_was_asked_for(tmp_path: Path, images: orlop.ImageService) -> None:
    layout = Layout()
    children = [layout.image(name, platform=True, architecture=name) for name in ("amd64", "arm64", "s390x")]
    index = layout.index(*children, **named("example/app:1.0"))
    images.load(io.BytesIO(layout.top(index).pack()))
    out = saved(images, ["example/app:1.0"], tmp_path / "out", platform=["linux/amd64", "linux/s390x"])
    assert out.tops == [index["digest"]]
    assert out.absent == {children[1]["digest"]}
    whole = saved(images, ["example/app:1.0"], tmp_path / "all", platform="all")
    assert not whole.absent
    # An ID has an index only where platforms are asked for.
    image = str(id_of(images, "example/app:1.0"))
    assert saved(images, [image], tmp_path / "by-id", platform="all").tops == [index["digest"]]


def test_platforms_that_are_not_here_are_refused(tmp_path: Path, images: orlop.ImageService) -> None:
    images.load(io.BytesIO(two_platforms().pack()), platform="linux/arm64")
    for wanted in ("linux/amd64", ["linux/arm64", "linux/s390x"], "all"):
        with pytest.raises(errors.PlatformNotFound):
            images.save(["example/app:1.0"], tmp_path / "out", format="oci-dir", platform=wanted)
    assert not (tmp_path / "out").exists()
    for wrong in (["all", "linux/arm64"], []):
        with pytest.raises(errors.InvalidInput):
            images.save(["example/app:1.0"], tmp_path / "out", format="oci-dir", platform=wrong)


def test_all_platforms_of_an_image_with_attestations_are_here(
    data: Path, tmp_path: Path, images: orlop.ImageService
) -> None:
    images.load(fixture(data, "buildx-provenance", tmp_path / "in"))
    name = str(next(image for image in images.images() if image.repo_tags).repo_tags[0])
    assert not saved(images, [name], tmp_path / "out", platform="all").absent


def test_indexes_in_indexes_keep_their_bytes(tmp_path: Path, images: orlop.ImageService) -> None:
    layout = Layout()
    inner = layout.index(layout.image("deep", platform=True, architecture="arm64"))
    far = layout.index(layout.image("far", platform=True, architecture="amd64"))
    outer = layout.index(inner, far, **named("example/app:1.0"))
    images.load(io.BytesIO(layout.top(outer).pack()))
    out = saved(images, ["example/app:1.0"], tmp_path / "out")
    assert out.tops == [outer["digest"]]
    assert not out.absent
    # Of an index of which nothing is wanted, not even the index itself is there.
    one = saved(images, ["example/app:1.0"], tmp_path / "one", platform=["linux/arm64", "linux/arm64/v8"])
    assert one.absent == {far["digest"]}


def followed(images: orlop.ImageService, name: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """Return how many references a save follows."""
    calls = 0
    follow = oci_content._Gathered._child

    def counted(self: Any, descriptor: Any) -> Any:
        nonlocal calls
        calls += 1
        return follow(self, descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(oci_content._Gathered, "_child", counted)
        for _ in images.save_chunks([name], format="oci"):
            pass
    return calls


def test_indexes_that_name_one_another_many_times_are_followed_once(
    tmp_path: Path, images: orlop.ImageService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three levels of n references each are n³ ways to one image, and 3n references."""
    steps: list[int] = []
    top: dict[str, Any] = {}
    for count in (20, 40):
        layout = Layout()
        top = layout.image("file", platform=True)
        for _ in range(3):
            top = layout.index(*[top] * count, **named(f"example/app:{count}"))
        images.load(io.BytesIO(layout.top(top).pack()))
        steps.append(followed(images, f"example/app:{count}", monkeypatch))
    assert steps[1] < 2.5 * steps[0], steps
    out = saved(images, ["example/app:40"], tmp_path / "out")
    assert out.tops == [top["digest"]]
    assert not out.absent


def test_references_of_indexes_are_counted(tmp_path: Path) -> None:
    layout = Layout()
    child = layout.image("file", platform=True)
    with orlop.open(tmp_path / "root") as images:
        images.load(io.BytesIO(layout.top(layout.index(*[child] * 50, **named("example/app:1"))).pack()))
    limits = orlop.Limits(json_values_total=40)
    with (
        orlop.open(tmp_path / "root", limits=limits) as images,
        pytest.raises(errors.LimitExceeded, match="refer 50 times"),
    ):
        images.save(["example/app:1"], tmp_path / "out", format="oci")
    assert not (tmp_path / "out").exists()


def completed_between_looks(monkeypatch: pytest.MonkeyPatch, steps: list[Any]) -> None:
    """Make others do something each time that a save holds what it has seen, before it looks again."""
    hold = holding.held

    @contextmanager
    def held(*args: Any) -> Iterator[Any]:
        with hold(*args) as found:
            if steps:
                steps.pop(0)()
            yield found

    monkeypatch.setattr(save_oci, "held", held)


def test_images_that_come_between_two_looks_are_held_too(
    tmp_path: Path, images: orlop.ImageService, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = two_platforms().pack()
    images.load(io.BytesIO(raw), platform="linux/arm64")
    write = oci_directory.write_layout
    with orlop.open(tmp_path / "root") as other:

        def removed(*args: Any, **options: Any) -> Any:
            for image in other.images(all=True):
                other.remove(str(image.id), force=True)
            other.gc()
            assert other.images(all=True) == []
            return write(*args, **options)

        completed_between_looks(monkeypatch, [lambda: other.load(io.BytesIO(raw))])
        monkeypatch.setattr(oci_directory, "write_layout", removed)
        out = saved(images, ["example/app:1.0"], tmp_path / "out")
    assert len(out.found) == 7
    assert not out.absent


def test_images_that_never_rest_are_given_up(
    tmp_path: Path, images: orlop.ImageService, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = Layout()
    names = ["arm64", "amd64", "s390x", "riscv64", "ppc64le"]
    children = [layout.image(name, platform=True, architecture=name) for name in names]
    layout.top(layout.index(*children, **named("example/app:1.0")))

    def load(count: int) -> None:
        lacking = {"blobs/" + child["digest"].replace(":", "/") for child in children[count:]}
        images.load(io.BytesIO(packed({name: raw for name, raw in layout.files.items() if name not in lacking})))

    load(1)
    monkeypatch.setattr(save_oci, "_LOOKS", 3)
    completed_between_looks(monkeypatch, [partial(load, count) for count in (2, 3, 4)])
    with pytest.raises(errors.Conflict, match="again and again"):
        images.save(["example/app:1.0"], tmp_path / "out", format="oci")
    assert not (tmp_path / "out").exists()
    completed_between_looks(monkeypatch, [partial(load, 5)])
    assert len(saved(images, ["example/app:1.0"], tmp_path / "out").found) == 16


# What is refused.


def test_formats_that_do_not_fit_are_refused(tmp_path: Path, images: orlop.ImageService) -> None:
    layout = Layout()
    images.load(io.BytesIO(layout.top(layout.image("file", **named("app:1"))).pack()))
    with pytest.raises(errors.InvalidInput, match="not a stream"):
        next(images.save_chunks(["app:1"], format="oci-dir"))
    with pytest.raises(errors.InvalidInput, match="not a stream"):
        images.save(["app:1"], io.BytesIO(), format="oci-dir")
    with pytest.raises(errors.InvalidInput, match=r"choose one of docker, docker-20\.10, oci, oci-dir"):
        images.save(["app:1"], io.BytesIO(), format="tar")
    with pytest.raises(errors.InvalidInput, match="one platform"):
        images.save(["app:1"], io.BytesIO(), format="docker-20.10", platform=["linux/amd64", "linux/arm64"])
    for names in ([], ["nobody:1"]):
        with pytest.raises(errors.OrlopError):
            images.save(names, tmp_path / "out", format="oci-dir")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("form", ["oci", "oci-dir"])
def test_a_damaged_layer_leaves_nothing(tmp_path: Path, form: str) -> None:
    layout = Layout()
    with orlop.open(tmp_path / "root") as images:
        images.load(io.BytesIO(layout.top(layout.image("file", **named("app:1"))).pack()))
        (blob,) = (tmp_path / "root/blobs/sha256").iterdir()
        content = bytearray(blob.read_bytes())
        content[-9] ^= 1
        blob.chmod(0o600)
        blob.write_bytes(content)
        with pytest.raises(errors.DigestMismatch, match="load its image again"):
            images.save(["app:1"], tmp_path / "out", format=form)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["root"]


# The command line.


def run(root: Path, *args: object) -> subprocess.CompletedProcess[bytes]:
    argv = [sys.executable, "-m", "orlop", "--root", str(root), *map(str, args)]
    return subprocess.run(argv, capture_output=True, check=False, timeout=120)


@pytest.mark.sampled(3)
def test_the_command_saves_layouts_and_tells_what_is_left_out(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (tmp_path / "in.tar").write_bytes(two_platforms().pack())
    assert run(root, "load", "--platform", "linux/arm64", "-i", tmp_path / "in.tar").returncode == 0
    done = run(root, "save", "--format", "oci-dir", "-o", tmp_path / "out", "example/app:1.0")
    assert (done.returncode, done.stdout) == (0, b"")
    assert b"left out" in done.stderr
    piped = run(root, "save", "--format", "oci", "example/app:1.0")
    assert (piped.returncode, piped.stderr) == (0, done.stderr)
    assert files(untarred(piped.stdout, tmp_path / "untarred")) == files(tmp_path / "out")
    assert run(root, "save", "--format", "oci-dir", "example/app:1.0").returncode == 2
    single = run(root, "save", "--format", "oci", "--platform", "linux/arm64", "example/app:1.0")
    assert (single.returncode, single.stderr) == (0, b"")


@pytest.mark.sampled(8)
@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["--platform", "linux/amd64,linux/arm64"], 0),
        (["--platform", "linux/amd64", "--platform", "linux/arm64"], 0),
        (["--platform", "all"], 0),
        (["--platform", "all,linux/arm64"], 2),
        (["--platform", "linux/s390x"], 4),
        (["--platform", "linux/amd64", "--platform", "linux/arm64", "--format", "docker"], 0),
        (["--platform", "all", "--format", "docker"], 0),
        (["--platform", "all", "--format", "docker-20.10"], 2),
        (["--platform", "all", "--format", "docker", "--append"], 2),
    ],
)
def test_the_command_takes_platforms(tmp_path: Path, words: list[str], status: int) -> None:
    (tmp_path / "in.tar").write_bytes(two_platforms().pack())
    run(tmp_path / "root", "load", "-i", tmp_path / "in.tar")
    done = run(tmp_path / "root", "save", "--format", "oci", "-o", tmp_path / "o.tar", *words, "example/app:1.0")
    assert done.returncode == status, done.stderr
    assert (tmp_path / "o.tar").exists() == (status == 0)


def test_files_get_the_modes_that_others_give(tmp_path: Path, images: orlop.ImageService) -> None:
    images.load(io.BytesIO(two_platforms().pack()))
    before = os.umask(0o027)
    try:
        images.save(["example/app:1.0"], tmp_path / "out", format="oci-dir")
    finally:
        os.umask(before)
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "out").rglob("*")}
    assert {mode for path, mode in modes.items() if path.is_file()} == {0o640}
    assert {mode for path, mode in modes.items() if path.is_dir()} == {0o750}
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o750


def index_of(raw: bytes) -> list[dict[str, Any]]:
    with tarfile.open(fileobj=io.BytesIO(raw)) as tar:
        file = tar.extractfile("index.json")
        assert file is not None
        found: list[dict[str, Any]] = json.loads(file.read())["manifests"]
        return found


def test_a_tag_that_is_also_what_a_layout_called_another_image_is_written_in_full(images: orlop.ImageService) -> None:
    layout = Layout()
    other = layout.image("b", **tagged("1.0"))
    layout.top(layout.image("a", **named("example/app:1.0")), other)
    images.load(io.BytesIO(layout.pack()))
    target = io.BytesIO()
    report = images.save(["example/app:1.0", other["digest"]], target, format="oci")
    entries = index_of(target.getvalue())
    texts = {entry["digest"] == other["digest"]: entry["annotations"][REF] for entry in entries}
    assert texts == {True: "1.0", False: "docker.io/example/app:1.0"}
    assert [name.familiar for name in report.in_full] == ["example/app:1.0"]


def test_an_index_of_which_nothing_else_came_is_written_below_another(images: orlop.ImageService) -> None:
    layout = Layout()
    absent = layout.index(layout.image("a", platform=True))
    for name in [name for name in layout.files if name.startswith("blobs/") and absent["digest"][7:] not in name]:
        del layout.files[name]
    top = layout.index(absent, layout.image("b"), **named("example/app:1.0"))
    images.load(io.BytesIO(layout.top(top).pack()))
    target = io.BytesIO()
    images.save(["example/app:1.0"], target, format="oci")
    with tarfile.open(fileobj=io.BytesIO(target.getvalue())) as tar:
        assert "blobs/" + absent["digest"].replace(":", "/") in tar.getnames()
    images.save(["example/app:1.0"], target := io.BytesIO(), format="oci", platform="linux/amd64")
    with tarfile.open(fileobj=io.BytesIO(target.getvalue())) as tar:
        assert "blobs/" + absent["digest"].replace(":", "/") not in tar.getnames()


@pytest.mark.sampled(2)
@pytest.mark.parametrize("form", ["oci", "docker"])
def test_a_platform_that_goes_while_it_is_saved_leaves_what_it_would_leave_afterwards(tmp_path, form):
    layout = Layout()
    below = [layout.image(one, architecture=one, platform=True) for one in ("amd64", "arm64")]
    layout.top(layout.index(*below, attestation(layout, below[0])) | named("app:1"), signature(layout, below[0]))
    found = []
    for meets in (False, True):
        with orlop.open(tmp_path / f"root-{meets}") as images:
            images.load(io.BytesIO(layout.pack()))
            chunks = images.save_chunks(["app:1"], format=form, platform="all")
            written = [next(chunks)] if meets else list(chunks)
            images.remove("app:1", platform="linux/amd64", force=True)
            written += chunks
            assert b"oci-layout" in b"".join(written)
            images.gc()
            blobs = sorted(path.name for path in (tmp_path / f"root-{meets}" / "blobs").rglob("*"))
            found.append((images.tree(), blobs))
        assert orlop.stores.fsck(tmp_path / f"root-{meets}").problems == ()
    assert found[0] == found[1]


@pytest.mark.sampled(3)
def test_a_save_takes_the_limit_that_it_advises(tmp_path: Path):
    layout = Layout()
    archive, target = tmp_path / "images.tar", tmp_path / "layout"
    archive.write_bytes(layout.top(layout.image("one") | named("docker.io/example/app:1")).pack())
    save = ("save", "--format", "oci-dir", "-o", str(target), "example/app:1")
    assert command(tmp_path, "load", "-q", "-i", str(archive)).returncode == 0
    assert command(tmp_path, *save).returncode == 0
    done = command(tmp_path, *save, "--limit", "manifest-size=100")
    assert done.returncode == 3
    assert "raise it with --limit manifest-size=NUMBER" in done.stderr
    assert command(tmp_path, *save, "--limit", "manifest-size=64m").returncode == 0
