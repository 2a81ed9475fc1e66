"""Some images of an archive instead of all: ``load --only``, and the list that says what there is."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile
from typing import TYPE_CHECKING

import pytest

import orlop
from orlop import errors
from orlop.model.platform import Platform
from tests.unit.artifacts import chart
from tests.unit.layouts import Layout, named

if TYPE_CHECKING:
    from pathlib import Path

MULTI = "dockerd-20.10-overlay2/multi.tar"


@pytest.fixture(autouse=True)
def host(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that is the same everywhere."""
    monkeypatch.setattr("orlop.intake.platforms.host_platform", lambda: Platform("linux", "arm64"))


def held(images: orlop.ImageService) -> set[str]:
    return {name.familiar for image in images.images(all=True) for name in image.repo_tags}


def platforms() -> Layout:
    layout = Layout()
    children = [layout.image(name, platform=True, architecture=name) for name in ("amd64", "arm64")]
    index = layout.index(*children, **named("example/app:1.0"))
    other = layout.image("other", **named("example/app:2.0"))
    return layout.top(index, other, index | named("example/more:1.0"))


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("only", "names"),
    [
        (["example/tiny:1.0"], {"example/tiny:1.0"}),
        (["example/tiny"], {"example/tiny:1.0"}),
        (["docker.io/example/tiny:1.0", "example/imported"], {"example/tiny:1.0", "example/imported:latest"}),
        (["8126e24b2462"], {"example/tiny:1.0"}),
        (
            ["sha256:1adec67d0062", "example/tiny"],
            {"registry.example.com:5000/team/committed:2.0", "example/tiny:1.0"},
        ),
    ],
    ids=["tag", "repository", "two", "digits", "digits and a name"],
)
@pytest.mark.parametrize("piped", [0, 1])
def test_only_what_is_named_is_loaded(
    data: Path, images: orlop.ImageService, only: list[str], names: set[str], piped: int
) -> None:
    source = io.BytesIO((data / MULTI).read_bytes()) if piped else data / MULTI
    report = images.load(source, only=only)
    assert held(images) == names == {name.familiar for image in report.images for name in image.references}
    # Nothing of the others is there, not even their layers.
    assert images.gc().freed == 0
    whole = {str(image.id) for image in images.images(all=True)}
    assert {str(image.id) for image in report.images} == whole


def test_a_tag_of_an_index_stands_for_all_its_platforms_and_no_other_name(images: orlop.ImageService) -> None:
    layout = platforms()
    images.load(io.BytesIO(layout.pack()), only=["example/app:1.0"])
    assert held(images) == {"example/app:1.0"}
    found = images.images(all=True)
    assert len(found) == 2
    assert {name.name for image in found for name in image.references} == {"docker.io/example/app"}
    # The index is there with both, so that it goes out again as it came.
    (top, *_) = json.loads(layout.files["index.json"])["manifests"]
    raw = b"".join(images.save_chunks(["example/app:1.0"], format="oci", platform="all"))
    assert top["digest"].encode() in raw


def test_a_digest_and_an_id_stand_for_what_has_them(images: orlop.ImageService) -> None:
    layout = platforms()
    (top, other, _) = json.loads(layout.files["index.json"])["manifests"]
    images.load(io.BytesIO(layout.pack()), only=[f"example/app@{other['digest']}"])
    assert held(images) == set()
    (image,) = images.images(all=True)
    assert any(str(name.digest) == other["digest"] for name in image.repo_digests)
    images.load(io.BytesIO(layout.pack()), only=[f"example/more@{top['digest']}"])
    assert len(images.images(all=True)) == 3
    again = images.load(io.BytesIO(layout.pack()), only=[str(image.id)])
    assert [loaded.id for loaded in again.images] == [image.id]


@pytest.mark.parametrize("name", ["s", "sha25", "sha256"])
def test_the_word_sha256_is_not_the_beginning_of_an_id(images: orlop.ImageService, data: Path, name: str) -> None:
    with pytest.raises(errors.ImageNotFound):
        images.load(data / MULTI, only=[name])
    assert images.images(all=True) == []


def test_a_digest_with_a_tag_keeps_the_tag_and_refuses_another(tmp_path: Path, images: orlop.ImageService) -> None:
    layout = platforms()
    (top, other, _) = json.loads(layout.files["index.json"])["manifests"]
    for wrong in (f"example/app:9@{top['digest']}", f"example/app:2.0@{top['digest']}", f"nobody@{top['digest']}"):
        with pytest.raises(errors.ImageNotFound):
            images.load(io.BytesIO(layout.pack()), only=[wrong])
    assert images.images(all=True) == []
    name = f"example/app:1.0@{top['digest']}"
    images.load(io.BytesIO(layout.pack()), only=[name])
    assert held(images) == {"example/app:1.0"}
    assert len(images.images(all=True)) == 2
    assert images.inspect(name).image.architecture == "arm64"
    images.load(io.BytesIO(layout.pack()), only=[f"example/app:2.0@{other['digest']}"])
    assert held(images) == {"example/app:1.0", "example/app:2.0"}


