"""OCI layouts that orlop writes, as skopeo, podman, buildah and umoci read them: equal digests, under their names."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING

import pytest

import orlop as library
from orlop.streams.compressing import Recipe, compressed
from tests.interop.programs import Program
from tests.layout_walk import walked
from tests.needs import need
from tests.unit.layouts import Layout, named

if TYPE_CHECKING:
    from pathlib import Path

    from tests.interop.programs import Orlop

pytestmark = pytest.mark.interop

MULTI = "dockerd-20.10-overlay2/multi.tar"
NAME = "example/tiny:1.0"
FULL = f"docker.io/{NAME}"


@pytest.fixture
def made(orlop: Orlop, data: Path, tmp_path: Path) -> dict[str, str]:
    """An image without a manifest, as a directory and as a tar; what its manifest's digest is."""
    orlop("load", "-i", data / MULTI)
    orlop("save", "--format", "oci-dir", "-o", tmp_path / "layout", NAME)
    orlop("save", "--format", "oci", "-o", tmp_path / "layout.tar", NAME)
    return {"image": orlop.json("inspect", NAME)[0]["Id"], "manifest": walked(tmp_path / "layout").tops[0]}


@pytest.mark.sampled(4)
@pytest.mark.parametrize(
    "source", ["oci:layout:1.0", "oci-archive:layout.tar:1.0", "oci:layout", "oci-archive:layout.tar"]
)
def test_skopeo_reads_and_copies_a_layout(
    orlop: Orlop, skopeo: Program, made: dict[str, str], tmp_path: Path, source: str
) -> None:
    transport, _, rest = source.partition(":")
    source = f"{transport}:{tmp_path}/{rest}"
    assert skopeo.json("inspect", source)["Digest"] == made["manifest"]
    skopeo("copy", "-q", "--preserve-digests", source, f"dir:{tmp_path / 'copy'}")
    copied = json.loads((tmp_path / "copy/manifest.json").read_bytes())
    blobs = {path.name for path in (tmp_path / "layout/blobs/sha256").iterdir()}
    assert {copied["config"]["digest"], *(layer["digest"] for layer in copied["layers"])} == {
        f"sha256:{name}" for name in blobs
    } - {made["manifest"]}
    assert copied["config"]["digest"] == made["image"]


def test_skopeo_copies_an_index_with_all_its_platforms(
    orlop: Orlop, skopeo: Program, data: Path, tmp_path: Path
) -> None:
    layout = Layout()
    children = [layout.image(name, platform=True, architecture=name) for name in ("amd64", "arm64")]
    index = layout.index(*children, **named("example/app:1.0"))
    (tmp_path / "in.tar").write_bytes(layout.top(index).pack())
    orlop("load", "-i", tmp_path / "in.tar")
    orlop("save", "--format", "oci-dir", "-o", tmp_path / "layout", "example/app:1.0")
    skopeo("copy", "-q", "--all", "--preserve-digests", f"oci:{tmp_path}/layout:1.0", f"oci:{tmp_path}/copy:1.0")
    assert walked(tmp_path / "copy").found == walked(tmp_path / "layout").found
    assert walked(tmp_path / "copy").tops == [index["digest"]]
    # One of them alone has no index that would name the other.
    orlop("save", "--format", "oci", "--platform", "linux/arm64", "-o", tmp_path / "one.tar", "example/app:1.0")
    assert skopeo.json("inspect", f"oci-archive:{tmp_path}/one.tar")["Digest"] == children[1]["digest"]


@pytest.mark.sampled(3)
def test_a_layout_that_skopeo_wrote_is_added_to_and_skopeo_reads_both(
    orlop: Orlop, skopeo: Program, made: dict[str, str], data: Path, tmp_path: Path
) -> None:
    skopeo("copy", "-q", f"oci:{tmp_path}/layout:1.0", f"oci:{tmp_path}/mine:theirs")
    before = skopeo("inspect", "--raw", f"oci:{tmp_path}/mine:theirs")
    orlop("save", "--format", "oci-dir", "-o", tmp_path / "mine", "example/imported")
    assert skopeo("inspect", "--raw", f"oci:{tmp_path}/mine:theirs") == before
    image = orlop.json("inspect", "example/imported")[0]["Id"]
    assert json.loads(skopeo("inspect", "--raw", f"oci:{tmp_path}/mine:latest"))["config"]["digest"] == image
    # And skopeo adds to what orlop wrote.
    skopeo("copy", "-q", f"oci:{tmp_path}/layout:1.0", f"oci:{tmp_path}/mine:more")
    assert len(walked(tmp_path / "mine").entries) == 3
    assert not walked(tmp_path / "mine").absent


