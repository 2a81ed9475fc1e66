"""Sizes and times as Docker's command line prints them, and counts."""

from __future__ import annotations

import time

from orlop.model.sizes import human_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

__all__ = ["ZERO_TIME", "go_time", "human_age", "human_size", "referring", "rfc3339"]

_MINUTE: Final = 60
_HOUR: Final = 3600
_DAY: Final = 24
_MAX_AGE: Final = (1 << 63) // 1_000_000_000
"""Seconds that a Go duration can hold, about 292 years; a longer age is cut to it."""

ZERO_TIME: Final = -62_135_596_800
"""Go's zero time, 0001-01-01T00:00:00Z, in seconds since 1970."""


def human_age(seconds: float) -> str:
    """Return an age in words, without the "ago": ``2 hours``, ``About a minute``."""
    seconds = min(seconds, _MAX_AGE)
    hours = int(seconds / _HOUR + 0.5)
    if seconds < _MINUTE:
        return "Less than a second" if seconds < 1 else _count(int(seconds), "second")
    if seconds < _HOUR:
        minutes = int(seconds // _MINUTE)
        return "About a minute" if minutes == 1 else _count(minutes, "minute")
    if hours < 2 * _DAY:
        return "About an hour" if hours == 1 else _count(hours, "hour")
    # Every unit serves up to twice the next one: "13 days", then "2 weeks".
    if hours < 2 * 7 * _DAY:
        return _count(hours // _DAY, "day")
    if hours < 2 * 30 * _DAY:
        return _count(hours // (7 * _DAY), "week")
    if hours < 2 * 365 * _DAY:
        return _count(hours // (30 * _DAY), "month")
    return _count(int(seconds // _HOUR) // (365 * _DAY), "year")


def referring(number: int) -> str:
    """Return how many artifacts refer to what was transferred."""
    return "1 artifact that refers" if number == 1 else f"{number} artifacts that refer"


def rfc3339(unix: int) -> str:
    """Return seconds since 1970 as RFC 3339 in local time: ``2026-11-24T07:04:35+01:00``."""
    local, sign, hours, minutes = _local(unix)
    zone = f"{sign}{hours:02}:{minutes:02}" if local.tm_gmtoff else "Z"
    return f"{_date(local)}T{_clock(local)}{zone}"


def go_time(unix: int) -> str:
    """Return seconds since 1970 as Go prints a local time: ``2026-11-24 07:04:35 +0100 CET``."""
    local, sign, hours, minutes = _local(unix)
    return f"{_date(local)} {_clock(local)} {sign}{hours:02}{minutes:02} {local.tm_zone}"


def _count(number: int, unit: str) -> str:
    return f"{number} {unit}{'' if number == 1 else 's'}"


def _local(unix: int) -> tuple[time.struct_time, str, int, int]:
    local = time.localtime(unix)
    # Local times before there were time zones differ by odd seconds, which nobody prints.
    hours, minutes = divmod(abs(local.tm_gmtoff) // 60, 60)
    return local, "-" if local.tm_gmtoff < 0 else "+", hours, minutes


def _date(local: time.struct_time) -> str:
    return f"{local.tm_year:04}-{local.tm_mon:02}-{local.tm_mday:02}"


def _clock(local: time.struct_time) -> str:
    return f"{local.tm_hour:02}:{local.tm_min:02}:{local.tm_sec:02}"
