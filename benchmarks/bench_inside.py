"""What looks inside an image cost: an image of many files in several gzip layers, each command a process of its own.

python benchmarks/bench_inside.py [FILES] [LAYERS] [SIZE]

The layers have FILES files of SIZE bytes each, in the order of their paths, as builders write them. Prints a
table: processor seconds, seconds and memory of each command, medians of several runs; beside them what others need:
reading all layers with tar, unpacking with umoci, copying the exported tar and syncing it. What is compared runs in
turns. Runs that depend on each other's state (`load`, the first `cat`, which makes the seek index) are made once, and
so is what comes after `MINUTES`. A second table has the goals, and what was reached.

`ls`, `find` and `diff` run once more over a store whose layers are gone, since they read none.
"""

from __future__ import annotations

import argparse
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
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from orlop.streams.compression import Compression, decompressed

if TYPE_CHECKING:
    from collections.abc import Sequence

FILES = 100_000
LAYERS = 8
SIZE = 10_000
RUNS = 5
MINUTES = 7  # after which each command runs once


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


class Table:
    """The lines of the table, which are printed at once, and the medians in them."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self.found: dict[str, Cost] = {}

    def measure(self, *commands: tuple[str, Sequence[str | Path]], runs: int = RUNS) -> None:
        """Run commands in turns, and print a line for each."""
        costs: list[list[Cost]] = [[] for _ in commands]
        for turn in range(runs):
            if turn and time.monotonic() - self._began > MINUTES * 60:
                break
            for (_, argv), found in zip(commands, costs, strict=True):
                found.append(run(argv))
        for (name, _), found in zip(commands, costs, strict=True):
            cost = Cost(*(statistics.median(part) for part in zip(*found, strict=True)))
            self.found[name] = cost
            print(f"| {name} | {cost.cpu:.2f} | {cost.clock:.2f} | {cost.memory:.0f} | {len(found)} |", flush=True)


def goals(found: dict[str, Cost]) -> None:
    """Print what is to be reached, and what was."""
    start, copied, read = (
        found["images (start-up)"],
        found["copy and sync what was exported"],
        found["tar -tz of all layers"],
    )
    export, unpacked = found["export"], found["inflate and hash all layers"]
    floor = found["inflate, hash, write and sync, in two threads"]
    most = max(found[name].memory for name in ("ls -R", "cat, last file", "find", "diff of two", "audit", "export"))
    print("\n| goal | is |\n|---|---:|")
    for goal, value in (
        ("`ls -R` in at most 1.0 s", f"{found['ls -R'].clock:.2f} s"),
        (
            "`cat` at most 50 ms over start-up",
            f"{1000 * (found['cat, last file'].cpu - start.cpu):.0f} ms of processor time",
        ),
        (
            "`audit` at most 2 times reading the plain bytes once",
            f"{found['audit'].cpu / read.cpu:.2f} times tar in processor time",
        ),
        (
            "`export` at most 1.5 times copy and sync of its output",
            f"{export.clock / copied.clock:.2f} times by the clock",
        ),
        (
            "the same over inflating, hashing, copying and syncing",
            f"{export.cpu / (unpacked.cpu + copied.cpu):.2f} times in processor time",
        ),
        ("the same in two threads", f"{export.clock / floor.clock:.2f} times by the clock"),
        ("at most 150 MB of memory", f"{most:.0f} MB"),
        (
            "`load` makes no seek index; its first use beside a load",
            f"{found['cat, last file, first time'].cpu / found['load'].cpu:.2f} times",
        ),
    ):
        print(f"| {goal} | {value} |", flush=True)


def without_layers(store: Path, commands: Sequence[Sequence[str | Path]]) -> None:
    """Run commands while no layer can be read, and end with an error if one fails."""
    hidden = store / "hidden"
    (store / "blobs").rename(hidden)
    try:
        for argv in commands:
            run(argv)
    finally:
        hidden.rename(store / "blobs")


def inflate(paths: Sequence[str], target: str = "") -> None:
    """Read layers as orlop does; with a target, in two threads, and write what comes out there, and sync it."""
    output = os.open(target or os.devnull, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)

    def one(path: str) -> None:
        digest = hashlib.sha256()
        with Path(path).open("rb") as file, decompressed(file, Compression.GZIP) as plain:
            while chunk := plain.read(1 << 20):
                digest.update(chunk)
                if target:
                    os.write(output, chunk)

    with ThreadPoolExecutor(2 if target else 1) as pool:
        list(pool.map(one, paths))
    if target:
        os.fsync(output)
    os.close(output)


def main() -> None:
    if sys.argv[1:2] == ["inflate"]:
        inflate(sys.argv[2:])
        return
    if sys.argv[1:2] == ["unpack"]:
        inflate(sys.argv[3:], sys.argv[2])
        return
    parser = argparse.ArgumentParser()
    parser.add_argument("files", type=int, nargs="?", default=FILES, help="in the image")
    parser.add_argument("layers", type=int, nargs="?", default=LAYERS, help="that have them")
    parser.add_argument("size", type=int, nargs="?", default=SIZE, help="of a file, in bytes")
    options = parser.parse_args()
    files, layers, size = options.files, options.layers, options.size
    orlop = [sys.executable, "-m", "orlop"]
    with tempfile.TemporaryDirectory(prefix="orlop-bench-") as folder:
        root = Path(folder)
        archive = image(root, files, layers, size)
        os.environ["ORLOP_ROOT"] = str(root / "store")
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        os.environ["PYTHONPYCACHEPREFIX"] = str(root / "byte-code")  # as an installation has it
        print(f"{files} files of {size} bytes in {layers} layers; load average {os.getloadavg()[0]:.1f}\n")
        print("| what | processor s | clock s | memory MB | runs |\n|---|---:|---:|---:|---:|")
        table = Table()
        table.measure(("load", [*orlop, "load", "-q", "-i", archive]), runs=1)
        last = f"/usr/share/d{(files // layers - 1) // 100:04}/l{layers - 1}-{files // layers - 1:05}.txt"
        listing, cat = [*orlop, "ls", "-R", "bench:1"], [*orlop, "cat", "bench:1", last]
        find = [*orlop, "find", "bench:1", "--name", "*-00007.txt"]
        diff = [*orlop, "diff", "bench:1", "bench:1"]
        table.measure(("cat, last file, first time", cat), runs=1)
        table.measure(
            ("images (start-up)", [*orlop, "images"]),
            ("ls -R", listing),
            ("find", find),
            ("cat, last file", cat),
            ("cat --verify, last file", [*orlop, "cat", "--verify", "bench:1", last]),
            ("diff of two", diff),
        )
        without_layers(root / "store", [listing, find, diff])
        search = f"{' '.join(orlop)} grep -F 'no such word' bench:1; test $? = 1"
        every = " && ".join(f"tar -tzf {root}/{number}.tar.gz" for number in range(layers))
        table.measure(
            ("audit", [*orlop, "audit", "bench:1"]),
            ("grep -F of what is not there", ["sh", "-c", search]),
            ("tar -tz of all layers", ["sh", "-c", every]),
            runs=3,
        )
        gzips = [root / f"{n}.tar.gz" for n in range(layers)]
        floor: list[str | Path] = [sys.executable, Path(__file__).resolve(), "inflate", *gzips]
        copy = f"cp {root}/out.tar {root}/copy.tar && sync {root}/copy.tar; rm {root}/copy.tar"
        table.measure(
            ("export", [*orlop, "export", "bench:1", "-o", f"{root}/out.tar"]),
            ("copy and sync what was exported", ["sh", "-c", copy]),
            ("inflate and hash all layers", floor),
            ("inflate, hash, write and sync, in two threads", [*floor[:2], "unpack", f"{root}/floor.tar", *gzips]),
        )
        if shutil.which("umoci") and os.geteuid() == 0:
            run([*orlop, "save", "--format", "oci-dir", "-o", root / "layout", "bench:1"])
            unpack = ["umoci", "unpack", "--image", f"{root}/layout:1", f"{root}/bundle"]
            table.measure(("umoci unpack", unpack), runs=1)
        goals(table.found)


if __name__ == "__main__":
    main()
