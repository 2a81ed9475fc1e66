"""Benchmarks are scripts: each can be started from any folder, with nothing but what is installed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

TOP: Final = Path(__file__).parents[2]
PATIENCE: Final = 120
# As Python does for a script, up to the work itself, in a process of its own; the folder of the script comes first.
BEGIN: Final = """
import os, runpy, sys
for script in sys.argv[1:]:
    child = os.fork()
    if child == 0:
        sys.path[0] = os.path.dirname(script)
        runpy.run_path(script, run_name="begun")
        sys.exit()
    if os.waitpid(child, 0)[1]:
        sys.exit(f"{script} cannot be started")
"""


def test_every_benchmark_can_be_started_as_a_script(tmp_path: Path) -> None:
    scripts = sorted(map(str, (TOP / "benchmarks").glob("bench_*.py")))
    assert scripts
    environment = os.environ | {"PYTHONPATH": str(TOP / "src")}
    subprocess.run([sys.executable, "-c", BEGIN, *scripts], cwd=tmp_path, env=environment, check=True, timeout=PATIENCE)
