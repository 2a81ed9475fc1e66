"""Space that is kept for what frees space: on a full disk a database cannot even say that an image is gone."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from orlop.streams.files import allocate

if TYPE_CHECKING:
    from orlop.streams.files import Modes

NAME: Final = "metadata.db.reserve"
_LEAST: Final = 1 << 20
_MOST: Final = 16 << 20
_SHARE: Final = 4


class Reserve:
    """A file of no content beside the database.

    A removal changes no more pages than the database has, each of which its log holds once or, as it grows, twice.
    """

    def __init__(self, root: str, modes: Modes) -> None:
        self._root = root
        self._path = os.path.join(root, NAME)
        self._database = os.path.join(root, "metadata.db")
        self._modes = modes
        self._given_up = False

    def keep(self) -> None:
        """Take the space that is right for the database, if there is one, unless little or none is left for others."""
        # Whoever needs it finds out then: nothing depends on it before.
        with suppress(OSError):
            wanted = min(max(2 * os.stat(self._database).st_size, _LEAST), _MOST)
            missing = wanted - _size_of(self._path)
            # What was given up here is taken back, whatever is left.
            if missing > 0 and (self._given_up or missing <= _free_space(self._root) // _SHARE):
                try:
                    allocate(self._path, wanted, self._modes.file)
                except OSError:
                    self.give_up()

    def give_up(self) -> bool:
        """Give the space back, and say whether there was any; raises OSError where it cannot be given back."""
        try:
            os.unlink(self._path)
        except FileNotFoundError:
            return False
        self._given_up = True
        return True


def _size_of(path: str) -> int:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0


def _free_space(path: str) -> int:
    """Give how many bytes can still be written to the file system of a path."""
    state = os.statvfs(path)
    return state.f_bavail * state.f_frsize
