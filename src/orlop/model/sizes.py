"""Sizes as Docker's programs print them."""

from __future__ import annotations

from typing import Final

_UNITS: Final = ("B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB")
_STEP: Final = 1000


def human_size(size: int, precision: int = 3) -> str:
    """Give a number of bytes with so many significant digits and a decimal unit: ``3.11kB``, ``106B``."""
    value = float(size)
    unit = 0
    while value >= _STEP and unit < len(_UNITS) - 1:
        value /= _STEP
        unit += 1
    return f"{value:.{precision}g}{_UNITS[unit]}"
