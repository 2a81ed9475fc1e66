"""Data roots that other engines left behind, unpacked as any user can."""

from __future__ import annotations

import atexit
import gzip
import hashlib
import io
import json
import os
import shutil
import signal
import stat
import subprocess
import tarfile
import tempfile
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from orlop.foreign import tarsplit
from orlop.streams.compression import Compression, decompressed
from tests.unpacked import but_devices, trust

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def patient(seconds: int) -> Iterator[None]:
    """Fail where a block takes longer: what waits for a pipe or a device would wait for ever."""

    def give_up(*_: object) -> None:
        import pytest

        pytest.fail("it waits for something")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


DOCKER = ("engine-20.10-fuse-overlayfs", "engine-20.10-overlay", "engine-20.10-overlay2", "engine-20.10-vfs")
PODMAN = ("podman-4.3-overlay", "podman-4.3-vfs")
CONTAINERD = "containerd-1.6"


class LayerRow(NamedTuple):
    """What the engine's own ``save`` made of a layer: the number is -1 where it failed for the image."""

    image: str
    name: str
    number: int
    diff_id: str
    size: int
    verdict: str


def folder(data: Path, name: str) -> Path:
    return data / "foreign-roots" / name


def unpack(data: Path, name: str, target: Path) -> Path:
    """Unpack a root, without devices and owners, which need root; whatever is in it can be read."""
    target.mkdir(parents=True)
    subprocess.run(["cp", "-a", f"{_unpacked(folder(data, name) / 'root.tar.zst')}/.", target], check=True)
    below = target / "root"
    return below if below.is_dir() else target


@cache
def _unpacked(archive: Path) -> Path:
    """Return a folder with what is in an archive, made once for this process: to copy it is much cheaper."""
    made = tempfile.mkdtemp(prefix="orlop-foreign-")
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    extract(archive, Path(made))
    return Path(made)


def extract(archive: Path, target: Path) -> None:
    with archive.open("rb") as raw:
        plain: Any = decompressed(raw, Compression.ZSTD)
        with tarfile.open(fileobj=plain, mode="r|", errors="surrogateescape") as tar:
            trust(tar)
            for member in but_devices(tar):
                member.mode |= stat.S_IRUSR | stat.S_IWUSR | (stat.S_IXUSR if member.isdir() else 0)
                member.mtime = min(member.mtime, 1 << 32)
                # Members of a root are trusted here: they are this project's own data.
                tar.extract(member, target, numeric_owner=True)


def make_root(root: Path, images: int, members: dict[str, bytes]) -> None:
    """Make a data root as an engine with overlay2 would: images of one layer each, with these files and one of its own.

    Their names are ``made/image:0``, ``made/image:1`` and so on.
    """
    _make_images(
        root,
        [
            _make_layer(root, f"{number:064x}", members | {f"number-{number}": str(number).encode()})
            for number in range(images)
        ],
    )


def make_sparse_root(root: Path, size: int) -> None:
    """Make a data root with one image, ``made/image:0``, of one file of zeros that takes no room on disk."""
    files = root / "overlay2" / "sparse" / "diff"
    files.mkdir(parents=True)
    with (files / "zeros").open("wb") as file:
        file.truncate(size)
    member = tarfile.TarInfo("zeros")
    member.size = size
    tar = _Hashed(member.tobuf(), size, bytes(-size % 512 + 1024))
    with io.BytesIO() as lines:
        tarsplit.write(tar, lines.write)
        _enter_layer(root, "sparse", tar.digest.hexdigest(), size, lines.getvalue())
    _make_images(root, [f"sha256:{tar.digest.hexdigest()}"])


class _Hashed:
    """A reader of a tar with a content of zeros, however long, which hashes what is read."""

    def __init__(self, header: bytes, size: int, end: bytes) -> None:
        self.digest = hashlib.sha256()
        self._header = io.BytesIO(header)
        self._left = size
        self._end = io.BytesIO(end)

    def read(self, size: int, /) -> bytes:
        data = self._header.read(size)
        if not data and self._left:
            data = bytes(min(size, self._left))
            self._left -= len(data)
        data = data or self._end.read(size)
        self.digest.update(data)
        return data


def _make_images(root: Path, diff_ids: list[str]) -> None:
    """Write the configs and the names of images of one layer each."""
    base = root / "image" / "overlay2"
    content = base / "imagedb" / "content" / "sha256"
    content.mkdir(parents=True)
    names = {}
    for number, diff_id in enumerate(diff_ids):
        config = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [diff_id]}}
        raw = json.dumps(config).encode()
        image_id = hashlib.sha256(raw).hexdigest()
        (content / image_id).write_bytes(raw)
        names[f"made/image:{number}"] = f"sha256:{image_id}"
    (base / "repositories.json").write_text(json.dumps({"Repositories": {"made/image": names}}))


def _make_layer(root: Path, cache_id: str, files: dict[str, bytes]) -> str:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
            path = root / "overlay2" / cache_id / "diff" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    digest = hashlib.sha256(raw.getvalue()).hexdigest()
    raw.seek(0)
    with io.BytesIO() as lines:
        tarsplit.write(raw, lines.write)
        _enter_layer(root, cache_id, digest, sum(map(len, files.values())), lines.getvalue())
    return f"sha256:{digest}"


def _enter_layer(root: Path, cache_id: str, digest: str, size: int, split: bytes) -> None:
    """Write the entry of a layer in the layer database."""
    entry = root / "image" / "overlay2" / "layerdb" / "sha256" / digest
    entry.mkdir(parents=True)
    (entry / "tar-split.json.gz").write_bytes(gzip.compress(split, 1))
    (entry / "diff").write_text(f"sha256:{digest}")
    (entry / "cache-id").write_text(cache_id)
    (entry / "size").write_text(str(size))


@cache
def layer_rows(path: Path) -> tuple[LayerRow, ...]:
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        fields = line.split("\t")
        if len(fields) == 4:
            fields = [fields[0], fields[1], "-1", "", "-1", fields[3]] if fields[2] == "-" else fields
        rows.append(fields)
    return tuple(_row(fields) for fields in rows)


def _row(fields: list[str]) -> LayerRow:
    image = fields.pop(0) if fields[0].startswith("sha256:") else ""
    name, number, diff_id, size, verdict = fields if len(fields) == 5 else [fields[0], "-1", "", "-1", fields[-1]]
    return LayerRow(image, name, int(number), diff_id, int(size), verdict)


def snapshot(root: Path) -> dict[str, tuple[object, ...]]:
    """Return everything that can be seen of a tree: contents, times, modes and attributes, by path."""
    found: dict[str, tuple[object, ...]] = {}
    waiting = [os.fsencode(root)]
    while waiting:
        path = waiting.pop()
        # Looking must leave no trace, or it could not be told from that of others.
        state = os.lstat(path)
        content = b""
        if stat.S_ISREG(state.st_mode):
            with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOATIME), "rb") as file:
                content = file.read()
        elif stat.S_ISDIR(state.st_mode):
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOATIME)
            # A list by descriptor: `Path` has none.
            waiting += [path + b"/" + os.fsencode(name) for name in os.listdir(descriptor)]  # noqa: PTH208
            os.close(descriptor)
        attributes: tuple[object, ...] = ()
        with suppress(OSError):
            attributes = tuple(
                (name, os.getxattr(path, name, follow_symlinks=False))
                for name in sorted(os.listxattr(path, follow_symlinks=False))
            )
        times = state.st_mtime_ns, state.st_ctime_ns, state.st_atime_ns
        found[os.fsdecode(path)] = (state.st_mode, state.st_size, state.st_ino, *times, content, attributes)
    return found
