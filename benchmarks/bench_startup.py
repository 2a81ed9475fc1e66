"""What starting costs: the commands that scripts call often, on a small store, beside an interpreter that does nothing.

`./dev run python benchmarks/bench_startup.py`; with the Python of an environment into which a wheel was installed, it
measures that.
"""

from __future__ import annotations

import argparse
import compileall
import os
import subprocess
import tempfile
from pathlib import Path
from unittest.mock import patch

import measure
from measure import DATA, ORLOP, PYTHON, ROOT, median_runs, paragraph, report, run

TINY = "example/tiny:1.0"
TURNS = 31
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
BARE = "python -c pass"
SHOW = """
import os, sys
def leave(status, leave=os._exit):
    print(*sys.modules, file=sys.stderr, flush=True)
    leave(status)
os._exit = leave
sys.argv = ["orlop", "images"]
from orlop.cli.main import main
main()
"""
# As the command does: without a search for circles, and without taking the interpreter apart at the end.
IMPORT = "import gc, os; gc.set_threshold(50000); import {}; os._exit(0)"


def main() -> None:
    argparse.ArgumentParser().parse_args()
    # What is installed has bytecode, and a checkout that is worked on may have none that is current.
    compileall.compile_dir(ROOT / "src", quiet=1)
    with tempfile.TemporaryDirectory(prefix="orlop-bench-") as folder:
        root = Path(folder) / "root"
        run([*ORLOP, "--root", root, "load", "-i", DATA / "dockerd-29-overlay2" / "multi.tar"])
        subjects = {BARE: [*PYTHON, "-c", "pass"]}
        for name in GOALS:
            subjects[name] = [*ORLOP, *name.split()[1:]]
        asked = ["_ORLOP_COMPLETE=bash_complete", "COMP_WORDS=orlop\x1fim", "COMP_CWORD=1"]
        # `env` replaces itself, so that the process is the one of the command.
        subjects["completion of a command"] = ["env", *asked, *ORLOP]
        with patch.dict(measure.ENVIRONMENT, {"ORLOP_ROOT": str(root)}):
            parts = parts_of_images()
            found = median_runs(subjects | parts, turns=TURNS)
    floor = found[BARE]

    def row(name: str, goal: object = "") -> str:
        clock, processor = found[name].seconds, found[name].processor
        times = f"{processor / floor.processor:.1f} | {clock / floor.seconds:.1f}"
        return f"| {name} | {processor * 1000:.0f} | {clock * 1000:.0f} | {times} | {goal} |".replace("|  |", "| |")

    head = [
        "| process | processor, ms | clock, ms | times bare, processor | times bare, clock | goal |",
        "|---|" + "---:|" * 5,
    ]
    lines = [
        "# Start-up",
        "",
        paragraph(
            f"Medians of {TURNS} whole processes each, run in turn, with bytecode, beside an interpreter that does"
            " nothing. On a machine that does other things, too, the multiples grow, as more of a command than of the"
            f" interpreter waits for memory and disk; it had {os.cpu_count()} processors and a load of"
            f" {os.getloadavg()[0]:.1f}. Made by `benchmarks/bench_startup.py`."
        ),
        "",
        *head,
        row(BARE),
        *(row(name, goal) for name, goal in GOALS.items()),
        "",
        "## What bounds it",
        "",
        paragraph(
            "The same for interpreters that import some of what `orlop images` does, each line with all above it. What"
            " the command takes beyond the last line is its work: opening the store, looking for what a crash left,"
            " checking rows, and the list."
            " [A decision](../adr/0075-stand-ins-for-typing-and-json.md) says what was done about each part, and"
            " [another](../adr/0082-start-up-stays-at-four-times.md) what more could be saved, and why"
            " that is not enough."
        ),
        "",
        *head,
        row(BARE),
        *(row(name) for name in parts),
        "",
    ]
    report("startup", "\n".join(lines))
    missed = [name for name, goal in GOALS.items() if found[name].processor / floor.processor > goal]
    if missed:
        raise SystemExit(f"missed: {', '.join(missed)}")


def parts_of_images() -> dict[str, list[str]]:
    """Return processes that import ever more of what `orlop images` imports, by what each one adds."""
    shown = subprocess.run([*PYTHON, "-c", SHOW], env=measure.ENVIRONMENT, capture_output=True, text=True, check=True)
    own = [name for name in shown.stderr.split() if name.partition(".")[0] == "orlop"]
    steps = {
        "SQLite": ["sqlite3"],
        "`contextlib` and `threading`": ["contextlib", "threading"],
        "`signal`, with `enum`": ["signal"],
        f"{len(own)} modules of orlop": own,
    }
    parts, names = {}, list[str]()
    for what, more in steps.items():
        names += more
        parts[what] = [*PYTHON, "-c", IMPORT.format(", ".join(names))]
    return parts


if __name__ == "__main__":
    main()
