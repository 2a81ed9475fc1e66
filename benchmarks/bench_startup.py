"""What starting costs: `orlop --version` and `orlop images` on a small store, beside an interpreter that does nothing.

`./dev run python benchmarks/bench_startup.py`
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from measure import DATA, ORLOP, PYTHON, medians, report, run

GOALS = {"orlop --version": 50, "orlop images": 90}


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="orlop-bench-") as folder:
        root = Path(folder) / "root"
        run([*ORLOP, "--root", root, "load", "-i", DATA / "dockerd-29-overlay2" / "multi.tar"])
        found = medians(
            {
                "python -c pass": [*PYTHON, "-c", "pass"],
                "orlop --version": [*ORLOP, "--version"],
                "orlop images": [*ORLOP, "--root", str(root), "images"],
            },
            turns=21,
        )
    floor = found["python -c pass"]
    lines = [
        "# Start-up",
        "",
        "Medians of 21 whole processes each, run in turn; what a command takes over an interpreter that does nothing,",
        "and how many times that, as a machine's clock may change. Made by `benchmarks/bench_startup.py`.",
        "",
        "| command | milliseconds | over `python -c pass` | goal | times `python -c pass` |",
        "|---|---:|---:|---:|---:|",
        f"| `python -c pass` | {floor * 1000:.0f} | | | 1.0 |",
        *(
            f"| `{name}` | {found[name] * 1000:.0f} | {(found[name] - floor) * 1000:.0f} | {goal}"
            f" | {found[name] / floor:.1f} |"
            for name, goal in GOALS.items()
        ),
        "",
    ]
    report("startup", "\n".join(lines))
    missed = [name for name, goal in GOALS.items() if (found[name] - floor) * 1000 > goal]
    if missed:
        raise SystemExit(f"missed: {', '.join(missed)}")


if __name__ == "__main__":
    main()
