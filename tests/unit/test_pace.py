"""Which tests a slow pace takes; see `tests/crash/pace.py`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.crash import pace

TOP = Path(__file__).parents[2]
NAMES = [f"tests/unit/test_a.py::test_b[{number}]" for number in range(400)]


def test_the_machines_take_different_quarters_and_everybody_else_takes_all() -> None:
    quarters = [{name for name in NAMES if pace.chosen(name, at=16, version=version)} for version in (11, 12, 13, 14)]
    assert sorted(name for quarter in quarters for name in quarter) == sorted(NAMES)
    assert all(60 < len(quarter) < 140 for quarter in quarters)
    assert all(pace.chosen(name, at=8, version=11) for name in NAMES)


@pytest.mark.parametrize("days", [1, 2, 3, 4, 6, 8])
@pytest.mark.parametrize("step", [8, 24])
def test_a_case_that_comes_up_each_few_days_begins_everywhere_in_time(days: int, step: int) -> None:
    seen = [pace.first("removed", step, day=day) for day in range(739_000, 739_000 + 12 * step * days, days)]
    assert set(seen) == set(range(step))


def test_the_usual_pace_makes_up_fewer_examples_and_never_very_few() -> None:
    assert [pace.examples(many, at=1) for many in (5, 100, 300)] == [5, 100, 300]
    assert [pace.examples(many, at=8) for many in (5, 20, 100, 300)] == [5, 10, 40, 120]


@pytest.mark.sampled(8, daily=False)
@pytest.mark.parametrize("words", [(), ("test_many.py",)], ids=["of the whole suite", "of no file that is named"])
def test_a_slow_pace_leaves_out_tests(tmp_path: Path, words: tuple[str, ...]) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\ntestpaths = .\n")
    (tmp_path / "test_many.py").write_text(
        "import pytest\n@pytest.mark.parametrize('number', range(40))\ndef test_it(number):\n    pass\n"
    )
    names = [f"test_many.py::test_it[{number}]" for number in range(40)]
    surroundings = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--co", "-p", "tests.conftest", "-p", "no:randomly", *words],
        cwd=tmp_path,
        env=surroundings | {"ORLOP_PACE": "16", "PYTHONPATH": str(TOP)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    chosen = [name for name in names if words or pace.chosen(name, at=16)]
    assert [line for line in done.stdout.splitlines() if "::" in line] == chosen
