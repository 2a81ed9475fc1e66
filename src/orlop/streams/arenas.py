"""Arenas: the pools from which the C library gives memory to threads, and in which it keeps what they have freed."""

from __future__ import annotations

from contextlib import suppress
from typing import Final

_ARENA_MAX: Final = -8
"""glibc's name for how many there are (`mallopt`, malloc.h)."""
_ARENAS: Final = 2


def share_arenas() -> None:
    """Make all threads share two arenas; glibc has up to 8 for each core, and each keeps megabytes.

    It is for a process, not for a library: whoever starts one decides. It holds for threads that start later.
    """
    import ctypes  # noqa: PLC0415 - only what has many threads needs it

    with suppress(AttributeError):  # other C libraries have no arenas
        ctypes.CDLL(None).mallopt(_ARENA_MAX, _ARENAS)
