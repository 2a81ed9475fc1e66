"""Loading and saving, against the floors (one hash, one copy on disk) and against other programs, in one run.

`./dev run python benchmarks/bench_peers.py [--turns N] [--no-gate]`, as root where Docker Engine and podman are to
take part. Every subject runs once a turn, the medians count. The goals are gated on the floors of the same run; other
programs are informative, and are left out where they are not installed.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import inputs
from measure import ORLOP, ROOT, report, run

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass
class Subject:
    """One thing to time: ``before`` makes it possible again, and is not timed."""

    name: str
    command: list[str]
    before: Callable[[], object] = lambda: None
    seconds: list[float] = field(default_factory=list)
    peak: int = 0

    @property
    def median(self) -> float:
        """The median of the turns, in seconds."""
        return statistics.median(self.seconds)


def gone(*paths: Path) -> Callable[[], None]:
    def remove() -> None:
        for path in paths:
            shutil.rmtree(path, ignore_errors=True)
            path.unlink(missing_ok=True)
        os.sync()

    return remove


def shell(line: str) -> list[str]:
    return ["sh", "-c", line]


def floors(made: dict[str, Path], work: Path) -> list[Subject]:
    copy = work / "copy"
    return [
        Subject("hash: openssl dgst -sha256", ["openssl", "dgst", "-sha256", str(made["root"])]),
        Subject("copy+sync", shell(f"cp {made['root']} {copy} && sync {copy}"), gone(copy)),
        Subject("copy+sync, small files", shell(f"cp {made['small']} {copy} && sync {copy}"), gone(copy)),
        Subject("unpigz", shell(f"unpigz -c {made['layer.gz']} > /dev/null")),
        Subject("tar -tf", ["tar", "-tf", str(made["layer.tar"])]),
    ]


def ours(made: dict[str, Path], work: Path) -> list[Subject]:
    def orlop(root: str, *words: str | Path) -> list[str]:
        return [*ORLOP, "--root", str(work / root), *map(str, words)]

    def load(name: str, archive: str) -> Subject:
        return Subject(name, orlop(archive, "load", "-q", "-i", made[archive]), gone(work / archive))

    out = work / "out.tar"
    pipe = f"cat {made['root']} | {' '.join(orlop('pipe', 'load', '-q'))}"
    return [
        load("orlop load", "root"),
        Subject("orlop load, already there", orlop("root", "load", "-q", "-i", made["root"])),
        Subject("orlop load, pipe", shell(pipe), gone(work / "pipe")),
        Subject("orlop save", orlop("root", "save", "-o", out, "bench/root:1"), gone(out)),
        load("orlop load, gzip layer", "gzip"),
        Subject("orlop save, gzip layer", orlop("gzip", "save", "-o", out, "bench/gzip:1"), gone(out)),
        load("orlop load, small files", "small"),
    ]


def skopeo(made: dict[str, Path], work: Path) -> list[Subject]:
    copy = ["skopeo", "--insecure-policy", "copy", "--quiet"]
    archive, out = f"docker-archive:{made['root']}", work / "skopeo.tar"
    return [
        Subject("skopeo → dir", [*copy, archive, f"dir:{work / 'dir'}"], gone(work / "dir")),
        Subject("skopeo → oci", [*copy, archive, f"oci:{work / 'oci'}:1"], gone(work / "oci")),
        Subject(
            "skopeo dir → archive", [*copy, f"dir:{work / 'dir'}", f"docker-archive:{out}:bench/root:1"], gone(out)
        ),
    ]


def podman(made: dict[str, Path], work: Path) -> list[Subject]:
    start = ["podman", f"--root={work / 'podman'}", f"--runroot={work / 'run'}", "--storage-driver=overlay"]
    remove = shell(" ".join([*start, "rmi", "-af", ">/dev/null", "2>&1"]))
    out = work / "podman.tar"
    return [
        Subject(
            "podman load", [*start, "load", "-q", "-i", str(made["root"])], lambda: subprocess.run(remove, check=False)
        ),
        Subject("podman save", [*start, "save", "-q", "-o", str(out), "bench/root:1"], gone(out)),
    ]


def engine(made: dict[str, Path], work: Path, socket: Path) -> list[Subject]:
    docker = ["/usr/bin/docker", "-H", f"unix://{socket}"]
    remove = shell(" ".join([*docker, "rmi", "-f", "bench/root:1", ">/dev/null", "2>&1"]))
    out = work / "engine.tar"
    return [
        Subject(
            "Engine load", [*docker, "load", "-q", "-i", str(made["root"])], lambda: subprocess.run(remove, check=False)
        ),
        Subject("Engine load, already there", [*docker, "load", "-q", "-i", str(made["root"])]),
        Subject("Engine save", [*docker, "save", "-o", str(out), "bench/root:1"], gone(out)),
    ]


def start_engine(work: Path, stack: ExitStack) -> Path | None:
    """Start a private Docker Engine and give its socket, or nothing where there is none."""
    if os.geteuid() or shutil.which("dockerd") is None:
        return None
    socket = work / "docker.sock"
    with (work / "engine.log").open("wb") as log:
        daemon = subprocess.Popen(
            ["dockerd", "--data-root", work / "engine", "--exec-root", work / "exec", "-H", f"unix://{socket}", "-p",
             work / "pid", "--iptables=false", "--bridge=none", "--storage-driver=overlay2"], stdout=log, stderr=log,
        )  # fmt: skip
    stack.callback(daemon.wait)
    stack.callback(daemon.terminate)
    for _ in range(300):
        ready = subprocess.run(["/usr/bin/docker", "-H", f"unix://{socket}", "info"], capture_output=True, check=False)
        if ready.returncode == 0 and b"ServerVersion" not in ready.stderr:
            return socket
        time.sleep(0.1)
    return None


def check_results(made: dict[str, Path], work: Path) -> None:
    """See that what was saved holds the layers that were loaded."""

    def layers(archive: Path) -> set[str]:
        found = set()
        with tarfile.open(archive) as tar:
            for member in tar:
                file = tar.extractfile(member) if member.size > inputs.MIB else None
                if file is not None:
                    found.add(hashlib.sha256(file.read()).hexdigest())
        return found

    wanted = layers(made["root"])
    for name in ("skopeo.tar", "podman.tar", "engine.tar"):
        if (work / name).exists() and layers(work / name) != wanted:
            raise SystemExit(f"{name} holds other layers")
    subprocess.run([*ORLOP, "--root", work / "root", "save", "-o", work / "check.tar", "bench/root:1"], check=True)
    if layers(work / "check.tar") != wanted:
        raise SystemExit("orlop saved other layers")


def goals(found: dict[str, Subject], toc: int) -> list[tuple[str, float, float]]:
    """Give each goal: what it is about, what was reached, and the most that it may be."""

    def over(name: str, *floor: str, of: float = 1.0) -> float:
        return found[name].median / (of * sum(found[one].median for one in floor))

    return [
        ("load, over copy+sync", over("orlop load", "copy+sync"), 1.6),
        ("load from a pipe, over load from a file", over("orlop load, pipe", "orlop load"), 1.3),
        ("load of a gzip layer, over unpigz", over("orlop load, gzip layer", "unpigz"), 1.5),
        ("save, over copy+sync", over("orlop save", "copy+sync"), 1.8),
        ("save of a gzip layer, over unpigz and copy+sync", over("orlop save, gzip layer", "unpigz", "copy+sync"), 1.5),
        ("load of 100,000 small files, over copy+sync", over("orlop load, small files", "copy+sync, small files"), 4.0),
        ("peak of 100,000 small files, MB", found["orlop load, small files"].peak / 1e6, 80.0),
        ("table of contents of 100,000 small files, MB", toc / 1e6, 2.0),
    ]


def chart(subjects: list[Subject]) -> str:
    """Draw the medians as bars."""
    widest = max(subject.median for subject in subjects)
    rows = []
    for number, subject in enumerate(subjects):
        top, width = 10 + number * 24, 460 * subject.median / widest
        colour = "#2b6cb0" if subject.name.startswith("orlop") else "#a0aec0"
        rows.append(
            f'<text x="240" y="{top + 14}" text-anchor="end">{subject.name}</text>'
            f'<rect x="250" y="{top}" width="{width:.1f}" height="18" fill="{colour}"/>'
            f'<text x="{256 + width:.1f}" y="{top + 14}">{subject.median:.2f} s</text>'
        )
    height = 20 + len(subjects) * 24
    style = "font: 12px sans-serif"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="780" height="{height}" style="{style}">{"".join(rows)}</svg>\n'
    )


def versions() -> str:
    asked = {
        "Docker Engine": ["dockerd", "--version"],
        "skopeo": ["skopeo", "--version"],
        "podman": ["podman", "--version"],
    }
    told = []
    for name, command in asked.items():
        if shutil.which(command[0]):
            words = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
            told.append(f"{name} {words[words.index('version') + 1].rstrip(',')}")
    return ", ".join(told) or "no other program installed"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--no-gate", action="store_true")
    parser.add_argument("--inputs", type=Path, help="a folder in which the inputs are kept for the next run")
    options = parser.parse_args()
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="orlop-bench-")))
        kept = options.inputs or work
        kept.mkdir(parents=True, exist_ok=True)
        # A process of its own: the system counts what this one has in memory as its children's peak.
        subprocess.run([sys.executable, inputs.__file__, str(kept)], check=True)
        made = inputs.places(kept)
        subjects = floors(made, work) + ours(made, work)
        if shutil.which("skopeo"):
            subjects += skopeo(made, work)
        if shutil.which("podman") and os.geteuid() == 0:
            subjects += podman(made, work)
        socket = start_engine(work, stack)
        if socket is not None:
            subjects += engine(made, work, socket)
        for turn in range(options.turns + 1):
            for subject in subjects:
                subject.before()
                done = run(subject.command)
                subject.peak = max(subject.peak, done.peak)
                # The first turn fills caches and stores.
                if turn:
                    subject.seconds.append(done.seconds)
        check_results(made, work)
        toc = sum(path.stat().st_size for path in (work / "small" / "toc" / "sha256").iterdir())
    found = {subject.name: subject for subject in subjects}
    reached = goals(found, toc)
    copied = found["copy+sync"].median
    lines = [
        "# Against the floor and against other programs",
        "",
        f"An image of about 225 MB in 3 layers; medians of {options.turns} whole processes each, start-up included, in",
        f"turn, on {os.cpu_count()} cores. Beside it: {versions()}. Made by `benchmarks/bench_peers.py`.",
        "",
        "Loading into an Engine or into podman also unpacks every layer for containers to run; orlop does not.",
        "",
        "![Medians in seconds](peers.svg)",
        "",
        "| work | seconds | over copy+sync | peak, MB |",
        "|---|---:|---:|---:|",
        *(f"| {one.name} | {one.median:.2f} | {one.median / copied:.2f} | {one.peak / 1e6:.0f} |" for one in subjects),
        "",
        "| goal | reached | at most |",
        "|---|---:|---:|",
        *(
            f"| {what} | {value:.2f}{'' if value <= most else ' (missed)'} | {most:g} |"
            for what, value, most in reached
        ),
        "",
    ]
    report("peers", "\n".join(lines))
    (ROOT / "docs" / "benchmarks" / "peers.svg").write_text(chart(subjects), encoding="utf-8")
    if not options.no_gate and any(value > most for _, value, most in reached):
        raise SystemExit("a goal is missed")


if __name__ == "__main__":
    main()
