"""Limits that a registry sets: how long it asks to wait, and how much is left."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from orlop.model.values import dataclass

if TYPE_CHECKING:
    from orlop.registry.messages import Headers

_LONGEST = 20
_LONGEST_QUOTA = 1024


def retry_after(headers: Headers, now: float) -> float | None:
    """Return how many seconds a server asks to wait, or None where it does not say, or cannot be understood.

    Args:
        headers: those of its answer.
        now: seconds since 1970, to which a date is compared.
    """
    text = headers.get("Retry-After")
    if text is None:
        return None
    if len(text) < _LONGEST and text.replace(".", "", 1).isdecimal() and text.isascii():
        return math.ceil(float(text))
    try:
        found = parsedate_to_datetime(text)
    except (ValueError, OverflowError, IndexError):
        return None
    found = found if found.tzinfo else found.replace(tzinfo=UTC)
    return max(0.0, found.timestamp() - datetime.fromtimestamp(now, UTC).timestamp())


@dataclass(frozen=True, slots=True)
class RateLimit:
    """A quota of requests, as Docker Hub tells it: so many in so many seconds, and how many are left."""

    limit: int | None
    remaining: int | None
    window: int | None

    @classmethod
    def of(cls, headers: Headers) -> RateLimit | None:
        """Return what the headers of an answer say, or None where they say nothing."""
        limit, remaining = headers.get("RateLimit-Limit"), headers.get("RateLimit-Remaining")
        if limit is None and remaining is None:
            return None
        count, window = _quota(limit)
        return cls(count, _quota(remaining)[0], window)


def _quota(text: str | None) -> tuple[int | None, int | None]:
    # Some repeat the limit, and say its window there: "100, 100;w=60".
    parts = [part for one in (text or "")[:_LONGEST_QUOTA].split(",") for part in one.split(";")]
    windows = (number(part.strip()[2:]) for part in parts if part.strip().startswith("w="))
    return number(parts[0]), next((one for one in windows if one is not None), None)


def number(text: str) -> int | None:
    """Return the number that a header holds, or None where it holds none, or one that nothing can have."""
    text = text.strip()
    return int(text) if text.isdecimal() and text.isascii() and len(text) < _LONGEST else None
