"""``save`` into an archive that is there: a new archive with the images of both takes its place."""

from __future__ import annotations

import os
import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from orlop.archive.docker_append import OldArchive, appended
from orlop.archive.oci_index import index_json
from orlop.archive.oci_tar import layout_chunks
from orlop.errors import InvalidInput
from orlop.streams.directory import Directory
from orlop.streams.files import explaining
from orlop.streams.output import Output
from orlop.streams.part_directory import DirectoryLock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from orlop.archive.docker_append import Added
    from orlop.archive.oci_index import WrittenIndex
    from orlop.archive.oci_layout import LayoutContent
    from orlop.model.limits import Limits
    from orlop.model.progress import Progress
    from orlop.store.root import Store


@contextmanager
def appending(
    target: str | os.PathLike[str], form: str, limits: Limits
) -> Iterator[tuple[str, Callable[[Added, Progress | None], None]]]:
    """Return, for a block, the format in which images go into an archive, and what adds those that are laid out so.

    Args:
        target: the archive; where there is none, one is made. See `_old` for several writers.
        form: the format of a new one.
        limits: what the old one may ask for.

    Raises:
        InvalidArchive: it is not a Docker archive, or is compressed. StorageError: it cannot be read or written.
    """
    shown = os.fspath(target)
    with _old(shown) as descriptor:
        if descriptor is None:
            yield form, lambda new, progress: _write(shown, new.chunks(progress))
        else:
            old = OldArchive(descriptor, shown, limits)
            yield old.form, lambda new, progress: _write(shown, appended(old, new, progress))


def append_layout(
    store: Store, target: str | os.PathLike[str], content: LayoutContent, progress: Progress | None
) -> WrittenIndex:
    """Add content to an OCI layout in a tar, which is made if it does not exist, and return its new index.

    Raises:
        InvalidArchive: it is not an OCI layout, or is compressed. StorageError: it cannot be read or written.
    """
    from orlop.archive.oci_append import OldLayout, appended_layout  # noqa: PLC0415 - most archives are docker's

    shown = os.fspath(target)
    with _old(shown) as descriptor:
        if descriptor is None:
            index = index_json(content.entries, content.lacking)
            _write(shown, layout_chunks(content, index.raw, progress))
        else:
            old = OldLayout(descriptor, shown, store.limits)
            index = old.index_with(content)
            _write(shown, appended_layout(old, content, index, progress))
    return index


@contextmanager
def _old(shown: str) -> Iterator[int | None]:
    """Return, for a block, a descriptor of the archive that is there, if one is.

    Writers of orlop that add to archives in one folder wait for each other, by a lock on the folder. The new archive
    takes the place of the old one when it is complete.
    """
    path = os.path.realpath(shown)
    with explaining("write", shown):
        folder = os.path.dirname(path)
        above = Directory(folder, os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
    with above, DirectoryLock(above):
        with explaining("read", shown):
            descriptor = _opened(path)
        if descriptor is None:
            yield None
            return
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                msg = f"cannot add to {shown}: it is not a file"
                raise InvalidInput(msg)
            yield descriptor
        finally:
            with suppress(OSError):  # it was only read
                os.close(descriptor)


def _opened(path: str) -> int | None:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return None


def _write(shown: str, chunks: Iterator[bytes]) -> None:
    # The first chunk is made before the target is touched: what cannot be saved leaves no trace.
    first = next(chunks)
    with Output(shown) as output:
        output.write(first)
        for chunk in chunks:
            output.write(chunk)
        output.finish()
