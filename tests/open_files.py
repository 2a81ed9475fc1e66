"""Which files of a test's own folder this process has open: other tests may have left some of theirs."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path


def open_below(place: Path | str) -> list[str]:
    """Return the paths of the open files of this process that begin so."""
    found = []
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            found.append(str(entry.readlink()))
    return sorted(one for one in found if one.startswith(str(place)))
