"""What the benchmark against others runs: the floors, orlop, and the programs that are installed."""

from __future__ import annotations

import os
import shlex
import shutil
import statistics
import subprocess
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from measure import ORLOP, PYTHON, run

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import ExitStack
    from pathlib import Path

    from measure import Run

# What `unzstd` does, for a machine that has none.
UNZSTD = """
import os, sys
from orlop.streams.compression import Compression, decompressed
with open(sys.argv[1], "rb") as file, decompressed(file, Compression.ZSTD) as plain:
    while data := plain.read(1 << 20):
        os.write(1, data)
"""


@dataclass
class Subject:
    """One thing to time: ``before`` makes it possible again, and is not timed; ``most`` turns are enough."""

    name: str
    command: list[str]
    before: Callable[[], object] = lambda: None
    most: int = 100
    seconds: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)
    peak: int = 0

    @property
    def processor_median(self) -> float:
        """The median of the processor's seconds."""
        return statistics.median(self.processor)

    @property
    def median(self) -> float:
        """The median of the turns, in seconds."""
        return statistics.median(self.seconds)

    def turn(self, number: int) -> None:
        """Run once and note it; turn 0 fills caches and stores, and does not count."""
        if number <= self.most:
            self.before()
            done: Run = run(self.command)
            self.peak = max(self.peak, done.peak)
            if number:
                self.seconds.append(done.seconds)
                self.processor.append(done.processor)


def gone(*paths: Path) -> Callable[[], None]:
    """Return what removes paths, and waits until the disk has nothing to do."""

    def remove() -> None:
        for path in paths:
            shutil.rmtree(path, ignore_errors=True)
            path.unlink(missing_ok=True)
        os.sync()

    return remove


def shell(line: str) -> list[str]:
    return ["sh", "-c", line]


def quietly(command: list[str]) -> Callable[[], object]:
    return lambda: subprocess.run(command, capture_output=True, check=False)


def floors(made: dict[str, Path], work: Path, large: int) -> list[Subject]:
    """Return what no load or save can be faster than."""

    def copied(name: str, archive: str, most: int = 100) -> Subject:
        copy = work / "copy"
        return Subject(name, shell(f"cp {made[archive]} {copy} && sync {copy}"), gone(copy), most)

    unzstd = ["unzstd", "-c", str(made["layer.zst"])]
    if shutil.which("unzstd") is None:
        unzstd = [*PYTHON, "-c", UNZSTD, str(made["layer.zst"])]
    return [
        Subject("python -c pass", [*PYTHON, "-c", "pass"]),
        Subject("hash: openssl dgst -sha256", ["openssl", "dgst", "-sha256", str(made["root"])]),
        Subject("hash, plain layer", ["openssl", "dgst", "-sha256", str(made["layer.tar"])]),
        copied("copy+sync", "root"),
        copied("copy+sync, small files", "small"),
        copied("copy+sync, large layer", "large", large),
        copied("copy+sync, plain layer", "layer.tar"),
        copied("copy+sync, zstd layer", "layer.zst"),
        Subject("unpigz", shell(f"unpigz -c {made['layer.gz']} > /dev/null")),
        Subject("unzstd", shell(f"{shlex.join(unzstd)} > /dev/null")),
        Subject("tar -tf, small files", ["tar", "-tf", str(made["small.layer"])]),
    ]


def ours(made: dict[str, Path], work: Path, large: int) -> list[Subject]:
    """Return orlop's loads, each into a store of its own, and saves out of these."""

    def orlop(root: str, *words: str | Path) -> list[str]:
        return [*ORLOP, "--root", str(work / root), *map(str, words)]

    def load(name: str, archive: str, most: int = 100) -> Subject:
        return Subject(name, orlop(archive, "load", "-q", "-i", made[archive]), gone(work / archive), most)

    def save(name: str, archive: str, most: int = 100) -> Subject:
        out = work / f"orlop-{archive}.tar"
        return Subject(name, orlop(archive, "save", "-o", out, f"bench/{archive}:1"), gone(out), most)

    pipe = f"cat {made['root']} | {shlex.join(orlop('pipe', 'load', '-q'))}"
    return [
        load("orlop load", "root"),
        Subject("orlop load, already there", orlop("root", "load", "-q", "-i", made["root"])),
        Subject("orlop load, pipe", shell(pipe), gone(work / "pipe")),
        save("orlop save", "root"),
        load("orlop load, gzip layer", "gzip"),
        save("orlop save, gzip layer", "gzip"),
        load("orlop load, zstd layer", "zstd"),
        save("orlop save, zstd layer", "zstd"),
        load("orlop load, small files", "small"),
        load("orlop load, large layer", "large", large),
        save("orlop save, large layer", "large", large),
    ]


