"""What a blob's file holds, found out in one reading: its digest, its diff ID, whether its table of contents fits."""

from __future__ import annotations

import io
import os
import stat
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Final, NamedTuple

from orlop.errors import InvalidInput, TocDamaged
from orlop.model.limits import NO_LIMITS
from orlop.store.ingest import measure_layer
from orlop.store.metadata import BlobRow
from orlop.streams.files import CHUNK, explaining
from orlop.streams.meter import Meter
from orlop.streams.toc import read_toc
from orlop.streams.toc_compare import TocComparer
from orlop.streams.verify import HashingReader

if TYPE_CHECKING:
    from collections.abc import Callable

    from orlop.store.metadata import DiffRow

_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Place(NamedTuple):
    """Which file it was that was read: another one, or a changed one, has another place."""

    device: int
    inode: int
    size: int
    changed: int


@dataclass(frozen=True, slots=True)
class Exam:
    """What is in a file.

    ``blob`` is what its bytes are, ``diff`` the layer that they hold; where they hold none, that is nothing and
    ``reason`` says why. ``toc_right`` says whether the table of contents is the layer's; nothing where there is none.
    """

    place: Place
    blob: BlobRow
    diff: DiffRow | None
    reason: str = ""
    toc_right: bool | None = None


def examine(path: str, *, toc: str | None = None, progress: Callable[[int], object] | None = None) -> Exam | None:
    """Read a file to its end, once; only what is no layer is read a second time.

    Args:
        path: the file. No link is followed.
        toc: where the table of contents lies that should be the layer's.
        progress: called with the number of bytes read since the last call.

    Gives nothing where there is no regular file.

    Raises:
        PermissionDenied, StorageError: it cannot be read.
    """
    with explaining("read", path), ExitStack() as stack:
        file = _opened(path)
        if file is None:
            return None
        stack.enter_context(file)
        comparer = None if toc is None else _comparer(toc, stack)
        place = _place(os.fstat(file.fileno()))
        try:
            headers = None if comparer is None else comparer.add
            # What is kept was let in under limits that somebody chose.
            found = measure_layer(file, meter=Meter(NO_LIMITS), headers=headers, progress=progress)
        except InvalidInput as error:
            file.seek(0)
            raw = HashingReader(file)
            while raw.read(CHUNK):
                pass
            return Exam(place, BlobRow(raw.digest, raw.size, ""), None, str(error))
        return Exam(place, found.blob, found.diff, toc_right=None if comparer is None else comparer.right)


def toc_fits(path: str, diff: DiffRow) -> bool:
    """Say whether a table of contents can be read and says of its layer what is recorded; one that is missing does."""
    try:
        file = _opened(path)
        if file is None:
            return True
        with file:
            reader = read_toc(file)
            for _ in reader:
                pass
    except (OSError, InvalidInput, TocDamaged):
        return False
    found = reader.summary
    return found is not None and (found.entries, found.content_size, found.tar_size) == (
        diff.entries,
        diff.content_size,
        diff.size,
    )


def _comparer(toc: str, stack: ExitStack) -> TocComparer | None:
    try:
        table = _opened(toc)
    except OSError:
        # What cannot be read is not right, and the layer itself may be.
        return TocComparer(io.BytesIO())
    return None if table is None else TocComparer(stack.enter_context(table))


def place_of(path: str) -> Place | None:
    """Give which file has a name, links not followed; nothing where there is none."""
    with suppress(FileNotFoundError, NotADirectoryError):
        return _place(os.lstat(path))
    return None


def _place(state: os.stat_result) -> Place:
    return Place(state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns)


def _opened(path: str) -> BinaryIO | None:
    """Open a regular file; neither a pipe nor a link in its place makes the reader wait, or read elsewhere."""
    if not _is_file(path):
        return None
    try:
        descriptor = os.open(path, _FLAGS)
    except FileNotFoundError:
        return None
    file = open(descriptor, "rb", buffering=0)  # noqa: SIM115 - the caller closes it
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        file.close()
        return None
    return file


def _is_file(path: str) -> bool:
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
