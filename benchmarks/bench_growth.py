"""How time and memory grow with every list that a stranger controls: each doubled, in a process of its own.

`./dev run python benchmarks/bench_growth.py [--turns N] [--times N]`

Writes the table under "## Growth" of `docs/reliability.md`. About five minutes.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys

from measure import ENVIRONMENT, MIB, ROOT

AGAIN = 4
SUSPICIOUS = 2.5
PAGE = ROOT / "docs" / "reliability.md"
_NAMES = "from tests.hostile.lists import LISTS; print(*(f'{one.count} {one.name}' for one in LISTS), sep='\\n')"


def measured(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=ENVIRONMENT, check=True, stdout=subprocess.PIPE, text=True
    )
    return done.stdout


def row(name: str, count: int, turns: int) -> str:
    once = twice = float("inf")
    peak = 0
    # Other programs on the machine only ever add to a time: what seems to grow fast is measured again.
    for _ in range(AGAIN):
        found = json.loads(measured("-m", "tests.hostile.growth", name, str(count), str(turns)))
        once, twice = min(once, found["once"]), min(twice, found["twice"])
        peak = max(peak, -(-found["peak"] // MIB))
        if twice < SUSPICIOUS * once:
            break
    print(f"{name}: {twice / once:.1f}", file=sys.stderr)
    return f"| {name} | {count:,} | {once:.2f} | {twice:.2f} | {twice / once:.1f} | {peak} |"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--turns", type=int, default=1, help="in a process, of which the least counts")
    parser.add_argument("--times", type=int, default=1, help="how many times as long as in the tests the lists are")
    options = parser.parse_args()
    rows = []
    for line in measured("-c", _NAMES).splitlines():
        count, _, name = line.partition(" ")
        rows.append(row(name, int(count) * options.times, options.turns))
    table = "| list | n | s for n | s for 2n | ratio | MiB |\n|---|---:|---:|---:|---:|---:|\n" + "\n".join(rows)
    text = PAGE.read_text()
    PAGE.write_text(
        re.sub(r"(?<=\n)\| list \| n \|.*?\n(?=\n|$)", lambda _: table + "\n", text, count=1, flags=re.DOTALL)
    )


if __name__ == "__main__":
    main()
