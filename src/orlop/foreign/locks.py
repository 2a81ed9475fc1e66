"""Whether a daemon still uses a root: it holds locks on files, which checking does not disturb."""

from __future__ import annotations

import fcntl
from typing import TYPE_CHECKING

from orlop.errors import OrlopError
from orlop.foreign.disk import close

if TYPE_CHECKING:
    from orlop.foreign.disk import Folder
    from orlop.foreign.rebuilt import Path


def is_locked(root: Folder, path: Path) -> bool:
    """Return whether another process holds a file locked, as a living daemon does."""
    try:
        with root.below(*path[:-1]) as folder:
            descriptor, _ = folder.open_file(path[-1])
    except OrlopError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # a file system without locks tells nothing
        return False
    finally:
        close(descriptor)
    return False