@pytest.mark.parametrize("architecture", ["amd64", "arm64"])
def test_the_digest_of_an_images_own_manifest_finds_it_as_in_a_store(
    tmp_path: Path, images: orlop.ImageService, architecture: str
) -> None:
    layout = platforms()
    (top, *_) = json.loads(layout.files["index.json"])["manifests"]
    index = json.loads(layout.files["blobs/" + top["digest"].replace(":", "/")])
    (own,) = [each for each in index["manifests"] if each["platform"]["architecture"] == architecture]
    name = f"example/app@{own['digest']}"
    with orlop.open(tmp_path / "whole") as whole:
        whole.load(io.BytesIO(layout.pack()))
        expected = whole.inspect(name).image.id
    images.load(io.BytesIO(layout.pack()), only=[name])
    (image,) = images.images(all=True)
    assert image.id == expected == images.inspect(name).image.id


def test_a_tag_keeps_the_digest_that_it_means_alone(images: orlop.ImageService) -> None:
    layout = two_meanings()
    first, second = json.loads(layout.files["index.json"])["manifests"]
    images.load(io.BytesIO(layout.pack()), only=["example/app:1"])
    (image,) = images.images(all=True)
    assert [str(name.digest) for name in image.repo_digests] == [first["digest"]]
    assert images.inspect(f"example/app@{first['digest']}").image.id == image.id
    images.load(io.BytesIO(layout.pack()), only=["example/app:2"])
    assert len(images.images(all=True)) == 2
    assert images.inspect(f"example/app@{second['digest']}").image.id == image.id


def two_meanings() -> Layout:
    """A layout in which one image has two tags, of its manifest and of an index."""
    layout = Layout()
    image = layout.image("one", platform=True, architecture="arm64")
    other = layout.image("two", platform=True, architecture="amd64")
    return layout.top(image | named("example/app:1"), layout.index(image, other, **named("example/app:2")))


def test_a_platform_of_a_name(images: orlop.ImageService) -> None:
    images.load(io.BytesIO(platforms().pack()), only=["example/app:1.0"], platform="linux/amd64")
    (image,) = images.images(all=True)
    assert images.inspect(str(image.id)).image.architecture == "amd64"


def test_what_is_not_there_is_refused_and_nothing_is_loaded(data: Path, images: orlop.ImageService) -> None:
    for only in (["example/tiny:1.0", "nobody:1"], ["example/tiny:2.0"], ["sha256:" + "0" * 64]):
        with pytest.raises(errors.ImageNotFound, match=r"it holds example/imported:latest, example/tiny:1\.0"):
            images.load(data / MULTI, only=only)
    with pytest.raises(errors.InvalidReference):
        images.load(data / MULTI, only=["A B"])
    assert images.images(all=True) == []


# The command line.


def run(tmp_path: Path, *args: object) -> subprocess.CompletedProcess[bytes]:
    argv = [sys.executable, "-m", "orlop", "--root", str(tmp_path / "root"), *map(str, args)]
    return subprocess.run(argv, capture_output=True, check=False, timeout=120)


def test_the_command_loads_some(data: Path, tmp_path: Path) -> None:
    done = run(tmp_path, "load", "-i", data / MULTI, "--only", "example/tiny", "--only", "example/imported:latest")
    assert (done.returncode, done.stderr) == (0, b"")
    assert sorted(done.stdout.splitlines()) == [
        b"Loaded image: example/imported:latest",
        b"Loaded image: example/tiny:1.0",
    ]
    assert run(tmp_path, "load", "-i", data / MULTI, "--only", "nobody").returncode == 4


def test_the_list_shows_the_digest_that_each_tag_means(tmp_path: Path) -> None:
    layout = two_meanings()
    (tmp_path / "in.tar").write_bytes(layout.pack())
    done = run(tmp_path, "archive", "ls", "--no-trunc", "--format", "{{.Name}} {{.Digest}}", tmp_path / "in.tar")
    first, second = json.loads(layout.files["index.json"])["manifests"]
    shown = dict(line.split() for line in done.stdout.decode().splitlines())
    assert {"example/app:1": first["digest"], "example/app:2": second["digest"]}.items() <= shown.items()


