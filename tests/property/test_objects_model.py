"""The protocol of `orlop.store.rows.keys`, by exhaustive search: it keeps its promises, and needs each of its rules."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.objects_model import LOST, TORN, TWICE, Cast, Rules, explore, without


@pytest.mark.sampled(16, daily=False)
@pytest.mark.parametrize(
    "cast",
    [
        Cast(writers=2, removals=2),
        Cast(writers=2, sweeps=True),
        Cast(writers=2, repeats=1),
        Cast(writers=1, readers=2, sweeps=True, repeats=1),
        Cast(writers=2, readers=1),
    ],
    ids=str,
)
def test_with_all_rules_no_promise_is_ever_broken(cast: Cast) -> None:
    outcome = explore(Rules(), cast, LOST, TORN, TWICE)
    assert outcome.broken is None, outcome.way
    assert outcome.states > 1000, "the search went nowhere"


@pytest.mark.sampled(3)
def test_a_collection_and_a_sweep_leave_nothing_behind_whatever_happened() -> None:
    assert explore(Rules(), Cast(writers=2, sweeps=True)).collectable
    late = explore(Rules(), Cast(writers=2))
    assert not late.collectable, "a request that arrives when its key is forgotten leaves what only a sweep finds"


def test_a_sweep_leaves_nothing_behind_without_waiting_for_the_hour() -> None:
    """A request that arrives when its key was reported as deleted makes the object again, and no row is looked at."""
    cast = Cast(writers=1, sweeps=True, hours=False)
    assert explore(Rules(), cast).collectable
    assert not explore(without("sweep_reported"), cast).collectable
    assert explore(without("sweep_reported"), replace(cast, hours=True)).collectable


@pytest.mark.parametrize(
    ("rules", "cast", "promise", "last"),
    [
        (without("fence"), Cast(), LOST, ["writer 0 commits its upload", "delete 0 arrives"]),
        (without("fresh"), Cast(), LOST, ["writer 1 commits its upload", "key 0 is to be deleted", "delete 0 arrives"]),
        (replace(without("epoch"), recheck=False), Cast(), LOST, ["writer 1 commits what it found"]),
        (without("recheck"), Cast(), LOST, ["the image is removed", "writer 1 commits what it found"]),
        (without("epoch"), Cast(writers=1, readers=1), TORN, ["key 0 is to be deleted", "delete 0 arrives"]),
        (without("stamp_later"), Cast(writers=1, readers=1), TORN, ["key 0 is to be deleted", "delete 0 arrives"]),
        (without("list_first"), Cast(writers=1, sweeps=True), LOST, ["a sweep deletes [0]", "delete 0 arrives"]),
        (without("row_first"), Cast(writers=1, sweeps=True), LOST, ["writer 0 commits its upload", "delete 0 arrives"]),
    ],
    ids=[
        "fence",
        "fresh",
        "epoch-and-recheck",
        "recheck",
        "epoch",
        "stamp-later",
        "list-first",
        "row-first",
    ],
)
def test_without_a_rule_a_promise_is_broken(rules: Rules, cast: Cast, promise: str, last: list[str]) -> None:
    outcome = explore(rules, cast, promise)
    assert outcome.broken == promise
    assert list(outcome.way[-len(last) :]) == last, outcome.way


def test_a_view_that_is_older_than_its_pin_names_what_is_gone() -> None:
    outcome = explore(without("pin_first"), Cast(writers=1, readers=1), TORN)
    assert outcome.broken == TORN
    assert outcome.way.index("a reader takes a view") < outcome.way.index("session 1 pins the epoch")


@pytest.mark.sampled(2)
def test_a_commit_that_looks_again_is_right_even_without_epochs() -> None:
    """The epoch spares a reader and a commit the error; the rows do not depend on it."""
    assert explore(without("epoch"), Cast(writers=2, removals=2), LOST).broken is None
