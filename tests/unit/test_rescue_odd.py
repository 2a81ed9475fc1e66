"""Roots that are made to mislead whoever takes them apart: names used twice, deep trees, attributes out of range."""

from __future__ import annotations

import errno
import gzip
import io
import os
import resource
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


def split(folder: Path, members: list[tuple[str, bytes]]) -> bytes:
    """Write the tar-split of a tar of these members into a folder, and return the tar."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    lines: list[bytes] = []
    tarsplit.write(io.BytesIO(out.getvalue()), lines.append)
    (folder / "split.gz").write_bytes(gzip.compress(b"".join(lines)))
    return out.getvalue()


def surviving(tmp_path: Path, members: list[tuple[str, bytes]], lost: Lost) -> list[tuple[str, bytes]]:
    """Return what is had of a layer of these members, of which no file is in its place."""
    split(tmp_path, members)
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


@pytest.mark.sampled(2)
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


def written(top: Path, depth: int, name: str) -> None:
    """Write a file into each directory of a deep tree, below and above the next directory."""
    descriptor = os.open(top, os.O_RDONLY)
    for number in range(depth + 1):
        for prefix in ("a", "z"):
            file = os.open(f"{prefix}-{name}", os.O_WRONLY | os.O_CREAT, dir_fd=descriptor)
            os.write(file, str(number).encode())
            os.close(file)
        if number < depth:
            below = os.open("d", os.O_RDONLY, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = below
    os.close(descriptor)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("is_whole", [False, True], ids=["own files", "all files"])
def test_a_container_may_have_directories_as_deep_as_a_path(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *, is_whole: bool
) -> None:
    depth, opened = 400, 0
    for name in ("now", "before"):
        (folder / name).mkdir()
        deep(folder / name, depth)
    written(folder / "now", depth, "file")
    real = disk._open

    def counted(name: str, flags: int, at: int | None) -> int:
        nonlocal opened
        opened += 1
        return real(name, flags, at)

    monkeypatch.setattr(disk, "_open", counted)
    with Folder.open(str(folder / "now")) as now, Folder.open(str(folder / "before")) as before:
        made = b"".join(changes_chunks(now, before if is_whole else None))
    with tarfile.open(fileobj=io.BytesIO(made)) as tar:
        members = tar.getmembers()
        paths = {one.name: file.read() for one in members if (file := tar.extractfile(one)) is not None}
    assert len(members) == len({one.name for one in members}) == 3 * depth + 2
    below = ["d/" * number for number in range(depth + 1)]
    assert paths == {f"{path}{one}-file": b"%d" % at for at, path in enumerate(below) for one in "az"}
    # Some are opened twice on the way back, and each is listed and asked for its attributes.
    assert opened < 20 * depth


def test_what_no_path_leads_to_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orlop.foreign.changes.DEEPEST", 30)
    deep(folder, 31)
    with Folder.open(str(folder)) as top, pytest.raises(RootDamaged, match="more than 30 directories deep"):
        b"".join(changes_chunks(top))


@pytest.fixture
def few_files() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(512, before[0]), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.usefixtures("few_files")
def test_a_layer_deeper_than_a_process_may_hold_files_is_rebuilt(folder: Path) -> None:
    depth = 600
    (folder / "diff").mkdir()
    deep(folder / "diff", depth)
    written(folder / "diff", depth, "file")
    # Down, and up again.
    steps = range(0, depth + 1, 10)
    members = [
        (f"{'d/' * at}{one}-file", b"%d" % at)
        for one, on in zip("az", (steps, reversed(steps)), strict=True)
        for at in on
    ]
    tar = split(folder, members)
    with Folder.open(str(folder)) as root:
        reader = next(UnpackedLayer(root, ("split.gz",), ("diff",)).attempts(Meter(DEFAULT_LIMITS)))
        assert b"".join(iter(lambda: reader.read(1 << 20), b"")) == tar


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


def test_work_on_members_without_content_can_be_ended(folder: Path) -> None:
    (folder / "diff").mkdir()
    split(folder, [(str(number), b"") for number in range(50)])
    calls: list[None] = []
    with Folder.open(str(folder)) as root:
        layer = UnpackedLayer(root, ("split.gz",), ("diff",))
        assert len(list(layer.attempts(Meter(DEFAULT_LIMITS), lambda: calls.append(None)))) == 1
    assert len(calls) >= 50
