"""Benchmarks are scripts: each can be asked for help from any folder, with nothing but what is installed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

TOP: Final = Path(__file__).parents[2]
PATIENCE: Final = 120
# As Python does for a script, in a process of its own; the folder of the script comes first.
BEGIN: Final = """
import os, runpy, sys
for script in sys.argv[1:]:
    child = os.fork()
    if child == 0:
        sys.path[0] = os.path.dirname(script)
        sys.argv = [script, "--help"]
        runpy.run_path(script, run_name="__main__")
        sys.exit(1)
    if os.waitpid(child, 0)[1]:
        sys.exit(f"{script} cannot be started")
"""


@pytest.mark.sampled(3)
def test_every_benchmark_and_script_of_fuzzing_tells_how_it_is_used(tmp_path: Path) -> None:
    others = [TOP / "benchmarks" / "inputs.py", TOP / "fuzz" / "run.py", TOP / "fuzz" / "make_seeds.py"]
    scripts = sorted(map(str, [*(TOP / "benchmarks").glob("bench_*.py"), *others]))
    assert len(scripts) > len(others)
    environment = os.environ | {"PYTHONPATH": str(TOP / "src")}
    command = [sys.executable, "-c", BEGIN, *scripts]
    said = subprocess.run(
        command, cwd=tmp_path, env=environment, check=True, timeout=PATIENCE, capture_output=True, text=True
    )
    for script in scripts:
        assert f"usage: {Path(script).name} " in said.stdout
