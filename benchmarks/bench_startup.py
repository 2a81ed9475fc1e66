"""What starting costs: the commands that scripts call often, on a small store, beside an interpreter that does nothing.

`./dev run python benchmarks/bench_startup.py`
"""

from __future__ import annotations

import compileall
import os
import tempfile
from pathlib import Path
from unittest.mock import patch

import measure
from measure import DATA, ORLOP, PYTHON, ROOT, medians, paragraph, report, run

TINY = "example/tiny:1.0"
TURNS = 21
# As multiples of the bare interpreter: a machine's clock may change, and other machines have others.
WORD, COMMAND = 1.7, 3.0
GOALS = {
    "orlop --version": WORD,
    "completion of a command": WORD,
    "orlop images": COMMAND,
    f"orlop inspect {TINY}": COMMAND,
    f"orlop history {TINY}": COMMAND,
    f"orlop tag {TINY} example/tiny:2.0": COMMAND,
}


def main() -> None:
    # What is installed has bytecode, and a checkout that is worked on may have none that is current.
    compileall.compile_dir(ROOT / "src", quiet=1)
    with tempfile.TemporaryDirectory(prefix="orlop-bench-") as folder:
        root = Path(folder) / "root"
        run([*ORLOP, "--root", root, "load", "-i", DATA / "dockerd-29-overlay2" / "multi.tar"])
        subjects = {"python -c pass": [*PYTHON, "-c", "pass"]}
        for name in GOALS:
            subjects[name] = [*ORLOP, *name.split()[1:]]
        asked = ["_ORLOP_COMPLETE=bash_complete", "COMP_WORDS=orlop\x1fim", "COMP_CWORD=1"]
        # `env` replaces itself, so that the process is the one of the command.
        subjects["completion of a command"] = ["env", *asked, *ORLOP]
        with patch.dict(measure.ENVIRONMENT, {"ORLOP_ROOT": str(root)}):
            found = medians(subjects, turns=TURNS)
    floor = found["python -c pass"]
    lines = [
        "# Start-up",
        "",
        paragraph(
            f"Medians of {TURNS} whole processes each, run in turn, with bytecode, beside an interpreter that does"
            " nothing. On a machine that does other things, too, the multiples grow, since more of a command than of"
            f" the interpreter waits for memory and disk; it had {os.cpu_count()} processors and a load of"
            f" {os.getloadavg()[0]:.1f}. Made by `benchmarks/bench_startup.py`."
        ),
        "",
        "| command | milliseconds | times `python -c pass` | goal |",
        "|---|---:|---:|---:|",
        f"| `python -c pass` | {floor * 1000:.0f} | 1.0 | |",
        *(f"| `{name}` | {found[name] * 1000:.0f} | {found[name] / floor:.1f} | {GOALS[name]} |" for name in GOALS),
        "",
    ]
    report("startup", "\n".join(lines))
    missed = [name for name, goal in GOALS.items() if found[name] / floor > goal]
    if missed:
        raise SystemExit(f"missed: {', '.join(missed)}")


if __name__ == "__main__":
    main()
