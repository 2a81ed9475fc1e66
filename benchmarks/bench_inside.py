"""What looks inside an image cost: an image of many files in several gzip layers, each command a process of its own.

python benchmarks/bench_inside.py [FILES] [LAYERS] [SIZE]

The layers have FILES files of SIZE bytes together, in the order of their paths, as builders write them. Prints a table:
processor seconds, seconds and memory of each command, medians of three runs; beside them what others need: reading all
layers with tar, unpacking with umoci, copying the exported tar and syncing it. Runs that depend on each other's state
(`load`, the first `cat`, which makes the seek index) are made once.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import random
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

FILES = 100_000
LAYERS = 8
SIZE = 10_000
RUNS = 3


class Cost(NamedTuple):
    """Of one run: processor seconds, seconds by the clock, and the most memory in MB."""

    cpu: float
    clock: float
    memory: float


def layer(path: Path, number: int, count: int, size: int) -> str:
    """Write a layer, compress it beside, and return its diff ID. Its content compresses to about a half."""
    choose = random.Random(number)
    words = [choose.randbytes(7) for _ in range(4000)]
    pool = b"".join(choose.choices(words, k=1_000_000))
    with tarfile.open(path, "w") as archive, tempfile.SpooledTemporaryFile() as content:
        content.write(pool)
        for place in range(count):
            info = tarfile.TarInfo(f"usr/share/d{place // 100:04}/l{number}-{place:05}.txt")
            info.mtime = 1_600_000_000 + place % 50
            info.size = size
            content.seek(choose.randrange(len(pool) - size))
            archive.addfile(info, content)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    subprocess.run(["gzip", "-6", "-n", path], check=True)
    return f"sha256:{digest}"


def image(root: Path, files: int, layers: int, size: int) -> Path:
    names = [f"{number}.tar" for number in range(layers)]
    # The most memory of a child is at least that of its parent, which therefore stays small.
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        jobs = [(root / name, number, files // layers, size) for number, name in enumerate(names)]
        diff_ids = pool.starmap(layer, jobs)
    packed = [f"{name}.gz" for name in names]
    config = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": diff_ids}}
    manifest = [{"Config": "config.json", "RepoTags": ["bench:1"], "Layers": packed}]
    (root / "config.json").write_text(json.dumps(config))
    (root / "manifest.json").write_text(json.dumps(manifest))
    subprocess.run(["tar", "-C", root, "-cf", root / "image.tar", "manifest.json", "config.json", *packed], check=True)
    return root / "image.tar"


def run(argv: Sequence[str | Path]) -> Cost:
    """Run a command, and return what it cost."""
    began = time.perf_counter()
    with subprocess.Popen([*map(str, argv)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        said = process.stderr.read()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in {0, 8}:
        sys.exit(said.decode())
    return Cost(used.ru_utime + used.ru_stime, time.perf_counter() - began, used.ru_maxrss / 1000)


def show(name: str, costs: Sequence[Cost]) -> None:
    cpu, clock, memory = (statistics.median(part) for part in zip(*costs, strict=True))
    print(f"| {name} | {cpu:.2f} | {clock:.2f} | {memory:.0f} |", flush=True)


def several(argv: Sequence[str | Path]) -> list[Cost]:
    return [run(argv) for _ in range(RUNS)]


def main() -> None:
    files, layers, size = (
        int(sys.argv[at]) if len(sys.argv) > at else default for at, default in enumerate((FILES, LAYERS, SIZE), 1)
    )
    orlop = [sys.executable, "-m", "orlop"]
    with tempfile.TemporaryDirectory(prefix="orlop-bench-") as folder:
        root = Path(folder)
        archive = image(root, files, layers, size)
        os.environ["ORLOP_ROOT"] = str(root / "store")
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        os.environ["PYTHONPYCACHEPREFIX"] = str(root / "byte-code")  # as an installation has it
        print(f"{files} files of {size} bytes in {layers} layers; load average {os.getloadavg()[0]:.1f}\n")
        print("| what | processor s | clock s | memory MB |\n|---|---:|---:|---:|")
        show("load", [run([*orlop, "load", "-q", "-i", archive])])
        last = f"/usr/share/d{(files // layers - 1) // 100:04}/l{layers - 1}-{files // layers - 1:05}.txt"
        show("images (start-up)", several([*orlop, "images"]))
        show("ls -R", several([*orlop, "ls", "-R", "bench:1"]))
        show("find", several([*orlop, "find", "bench:1", "--name", "*-00007.txt"]))
        show("cat, last file, first time", [run([*orlop, "cat", "bench:1", last])])
        show("cat, last file", several([*orlop, "cat", "bench:1", last]))
        show("cat --verify, last file", several([*orlop, "cat", "--verify", "bench:1", last]))
        show("diff of two", several([*orlop, "diff", "bench:1", "bench:1"]))
        search = f"{' '.join(orlop)} grep -F 'no such word' bench:1; test $? = 1"
        show("grep -F of what is not there", several(["sh", "-c", search]))
        show("audit", several([*orlop, "audit", "bench:1"]))
        show("export", several([*orlop, "export", "bench:1", "-o", root / "out.tar"]))
        copy = f"cp {root}/out.tar {root}/copy.tar && sync {root}/copy.tar"
        show("copy and sync what was exported", several(["sh", "-c", copy]))
        (root / "copy.tar").unlink()
        every = " && ".join(f"tar -tzf {root}/{number}.tar.gz" for number in range(layers))
        show("tar -tz of all layers", several(["sh", "-c", every]))
        if shutil.which("umoci") and os.geteuid() == 0:
            run([*orlop, "save", "--format", "oci-dir", "-o", root / "layout", "bench:1"])
            show("umoci unpack", [run(["umoci", "unpack", "--image", f"{root}/layout:1", root / "bundle"])])


if __name__ == "__main__":
    main()
