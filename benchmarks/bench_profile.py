"""Where the time of a load and of a save goes, stage by stage, and what bounds it.

`./dev run python benchmarks/bench_profile.py [--turns N] [--inputs FOLDER]`. Whole processes, as in `bench_peers.py`
and with its inputs; each measures itself (`stages.py`). Writes `docs/benchmarks/profile.md`. About two minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import inputs
import stages
from measure import PYTHON, paragraph, report, run
from subjects import gone, shell

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass
class Work:
    """One command to look into, with the floor that it is compared with."""

    title: str
    floor: str
    words: list[str]
    before: Callable[[], object]
    floor_command: list[str]
    floor_before: Callable[[], object]
    seconds: list[float] = field(default_factory=list)
    floors: list[float] = field(default_factory=list)
    found: list[dict[str, stages.Spent]] = field(default_factory=list)

    def turn(self, folder: Path, *, counts: bool) -> None:
        """Run the floor and the command once, in turn."""
        self.floor_before()
        floor = run(self.floor_command).seconds
        self.before()
        out = folder / "printed"
        start = time.perf_counter()
        # The clock is the system's, so that the child can tell how long it took to begin.
        done = run([*PYTHON, "-c", stages.LAUNCH, repr(start), *self.words], stdout=out)
        if counts:
            self.floors.append(floor)
            self.seconds.append(done.seconds)
            told = json.loads(out.read_text(encoding="utf-8").splitlines()[-1])
            self.found.append({name: stages.Spent(*spent) for name, spent in told.items()})

    def rows(self) -> list[stages.Spent]:
        """Return the medians of each stage, those of the main thread first."""
        names = dict.fromkeys(name for turn in self.found for name in turn)
        none = stages.Spent("", beside=False, wall=0.0, cpu=0.0)
        rows = []
        for name in names:
            spent = [turn.get(name, none) for turn in self.found]
            first = next(one for one in spent if one.stage)
            wall, cpu = (statistics.median(getattr(one, what) for one in spent) for what in ("wall", "cpu"))
            rows.append(stages.Spent(first.stage, first.beside, wall, cpu))
        return sorted(rows, key=lambda row: row.beside)


def works(made: dict[str, Path], folder: Path) -> list[Work]:
    """Return what is looked into."""
    root, copy, out = folder / "root", folder / "copy", folder / "out.tar"

    def copied(archive: str) -> tuple[list[str], Callable[[], object]]:
        return shell(f"cp {made[archive]} {copy} && sync {copy}"), gone(copy)

    def load(title: str, archive: str) -> Work:
        words = ["--root", str(folder / archive), "load", "-q", "-i", str(made[archive])]
        return Work(title, "copy+sync", words, gone(folder / archive), *copied(archive))

    layer, plain = made["layer.gz"], folder / "plain"
    gzip = load("Load of a gzip layer", "gzip")
    gzip.floor, gzip.floor_command = "unpigz", shell(f"unpigz -c {layer} > {plain}")
    gzip.floor_before = gone(plain)
    again = ["--root", str(root), "load", "-q", "-i", str(made["root"])]
    save = ["--root", str(root), "save", "-o", str(out), "bench/root:1"]
    return [
        load("Load of the image", "root"),
        Work("Load of the image, already there", "python -c pass", again, os.sync, [*PYTHON, "-c", "pass"], os.sync),
        Work("Save of the image", "copy+sync", save, gone(out), *copied("root")),
        load("Load of 100,000 small files", "small"),
        gzip,
    ]


def section(work: Work) -> list[str]:
    """Break down the time of one command, and what it cannot be faster than."""
    rows, floor, whole = work.rows(), statistics.median(work.floors), statistics.median(work.seconds)
    cores = len(os.sched_getaffinity(0))
    alone = sum(row.cpu for row in rows if not row.beside)
    shared = sum(row.cpu for row in rows) / cores
    bounds = {
        f"{work.floor} takes": floor,
        "the main thread computes for": alone,
        f"all threads together, on {cores} cores, compute for": shared,
    }
    largest = max(bounds, key=lambda name: bounds[name])
    others = "; ".join(f"{name} {value:.2f} s" for name, value in bounds.items() if name != largest)
    told = (
        f"{whole:.2f} s, {whole / floor:.2f} times {work.floor}. It cannot take less than {bounds[largest]:.2f} s"
        f" ({bounds[largest] / whole:.0%}), since {largest} that long; {others}."
    )
    return [
        f"## {work.title}",
        "",
        paragraph(told),
        "",
        "| thread | stage | seconds | on a core |",
        "|---|---|---:|---:|",
        *(
            f"| {'beside' if row.beside else 'main'} | {row.stage} | {row.wall:.3f} | {row.cpu:.3f} |"
            for row in rows
            if max(row.wall, row.cpu) >= 0.0005
        ),
        "",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--inputs", type=Path, help="a folder in which the inputs are kept for the next run")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="orlop-bench-") as name:
        folder = Path(name)
        kept = options.inputs or folder / "inputs"
        subprocess.run([sys.executable, inputs.__file__, str(kept)], check=True)
        taken = works(inputs.places(kept), folder)
        for turn in range(options.turns + 1):
            for work in taken:
                # The first turn fills caches.
                work.turn(folder, counts=turn > 0)
    lines = [
        "# Where the time goes",
        "",
        paragraph(
            f"Medians of {options.turns} whole processes each, in turn with their floors, on {os.cpu_count()} cores."
            " The seconds of a stage hold what it waited for: the disk, a core, the interpreter's lock; what it"
            " computed stands beside them. Stages of the main thread follow each other, those beside it overlap."
            " Importing and scanning hold the interpreter and cannot be shared among threads; reading, hashing,"
            " (de)compressing and writing let go of it. Made by `benchmarks/bench_profile.py`."
        ),
        "",
        *(line for work in taken for line in section(work)),
    ]
    report("profile", "\n".join(lines))


if __name__ == "__main__":
    main()
