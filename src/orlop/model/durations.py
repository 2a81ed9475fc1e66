"""Durations as Go writes them."""

from __future__ import annotations

import re
from typing import Final

_SECOND: Final = 1_000_000_000
_UNITS: Final = {
    "ns": 1,
    "us": 1000,
    "µs": 1000,  # the micro sign
    "μs": 1000,
    "ms": 1_000_000,
    "s": _SECOND,
    "m": 60 * _SECOND,
    "h": 3600 * _SECOND,
}
_PART: Final = re.compile(r"(\d*)(?:\.(\d*))?([a-zµμ]+)", re.ASCII)
# Possessive: what has matched is never tried again, so it need not be remembered.
_DURATION: Final = re.compile(r"[+-]?(?:0|(?:(?:\d++(?:\.\d*+)?|\.\d++)(?:ns|us|µs|μs|ms|s|m|h))++)", re.ASCII)
_MAX: Final = (1 << 63) - 1


def is_duration(text: str) -> bool:
    """Return whether this has the form of a duration."""
    return _DURATION.fullmatch(text) is not None


def parse_duration(text: str) -> int:
    """Return a duration such as ``1h30m`` or ``1.5s`` in nanoseconds.

    Raises:
        ValueError: it is not a duration, or is longer than about 292 years.
    """
    if not is_duration(text):
        msg = f"{text!r} is not a duration; give one such as 90s, 1h30m or 240h"
        raise ValueError(msg)
    total = 0
    for whole, fraction, unit in _PART.findall(text):
        size = _UNITS[unit]
        total += int(whole or "0") * size + int(fraction or "0") * size // 10 ** len(fraction)
    if total > _MAX:
        msg = f"the duration {text} is too long"
        raise ValueError(msg)
    return -total if text.startswith("-") else total
