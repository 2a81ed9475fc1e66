"""Peak memory of loading and saving one large layer, which must not grow with it.

`./dev run python benchmarks/bench_memory.py [MIB]`; the default is the 3,000 MiB that the goal names. Needs about four
times that on the disk of the temporary folder.
"""

from __future__ import annotations

import argparse
import filecmp
import tempfile
from pathlib import Path

from measure import MIB, ORLOP, report, run, write_archive

GOAL = 120 * 1_000_000


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("size", metavar="MIB", type=int, nargs="?", default=3000, help="of the layer")
    size = parser.parse_args().size
    with tempfile.TemporaryDirectory(prefix="orlop-bench-") as folder:
        archive = Path(folder) / "large.tar"
        name = write_archive(archive, size * MIB)
        small = Path(folder) / "small.tar"
        write_archive(small, MIB)
        root = Path(folder) / "root"
        runs = {
            "load a 1 MiB layer from a file": run([*ORLOP, "--root", Path(folder) / "tiny", "load", "-i", small]),
            "load from a file": run([*ORLOP, "--root", root, "load", "-i", archive]),
            "save to a file": run([*ORLOP, "--root", root, "save", "-o", Path(folder) / "one.tar", name]),
            "save to a pipe": run([*ORLOP, "--root", root, "save", name], stdout=Path(folder) / "two.tar"),
            "load from a pipe": run([*ORLOP, "--root", Path(folder) / "other", "load"], stdin=archive),
        }
        if not filecmp.cmp(Path(folder) / "one.tar", Path(folder) / "two.tar", shallow=False):
            raise SystemExit("the two saves differ")
    lines = [
        "# Peak memory of one large layer",
        "",
        f"One layer of {size:,} MiB that cannot be compressed; peak resident memory of the whole process, `ru_maxrss`,",
        f"to be under {GOAL // 1_000_000} MB. Made by `benchmarks/bench_memory.py`.",
        "",
        "| work | peak, MB | seconds |",
        "|---|---:|---:|",
        *(f"| {work} | {one.peak / 1e6:.0f} | {one.seconds:.2f} |" for work, one in runs.items()),
        "",
    ]
    report("memory", "\n".join(lines))
    if max(one.peak for one in runs.values()) > GOAL:
        raise SystemExit("the goal is missed")


if __name__ == "__main__":
    main()
