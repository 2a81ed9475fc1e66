"""What a blob's file holds, found out in one reading: its digest, its diff ID, whether its table of contents fits."""

from __future__ import annotations

import errno
import io
import os
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from orlop.errors import InvalidInput, TocDamaged
from orlop.model.limits import NO_LIMITS
from orlop.store.blobs.ingest import measure_layer
from orlop.store.rows.metadata import BlobRow
from orlop.streams.compression import PREFIX_SIZE, detect
from orlop.streams.directory import ForeignFile
from orlop.streams.files import CHUNK, explained, explaining, is_unreadable
from orlop.streams.meter import Meter
from orlop.streams.path_table import read_path_table
from orlop.streams.seek_index import read_seek_index
from orlop.streams.toc import read_toc
from orlop.streams.toc_compare import TocComparer
from orlop.streams.verify import HashingReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from orlop.errors import OrlopError
    from orlop.store.rows.metadata import DiffRow
    from orlop.streams.compression import Readable
    from orlop.streams.directory import Entry
    from orlop.streams.seek_index import SeekIndex

_EXHAUSTED: Final = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)


class Unreadable(Exception):
    """A file is there and cannot be read: a fact about the file, as ``reason`` says, which ends no look and no repair.

    What a process or the system has run out of is not such a fact, and raised as what it is.

    ``by_device`` says that the device could not read it, as it may do at another time.
    """

    def __init__(self, reason: OrlopError, *, by_device: bool = False) -> None:
        super().__init__(str(reason))
        self.reason = reason
        self.by_device = by_device


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
    ``reason`` says why. ``toc_right`` says whether the table of contents is the layer's; nothing where there is none,
    or the device cannot read it. ``index`` has the borders of the layer's compressed streams, if there are several.
    """

    place: Place
    blob: BlobRow
    diff: DiffRow | None
    reason: str = ""
    toc_right: bool | None = None
    index: SeekIndex | None = None


def examine(
    file: Entry,
    *,
    toc: Entry | None = None,
    headers: Callable[[bytes], object] | None = None,
    progress: Callable[[int], object] | None = None,
    algorithm: str = "sha256",
) -> Exam | None:
    """Read a file to its end, once; only what is not a layer is read a second time.

    Args:
        file: the file. No link is followed.
        toc: where the table of contents lies that should be the layer's.
        headers: called with the tar headers in the layer, in the place of a comparison with a table.
        progress: called with the number of bytes read since the last call.
        algorithm: by which it is named.

    Gives nothing where there is no regular file.

    Raises:
        Unreadable: it cannot be read. StorageError: nothing can be read. Exception: what the calls raise.
    """
    with ExitStack() as stack:
        content = open_content(file)
        if content is None:
            return None
        stack.enter_context(content)
        comparer = None if toc is None else _comparer(toc, stack)
        listener = _Listener(progress)
        try:
            # What is kept was let in under limits that somebody chose.
            found = measure_layer(
                content,
                meter=Meter(NO_LIMITS),
                headers=headers if comparer is None else comparer.add,
                progress=listener,
                algorithm=algorithm,
            )
        except InvalidInput as error:
            if listener.raised:
                raise
            content.seek(0)
            return Exam(content.place, blob_in(content, algorithm), None, str(error))
        right = None if comparer is None or toc is None else _is_right(comparer, toc)
        return Exam(content.place, found.blob, found.diff, toc_right=right, index=found.index)


def examine_opaque(
    file: Entry, *, progress: Callable[[int], object] | None = None, algorithm: str = "sha256"
) -> Exam | None:
    """Read a file that holds no layer to its end, once, and hash it. Takes and raises what `examine` does."""
    content = open_content(file)
    if content is None:
        return None
    with content:
        return Exam(content.place, blob_in(content, algorithm, progress), None, "it is not a layer")


def blob_in(content: Readable, algorithm: str, progress: Callable[[int], object] | None = None) -> BlobRow:
    """Return what is recorded of bytes, read to their end: also how they begin, as a layer's row says it."""
    raw, first = HashingReader(content, algorithm=algorithm), b""
    while chunk := raw.read(CHUNK):
        if len(first) < PREFIX_SIZE:
            first += chunk[:PREFIX_SIZE]
        if progress is not None:
            progress(len(chunk))
    return BlobRow(raw.digest, raw.size, detect(first).name.lower())


