"""Waiting for what a test needs to become true.

A test asks for the very thing that it needs: that a server answers, not that its socket is there; that a client waits,
not that a moment has passed. Limits are far beyond what any machine takes, since reaching one fails the test: they only
end what would never end. `tests/arch/test_steadiness.py` finds limits that a busy machine may reach.
"""

from __future__ import annotations

import re
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import signal
    from collections.abc import Callable

PATIENCE: Final = 120.0
"""Seconds after which something never comes."""


def until(is_so: Callable[[], object], *, seconds: float = PATIENCE) -> None:
    """Wait, patiently, until something is so."""
    end, step = time.monotonic() + seconds, 0.002
    while not is_so():
        assert time.monotonic() < end, "it never comes to that"
        time.sleep(step)
        step = min(2 * step, 0.05)


def listens(path: str | Path) -> bool:
    """Return whether somebody takes connections at a Unix socket; its file alone does not say so."""
    with socket.socket(socket.AF_UNIX) as one:
        try:
            one.connect(str(path))
        except OSError:
            return False
    return True


def heeds(pid: int, number: signal.Signals) -> bool:
    """Return whether a process has begun to handle a signal (proc(5), SigCgt): before, it would just be killed."""
    found = re.search(r"^SigCgt:\s*([0-9a-f]+)$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return found is not None and bool(int(found[1], 16) >> (number - 1) & 1)
