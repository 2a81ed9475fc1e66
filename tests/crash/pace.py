"""How many of its moments a harness tries: each harness knows which ones differ, and takes a share of them.

`./dev test` takes every eighth one, ``ORLOP_PACE=16`` every sixteenth (so `.ci/bare`), ``ORLOP_PACE=1`` all of them;
``ORLOP_LONG=1`` also those that hardly differ. Which ones a command gets follows from its name and from the day:
together they cover more than each alone, and in time all is seen. A run begins by telling its day; with ``ORLOP_DAY``
set to that it can be repeated. From 16 on, the whole suite takes a quarter of all its tests as well
(`tests/conftest.py`). Which one follows from their names and from the interpreter's version: the machines of `.ci/bare`
have three versions, and different quarters.
"""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, TypeVar
from zlib import crc32

if TYPE_CHECKING:
    from collections.abc import Sequence

_T = TypeVar("_T")

LONG: Final = bool(os.environ.get("ORLOP_LONG"))
USUAL: Final = 8
PACE: Final = 1 if LONG else int(os.environ.get("ORLOP_PACE", USUAL))
# Midnight may pass: the workers and what they start have the day on which the run began.
DAY: Final = int(os.environ.setdefault("ORLOP_DAY", str(datetime.now(UTC).toordinal())))


def turn(number: int, name: str) -> bool:
    """Return whether the moment with a number, counted from 0, belongs to the share of a command, as the first does."""
    return number == 0 or (number + first(name, PACE)) % PACE == 0


def first(name: str, step: int, *, day: int = DAY) -> int:
    """Return at which of its moments, counted from 0, a loop of so wide steps begins today.

    It follows from the day as if by lot. Days counted modulo the step would always give the same moments to a case that
    comes up each fourth day.
    """
    return crc32(f"{day} {name}".encode()) % step


def chosen(test: str, *, at: int = PACE, version: int = sys.version_info.minor) -> bool:
    """Return whether a run of the whole suite at a pace, on Python 3.x, has the test with a node ID."""
    return at < 16 or (crc32(test.encode()) + version) % 4 == 0


def examples(many: int, *, at: int = PACE) -> int:
    """Return how many examples hypothesis makes up in place of ``many`` that a test wants at the pace of 1.

    They are others in each run.
    """
    return many if at == 1 else max(2 * many // 5, min(many, 10))


def share(moments: Sequence[_T], name: str) -> list[_T]:
    """Return the share of a command's moments, with the first and the last of them."""
    last = len(moments) - 1
    return [moment for number, moment in enumerate(moments) if number == last or turn(number, name)]
