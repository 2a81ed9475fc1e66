"""Which cases of costly tests a run of the whole suite takes; see `tests/sample.py`."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sample import apart, spread, taken

TOP = Path(__file__).parents[2]
GRIDS: list[list[tuple[int, ...]]] = [[(number,) for number in range(size)] for size in (1, 2, 3, 7, 42)]
GRIDS += [list(itertools.product(range(wide), range(high))) for wide, high in ((2, 2), (10, 2), (4, 6))]


@pytest.mark.parametrize("places", GRIDS, ids=len)
@pytest.mark.parametrize("days", [2, 3, 5])
def test_each_day_takes_some_cases_and_days_on_end_take_all(places: list[tuple[int, ...]], days: int) -> None:
    shares = [taken(places, "test", one_in=days, day=day) for day in range(100, 100 + max(days, len(places)))]
    assert set().union(*shares) == set(places)
    assert all(1 <= len(share) <= max(1, len(places) // days + len(places) // 2) for share in shares)
    assert taken(places, "test", one_in=1) == set(places)


def test_each_value_comes_up_where_another_parameter_has_as_many_values_as_days() -> None:
    share = taken(list(itertools.product(range(10), range(3))), "test", one_in=3)
    assert {first for first, _ in share} == set(range(10))
    assert {second for _, second in share} == set(range(3))
    assert len(share) == 10


@pytest.mark.parametrize("days", [2, 3, 4])
@pytest.mark.parametrize("together", [1, 2, 3, 4])
def test_parameters_of_one_list_are_one_step(days: int, together: int) -> None:
    places = apart([(number,) * together for number in range(24)])
    assert places == [(number,) for number in range(24)]
    assert {len(taken(places, "test", one_in=days, day=day)) for day in range(days)} == {24 // days}


def test_parameters_apart_stay_apart() -> None:
    grid = list(itertools.product(range(3), range(2)))
    assert apart([(first, first, second) for first, second in grid]) == grid


def test_a_mark_says_all_at_the_usual_pace_and_a_closer_one_takes_more() -> None:
    assert [spread(20, at=at) for at in (1, 4, 8, 16)] == [1, 4, 20, 20]
    assert [spread(3, at=at) for at in (1, 4, 8, 16)] == [1, 3, 3, 3]


MANY = """
import pytest
@pytest.mark.sampled(2)
@pytest.mark.parametrize(("number", "name"), enumerate("abcdef"))
def test_pairs(number, name):
    pass
@pytest.mark.sampled(3)
@pytest.mark.parametrize("number", range(12))
def test_many(number):
    pass
@pytest.mark.sampled(3)
def test_alone():
    pass
@pytest.mark.parametrize("number", range(2))
def test_cheap(number):
    pass
"""


@pytest.mark.parametrize(
    ("words", "pace", "passed"),
    [(("-n2",), "8", 4 + 3 + 3), (("-n0",), "1", 12 + 3 + 6), (("-n0", "test_many.py"), "8", 12 + 3 + 6)],
    ids=["the whole suite", "at the pace of one", "a file that is named"],
)
def test_the_whole_suite_takes_a_share_in_each_worker(
    tmp_path: Path, words: tuple[str, ...], pace: str, passed: int
) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\ntestpaths = .\nmarkers = sampled\n")
    (tmp_path / "test_many.py").write_text(MANY)
    surroundings = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "ORLOP_"))}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-p", "no:schemathesis", *words],
        cwd=tmp_path,
        env=surroundings | {"ORLOP_PACE": pace, "PYTHONPATH": str(TOP)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f" {passed} passed" in done.stdout, done.stdout
    assert "samples of day " in done.stdout
