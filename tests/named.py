"""What a call of the system is about: names below directories that are held, and descriptors, as paths."""

from __future__ import annotations

import os
from pathlib import Path


def named(file: str | int | os.PathLike[str], at: int | None = None) -> str:
    """Return the path of what a call of `os` is given, with the ``dir_fd`` that it is given."""
    if isinstance(file, int):
        return str(Path(f"/proc/self/fd/{file}").readlink())
    path = os.fspath(file)
    if path.startswith("/proc/self/fd/"):
        return str(Path(path).readlink())
    return path if at is None else str(Path(f"/proc/self/fd/{at}").readlink() / path)
