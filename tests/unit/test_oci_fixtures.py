"""Layouts and archives that real programs wrote: all that is in them goes into a store, and out of it into a layout.

What is in them was found by other means than orlop's: `tests/data/oci/expected*.json.zst` have every descriptor that
``index.json`` leads to, and every name.
"""

from __future__ import annotations

import io
import json
import re
import tarfile
from pathlib import Path
from typing import Any, Final

import pytest

import orlop
from orlop import errors
from orlop.streams.compression import zstd_module
from tests.layout_walk import walked
from tests.unpacked import unpack

DATA: Final = Path(__file__).parents[1] / "data" / "oci"
EXPECTED: Final[dict[str, Any]] = {
    name: one
    for path in sorted(DATA.glob("expected*.json.zst"))
    for name, one in json.loads(zstd_module().decompress(path.read_bytes())).items()
}
#: What must be there first.
BASES: Final = {"incremental-new": "incremental-base"}
NAME, REF = "io.containerd.image.name", "org.opencontainers.image.ref.name"


def source(name: str, folder: Path) -> Path:
    """Return the directory or the archive that a program wrote."""
    raw = zstd_module().decompress((DATA / f"{name}.tar.zst").read_bytes())
    with tarfile.open(fileobj=io.BytesIO(raw)) as archive:
        if {member.name.split("/")[0] for member in archive} == {name}:
            unpack(archive, folder)
            return folder / name
    target = folder / f"{name}.tar"
    target.write_bytes(raw)
    return target


def is_name(text: str | None) -> bool:
    """Whether an image gets this name: it has a repository and a tag."""
    return text is not None and None is not re.fullmatch(
        r"[a-z0-9.]+(?::[0-9]+)?(/[a-z0-9._-]+)+:[A-Za-z0-9_][A-Za-z0-9._-]*(@sha256:.*)?", text
    )


def seen(one: dict[str, Any]) -> tuple[str, int]:
    """Return the type and size of a descriptor: bytes that are not a manifest may have several types."""
    return one["mediaType"] if one.get("kind", "blob") != "blob" else "", one["size"]


def kept(name: str) -> tuple[dict[str, tuple[str, int]], list[dict[str, Any]]]:
    """Return what an archive holds that a layout must give again, and the entries of its index.json to ask for."""
    told = {one["digest"]: one for one in EXPECTED[name]["descriptors"]}
    found = {digest: seen(one) for digest, one in told.items() if not one.get("missing")}
    return found, [entry for entry in EXPECTED[name]["names"] if told[entry["digest"]].get("kind", "blob") != "blob"]


@pytest.mark.sampled(6)
@pytest.mark.parametrize("name", sorted(EXPECTED.keys() - {"podman-multi-archive", "podman-docker-dir", "empty"}))
def test_every_descriptor_and_name_survives_a_way_through_a_store(tmp_path: Path, name: str) -> None:
    wanted, entries = kept(name)
    (tmp_path / "from").mkdir()
    with orlop.open(tmp_path / "root") as images:
        if name in BASES:
            images.load(source(BASES[name], tmp_path / "from"))
            wanted |= {one["digest"]: seen(one) for one in EXPECTED[name]["descriptors"]}
        images.load(source(name, tmp_path / "from"))
        images.gc()
        images.save(list(dict.fromkeys(entry["digest"] for entry in entries)), tmp_path / "to", format="oci-dir")
        whole = {entry[NAME]: entry["digest"] for entry in entries if is_name(entry[NAME])}
        if whole:
            images.save(list(whole), tmp_path / "named", format="oci-dir")
            assert walked(tmp_path / "named").names == whole
    found = walked(tmp_path / "to")
    assert {digest: size for digest, (_, size) in found.found.items()} == {
        digest: size for digest, (_, size) in wanted.items()
    }
    assert all(found.found[digest][0] == kind for digest, (kind, _) in wanted.items() if kind)
    absent = {one["digest"] for one in EXPECTED[name]["descriptors"] if one.get("missing")}
    assert found.absent == (set() if name in BASES else absent)
    # Who has no whole name is told by the text that stood there.
    texts = {(entry["digest"], entry[REF]) for entry in entries if entry[REF] and not entry[NAME]}
    again = {(entry["digest"], entry.get("annotations", {}).get(REF)) for entry in found.entries}
    assert {text for text in texts if not is_name(text[1])} <= again


#: What becomes of each fault: the class and a part of the refusal, or how many images and artifacts are kept.
FAULTS: Final[dict[str, tuple[type[errors.OrlopError], str] | tuple[int, int]]] = {
    "artifact-named-like-image": (0, 1),
    "both-config-and-manifests": (errors.InvalidManifest, "a manifest and an index at once"),
    "data-lies": (errors.InvalidManifest, "it is not the content of sha256:d17f1b6b"),
    "deep": (1, 0),
    "diff-ids-wrong": (errors.DigestMismatch, "has the diff ID sha256:"),
    "digest-of-unknown-algorithm": (1, 0),
    "digest-traversal": (errors.InvalidManifest, r"invalid digest 'sha256:\.\./"),
    "index-loop": (errors.DigestMismatch, "not that of its descriptor"),
    "layout-version-2": (errors.InvalidArchive, "orlop reads version 1"),
    "media-type-mismatch": (errors.InvalidManifest, "that its descriptor says"),
    "missing-layer": (errors.InvalidArchive, "sha256:3a145c7d"),
    "no-platform-index": (2, 0),
    "same-platform-twice": (2, 0),
    "subject-loop": (errors.DigestMismatch, "not that of its descriptor"),
    "subject-self": (errors.DigestMismatch, "not that of its descriptor"),
    "wrong-bytes": (errors.DigestMismatch, "not that of its descriptor"),
    "wrong-layer": (errors.InvalidCompression, "sha256/43a0775c"),
    "wrong-size": (errors.SizeMismatch, "its descriptor says"),
}


@pytest.fixture(scope="module")
def faults(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return source("bad", tmp_path_factory.mktemp("bad"))


def test_every_fault_has_an_answer(faults: Path) -> None:
    assert {path.name for path in faults.iterdir()} == FAULTS.keys()


@pytest.mark.parametrize("name", FAULTS)
def test_a_faulty_layout_is_refused_and_changes_nothing_or_is_kept_whole(
    faults: Path, tmp_path: Path, name: str
) -> None:
    kind, wanted = FAULTS[name]
    with orlop.open(tmp_path / "root") as images:
        if isinstance(kind, int):
            report = images.load(faults / name)
            assert (len(report.images), len(report.artifacts)) == (kind, wanted)
        else:
            with pytest.raises(kind, match=str(wanted)):
                images.load(faults / name)
            assert not list(images.images())
            assert not [path for path in (tmp_path / "root" / "blobs").rglob("*") if path.is_file()]
        assert images.gc().garbage == ()
    assert orlop.stores.fsck(tmp_path / "root").problems == ()
