"""Roots that are made to mislead whoever takes them apart: names used twice, deep trees, attributes out of range."""

from __future__ import annotations

import errno
import gzip
import io
import os
import subprocess
import tarfile
from typing import TYPE_CHECKING

import pytest

from orlop.errors import RootDamaged
from orlop.foreign import disk, tarsplit
from orlop.foreign.changes import changes_chunks
from orlop.foreign.disk import Folder, files_below
from orlop.foreign.rebuilt import UnpackedLayer
from orlop.foreign.survivors import Lost, surviving_chunks
from orlop.model.limits import DEFAULT_LIMITS
from orlop.streams.meter import Meter

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def surviving(tmp_path: Path, members: list[tuple[str, bytes]], lost: Lost) -> list[tuple[str, bytes]]:
    """Return what is had of a layer of these members, of which no file is in its place."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    lines: list[bytes] = []
    tarsplit.write(io.BytesIO(out.getvalue()), lines.append)
    (tmp_path / "split.gz").write_bytes(gzip.compress(b"".join(lines)))
    (tmp_path / "diff").mkdir()
    with Folder.open(str(tmp_path)) as root:
        layer = UnpackedLayer(root, ("split.gz",), ("diff",))
        made = b"".join(surviving_chunks(layer, Meter(DEFAULT_LIMITS), lost))
    with tarfile.open(fileobj=io.BytesIO(made)) as tar:
        return [(one.name, file.read()) for one in tar if (file := tar.extractfile(one)) is not None]


@pytest.mark.parametrize("size", [4, 1024])
def test_of_two_members_of_one_name_none_gets_the_content_of_the_other(tmp_path: Path, size: int) -> None:
    (tmp_path / "elsewhere").write_bytes(b"later")
    lost = Lost()
    found = surviving(tmp_path, [("f", b"a" * size), ("f", b"later"), ("g", b"later")], lost)
    assert found == [("f", b"later"), ("g", b"later")]
    assert (lost.names, lost.cut) == (["f"], "")


def deep(top: Path, depth: int) -> None:
    descriptor = os.open(top, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=descriptor)
        below = os.open("d", os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = below
    os.close(descriptor)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    made = tmp_path / "folder"
    made.mkdir()
    yield made
    # Some programs cannot remove a tree that is so deep.
    subprocess.run(["rm", "-rf", str(made)], check=True)


def test_a_deep_tree_costs_no_square_of_its_depth(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep(folder, 3000)
    (folder / "file").touch()
    opened: list[str] = []
    real = disk._open

    def counted(name: str, flags: int, at: int | None) -> int:
        opened.append(name)
        return real(name, flags, at)

    monkeypatch.setattr(disk, "_open", counted)
    with Folder.open(str(folder)) as top:
        assert [parts for parts, _ in files_below(top, most=10_000)] == [("file",)]
    assert len(opened) < 3 * 3000


@pytest.mark.needs("attributes")
@pytest.mark.parametrize("noted", [b"-5:-6:0644", b"1:1:" + b"7" * 100, b"9" * 3000 + b":1:0644", b"1_0: 2:0o17", b":"])
def test_owners_that_no_engine_notes_are_passed_over(folder: Path, noted: bytes) -> None:
    (folder / "f").write_bytes(b"x")
    os.setxattr(folder / "f", "user.containers.override_stat", noted)
    os.setxattr(folder / "f", "user.a=b", b"c=d")
    with Folder.open(str(folder)) as top:
        made = b"".join(changes_chunks(top))
    with tarfile.open(fileobj=io.BytesIO(made)) as tar:
        [member] = tar.getmembers()
    assert (member.uid, member.gid) == (os.getuid(), os.getgid())
    assert not [name for name in member.pax_headers if "user." in name]


def test_a_directory_that_cannot_be_listed_is_not_taken_for_an_empty_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "f").write_bytes(b"x")

    def broken(*_: object) -> list[str]:
        raise OSError(errno.EIO, "a disk that is broken")

    with Folder.open(str(folder)) as top:
        monkeypatch.setattr(os, "listdir", broken)
        with pytest.raises(RootDamaged, match="cannot be read"):
            b"".join(changes_chunks(top))
