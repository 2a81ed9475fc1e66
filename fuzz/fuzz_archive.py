"""Whole archives, given anything at all: read from a file and from a stream, and loaded, or refused with an error.

`check` is what a fuzzer calls; `mutate` helps it past the checksums. `fuzz/run.py` runs both. What a test would name a
traceback is anything but an `OrlopError`.
"""

# ruff: noqa: INP001 -- a script beside its seeds, loaded by its path

from __future__ import annotations

import atexit
import io
import os
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from fuzz_tar import mutate as mend

# All that a call needs is imported here: what is imported later is not instrumented.
import orlop
import orlop.service.listing.history
import orlop.service.listing.inspect
import orlop.service.load
import orlop.service.space.remove
from orlop import errors
from orlop.archive.reader import Archive
from orlop.model.limits import Limits
from orlop.service.image_service import open_service
from orlop.streams.compression import Compression, detect

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orlop.archive.reader import ArchivedImage

_LIMITS = Limits(
    members=200,
    layer_entries=2000,
    extension_size=1 << 14,
    documents_size=1 << 18,
    json_values=20_000,
    plain_size=1 << 22,
    window_size=1 << 20,
    ratio_floor=1 << 21,
)
"""Small ones, so that no input takes long."""

_Found = list[tuple[orlop.ImageID, tuple[orlop.Reference, ...]]]


def check(data: bytes) -> bool:
    """Return whether it is an archive. Raise AssertionError where it depends on the way, and what it should not."""
    streamed = _read(io.BytesIO(data))
    with _file(data) as file:
        located = _read(file)
    # Through a pipe, members that nothing needs are looked at too: what they ask for may be too much.
    if streamed is not None and located != streamed:
        raise AssertionError(f"a stream holds {streamed!r}, a file {located!r}")
    if located is None:
        return False
    with _file(data) as file:
        _load(file, located)
    return True


def mutate(data: bytes) -> bytes:
    """Return every block that looks like a header the right checksum, where the archive is plain."""
    return mend(data) if detect(data) is Compression.NONE else data


def _file(data: bytes) -> BinaryIO:
    """Return a file of the memory with these bytes, which to the system is a regular one."""
    file = os.fdopen(os.memfd_create("archive"), "w+b")
    file.write(data)
    file.seek(0)
    return file


def _read(source: BinaryIO) -> _Found | None:
    try:
        with Archive(source, limits=_LIMITS) as archive:
            archive.verify()
            return _found(archive.images)
    except (errors.InvalidInput, errors.IntegrityError) as error:
        if not str(error).isprintable() or len(str(error)) > 600:
            raise AssertionError(repr(error)) from error
        return None


def _found(images: Sequence[ArchivedImage]) -> _Found:
    return [(image.id, image.references) for image in images]


@cache
def _store() -> orlop.ImageService:
    """Return a store in memory, where the system has such a place."""
    place = tempfile.mkdtemp(prefix="orlop-fuzz-", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None)  # noqa: S108
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    return open_service(Path(place) / "root")


def _load(source: BinaryIO, expected: _Found) -> None:
    images = _store()
    try:
        report = images.load(source, limits=_LIMITS)
    except orlop.OrlopError as error:
        # What is odd about names, parents and sizes together may show only now; then nothing is kept.
        if images.images(all=True):
            raise AssertionError(f"{error!r} left something") from error
        return
    if [(image.id, image.references) for image in report.images] != expected:
        raise AssertionError(f"{report!r} is not {expected!r}")
    for image in images.images(all=True):
        images.inspect(str(image.id))
        images.history(str(image.id))
    while found := images.images():
        images.remove(str(found[0].id), force=True)