@pytest.mark.sampled(3)
def test_what_is_loaded_without_its_layers_is_listed_without_them(data: Path, tmp_path: Path) -> None:
    """An archive may lack layers that the store has; a layout promises their size, a Docker archive does not."""
    layout = Layout()
    top = layout.image("file", **named("app:1"))
    layout.top(top)
    whole = layout.pack()
    manifest = json.loads(layout.files["blobs/" + top["digest"].replace(":", "/")])
    del layout.files["blobs/" + manifest["layers"][0]["digest"].replace(":", "/")]
    (tmp_path / "whole.tar").write_bytes(whole)
    (tmp_path / "lacking.tar").write_bytes(layout.pack())
    assert run(tmp_path, "load", "-i", tmp_path / "whole.tar").returncode == 0
    assert run(tmp_path, "load", "-i", tmp_path / "lacking.tar").returncode == 0
    expected = run(tmp_path, "archive", "ls", tmp_path / "whole.tar")
    listed = run(tmp_path, "archive", "ls", tmp_path / "lacking.tar")
    assert (listed.returncode, listed.stdout, listed.stderr) == (0, expected.stdout, b"")

    with tarfile.open(data / MULTI) as source, tarfile.open(tmp_path / "docker.tar", "w") as target:
        for member in source.getmembers():
            if not member.name.endswith("layer.tar"):
                target.addfile(member, source.extractfile(member) if member.isfile() else None)
    assert run(tmp_path, "load", "-i", data / MULTI).returncode == 0
    assert run(tmp_path, "load", "-i", tmp_path / "docker.tar").returncode == 0
    done = run(tmp_path, "archive", "ls", "--json", tmp_path / "docker.tar")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, done.stderr
    assert {(row["Size"], row["Bytes"]) for row in rows} == {(None, None)}
    text = run(tmp_path, "archive", "ls", "--format", "{{.Size}} {{.Bytes}}", tmp_path / "docker.tar").stdout.decode()
    assert set(text.splitlines()) == {"- -"}


def test_the_command_lists_an_archive_without_a_store(data: Path, tmp_path: Path) -> None:
    (tmp_path / "in.tar").write_bytes(platforms().pack())
    done = run(tmp_path, "archive", "ls", "--json", tmp_path / "in.tar")
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    (top, other, _) = json.loads(platforms().files["index.json"])["manifests"]
    found = {(row["Name"], row["Platform"], row["Digest"]) for row in rows}
    assert {("example/app:2.0", "linux/amd64", other["digest"])} < found
    assert {row["Name"] for row in rows} >= {"example/app:1.0", "example/more:1.0", "example/app:2.0"}
    assert {row["Digest"] for row in rows if row["Name"] == "example/app:1.0"} == {top["digest"]}
    assert {len(row["ID"]) for row in rows} == {71}
    text = run(tmp_path, "archive", "ls", "--format", "{{.Name}} {{.Layers}}", data / MULTI).stdout.decode()
    assert "example/tiny:1.0 " in text
    assert run(tmp_path, "archive", "ls", data / MULTI).stdout.splitlines()[0].split() == [
        *(b"NAME", b"PLATFORM", b"IMAGE", b"ID", b"DIGEST", b"SIZE"),
    ]
    assert run(tmp_path, "archive", "ls", "--json", "--format", "json", data / MULTI).returncode == 2
    assert not (tmp_path / "root").exists()


def test_an_id_that_several_begin_with_is_refused_and_the_digest_of_an_index_is_not(images: orlop.ImageService) -> None:
    layout = Layout()
    # Of seventeen IDs two begin alike.
    tops = [layout.image(f"{number}", **named(f"example/app:{number}")) for number in range(17)]
    raw = layout.top(*tops).pack()
    with orlop.Archive(io.BytesIO(raw)) as archive:
        ids = [image.id.hex for image in archive.images]
    twice = next(one[0] for one in ids if sum(other[0] == one[0] for other in ids) > 1)
    with pytest.raises(errors.AmbiguousID, match=f"start with 'sha256:{twice}'"):
        images.load(io.BytesIO(raw), only=[f"sha256:{twice}"])
    assert not images.images(all=True)
    made = platforms()
    index = json.loads(made.files["index.json"])["manifests"][0]["digest"]
    images.load(io.BytesIO(made.pack()), only=[index])
    assert held(images) == {"example/app:1.0", "example/more:1.0"}
    assert len(images.images(all=True)) == 2


def test_what_is_not_there_is_told_with_the_names_of_artifacts(images: orlop.ImageService) -> None:
    layout = Layout()
    layout.top(layout.image("file", **named("example/app:1")), chart(layout) | named("example/chart:2"))
    with pytest.raises(errors.ImageNotFound, match="it holds example/app:1, example/chart:2"):
        images.load(io.BytesIO(layout.pack()), only=["nosuch"])


@pytest.mark.parametrize("append", [True, False])
def test_artifacts_are_saved_beside_images_that_came_otherwise(
    images: orlop.ImageService, tmp_path: Path, *, append: bool
) -> None:
    layout = Layout()
    layout.top(layout.image("file", **named("example/app:1")), chart(layout) | named("example/chart:2"))
    images.load(io.BytesIO(layout.pack()))
    images.save(["example/app:1"], tmp_path / "saved.tar")
    options = {"append": True} if append else {"since": ["example/app:1"]}
    images.save(["example/app:1", "example/chart:2"], tmp_path / "saved.tar", **options)
    report = images.load(tmp_path / "saved.tar")
    assert [[name.familiar for name in one.references] for one in report.artifacts] == [["example/chart:2"]]
    assert [one.references[0].familiar for one in report.images] == ["example/app:1"]
