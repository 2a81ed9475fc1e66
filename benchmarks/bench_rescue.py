"""What a rescue costs over reading the same files: `orlop rescue`, beside `tar -cf - | sha256sum`.

`./dev run python benchmarks/bench_rescue.py [--turns N] [--size MIB] [--files N] [--images N]`

Writes `docs/benchmarks/rescue.md`. About two minutes, and 1 GB of the temporary folder.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import tempfile
from pathlib import Path

from measure import MIB, ORLOP, medians, paragraph, report

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.foreign_roots import make_root

GOAL = 0.7
LIST_SECONDS = 1.0


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


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--size", type=int, default=215, help="of the image of large files, in MiB")
    parser.add_argument("--files", type=int, default=100_000, help="in the image of small files")
    parser.add_argument("--images", type=int, default=1000, help="in the root that is listed")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="orlop-bench-") as name:
        folder = Path(name)
        roots = {kind: folder / kind for kind in ("large", "small", "many")}
        make_root(roots["large"], 1, large(options.size))
        make_root(roots["small"], 1, small(options.files))
        make_root(roots["many"], options.images, {})
        subjects = {"list": [*ORLOP, "rescue", str(roots["many"])]}
        for kind in ("large", "small"):
            subjects[f"tar, {kind}"] = floor(roots[kind])
            subjects[f"rescue, {kind}"] = [*ORLOP, "rescue", "--verify", str(roots[kind])]
        found = medians(subjects, turns=options.turns)
    speeds = {kind: found[f"tar, {kind}"] / found[f"rescue, {kind}"] for kind in ("large", "small")}
    lines = [
        "# A rescue",
        "",
        paragraph(
            f"Images of one layer: {options.size} files of 1 MiB, {options.files:,} files of 200 bytes; medians of"
            f" {options.turns} whole processes each, start-up included, in turn. A rescue rebuilds the tar of each"
            " layer and hashes it; tar packs the same files again. Made by `benchmarks/bench_rescue.py`."
        ),
        "",
        "| files | `tar \\| sha256sum`, seconds | `orlop rescue --verify`, seconds | speed |",
        "|---|---:|---:|---:|",
        *(
            f"| {kind} | {found[f'tar, {kind}']:.2f} | {found[f'rescue, {kind}']:.2f} | {speed:.2f} |"
            for kind, speed in speeds.items()
        ),
        "",
        paragraph(
            f"The goal is a speed of {GOAL:g}. A list of {options.images:,} images takes {found['list']:.2f} s; the"
            f" goal is {LIST_SECONDS:g} s."
        ),
        "",
    ]
    report("rescue", "\n".join(lines))


if __name__ == "__main__":
    main()
