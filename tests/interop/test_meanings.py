"""What other programs read in archives of two meanings: the reason why orlop refuses them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.hostile import tars
from tests.hostile.made import BODY, both_lists, config, docker_of, entry, symlink
from tests.hostile.meanings import (
    APP,
    NAMES,
    climbing_link,
    exchanged,
    hidden_list,
    hidden_mark,
    hidden_names,
    in_disguise,
    linked_between,
    moved_by_folder,
    moved_link,
    two_of,
    with_layers,
)
from tests.unit.layouts import NAME, REF, layer_tar, packed, sha256

if TYPE_CHECKING:
    from pathlib import Path

    from tests.interop.programs import Docker, Orlop, Program


def config_in_layout(files: dict[str, bytes], number: int) -> str:
    """The image ID to which an entry of index.json leads."""
    top = json.loads(files["index.json"])["manifests"][number]
    manifest: dict[str, Any] = json.loads(files["blobs/" + top["digest"].replace(":", "/")])
    return str(manifest["config"]["digest"])


def config_listed(files: dict[str, bytes], number: int) -> str:
    """The image ID of an entry of manifest.json."""
    return sha256(files[json.loads(files["manifest.json"])[number]["Config"]])


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return tmp_path / "archive.tar"


def skopeo_id(skopeo: Program, source: str, place: Path) -> str:
    """The image ID that skopeo reads."""
    skopeo("copy", source, f"dir:{place}")
    manifest: dict[str, Any] = json.loads((place / "manifest.json").read_bytes())
    return str(manifest["config"]["digest"])


MARKED = {
    "plain": {},
    "an artifact type": {"manifest": {"artifactType": "application/x"}},
    "unknown/unknown": {"platform": {"os": "unknown", "architecture": "unknown"}},
    "an annotation": {"annotations": NAMES | {"vnd.docker.reference.type": "attestation-manifest"}},
}


@pytest.mark.sampled(4)
@pytest.mark.parametrize("mark", MARKED)
def test_marks_keep_nobody_from_reading_another_image(
    docker: Docker, skopeo: Program, orlop: Orlop, archive: Path, tmp_path: Path, mark: str
) -> None:
    files = exchanged(**MARKED[mark])
    archive.write_bytes(packed(files))
    listed, other = config_listed(files, 0), config_in_layout(files, 0)
    assert listed != other
    docker("load", "-i", archive)
    assert docker.inspect("app:1")["Id"] == listed
    assert skopeo_id(skopeo, f"docker-archive:{archive}", tmp_path / "listed") == listed
    assert skopeo_id(skopeo, f"oci-archive:{archive}:1", tmp_path / "other") == other
    refused = orlop.run("load", "-i", archive)
    assert (refused.returncode, b"another image" in refused.stderr) == (3, True)


def test_podman_reads_the_layout_first(podman: Program, orlop: Orlop, archive: Path) -> None:
    files = both_lists("b:1", others=True)
    archive.write_bytes(packed(files))
    podman("load", "-q", "-i", archive)
    (found,) = podman.json("images", "--format", "json")
    assert f"sha256:{found['Id']}" == config_in_layout(files, 0) != config_listed(files, 0)
    assert orlop.run("load", "-i", archive).returncode == 3


def test_no_type_in_an_index_keeps_skopeo_and_podman_from_an_image(
    podman: Program, skopeo: Program, orlop: Orlop, archive: Path, tmp_path: Path
) -> None:
    files = in_disguise()
    archive.write_bytes(packed(files))
    top = json.loads(files["index.json"])["manifests"][0]["digest"]
    first = json.loads(files["blobs/" + top.replace(":", "/")])["manifests"][0]["digest"]
    image = json.loads(files["blobs/" + first.replace(":", "/")])["config"]["digest"]
    podman("load", "-q", "-i", archive)
    (found,) = podman.json("images", "--format", "json")
    assert f"sha256:{found['Id']}" == image
    assert skopeo_id(skopeo, f"oci-archive:{archive}:1", tmp_path / "copy") == image
    assert orlop.run("load", "-i", archive).returncode == 3


def test_podman_unpacks_layers_of_any_type(podman: Program, orlop: Orlop, archive: Path) -> None:
    files = exchanged({}, manifest=with_layers("application/vnd.in-toto+json"))
    archive.write_bytes(packed(files))
    podman("load", "-q", "-i", archive)
    (found,) = podman.json("images", "--format", "json")
    assert f"sha256:{found['Id']}" == config_in_layout(files, 0) != config_listed(files, 0)
    assert orlop.run("load", "-i", archive).returncode == 3


@pytest.mark.sampled(3)
def test_of_a_name_twice_docker_takes_the_last_and_skopeo_the_first(
    docker: Docker, skopeo: Program, orlop: Orlop, archive: Path, tmp_path: Path
) -> None:
    other = layer_tar("other")
    second = entry(Config="d.json", Layers=["m.tar"], RepoTags=["docker.io/library/a:1"])
    files = docker_of(entry(), second, d__json=config(sha256(other)), m__tar=other)
    archive.write_bytes(packed(files))
    docker("load", "-i", archive)
    assert docker.inspect("a:1")["Id"] == config_listed(files, 1)
    assert skopeo_id(skopeo, f"docker-archive:{archive}:a:1", tmp_path / "copy") == config_listed(files, 0)
    assert orlop.run("load", "-i", archive).returncode == 3


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("first", "second", "asked"),
    [
        ({NAME: APP, REF: "1"}, {NAME: APP, REF: "1"}, "1"),
        ({REF: "app:1"}, {REF: "app:1"}, "app:1"),
        ({REF: "1"}, {REF: "1"}, "1"),
    ],
)
def test_of_two_entries_of_one_name_skopeo_takes_the_first(
    skopeo: Program,
    orlop: Orlop,
    archive: Path,
    tmp_path: Path,
    first: dict[str, str],
    second: dict[str, str],
    asked: str,
) -> None:
    files = two_of(first, second)
    archive.write_bytes(packed(files))
    assert skopeo_id(skopeo, f"oci-archive:{archive}:{asked}", tmp_path / "copy") == config_in_layout(files, 0)
    assert orlop.run("load", "-i", archive).returncode == 3


def test_skopeo_does_not_read_the_annotation_of_containerd(
    skopeo: Program, orlop: Orlop, archive: Path, tmp_path: Path
) -> None:
    files = two_of({NAME: "a:1", REF: "b:1"}, {NAME: "b:1", REF: "a:1"})
    archive.write_bytes(packed(files))
    assert skopeo_id(skopeo, f"oci-archive:{archive}:a:1", tmp_path / "copy") == config_in_layout(files, 1)
    assert orlop.run("load", "-i", archive).returncode == 3


def test_docker_unpacks_an_archive_and_others_do_not(
    docker: Docker, skopeo: Program, orlop: Orlop, archive: Path, tmp_path: Path
) -> None:
    one, two = config(author="one"), config(author="two")
    listed = [entry(Config="d/c.json", Layers=["l.tar"])]
    archive.write_bytes(
        tars.tar(
            tars.files({"manifest.json": json.dumps(listed).encode(), "l.tar": BODY}),
            tars.member(b"d/c.json", one),
            symlink(b"d", b"e"),
            tars.member(b"e/c.json", two),
        )
    )
    docker("load", "-i", archive)
    assert docker.inspect("a:1")["Id"] == sha256(two)
    assert skopeo_id(skopeo, f"docker-archive:{archive}", tmp_path / "copy") == sha256(one)
    assert orlop.run("load", "-i", archive).returncode == 3


def test_docker_follows_links_as_files_and_skopeo_as_text(
    docker: Docker, skopeo: Program, orlop: Orlop, archive: Path, tmp_path: Path
) -> None:
    archive.write_bytes(climbing_link(b"x", b"a/../c.json"))
    docker("load", "-i", archive)
    assert docker.inspect("a:1")["Author"] == "b"
    assert skopeo_id(skopeo, f"docker-archive:{archive}", tmp_path / "copy") == sha256(config(author="a"))
    assert orlop.run("load", "-i", archive).returncode == 3


@pytest.mark.sampled(3)
def test_a_hard_link_to_a_symbolic_one_leads_docker_elsewhere(docker: Docker, orlop: Orlop, archive: Path) -> None:
    archive.write_bytes(moved_link(b"f/h"))
    docker("load", "-i", archive)
    assert docker.inspect("a:1")["Author"] == "b"
    assert orlop.run("load", "-i", archive).returncode == 3
    archive.write_bytes(moved_link(b"e/h"))
    docker("load", "-i", archive)
    orlop("load", "-i", archive)
    assert docker.inspect("a:1")["Author"] == orlop.json("inspect", "a:1")[0]["Author"] == "a"


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    "made",
    [moved_by_folder(), moved_by_folder(b"k/../c.json"), linked_between(b"c.json", b"../e/c.json")],
    ids=["folder", "above", "between"],
)
def test_where_a_hard_link_leads_depends_on_what_is_around_it(
    docker: Docker, orlop: Orlop, archive: Path, made: bytes
) -> None:
    archive.write_bytes(made)
    docker("load", "-i", archive)
    assert docker.inspect("a:1")["Author"] == "b"
    assert orlop.run("load", "-i", archive).returncode == 3


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    "made", [hidden_list(), hidden_list(b"a/../m.json"), hidden_names()], ids=["behind", "above", "names"]
)
def test_docker_finds_a_list_that_others_do_not(
    docker: Docker, skopeo: Program, orlop: Orlop, archive: Path, tmp_path: Path, made: bytes
) -> None:
    archive.write_bytes(made)
    docker("load", "-i", archive)
    assert docker.inspect("app:1")["Id"] != skopeo_id(skopeo, f"oci-archive:{archive}:1", tmp_path / "copy")
    assert orlop.run("load", "-i", archive).returncode == 3


def test_what_marks_a_layout_leads_to_no_other_image(
    docker: Docker, skopeo: Program, orlop: Orlop, archive: Path, tmp_path: Path
) -> None:
    archive.write_bytes(hidden_mark())
    assert docker.run("load", "-i", archive).returncode != 0
    loaded = orlop("load", "-q", "-i", archive)
    assert "app:1" in loaded
    image = skopeo_id(skopeo, f"oci-archive:{archive}:1", tmp_path / "copy")
    assert json.loads(orlop("inspect", "app:1"))[0]["Id"] == image
