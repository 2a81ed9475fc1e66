"""What the benchmarks share: whole processes timed by the system's own account, in turn, and medians."""

from __future__ import annotations

import hashlib
import json
import os
import statistics
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

from orlop.streams.tar_write import END, member_header, padding

ROOT = Path(__file__).resolve().parent.parent
LAUNCH = Path(__file__).with_name("launch.py")
DATA = ROOT / "tests" / "data"
MIB = 1 << 20
PYTHON = [sys.executable]
ORLOP = [str(Path(sys.executable).with_name("orlop"))]
# What is installed has its bytecode: without it every start would compile every module, as no user's does.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


@dataclass(frozen=True)
class Run:
    """One finished process with those that it waited for.

    Attributes:
        seconds: of wall clock.
        peak: the most resident memory of one of them, in bytes; what a bare interpreter has at least.
        processor: seconds of user and system time.
    """

    seconds: float
    peak: int
    processor: float = 0.0


def run(command: Sequence[str | Path], *, stdin: Path | None = None, stdout: Path | None = None) -> Run:
    """Run a command to its end and measure it; a failure ends the benchmark.

    With ``stdin`` the file comes through a real pipe, from another process.
    """
    feeder = subprocess.Popen(["cat", stdin], stdout=subprocess.PIPE) if stdin else None
    told, tell = os.pipe()
    with os.fdopen(told, encoding="ascii") as heard, Path(stdout or os.devnull).open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", LAUNCH, str(tell), *(str(part) for part in command)],
            stdin=feeder.stdout if feeder else subprocess.DEVNULL,
            stdout=out,
            env=ENVIRONMENT,
            pass_fds=[tell],
        )
        os.close(tell)
        found = heard.read().split()
        status = process.wait()
    if feeder:
        feeder.wait()
    if status or not found:
        raise SystemExit(f"{command} ended with {status}")
    seconds, processor, peak = found
    return Run(float(seconds), int(peak), float(processor))


def medians(subjects: Mapping[str, Sequence[str]], *, turns: int) -> dict[str, float]:
    """Run every subject once a turn, so that a slow minute hits all, and return each one's median in seconds."""
    return {name: one.seconds for name, one in median_runs(subjects, turns=turns).items()}


def median_runs(subjects: Mapping[str, Sequence[str]], *, turns: int) -> dict[str, Run]:
    """Run every subject once a turn, as `medians`, and return the medians of all that is measured."""
    runs: dict[str, list[Run]] = {name: [] for name in subjects}
    for turn in range(turns + 1):
        for name, command in subjects.items():
            measured = run(command)
            # The first turn fills caches.
            if turn:
                runs[name].append(measured)
    return {
        name: Run(
            statistics.median(one.seconds for one in found),
            int(statistics.median(one.peak for one in found)),
            statistics.median(one.processor for one in found),
        )
        for name, found in runs.items()
    }


def write_archive(path: Path, size: int) -> str:
    """Write a docker archive with one incompressible layer of ``size`` bytes, and yield the image's name."""

    def layer() -> Iterator[bytes]:
        yield member_header("content", size=size, mode=0o644)
        block = bytearray(os.urandom(MIB))
        for number in range(size // MIB):
            block[:8] = number.to_bytes(8, "big")
            yield bytes(block)
        yield END

    digest, length = hashlib.sha256(), 0
    block = os.urandom(16)
    with path.open("wb") as file:
        head = len(member_header("layer.tar", size=size + 1536, mode=0o644))
        file.seek(head)
        for chunk in layer():
            digest.update(chunk)
            length += len(chunk)
            file.write(chunk)
        file.write(padding(length))
        rootfs = {"type": "layers", "diff_ids": [f"sha256:{digest.hexdigest()}"]}
        config = json.dumps({"architecture": "amd64", "os": "linux", "rootfs": rootfs, "author": block.hex()}).encode()
        manifest = json.dumps([{"Config": "c.json", "RepoTags": ["bench/large:1"], "Layers": ["layer.tar"]}]).encode()
        for name, body in (("c.json", config), ("manifest.json", manifest)):
            file.write(member_header(name, size=len(body), mode=0o644) + body + padding(len(body)))
        file.write(END)
        file.seek(0)
        file.write(member_header("layer.tar", size=length, mode=0o644))
    return "bench/large:1"


def paragraph(text: str) -> str:
    """Break a text into lines as long as those of other pages."""
    return textwrap.fill(text, 118, break_long_words=False, break_on_hyphens=False)


def report(name: str, text: str) -> None:
    """Print a table and keep it in ``docs/benchmarks/``."""
    print(text)
    folder = ROOT / "docs" / "benchmarks"
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.md").write_text(text, encoding="utf-8")
