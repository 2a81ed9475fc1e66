"""Sizes as Docker's programs print them, and as users write them."""

from __future__ import annotations

from orlop.errors import InvalidInput
from orlop.model.regex import regex

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

_UNITS: Final = ("B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB")
_STEP: Final = 1000
_LETTERS: Final = "kmgtp"
_WRITTEN: Final = regex(
    r"(?ai)(?P<whole>[0-9]{1,18})(?:\.(?P<part>[0-9]{1,9}))? ?(?P<letter>[kmgtp]?)(?P<binary>i?)(?P<bytes>b?)",
)


def human_size(size: int, precision: int = 3) -> str:
    """Return a number of bytes with a number of significant digits and a decimal unit: ``3.11kB``, ``106B``."""
    value = float(size)
    unit = 0
    while value >= _STEP and unit < len(_UNITS) - 1:
        value /= _STEP
        unit += 1
    return f"{value:.{precision}g}{_UNITS[unit]}"


def parse_size(text: str) -> int:
    """Read a number of bytes. This is the only parser of sizes.

    ``10MB`` is decimal, as sizes are printed; ``10MiB``, ``10Mi`` and a single letter (``10m``) are binary. Case does
    not matter, and a size with a unit may have a decimal point: ``1.5GiB``.

    Raises:
        InvalidInput: it is not a valid size.
    """
    match = _WRITTEN.fullmatch(text.strip())
    is_decimal = match is not None and bool(match["bytes"]) and not match["binary"]
    if match is None or (not match["letter"] and (match["binary"] or match["part"])):
        raise InvalidInput(f"{text!r} is not a size; give one such as 500MB or 1.5GiB, or a number of bytes")
    power = _LETTERS.index(match["letter"].lower()) + 1 if match["letter"] else 0
    unit = int(_STEP**power) if is_decimal else 1 << 10 * power
    part = match["part"] or ""
    return int(match["whole"]) * unit + int(part or "0") * unit // int(10 ** len(part))
