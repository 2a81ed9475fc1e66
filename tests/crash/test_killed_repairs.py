"""A repair that is killed before any of its steps takes nothing away, and can be run again."""

from __future__ import annotations

import pytest

from tests.crash.harness import UNSUPPORTED, run
from tests.crash.pace import PACE

pytestmark = pytest.mark.skipif(UNSUPPORTED, reason="the numbers of this machine's system calls are not known")


@pytest.mark.sampled(4)
def test_a_repair_that_is_killed_can_be_run_again(record_property):
    ((_, count),) = run("repairs", tell=record_property)
    assert count["kills"] * PACE > 20
