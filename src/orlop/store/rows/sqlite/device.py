"""Whether it is the device, and not the database, that is at fault where SQLite calls a database malformed.

SQLite says so, too, where a page could not be read in the midst of some of its own work. What cannot be read at the
moment may be whole, and must be taken neither for damage nor for lost. So the files are read from end to end.
"""

from __future__ import annotations

import os
import stat
import time

from orlop.store.rows.sqlite.unopened import BESIDE, FLAGS, descriptors_of, in_turn
from orlop.streams.files import CHUNK, is_unreadable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

_SECONDS: Final = 60
"""For how long what could be read counts as readable: each request to a server may meet the same damage."""
_readable: dict[str, float] = {}


def read_error(path: str) -> OSError | None:
    """Return the error of the device that keeps a database, or what belongs to it, from being read, if there is one."""
    if _readable.get(path, 0) > time.monotonic():
        return None
    with in_turn():
        for name in (path, *(f"{path}{suffix}" for suffix in BESIDE)):
            try:
                _read_through(name)
            except OSError as error:
                if is_unreadable(error):
                    return error
    _readable.clear()
    _readable[path] = time.monotonic() + _SECONDS
    return None


def _read_through(path: str) -> None:
    state = os.stat(path, follow_symlinks=False)
    # Closing a descriptor of a file that is open here would end the locks that this process has on it.
    own = next(descriptors_of(state), None)
    descriptor = os.open(path, FLAGS) if own is None else own
    try:
        for at in range(0, state.st_size if stat.S_ISREG(state.st_mode) else 0, CHUNK):
            os.pread(descriptor, CHUNK, at)
    finally:
        if own is None:
            os.close(descriptor)
