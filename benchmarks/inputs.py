"""The inputs of the benchmarks: archives made of this machine's own files, the same for every run on it."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import sys
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MIB = 1 << 20


def pack(path: Path, name: str, layers: Sequence[tuple[bytes, bytes]]) -> None:
    """Write a docker archive of layers, each given plain and as it is to be stored."""
    diff_ids = ["sha256:" + hashlib.sha256(plain).hexdigest() for plain, _ in layers]
    config = {
        "architecture": "amd64",
        "os": "linux",
        "created": "2026-01-01T00:00:00Z",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": [{"created": "2026-01-01T00:00:00Z", "created_by": "benchmark"} for _ in layers],
    }
    raw = json.dumps(config).encode()
    digest = hashlib.sha256(raw).hexdigest()
    names = [f"{number:064x}/layer.tar" for number in range(len(layers))]
    manifest = json.dumps([{"Config": f"{digest}.json", "RepoTags": [name], "Layers": names}]).encode()
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        add(archive, f"{digest}.json", raw)
        for member, (_, stored) in zip(names, layers, strict=True):
            add(archive, member, stored)
        add(archive, "manifest.json", manifest)


def add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    """Put a file into an archive."""
    member = tarfile.TarInfo(name)
    member.size, member.mtime = len(content), 1767225600
    archive.addfile(member, io.BytesIO(content))


def system_files(size: int) -> Iterator[Path]:
    """Give regular files of this machine, in order, until they have about that many bytes."""
    left = size
    for top in ("/usr/lib/python3", "/usr/share", "/usr/lib/x86_64-linux-gnu", "/usr/lib", "/usr/bin"):
        for folder, folders, names in os.walk(top):
            folders.sort()
            for path in (Path(folder) / name for name in sorted(names)):
                if not path.is_file() or path.is_symlink() or not 1000 < (length := path.stat().st_size) < 30 * MIB:
                    continue
                yield path
                left -= length
                if left < 0:
                    return


def root_layers(size: int = 215 * MIB, layers: int = 3) -> list[bytes]:
    """Pack files of this machine as layers of about equal numbers of files."""
    paths = list(system_files(size))
    share = -(-len(paths) // layers)
    return [tar_of(paths[start : start + share]) for start in range(0, len(paths), share)]


def tar_of(paths: Sequence[Path]) -> bytes:
    """Pack files as one layer."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for path in paths:
            add(tar, str(path).lstrip("/"), path.read_bytes())
    return out.getvalue()


def small_files(count: int = 100_000) -> bytes:
    """Make a layer of many files of a few bytes."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for number in range(count):
            add(tar, f"usr/share/folder{number // 100}/file{number}.txt", b"%d\n" % number * 20)
    return out.getvalue()


def places(folder: Path) -> dict[str, Path]:
    """Say where in a folder each input lies."""
    return {name: folder / f"{name}.tar" for name in ("root", "gzip", "small")} | {
        name: folder / name for name in ("layer.gz", "layer.tar")
    }


def make(folder: Path) -> None:
    """Make every input in a folder, unless it is there."""
    found = places(folder)
    if not all(path.exists() for path in found.values()):
        layers = root_layers()
        pack(found["root"], "bench/root:1", [(layer, layer) for layer in layers])
        whole = tar_of(list(system_files(215 * MIB)))
        stored = gzip.compress(whole, 6)
        found["layer.gz"].write_bytes(stored)
        pack(found["gzip"], "bench/gzip:1", [(whole, stored)])
        small = small_files()
        found["layer.tar"].write_bytes(small)
        pack(found["small"], "bench/small:1", [(small, small)])


if __name__ == "__main__":
    make(Path(sys.argv[1]))
