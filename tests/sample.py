"""Which cases of a test a run of the whole suite takes: each day another share.

Tests that start programs and daemons for each of many alike cases are marked, as ``@pytest.mark.sampled(3)``: the whole
suite then takes one in three of the cases of each such test, at least one, and in three days all of them. Where there
are several parameters the cases are taken along diagonals, so that each value of a parameter comes up where another has
as many values as days. Whoever names files or folders gets every case, and so does a run at the pace of 1 (see `pace`).
"""

from __future__ import annotations

from collections import defaultdict
from itertools import islice
from typing import TYPE_CHECKING
from zlib import crc32

from tests.crash import pace

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pytest

MARK = "sampled"


def taken(
    places: Sequence[tuple[int, ...]], test: str, *, one_in: int, day: int = pace.DAY, daily: bool = True
) -> set[tuple[int, ...]]:
    """Return the cases of a test that a day takes.

    Args:
        places: of the cases: for each parameter the number of its value, counted from 0.
        test: its node ID, without the case.
        one_in: how many days it takes to see all.
        day: any number, that of the next day one more.
        daily: whether it is at least one. Where it is not, and there are more days than cases, the days that take one
            lie equally far apart.
    """
    start = crc32(test.encode()) + day
    if not daily and len(places) < one_in:
        return {place for at, place in enumerate(sorted(places)) if (at * one_in // len(places) + start) % one_in == 0}
    found = {place for place in places if (sum(place) + start) % one_in == 0}
    return found or ({sorted(places)[start % len(places)]} if daily else set())


def has_turn(test: str, *, one_in: int, day: int = pace.DAY) -> bool:
    """Return whether a day takes a test without cases, by the node ID of what has the mark.

    The lowest bits of the same sum decide what a slow pace takes (`pace.chosen`): by them, some machines would have the
    test each day and others never.
    """
    return ((crc32(test.encode()) >> 8) + day) % one_in == 0


def spread(mark: int, *, at: int) -> int:
    """Return in how many days a run at a pace sees all cases of a test, which its mark says for the usual pace."""
    return mark if at >= pace.USUAL else min(mark, at)


def left_out(items: Iterable[pytest.Item]) -> set[pytest.Item]:
    """Return the tests that today's whole suite does without."""
    tests: dict[str, list[pytest.Item]] = defaultdict(list)
    places: dict[str, list[tuple[int, ...]]] = defaultdict(list)
    shares: dict[str, tuple[int, bool]] = {}
    left: set[pytest.Item] = set()
    for item in items:
        node, mark = next(item.iter_markers_with_node(MARK), (item, None))
        if mark is None:
            continue
        days = spread(mark.args[0], at=pace.PACE)
        if hasattr(item, "callspec"):
            name = item.nodeid.partition("[")[0]
            tests[name].append(item)
            places[name].append(tuple(item.callspec.indices.values()))
            shares[name] = days, mark.kwargs.get("daily", True)
        elif not has_turn(node.nodeid, one_in=days):
            left.add(item)
    for name, cases in tests.items():
        own = apart(places[name])
        one_in, daily = shares[name]
        kept = taken(own, name, one_in=one_in, daily=daily)
        left |= {item for place, item in zip(own, cases, strict=True) if place not in kept}
    return left


def apart(places: Sequence[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """Return cases without the parameters that always come together with another one.

    Those of one list, as ``("name", "kind")``, have the same number in each case. Counted twice they would make two
    steps of one: on some days nearly all cases would be left out, and on others none.
    """
    columns = dict.fromkeys(zip(*places, strict=True))
    return list(zip(*columns, strict=True))


def slow_first(items: Sequence[pytest.Item], workers: int) -> list[pytest.Item]:
    """Return tests in an order in which no worker begins with a slow one when the others have ended.

    Each worker is given as long a part of the list as the others, and takes from others when it has done its own (the
    distribution ``worksteal``), so each part begins with slow tests.
    """
    slow = [item for item in items if item.get_closest_marker("slow") is not None]
    others = iter([item for item in items if item.get_closest_marker("slow") is None])
    ordered: list[pytest.Item] = []
    for worker in range(workers):
        size = (len(items) - len(ordered)) // (workers - worker)
        head = slow[worker::workers]
        ordered += [*head, *islice(others, max(size - len(head), 0))]
    return [*ordered, *others]
