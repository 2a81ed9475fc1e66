"""Where tests keep their files: in memory, where that can be had.

A store syncs what it writes, and thousands of small stores wait for the disk longer than they compute. That a loss of
power costs nothing is shown by `tests/crash/losses.py`, which needs no disk for it. Whoever sets ``TMPDIR`` has chosen.
"""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from typing import Final

SHARED: Final = "/dev/shm"
ROOM: Final = 4 << 30
"""A run has two gigabytes at most; what it leaves for others should be as much."""


def room(folder: str) -> int:
    """Return how many bytes may be kept in a folder in memory, 0 where programs or devices there do not work."""
    try:
        found = os.statvfs(folder)
        memory = re.search(r"^MemAvailable: +(\d+) kB$", Path("/proc/meminfo").read_text(), re.MULTILINE)
    except OSError:
        return 0
    if memory is None or found.f_flag & (os.ST_NOEXEC | os.ST_NODEV) or not os.access(folder, os.W_OK | os.X_OK):
        return 0
    return min(int(memory[1]) << 10, found.f_bavail * found.f_frsize)


def use_memory(folder: str = SHARED) -> None:
    """Make a folder in memory the place of temporary files, for this process and what it starts, if it has the room."""
    if "TMPDIR" in os.environ or room(folder) < ROOM:
        return
    os.environ["TMPDIR"] = folder
    tempfile.tempdir = None
