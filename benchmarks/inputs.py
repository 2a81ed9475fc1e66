"""The inputs of the benchmarks: archives that one command makes, the same for every run on a machine.

The image is a root file system of Debian, where `mmdebstrap` is installed and may make one (as root, with a mirror in
reach), and two layers of this machine's own files on it; elsewhere all three are of this machine's own files.

`python benchmarks/inputs.py FOLDER` makes what is not there.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

from measure import MIB, write_archive

from orlop.streams.compression import zstd_module

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT_SIZE = 215 * MIB
LARGE_SIZE = 1000 * MIB
SMALL_FILES = 100_000


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


def debian_root(path: Path) -> bytes | None:
    """Return a smallest root file system of Debian as a tar, or nothing where none can be made."""
    if shutil.which("mmdebstrap") is None or os.geteuid():
        return None
    known = dict(line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line)
    suite = known.get("VERSION_CODENAME", "stable") if known.get("ID") == "debian" else "stable"
    # Devices are left out: not every machine lets an Engine make them.
    command = ["mmdebstrap", "--quiet", "--variant=minbase", "--skip=output/dev", suite, str(path)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    return path.read_bytes() if done.returncode == 0 else None


def system_files(size: int) -> Iterator[Path]:
    """Yield regular files of this machine, in order, until they have about that many bytes."""
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


def system_layers(size: int, count: int) -> list[bytes]:
    """Pack files of this machine as layers of about equal numbers of files."""
    paths = list(system_files(size))
    share = -(-len(paths) // count)
    return [tar_of(paths[start : start + share]) for start in range(0, len(paths), share)]


def tar_of(paths: Sequence[Path]) -> bytes:
    """Pack files as one layer."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for path in paths:
            add(tar, str(path).lstrip("/"), path.read_bytes())
    return out.getvalue()


def small_files(count: int = SMALL_FILES) -> bytes:
    """Make a layer of many files of a few bytes."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for number in range(count):
            add(tar, f"usr/share/folder{number // 100}/file{number}.txt", b"%d\n" % number * 20)
    return out.getvalue()


def places(folder: Path) -> dict[str, Path]:
    """Return where in a folder each input is: archives of an image, a layer in three forms, what it is made of."""
    return {name: folder / f"{name}.tar" for name in ("root", "gzip", "zstd", "small", "large")} | {
        name: folder / name for name in ("layer.tar", "layer.gz", "layer.zst", "small.layer", "origin.txt")
    }


def make(folder: Path) -> None:
    """Make every input in a folder, unless all are there."""
    found = places(folder)
    if all(path.exists() for path in found.values()):
        return
    folder.mkdir(parents=True, exist_ok=True)
    base = debian_root(found["layer.tar"])
    if base is None:
        layers = system_layers(ROOT_SIZE, 3)
        origin = "files of the machine that measured, since mmdebstrap could make no Debian there"
    else:
        layers = [base, *system_layers(max(ROOT_SIZE - len(base), 2 * MIB), 2)]
        origin = "a root file system of Debian, as mmdebstrap makes it, and two layers of other files on it"
    pack(found["root"], "bench/root:1", [(layer, layer) for layer in layers])
    whole = tar_of(list(system_files(ROOT_SIZE))) if base is None else base
    if base is None:
        found["layer.tar"].write_bytes(whole)
    stored = {"gzip": gzip.compress(whole, 6), "zstd": zstd_module().compress(whole, 3)}
    for name, place in (("gzip", "layer.gz"), ("zstd", "layer.zst")):
        found[place].write_bytes(stored[name])
        pack(found[name], f"bench/{name}:1", [(whole, stored[name])])
    small = small_files()
    found["small.layer"].write_bytes(small)
    pack(found["small"], "bench/small:1", [(small, small)])
    write_archive(found["large"], LARGE_SIZE)
    found["origin.txt"].write_text(origin, encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path, help="for the archives")
    make(parser.parse_args().folder)
