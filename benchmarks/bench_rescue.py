"""What a rescue costs over reading the same files: `orlop rescue`, beside `tar -cf - | sha256sum`.

`./dev run python benchmarks/bench_rescue.py [--turns N] [--size MIB] [--files N] [--images N] [--sparse MIB]`

Writes `docs/benchmarks/rescue.md`. About three minutes, and 1 GB of the temporary folder.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import tempfile
from pathlib import Path

from measure import MIB, ORLOP, PYTHON, median_runs, paragraph, report

sys.path.insert(0, str(Path(__file__).parent.parent))

from typing import TYPE_CHECKING

from tests.foreign_roots import make_root, make_sparse_root

if TYPE_CHECKING:
    from measure import Run

GOAL = 0.7
LIST_SECONDS = 1.0
PEAK = 64
# A process's own peak is not what its parent is told of: that has a part of the parent's in it.
PEAKS = """
import re, sys
from pathlib import Path
from orlop.cli.main import run
from orlop.foreign import ahead

def peak(process):
    return int(re.search(r"VmHWM:\\s*(\\d+)", Path(f"/proc/{process}/status").read_text())[1])

helpers, close = [0], ahead._Helper.close

def closing(self):
    helpers.append(peak(self._process.pid))
    close(self)

ahead._Helper.close = closing
run(["rescue", "--quiet", "--verify", "--format", "{{.State}}", sys.argv[1]])
print(peak("self"), max(helpers))
"""


def large(size: int) -> dict[str, bytes]:
    """Return files of a MiB each whose contents do not repeat."""
    return {f"lib/{number}": hashlib.shake_128(f"{number}".encode()).digest(MIB) for number in range(size)}


def small(count: int) -> dict[str, bytes]:
    """Return many files of 200 bytes, a hundred in each directory."""
    return {f"{number // 100}/{number}": hashlib.shake_128(f"{number}".encode()).digest(200) for number in range(count)}


def floor(root: Path) -> list[str]:
    """Return the command that packs the only layer of a root, and hashes that."""
    diff = next((root / "overlay2").iterdir()) / "diff"
    return ["sh", "-c", f"tar -C {diff} -cf - . | sha256sum"]


def row(kind: str, floor: Run, rescue: Run) -> str:
    """Return the row of a table: seconds of each, in brackets those that processors were busy, and the ratios."""
    seconds = " | ".join(f"{one.seconds:.2f} s ({one.processor:.2f} s)" for one in (floor, rescue))
    return f"| {kind} | {seconds} | {floor.seconds / rescue.seconds:.2f} | {floor.processor / rescue.processor:.2f} |"


def peaks(root: Path) -> tuple[float, float]:
    """Return the peak memory of a rescue, and of the process that helps it, in MB."""
    done = subprocess.run([*PYTHON, "-c", PEAKS, root], stdout=subprocess.PIPE, text=True, check=True)
    state, own, helper = done.stdout.split()
    if state != "whole":
        raise SystemExit(f"{root} is {state}")
    return int(own) * 1024 / 1e6, int(helper) * 1024 / 1e6


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--size", type=int, default=215, help="of the image of large files, in MiB")
    parser.add_argument("--files", type=int, default=100_000, help="in the image of small files")
    parser.add_argument("--images", type=int, default=1000, help="in the root that is listed")
    parser.add_argument("--sparse", type=int, default=3000, help="of the layer for which memory is measured, in MiB")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="orlop-bench-") as name:
        folder = Path(name)
        roots = {kind: folder / kind for kind in ("large", "small", "many", "sparse")}
        make_root(roots["large"], 1, large(options.size))
        make_root(roots["small"], 1, small(options.files))
        make_root(roots["many"], options.images, {})
        make_sparse_root(roots["sparse"], options.sparse * MIB)
        subjects = {"list": [*ORLOP, "rescue", str(roots["many"])]}
        for kind in ("large", "small"):
            subjects[f"tar, {kind}"] = floor(roots[kind])
            subjects[f"rescue, {kind}"] = [*ORLOP, "rescue", "--verify", str(roots[kind])]
        found = median_runs(subjects, turns=options.turns)
        memory = {kind: peaks(roots[kind]) for kind in ("large", "small", "sparse")}
    lines = [
        "# A rescue",
        "",
        paragraph(
            f"Images of one layer: {options.size} files of 1 MiB, {options.files:,} files of 200 bytes; medians of"
            f" {options.turns} whole processes each, start-up included, in turn. A rescue rebuilds the tar of each"
            " layer and hashes it; tar packs the same files again. Made by `benchmarks/bench_rescue.py`."
        ),
        "",
        "| files | `tar \\| sha256sum` | `orlop rescue --verify` | speed | of processors alone |",
        "|---|---:|---:|---:|---:|",
        *(row(kind, found[f"tar, {kind}"], found[f"rescue, {kind}"]) for kind in ("large", "small")),
        "",
        paragraph(
            f"The goal is a speed of {GOAL:g}. A list of {options.images:,} images takes {found['list'].seconds:.2f} s,"
            f" {found['list'].processor:.2f} s of it on a processor; the goal is {LIST_SECONDS:g} s."
        ),
        "",
        paragraph(
            f"Peak resident memory (`VmHWM`) of a rescue of each: {memory['large'][0]:.0f} MB for the large files and"
            f" {memory['small'][0]:.0f} MB for the small ones, beside {memory['small'][1]:.0f} MB of the process that"
            f" reads these ahead; {memory['sparse'][0]:.0f} MB for a layer of one file of {options.sparse:,} MiB. The"
            f" goal is {PEAK} MB."
        ),
        "",
    ]
    report("rescue", "\n".join(lines))


if __name__ == "__main__":
    main()
