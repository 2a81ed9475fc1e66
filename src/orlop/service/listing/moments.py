"""The moments that docker's ``until`` takes: dates in the machine's time zone, and durations before now."""

from __future__ import annotations

import re
import time
from typing import Final

from orlop.model.durations import is_duration, parse_duration
from orlop.model.timestamp import Timestamp

_SECOND: Final = 1_000_000_000
_UNIX: Final = re.compile(r"(-?\d{1,18})(?:\.(\d{1,9}))?", re.ASCII)
_MOMENT: Final = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:T(\d\d)(?::(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?)?)?(Z|[+-]\d\d:\d\d)?", re.ASCII
)
_NO_TIME: Final = "{!r} is not a time; give a duration such as 24h, a date such as 2026-11-24, or seconds since 1970"


def parse_moment(text: str, now: int) -> int:
    """Return the moment that docker's ``until`` would read, in nanoseconds since 1970.

    Args:
        text: a duration before now (``24h``), a date with or without a time (``2026-11-24``, ``2026-11-24T10:00:00Z``;
            local time where no zone is given, and a zone is at most 24 hours and 60 minutes from UTC, as in newer
            engines), or seconds since 1970.
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
        raise ValueError(_NO_TIME.format(text))
    day, hour, minute, second, fraction, zone = moment.groups()
    exact = f"{day}T{hour or '00'}:{minute or '00'}:{second or '00'}"
    try:
        there = Timestamp.parse(f"{exact}{zone or 'Z'}")
        # mktime takes any numbers, so that they are checked before.
        seconds = there.unix if zone else int(time.mktime((*map(int, re.split("[-T:]", exact)), 0, 0, -1)))  # type: ignore[arg-type]
    except (ValueError, OverflowError):
        raise ValueError(_NO_TIME.format(text)) from None
    return seconds * _SECOND + int(f"{fraction or '':0<9}")
