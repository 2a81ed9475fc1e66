"""What looks inside an image cost: an image of many files in several gzip layers, each command a process of its own.

python benchmarks/bench_inside.py [FILES] [LAYERS]

Prints processor seconds, beside those of the start-up alone and of inflating all layers once.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import random
import resource
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

FILES = 100_000
LAYERS = 8


def layer(number: int, count: int) -> bytes:
    out = io.BytesIO()
    choose = random.Random(number)
    with tarfile.open(fileobj=out, mode="w") as archive:
        for place in range(count):
            info = tarfile.TarInfo(f"usr/share/d{place // 100}/l{number}-{place}.txt")
            info.mtime = 1_600_000_000 + place % 50
            content = choose.randbytes(1000) + bytes(2000)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def archive(path: Path, files: int, layers: int) -> list[bytes]:
    plain = [layer(number, files // layers) for number in range(layers)]
    config = {
        "architecture": "amd64",
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(one).hexdigest()}" for one in plain]},
    }
    names = [f"{number}/layer.tar" for number in range(layers)]
    manifest = [{"Config": "config.json", "RepoTags": ["bench:1"], "Layers": names}]
    packed = [gzip.compress(one, 6, mtime=0) for one in plain]
    members = [*zip(names, packed, strict=True), ("config.json", json.dumps(config).encode())]
    with tarfile.open(path, "w") as out:
        for name, content in [*members, ("manifest.json", json.dumps(manifest).encode())]:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            out.addfile(info, io.BytesIO(content))
    return packed


def measured(*words: str | Path) -> float:
    """Run a command; return its processor seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    argv = [sys.executable, "-m", "orlop", *map(str, words)]
    done = subprocess.run(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
    if done.returncode not in {0, 8}:
        sys.exit(done.stderr.decode())
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    files = int(sys.argv[1]) if len(sys.argv) > 1 else FILES
    layers = int(sys.argv[2]) if len(sys.argv) > 2 else LAYERS
    with tempfile.TemporaryDirectory(prefix="orlop-bench-") as folder:
        root = Path(folder)
        packed = archive(root / "image.tar", files, layers)
        os.environ["ORLOP_ROOT"] = str(root / "store")
        commands: dict[str, list[str | Path]] = {
            "load": ["load", "-q", "-i", root / "image.tar"],
            "start-up": ["--version"],
            "ls -R": ["ls", "-R", "bench:1"],
            "find": ["find", "bench:1", "--name", "*-7.txt"],
            "stat": ["stat", "bench:1", "/usr/share/d0/l0-7.txt"],
            "cat, last file": [
                "cat",
                "bench:1",
                f"/usr/share/d{(files // layers - 1) // 100}/l{layers - 1}-{files // layers - 1}.txt",
            ],
            "diff with itself": ["diff", "bench:1", "bench:1"],
            "export": ["export", "bench:1", "-o", root / "out.tar"],
            "audit": ["audit", "bench:1"],
        }
        for name, words in commands.items():
            print(f"{name:20} {measured(*words):7.2f} s")
        before = os.times()
        size = sum(len(gzip.decompress(one)) for one in packed)
        after = os.times()
        print(f"{'inflate all (zlib)':20} {after.user - before.user:7.2f} s  {size / 1e6:.0f} MB plain")


if __name__ == "__main__":
    main()
