"""Space that is kept for what frees space: on a full disk a database cannot even say that an image is gone."""

from __future__ import annotations

import os
from contextlib import suppress

from orlop.streams.files import allocate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from orlop.streams.directory import Directory, Entry
    from orlop.streams.files import Modes

NAME: Final = "metadata.db.reserve"
_LEAST: Final = 1 << 20
_MOST: Final = 16 << 20
_SHARE: Final = 4


class Reserve:
    """A file of no content beside the database.

    A removal changes no more pages than the database has, each of which its log holds once or, as it grows, twice.
    """

    def __init__(self, root: Directory, modes: Modes) -> None:
        self._root = root
        self._file = root.at(NAME)
        self._database = root.at("metadata.db")
        self._modes = modes
        self._given_up = False

    def keep(self) -> None:
        """Take the space that is right for the database, if there is one, unless little or none is left for others."""
        # Whoever needs it finds out then: nothing depends on it before.
        with suppress(OSError):
            database = self._database.state()
            if database is None:
                return
            wanted = min(max(2 * database.st_size, _LEAST), _MOST)
            missing = wanted - _size_of(self._file)
            # What was given up here is taken back, whatever is left.
            if missing > 0 and (self._given_up or missing <= _free_space(self._root) // _SHARE):
                try:
                    allocate(self._file, wanted, self._modes.file)
                except OSError:
                    self.give_up()

    def give_up(self) -> bool:
        """Return the space back, and return whether there was any; raises OSError where it cannot be given back."""
        try:
            self._file.unlink()
        except FileNotFoundError:
            return False
        self._given_up = True
        return True


def _size_of(file: Entry) -> int:
    state = file.state()
    return 0 if state is None else state.st_size


def _free_space(root: Directory) -> int:
    """Return how many bytes can still be written to the file system of a directory."""
    state = os.fstatvfs(root.descriptor)
    return state.f_bavail * state.f_frsize
