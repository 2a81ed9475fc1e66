"""What only a store in a local directory has, as one capability that callers ask for.

Copies with hard links or shared blocks, modes and groups, the quarantine, a log to be mended, strangers' files in a
directory: none of that means anything where blobs lie in memory or on another machine. What is about it asks for
`Store.files`, and gets this or one error.
"""

from __future__ import annotations

import os

from orlop.model.tuples import NamedTuple
from orlop.store.blobs.files import leftover_of
from orlop.streams.files import explaining

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from orlop.store.blobs.files import FileBlobStore
    from orlop.store.blobs.incoming import IncomingFiles
    from orlop.store.blobs.store import Leftover
    from orlop.store.rows.file import RowsFile
    from orlop.streams.directory import Directory
    from orlop.streams.files import Modes

_UNFINISHED: Final = (".part", ".part-journal", ".part-wal", ".part-shm")


class LocalFiles(NamedTuple):
    """The ``directory`` of a store, the ``modes`` of what it makes there, and its ``blobs`` and ``rows`` as files."""

    directory: Directory
    modes: Modes
    blobs: FileBlobStore
    rows: RowsFile

    @property
    def incoming(self) -> IncomingFiles:
        """What others send in several requests."""
        from orlop.store.blobs.incoming import IncomingFiles  # noqa: PLC0415 - only where content is pushed

        return IncomingFiles(self.directory, self.modes)

    def expired_uploads(self, before: float) -> list[Leftover]:
        """Return the files of uploads that nobody has continued since a time, in seconds since 1970."""
        return [one for file in self.incoming.expired(before) if (one := leftover_of(file)) is not None]

    def unfinished_rows(self) -> list[Leftover]:
        """Return the copies of rows that are in the making, or that were when their makers died."""
        root = self.directory
        with explaining("read", os.path.join(root.path, "")):
            names = [name for name in root.names() if name.startswith("metadata.db.") and name.endswith(_UNFINISHED)]
        return [one for name in names if (one := leftover_of(root.place(name))) is not None]
