"""Whole pages go wrong, or foreign files lie beside the database: nothing is lost.

Each day tries others, `ORLOP_LONG=1` all.
"""

from __future__ import annotations

import pytest

from tests.crash.harness import run
from tests.crash.pace import DAY, LONG
from tests.crash.pages import KINDS

# How many places: 8 ways for each of some 40 pages and 100 frames; 12 files that belong elsewhere.
STEPS = dict.fromkeys(KINDS, 1) if LONG else {"database": 90, "log": 300, "beside": 5, "beside a log and its index": 5}


@pytest.mark.sampled(16, daily=False)
@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_page_or_a_file_that_is_not_the_stores_own_loses_no_blob_and_makes_no_answer_wrong(kind, record_property):
    ((_, counted),) = run("pages", f"{kind}:{STEPS[kind]}:{DAY}", tell=record_property)
    assert counted["tried"] > (200 if LONG and not kind.startswith("beside") else 1)
    # The few of a day may all be such as do no harm.
    if LONG:
        assert counted["known to fsck"] * 4 > counted["tried"]
        assert counted["refused"] > counted.get("done", 0) // 3