def skopeo(made: dict[str, Path], work: Path, large: int) -> list[Subject]:
    copy = ["skopeo", "--insecure-policy", "copy", "--quiet"]
    archive, out = f"docker-archive:{made['root']}", work / "skopeo.tar"
    return [
        Subject("skopeo → dir", [*copy, archive, f"dir:{work / 'dir'}"], gone(work / "dir")),
        Subject("skopeo → oci", [*copy, archive, f"oci:{work / 'oci'}:1"], gone(work / "oci")),
        Subject(
            "skopeo dir → archive", [*copy, f"dir:{work / 'dir'}", f"docker-archive:{out}:bench/root:1"], gone(out)
        ),
        Subject(
            "skopeo → dir, large layer",
            [*copy, f"docker-archive:{made['large']}", f"dir:{work / 'large-dir'}"],
            gone(work / "large-dir"),
            large,
        ),
    ]


def podman_command(work: Path) -> list[str]:
    """Return how podman is called with a store of its own."""
    return ["podman", f"--root={work / 'podman'}", f"--runroot={work / 'run'}", "--storage-driver=overlay"]


def podman(made: dict[str, Path], work: Path) -> list[Subject]:
    start, out = podman_command(work), work / "podman.tar"
    load = [*start, "load", "-q", "-i", str(made["root"])]
    return [
        Subject("podman load", load, quietly([*start, "rmi", "-af"])),
        Subject("podman save", [*start, "save", "-q", "-o", str(out), "bench/root:1"], gone(out)),
    ]


def engine_command(work: Path) -> list[str]:
    """Return how the private Engine's client is called."""
    return ["/usr/bin/docker", "-H", f"unix://{work / 'docker.sock'}"]


def engine(made: dict[str, Path], work: Path) -> list[Subject]:
    docker, out = engine_command(work), work / "engine.tar"
    load = [*docker, "load", "-q", "-i", str(made["root"])]
    return [
        Subject("Engine load", load, quietly([*docker, "rmi", "-f", "bench/root:1"])),
        Subject("Engine load, already there", load),
        Subject("Engine save", [*docker, "save", "-o", str(out), "bench/root:1"], gone(out)),
    ]


def start_engine(work: Path, stack: ExitStack) -> bool:
    """Start a private Docker Engine, and return whether it answers."""
    if os.geteuid() or shutil.which("dockerd") is None:
        return False
    with (work / "engine.log").open("wb") as log:
        daemon = subprocess.Popen(
            ["dockerd", "--data-root", work / "engine", "--exec-root", work / "exec", "-p", work / "pid",
             "-H", f"unix://{work / 'docker.sock'}", "--iptables=false", "--bridge=none", "--storage-driver=overlay2"],
            stdout=log, stderr=log,
        )  # fmt: skip
    stack.callback(daemon.wait)
    stack.callback(daemon.terminate)
    for _ in range(300):
        ready = subprocess.run([*engine_command(work), "info"], capture_output=True, check=False)
        if ready.returncode == 0 and b"ServerVersion" not in ready.stderr:
            return True
        time.sleep(0.1)
    return False


def versions() -> dict[str, str]:
    """Return the versions of the other programs that are installed."""
    asked = {
        "Docker Engine": ["dockerd", "--version"],
        "skopeo": ["skopeo", "--version"],
        "podman": ["podman", "--version"],
    }
    told = {}
    for name, command in asked.items():
        if shutil.which(command[0]):
            words = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
            told[name] = words[words.index("version") + 1].rstrip(",")
    return told
