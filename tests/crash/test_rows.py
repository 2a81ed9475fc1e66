"""A row of the database is lost: nothing else is, unless nothing else tells of it. Each day tries others."""

from __future__ import annotations

import pytest

from tests.crash.harness import run
from tests.crash.pace import DAY, LONG

STEP = 1 if LONG else 80


@pytest.mark.sampled(3)
@pytest.mark.slow
def test_a_lost_row_loses_no_blob_and_makes_no_answer_wrong(record_property):
    ((_, counted),) = run("rows", f"{STEP}:{DAY}", tell=record_property)
    assert counted["tried"] > (150 if LONG else 1)
    # The few of a day may all be such as stand alone.
    if LONG:
        assert counted["known to fsck"] * 2 > counted["tried"]
