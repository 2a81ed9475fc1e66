"""Which cases of costly tests a run of the whole suite takes; see `tests/sample.py`."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.crash.pace import chosen
from tests.sample import apart, has_turn, slow_first, spread, taken

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


def test_few_cases_that_cost_much_have_days_without_any() -> None:
    shares = [taken([(0,), (1,)], "test", one_in=6, day=day, daily=False) for day in range(100, 106)]
    assert sorted(map(len, shares)) == [0, 0, 0, 0, 1, 1]
    assert set().union(*shares) == {(0,), (1,)}


@pytest.mark.parametrize(("cases", "days"), [(2, 8), (4, 16), (13, 48), (36, 96), (95, 96)])
def test_days_with_one_of_few_cases_lie_equally_far_apart(cases: int, days: int) -> None:
    places = [(number,) for number in range(cases)]
    shares = [taken(places, "test", one_in=days, day=day, daily=False) for day in range(100, 100 + 2 * days)]
    assert sorted(place for share in shares[:days] for place in share) == places
    busy = [day for day, share in enumerate(shares) if share]
    assert {later - one for one, later in itertools.pairwise(busy)} <= {days // cases, days // cases + 1}


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


@pytest.mark.parametrize("days", [2, 3, 4, 6])
def test_a_test_without_cases_has_its_turn_on_one_day_in_so_many(days: int) -> None:
    names = [f"tests/unit/test_a.py::test_{number}" for number in range(600)]
    shares = [{name for name in names if has_turn(name, one_in=days, day=day)} for day in range(100, 100 + days)]
    assert sorted(name for share in shares for name in share) == sorted(names)
    assert all(0.7 < len(share) * days / len(names) < 1.3 for share in shares)
    # Of machines that take a quarter of the tests each has a share of those whose turn it is.
    for version, share in itertools.product((11, 12, 13, 14), shares):
        quarter = {name for name in share if chosen(name, at=16, version=version)}
        assert 0.5 < 4 * len(quarter) / len(share) < 1.5


@dataclass
class Item:
    """A test as far as its order depends on it."""

    name: str
    slow: bool

    def get_closest_marker(self, name: str) -> bool | None:
        return name == "slow" if self.slow else None


@pytest.mark.parametrize("workers", [1, 2, 3, 4])
@pytest.mark.parametrize(("count", "slow"), [(0, 0), (3, 3), (11, 4), (100, 9), (100, 95)])
def test_what_is_slow_begins_in_each_worker_s_part(workers: int, count: int, slow: int) -> None:
    items = [Item(str(number), number >= count - slow) for number in range(count)]
    ordered = slow_first(items, workers)  # type: ignore[arg-type]
    assert sorted(item.name for item in ordered) == sorted(item.name for item in items)
    left: list[Any] = list(ordered)
    for worker in range(workers):  # as the distribution takes them
        part = [left.pop(0).slow for _ in range(len(left) // (workers - worker))]
        assert part == sorted(part, reverse=True) or slow > 50
        assert sum(part) in {slow // workers, slow // workers + 1} or slow > 50


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
@pytest.mark.sampled(3)
class TestTogether:
    def test_once(self):
        pass
    def test_another(self):
        pass
    @pytest.mark.sampled(1)
    def test_each_day(self):
        pass
@pytest.mark.slow
def test_slow():
    pass
@pytest.mark.parametrize("number", range(2))
def test_cheap(number):
    pass
"""


@pytest.mark.sampled(4)
@pytest.mark.parametrize(
    ("words", "pace", "day", "passed"),
    [
        (("-n2",), "8", "1", 3 + 4 + 0 + 3 + 2 + 1),
        (("-n0",), "8", "2", 3 + 4 + 1 + 1 + 2 + 1),
        (("-n0",), "1", "1", 6 + 12 + 1 + 3 + 2 + 1),
        (("-n0", "test_many.py"), "8", "1", 6 + 12 + 1 + 3 + 2 + 1),
    ],
    ids=["the whole suite", "on another day", "at the pace of one", "a file that is named"],
)
def test_the_whole_suite_takes_a_share_in_each_worker(
    tmp_path: Path, words: tuple[str, ...], pace: str, day: str, passed: int
) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\ntestpaths = .\nmarkers =\n  sampled\n  slow\n")
    (tmp_path / "test_many.py").write_text(MANY)
    surroundings = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "ORLOP_"))}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-p", "no:schemathesis", *words],
        cwd=tmp_path,
        env=surroundings | {"ORLOP_PACE": pace, "ORLOP_DAY": day, "PYTHONPATH": str(TOP)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f" {passed} passed" in done.stdout, done.stdout
    assert f"samples of day {day}: " in done.stdout
