"""A bit flips in the database: nothing is lost, no answer is wrong. Each day has other bits, `ORLOP_LONG=1` all."""

from __future__ import annotations

import pytest

from tests.crash.harness import run
from tests.crash.pace import DAY, LONG

STEPS = {"database": 1 if LONG else 800, "log": 1 if LONG else 1500}


@pytest.mark.sampled(6, daily=False)
@pytest.mark.slow
@pytest.mark.parametrize("kind", STEPS)
def test_a_flipped_bit_loses_no_blob_and_makes_no_answer_wrong(kind, record_property):
    ((_, counted),) = run("flips", f"{kind}:{STEPS[kind]}:{DAY}", tell=record_property)
    assert counted["tried"] > (1000 if LONG else 2)
    # The few places of a day may all be such as no command needs, or as all need; those of a log all matter.
    if LONG:
        assert counted["known to fsck"] > counted["tried"] // 3
        assert counted["refused"] > counted.get("done", 0) >= (kind == "database")
