"""A bit flips in the database: nothing is lost, no answer is wrong. `ORLOP_LONG=1` flips one in every part of it."""

from __future__ import annotations

import pytest

from tests.crash.harness import run
from tests.crash.pace import LONG

STEPS = {"database": 1 if LONG else 300, "log": 1 if LONG else 300}


@pytest.mark.slow
@pytest.mark.parametrize("kind", STEPS)
def test_a_flipped_bit_loses_no_blob_and_makes_no_answer_wrong(kind, record_property):
    ((_, counted),) = run("flips", f"{kind}:{STEPS[kind]}:1", tell=record_property)
    assert counted["tried"] > (1000 if LONG else 4)
    assert counted["known to fsck"] > counted["tried"] // 3
    # A sample may hold no place that a command has no need of.
    assert counted["refused"] > counted.get("done", 0) >= (1 if LONG else 0)
