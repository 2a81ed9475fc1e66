"""Query parameters of one value."""

from __future__ import annotations

from typing import Final

_FALSE: Final = frozenset({"", "0", "no", "false", "none"})


def boolean(text: str | None, *, default: bool = False) -> bool:
    """Read a parameter that is true or false, as the daemon does: whatever is none of the words for false is true."""
    return default if text is None else text.strip().lower() not in _FALSE
