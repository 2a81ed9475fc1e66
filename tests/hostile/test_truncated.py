"""Archives that end too early: at every block, they are refused or, where nothing is missing, whole."""

from __future__ import annotations

import gzip
import io
from typing import TYPE_CHECKING

import pytest

import orlop
from orlop import errors
from tests.unit.layouts import everything

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SMALL = (
    "dockerd-20.10-overlay2/dup.tar",
    "dockerd-29-overlay2/tiny.tar",
    "dockerd-29-containerd/tiny.tar",
    "other-tools/podman-oci.tar",
    "other-tools/skopeo-dir.tar",
    "other-tools/skopeo-oci-archive-zstd.tar",
    "other-tools/legacy-v1-tiny.tar",
)
REFUSED = (errors.InvalidInput, errors.IntegrityError)


Found = list[tuple[orlop.ImageID, tuple[orlop.Reference, ...]]]


def found_in(source: Path | io.BytesIO) -> Found | None:
    """What is in an archive, all of it read; nothing where it is refused."""
    try:
        with orlop.Archive(source) as archive:
            archive.verify()
            return [(image.id, image.references) for image in archive.images]
    except REFUSED:
        return None


def cuts(data: bytes) -> Iterator[int]:
    """The end of every block, and in every tenth block places beside it and in its middle."""
    for end in range(0, len(data), 512):
        yield end
        if end % 5120 == 0:
            yield from {end + 1, end + 511, end + 200} - {end}


@pytest.mark.sampled(3)
@pytest.mark.parametrize("name", SMALL)
def test_an_archive_that_is_cut_is_refused_or_holds_all_that_it_held(data: Path, tmp_path: Path, name: str) -> None:
    whole = (data / name).read_bytes()
    expected = found_in(io.BytesIO(whole))
    path = tmp_path / "cut.tar"
    refused = 0
    for end in cuts(whole):
        path.write_bytes(whole[:end])
        for source in (path, io.BytesIO(whole[:end])):
            found = found_in(source)
            # What says what is in it may stand before other documents, and daemons do not ask for an end.
            assert found in (None, expected), end
            refused += found is None
    assert refused > len(whole) // 512


@pytest.mark.sampled(4)
@pytest.mark.parametrize("name", SMALL)
def test_a_load_of_an_archive_that_is_cut_changes_nothing(data: Path, tmp_path: Path, name: str) -> None:
    whole = (data / name).read_bytes()
    path = tmp_path / "cut.tar"
    with orlop.open(tmp_path / "root") as images:
        images.images()
        before = everything(tmp_path / "root")
        for end in range(0, len(whole), max(512, len(whole) // 25 // 512 * 512)):
            path.write_bytes(whole[:end])
            if found_in(path) is not None:
                break
            for source in (path, io.BytesIO(whole[:end])):
                with pytest.raises(REFUSED):
                    images.load(source)
            assert everything(tmp_path / "root") == before, end
        path.write_bytes(whole)
        assert images.load(path).images


@pytest.mark.parametrize("name", ["dockerd-29-overlay2/tiny.tar", "other-tools/podman-oci.tar"])
def test_a_compressed_archive_that_is_cut_is_refused_wherever_that_is(data: Path, name: str) -> None:
    packed = gzip.compress((data / name).read_bytes(), mtime=0)
    assert not any(found_in(io.BytesIO(packed[:end])) for end in range(0, len(packed), 41))
