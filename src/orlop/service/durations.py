"""Durations as Go writes them, and the moments that docker's ``until`` takes."""

from __future__ import annotations

import re
import time
from datetime import datetime
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
# What has matched is never tried again, and so not remembered either.
_DURATION: Final = re.compile(r"[+-]?(?:0|(?:(?:\d++(?:\.\d*+)?|\.\d++)(?:ns|us|µs|μs|ms|s|m|h))++)", re.ASCII)
_UNIX: Final = re.compile(r"(-?\d{1,18})(?:\.(\d{1,9}))?", re.ASCII)
_MOMENT: Final = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)(?:T(\d\d)(?::(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?)?)?(Z|[+-]\d\d:\d\d)?", re.ASCII
)
_MAX: Final = (1 << 63) - 1


def parse_duration(text: str) -> int:
    """Read a duration such as ``1h30m`` or ``1.5s`` and give it in nanoseconds.

    Raises:
        ValueError: it is none, or longer than about 292 years.
    """
    if _DURATION.fullmatch(text) is None:
        msg = f"{text!r} is no duration; give one such as 90s, 1h30m or 240h"
        raise ValueError(msg)
    total = 0
    for whole, fraction, unit in _PART.findall(text):
        size = _UNITS[unit]
        total += int(whole or "0") * size + int(fraction or "0") * size // 10 ** len(fraction)
    if total > _MAX:
        msg = f"the duration {text} is too long"
        raise ValueError(msg)
    return -total if text.startswith("-") else total


def parse_moment(text: str, now: int) -> int:
    """Read a moment as docker's ``until`` does, and give it in nanoseconds since 1970.

    Args:
        text: a duration before now (``24h``), a date with or without a time (``2026-11-24``, ``2026-11-24T10:00:00Z``;
            local time where no zone is given), or seconds since 1970.
        now: the time, in nanoseconds since 1970.

    Raises:
        ValueError: it is none of these.
    """
    if _DURATION.fullmatch(text) is not None and text.lstrip("+-") != "0":
        return now - parse_duration(text)
    unix = _UNIX.fullmatch(text)
    if unix is not None:
        return int(unix[1]) * _SECOND + int(f"{unix[2] or '':0<9}")
    moment = _MOMENT.fullmatch(text)
    if moment is None:
        msg = f"{text!r} is no time; give a duration such as 24h, a date such as 2026-11-24, or seconds since 1970"
        raise ValueError(msg)
    year, month, day, hour, minute, second = (int(moment[number] or "0") for number in range(1, 7))
    zone = moment[8]
    if zone is None:
        datetime(year, month, day, hour, minute, second)  # noqa: DTZ001 - only checked, as mktime takes anything
        seconds = int(time.mktime((year, month, day, hour, minute, second, 0, 0, -1)))
    else:
        exact = f"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}"
        seconds = int(datetime.fromisoformat(exact + zone).timestamp())
    return seconds * _SECOND + int(f"{moment[7] or '':0<9}")
