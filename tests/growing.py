"""How many times as much processor time a longer input takes, on machines that do other things as well.

Others only ever add to what work takes, so the least of several turns counts. One turn is enough where it is small
already; where it seems too large, more turns tell whether it is.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def spent(work: Callable[[], object]) -> float:
    """Return how many seconds of processor time a piece of work takes, in all threads."""
    began = time.process_time()
    work()
    return time.process_time() - began


def growth(
    measured: Callable[[int], float], few: int, many: int, *, below: float, least: float = 0.001, turns: int = 10
) -> float:
    """Return how many times as long a larger number of items takes.

    Args:
        measured: returns what a number of items took.
        few: a number of items.
        many: a larger number of them.
        below: what it is expected to stay below.
        least: what is shorter cannot be measured, and counts as so many seconds.
        turns: how often it is tried at most.
    """
    short = long = float("inf")
    for _ in range(turns):
        short, long = min(short, measured(few)), min(long, measured(many))
        if long < below * max(short, least):
            break
    return long / max(short, least)