@pytest.mark.sampled(3)
def test_two_images_of_one_tag_are_found_by_their_whole_names(
    orlop: Orlop, skopeo: Program, made: dict[str, str], tmp_path: Path
) -> None:
    orlop("tag", "example/imported", "example/other:1.0")
    said = orlop.run("save", "--format", "oci-dir", "-o", tmp_path / "two", NAME, "example/other:1.0").stderr.decode()
    assert FULL in said
    for name, wanted in ((NAME, NAME), ("example/other:1.0", "example/imported")):
        raw = json.loads(skopeo("inspect", "--raw", f"oci:{tmp_path}/two:docker.io/{name}"))
        assert raw["config"]["digest"] == orlop.json("inspect", wanted)[0]["Id"]


def test_podman_loads_a_layout(orlop: Orlop, podman: Program, made: dict[str, str], tmp_path: Path) -> None:
    podman("load", "-q", "-i", tmp_path / "layout.tar")
    podman("pull", "-q", f"oci:{tmp_path}/layout:1.0")
    assert {image["Id"] for image in podman.json("images", "--format", "json")} == {
        made["image"].removeprefix("sha256:")
    }


@pytest.mark.sampled(2)
def test_buildah_pulls_a_layout(orlop: Orlop, made: dict[str, str], tmp_path: Path) -> None:
    places = ["--root", str(tmp_path / "storage"), "--runroot", str(tmp_path / "run"), "--storage-driver", "vfs"]
    buildah = Program([need("buildah"), *places], {"BUILDAH_ISOLATION": "chroot", "HOME": str(tmp_path)})
    pulled = buildah("pull", "-q", f"oci:{tmp_path}/layout:1.0").strip()
    assert f"sha256:{pulled}" == made["image"]


@pytest.mark.sampled(2)
def test_umoci_lists_and_unpacks_a_layout(orlop: Orlop, made: dict[str, str], tmp_path: Path) -> None:
    umoci = Program([need("umoci")])
    assert umoci.lines("list", "--layout", tmp_path / "layout") == ["1.0"]
    umoci("unpack", "--rootless", "--image", f"{tmp_path}/layout:1.0", tmp_path / "bundle")
    assert any((tmp_path / "bundle/rootfs").iterdir())
    # umoci adds a name of its own, and orlop leaves it there.
    umoci("tag", "--image", f"{tmp_path}/layout:1.0", "other")
    orlop("save", "--format", "oci-dir", "-o", tmp_path / "layout", "example/imported")
    assert sorted(umoci.lines("list", "--layout", tmp_path / "layout")) == ["1.0", "latest", "other"]


@pytest.mark.sampled(3)
def test_what_others_wrote_keeps_its_digests_through_a_store(
    skopeo: Program, made: dict[str, str], tmp_path: Path
) -> None:
    for kind in ("gzip", "zstd"):
        name = f"{kind}-layout"
        copying = ["copy", "-q", "--dest-compress-format", kind, "--dest-compress"]
        skopeo(*copying, f"oci:{tmp_path}/layout:1.0", f"oci:{tmp_path}/{name}:{FULL}")
        with library.open(tmp_path / kind) as images:
            images.load(tmp_path / name)
            images.save([NAME], tmp_path / f"{kind}-again", format="oci-dir")
            raw = b"".join(images.save_chunks([NAME], format="oci"))
        came, went = walked(tmp_path / name), walked(tmp_path / f"{kind}-again")
        assert (went.tops, went.found) == (came.tops, came.found)
        with library.open(tmp_path / f"{kind}-second") as images:
            images.load(io.BytesIO(raw))
            assert {str(digest) for digest in images.inspect(NAME).manifests} == set(came.tops)


@pytest.mark.sampled(4)
@pytest.mark.parametrize(
    ("text", "program"), [("gzip", "gzip"), ("gzip:9", "gzip"), ("zstd", "zstd"), ("zstd:19", "zstd")]
)
def test_other_programs_decompress_what_orlop_compresses(text: str, program: str) -> None:
    data = b"".join(number.to_bytes(4, "big") for number in range(1 << 19))
    packed = b"".join(compressed([data], len(data), Recipe.parse(text), threads=2))
    assert Program([need(text.partition(":")[0])]).run("-dc", stdin=packed).stdout == data


@pytest.mark.sampled(3)
@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
def test_skopeo_and_podman_read_layers_that_were_compressed_anew(
    orlop: Orlop, skopeo: Program, podman: Program, made: dict[str, str], tmp_path: Path, compression: str
) -> None:
    orlop("save", "--format", "oci-dir", "--compress", compression, "-o", tmp_path / "new", NAME)
    orlop("save", "--format", "oci", "--compress", compression, "-o", tmp_path / "new.tar", NAME)
    skopeo("copy", "-q", "--preserve-digests", f"oci:{tmp_path}/new:1.0", f"oci:{tmp_path}/copy:1.0")
    assert walked(tmp_path / "copy").found == walked(tmp_path / "new").found
    podman("load", "-q", "-i", tmp_path / "new.tar")
    (image,) = podman.json("images", "--format", "json")
    assert f"sha256:{image['Id']}" == made["image"]
