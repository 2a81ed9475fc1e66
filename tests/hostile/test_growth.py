"""Twice a list takes about twice the work, whichever list a stranger makes long.

`ORLOP_LONG=1` takes lists that are eight times as long, in more turns.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import pytest

from tests.hostile.growth import BOUND, grown, grown_alone
from tests.hostile.lists import LISTS

if TYPE_CHECKING:
    from pathlib import Path

    from tests.hostile.growth import Growing

LONG: Final = bool(os.environ.get("ORLOP_LONG"))
MEMORY: Final = 256 << 20


@pytest.mark.sampled(96)
@pytest.mark.parametrize("growing", LISTS, ids=lambda growing: growing.name)
def test_twice_a_list_takes_about_twice_the_work(growing: Growing, tmp_path: Path) -> None:
    count = growing.count * (8 if LONG else 1)
    found = grown(growing, tmp_path, count=count, turns=3 if LONG else 1, most=3)
    if found.ratio >= BOUND:
        found = grown_alone(growing, count=count)
    assert found.ratio < BOUND, found
    assert found.peak < MEMORY, found