class _Listener:
    """Passes on how much was read, and knows whether it is the listener who has ended the reading."""

    def __init__(self, progress: Callable[[int], object] | None) -> None:
        self._progress = progress
        self.raised = False

    def __call__(self, size: int) -> None:
        if self._progress is not None:
            try:
                self._progress(size)
            except BaseException:
                self.raised = True
                raise


def _is_right(comparer: TocComparer, toc: Entry) -> bool | None:
    """Return whether a table of contents is that of the layer; nothing where the device cannot read it."""
    if comparer.error is not None and is_unreadable(comparer.error):
        return None
    try:
        return comparer.right and _index_fits(toc)
    except Unreadable:
        return None


def toc_fits(toc: Entry, diff: DiffRow) -> bool:
    """Return whether a table of contents can be read and agrees with its layer's record; a missing one does.

    Raises:
        Unreadable: the device cannot read it; it may be right.
    """
    try:
        file = open_content(toc)
        if file is None:
            return True
        with file:
            reader = read_toc(file)
            for _ in reader:
                pass
    except Unreadable as error:
        return _is_no_device(error)
    except (InvalidInput, TocDamaged):
        return False
    found = reader.summary
    fits = found is not None and (found.entries, found.content_size, found.tar_size) == (
        diff.entries,
        diff.content_size,
        diff.size,
    )
    return fits and _index_fits(toc)


def _index_fits(toc: Entry) -> bool:
    """Return whether what lies behind a table of contents, a path table and a seek index, is whole where it is.

    Raises as `toc_fits` does.
    """
    try:
        file = open_content(toc)
        if file is None:
            return True
        with file:
            index = read_seek_index(file)
            if index is not None:
                index.check()
            paths = read_path_table(file)
            if paths is not None:
                paths.check()
    except Unreadable as error:
        return _is_no_device(error)
    except TocDamaged:
        return False
    return True


def _is_no_device(error: Unreadable) -> bool:
    """Return False for what another user may read, or nobody: it is not right. Raises the error of a device."""
    if error.by_device:
        raise error
    return False


def _comparer(toc: Entry, stack: ExitStack) -> TocComparer | None:
    try:
        descriptor = _opened(toc)
    except Unreadable as error:
        # What cannot be read is not right, and the layer itself may be.
        return TocComparer(_Unread(error))
    if descriptor is None:
        return None
    return TocComparer(stack.enter_context(open(descriptor, "rb", buffering=0)))


class _Unread:
    """Stands for a file that could not be opened: to read it raises the error of the system."""

    def __init__(self, error: Unreadable) -> None:
        self._error = error.__cause__ or error

    def read(self, _size: int, /) -> bytes:
        """Raise the error."""
        raise self._error


def place_of(file: Entry) -> Place | None:
    """Return which file has a name, links not followed; nothing where there is none."""
    with suppress(ForeignFile):
        state = file.state()
        return None if state is None else _place(state)
    return None


def _place(state: os.stat_result) -> Place:
    return Place(state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns)


class ContentFile(io.FileIO):
    """A regular file that is read; ``place`` says which one it was when it was opened. Reading raises `Unreadable`."""

    def __init__(self, path: str, descriptor: int) -> None:
        self._path = path
        super().__init__(descriptor)
        self.place = _place(os.fstat(descriptor))

    def read(self, size: int | None = -1, /) -> bytes:
        """Return at most ``size`` bytes."""
        with _reading(self._path):
            return super().read(size)

    def close(self) -> None:
        """Release the file."""
        with explaining("read", self._path):
            super().close()


def open_content(file: Entry) -> ContentFile | None:
    """Open a regular file; neither a pipe nor a link in its place makes the reader wait, or read elsewhere.

    Gives nothing where there is none.

    Raises:
        Unreadable: it cannot be opened. StorageError: no file can be.
    """
    descriptor = _opened(file)
    return None if descriptor is None else ContentFile(file.path, descriptor)


def _opened(file: Entry) -> int | None:
    with _reading(file.path):
        try:
            return file.open()
        except (FileNotFoundError, ForeignFile):
            return None


@contextmanager
def _reading(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = explained(error, "read", path)
        if error.errno in _EXHAUSTED:
            raise reason from error
        raise Unreadable(reason, by_device=is_unreadable(error)) from error
