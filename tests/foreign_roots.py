"""Data roots that other engines left behind, unpacked as any user can."""

from __future__ import annotations

import atexit
import gzip
import hashlib
import io
import json
import os
import shutil
import stat
import subprocess
import tarfile
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from orlop.foreign import tarsplit
from orlop.streams.compression import Compression, decompressed
from tests.unpacked import trust

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
            for member in tar:
                if member.ischr() or member.isblk():
                    continue
                member.mode |= stat.S_IRUSR | stat.S_IWUSR | (stat.S_IXUSR if member.isdir() else 0)
                member.mtime = min(member.mtime, 1 << 32)
                # Members of a root are trusted here: they are this project's own data.
                tar.extract(member, target, numeric_owner=True)


def make_root(root: Path, images: int, members: dict[str, bytes]) -> None:
    """Make a data root as an engine with overlay2 would: images of one layer each, with these files and one of its own.

    Their names are ``made/image:0``, ``made/image:1`` and so on.
    """
    base = root / "image" / "overlay2"
    content = base / "imagedb" / "content" / "sha256"
    content.mkdir(parents=True)
    names = {}
    for number in range(images):
        files = members | {f"number-{number}": str(number).encode()}
        diff_id = _make_layer(root, f"{number:064x}", files)
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
    entry = root / "image" / "overlay2" / "layerdb" / "sha256" / digest
    entry.mkdir(parents=True)
    raw.seek(0)
    with gzip.open(entry / "tar-split.json.gz", "wb", 1) as split:
        tarsplit.write(raw, split.write)
    (entry / "diff").write_text(f"sha256:{digest}")
    (entry / "cache-id").write_text(cache_id)
    (entry / "size").write_text(str(sum(map(len, files.values()))))
    return f"sha256:{digest}"


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
