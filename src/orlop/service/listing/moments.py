"""The moments that docker's ``until`` takes: dates in the machine's time zone, and durations before now."""

from __future__ import annotations

import re
import time
from datetime import datetime
from typing import Final

from orlop.model.durations import is_duration, parse_duration

_SECOND: Final = 1_000_000_000
_UNIX: Final = re.compile(r"(-?\d{1,18})(?:\.(\d{1,9}))?", re.ASCII)
_MOMENT: Final = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)(?:T(\d\d)(?::(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?)?)?(Z|[+-]\d\d:\d\d)?", re.ASCII
)


def parse_moment(text: str, now: int) -> int:
    """Return the moment that docker's ``until`` would read, in nanoseconds since 1970.

    Args:
        text: a duration before now (``24h``), a date with or without a time (``2026-11-24``, ``2026-11-24T10:00:00Z``;
            local time where no zone is given), or seconds since 1970.
        now: the time, in nanoseconds since 1970.

    Raises:
        ValueError: it is none of these.
    """
    if is_duration(text) and text.lstrip("+-") != "0":
        return now - parse_duration(text)
    unix = _UNIX.fullmatch(text)
    if unix is not None:
        return int(unix[1]) * _SECOND + int(f"{unix[2] or '':0<9}")
    moment = _MOMENT.fullmatch(text)
    if moment is None:
        msg = f"{text!r} is not a time; give a duration such as 24h, a date such as 2026-11-24, or seconds since 1970"
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
