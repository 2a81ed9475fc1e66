"""Points in time as image documents have them: RFC 3339 with nanoseconds, as in Go's ``time`` package.

`datetime` has no nanoseconds, no year 0 and no offset of 24 hours; all three occur and must be kept.
"""

from __future__ import annotations

from orlop.errors import InvalidTimestamp
from orlop.model.regex import Seldom, regex
from orlop.model.values import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final, Self

_RFC3339: Final = regex(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{1,2}):([0-9]{2}):([0-9]{2})(?:[.,]([0-9]+))?"
    r"(?:Z|([+-])([0-9]{2}):([0-9]{2}))"
)
_seldom: Final = Seldom()
_NANOSECONDS: Final = 1_000_000_000
_DAY: Final = 86_400
_MAX_YEAR: Final = 9999
_MONTH_DAYS: Final = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


@dataclass(frozen=True, slots=True, order=True)
class Timestamp:
    """An instant with nanoseconds, and the offset from UTC in which it was written.

    ``unix`` counts whole seconds since 1970-01-01T00:00:00Z (rounded down, so negative before), ``nanosecond`` is 0 to
    999,999,999, ``offset`` is seconds east of UTC. The year at that offset must be 0 to 9999, else `InvalidTimestamp`
    is raised. Ordered by instant, then by offset. Hashable, immutable.
    """

    unix: int
    nanosecond: int = 0
    offset: int = 0

    def __post_init__(self) -> None:
        """Check that the value can be written."""
        if not 0 <= self.nanosecond < _NANOSECONDS:
            raise InvalidTimestamp(f"invalid nanosecond {self.nanosecond}: expected 0 to 999999999")
        if not _FIRST_SECOND <= self.unix + self.offset < _END_SECOND:
            raise InvalidTimestamp(f"invalid time {self.unix} s after 1970: the year is not within 0 to {_MAX_YEAR}")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read RFC 3339 as Go's ``time.Parse`` does.

        The fraction may begin with a comma instead of a point, an hour may have one digit, digits after the ninth are
        cut off, and offsets reach 24 hours and 60 minutes. Lower-case ``t`` and ``z``, a space and second 60 are
        refused. Raises `InvalidTimestamp`.
        """
        parts = _usual_parts(text) if _seldom() else None
        if parts is None:
            match = _RFC3339.fullmatch(text)
            if match is None:
                raise InvalidTimestamp(f"invalid time {text!r}: expected RFC 3339, such as 2006-01-02T15:04:05Z")
            parts = match.groups()
        year, month, day, hour, minute, second = map(int, parts[:6])
        fraction, sign, offset_hours, offset_minutes = parts[6:]
        offset = 0
        if sign is not None:
            offset = (int(offset_hours) * 60 + int(offset_minutes)) * 60
        in_range = (
            1 <= month <= len(_MONTH_DAYS)
            and 1 <= day <= _days_in_month(year, month)
            and hour < 24
            and minute < 60
            and second < 60
            and (sign is None or (int(offset_hours) <= 24 and int(offset_minutes) <= 60))
        )
        if not in_range:
            raise InvalidTimestamp(f"invalid time {text!r}: a part is out of range")
        if sign == "-":
            offset = -offset
        civil = _days_before(year, month, day) * _DAY + hour * 3600 + minute * 60 + second
        nanosecond = int((fraction or "0")[:9].ljust(9, "0"))
        return cls(civil - offset, nanosecond, offset)

    @classmethod
    def from_unix(cls, seconds: int, ns: int = 0) -> Self:
        """Return the UTC time for a number of seconds and nanoseconds (0 to 999,999,999) since 1970."""
        return cls(seconds, ns)

    @property
    def unix_ns(self) -> int:
        """Nanoseconds since 1970-01-01T00:00:00Z."""
        return self.unix * _NANOSECONDS + self.nanosecond

    @property
    def is_zero(self) -> bool:
        """Whether this is Go's zero time, 0001-01-01T00:00:00Z, which stands for "no time"."""
        return self.unix == ZERO.unix and self.nanosecond == 0

    def __str__(self) -> str:
        """Write RFC 3339 as Go does: the fraction without trailing zeros, ``Z`` for UTC, the offset as it was."""
        days, seconds = divmod(self.unix + self.offset, _DAY)
        year, month, day = _civil(days)
        fraction = f".{self.nanosecond:09}".rstrip("0") if self.nanosecond else ""
        zone = "Z"
        if self.offset:
            hours, minutes = divmod(abs(self.offset) // 60, 60)
            zone = f"{'-' if self.offset < 0 else '+'}{hours:02}:{minutes:02}"
        clock = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
        return f"{year:04}-{month:02}-{day:02}T{clock}{fraction}{zone}"


def _is_leap(year: int) -> bool:
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)


def _usual_parts(text: str) -> tuple[str | Any, ...] | None:
    """Return the parts of a time in the form that engines write, ``2006-01-02T15:04:05.9Z``, or None for other forms.

    Most commands read a time or two: compiling the expression would take longer than everything else they do with it.
    """
    digits = (text[:4], text[5:7], text[8:10], text[11:13], text[14:16], text[17:19])
    fraction = text[20:-1]
    is_usual = (
        text.isascii()
        and text[4:5] + text[7:8] + text[10:11] + text[13:14] + text[16:17] == "--T::"
        and text[-1] == "Z"
        and (text[19:] == "Z" or (text[19:20] == "." and fraction.isdigit()))
        and "".join(digits).isdigit()
    )
    return (*digits, fraction or None, None, None, None) if is_usual else None


def _days_in_month(year: int, month: int) -> int:
    return 29 if month == 2 and _is_leap(year) else _MONTH_DAYS[month - 1]


def _days_before_year(year: int) -> int:
    """Count the days from 1970-01-01 to the first day of a year; always Gregorian, with a year 0."""
    past = year - 1
    return past * 365 + past // 4 - past // 100 + past // 400 - 719_162


def _days_before(year: int, month: int, day: int) -> int:
    """Count the days from 1970-01-01 to a date."""
    return _days_before_year(year) + sum(_days_in_month(year, earlier) for earlier in range(1, month)) + day - 1


def _civil(days: int) -> tuple[int, int, int]:
    """Return year, month and day of a count of days from 1970-01-01."""
    year = 1970 + days * 400 // 146_097
    while _days_before_year(year) > days:
        year -= 1
    while _days_before_year(year + 1) <= days:
        year += 1
    rest = days - _days_before_year(year)
    month = 1
    while rest >= _days_in_month(year, month):
        rest -= _days_in_month(year, month)
        month += 1
    return year, month, rest + 1


_FIRST_SECOND: Final = _days_before_year(0) * _DAY
_END_SECOND: Final = _days_before_year(_MAX_YEAR + 1) * _DAY

ZERO: Final = Timestamp(_days_before_year(1) * _DAY)
"""Go's zero time, 0001-01-01T00:00:00Z."""
EPOCH: Final = Timestamp(0)
"""1970-01-01T00:00:00Z."""
