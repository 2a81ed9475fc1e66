"""Names that go from an OCI layout in a directory, with the blobs that nothing in it needs any more.

The index changes first, under the lock that writers of orlop's take, and the blobs go after it: a reader sees the old
index or the new one, and all that either names. What goes is what the lost entries lead to and the others do not. Where
an entry that stays cannot be read, no blob goes.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from orlop.archive.oci_directory import publish_index, put_file
from orlop.archive.oci_index import index_without
from orlop.archive.oci_tar import blob_path
from orlop.errors import InvalidArchive, InvalidDigest, InvalidJSON, InvalidManifest, WriteFailed
from orlop.model.digest import Digest
from orlop.model.limits import DEFAULT_LIMITS
from orlop.model.manifest import Index, parse_manifest
from orlop.streams.directory import Directory
from orlop.streams.files import explaining
from orlop.streams.part_directory import DirectoryLock, PartDirectory

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from orlop.model.manifest import Manifest
    from orlop.model.reference import Reference

_MOST: Final = 1_000_000


def forget_names(path: str, names: Collection[Reference]) -> None:
    """Remove names from a layout. Those that it does not have are gone already; idempotent.

    Raises:
        InvalidArchive: the layout cannot be read. StorageError: it cannot be written. It is then as it was, but for
            blobs that nothing names any more.
    """
    with explaining("write", path), Directory(os.path.realpath(path)) as layout, DirectoryLock(layout):
        before = _read(layout, "index.json")
        try:
            after = index_without(before, names)
            old, left = _entries(before), _entries(after)
            after = index_without(before, names, _about(layout, left, old - left))
            left = _entries(after)
        except (InvalidJSON, InvalidManifest) as error:
            raise InvalidArchive(f"cannot read {path}/index.json: {error}; mend it, or name a new directory") from error
        if left == old and after == before:
            return
        needed = _reached(layout, left)
        unneeded = set() if needed is None else (_reached(layout, old - left, is_whole=False) or set()) - needed
        with PartDirectory(layout) as part:
            put_file(part.directory, "index.json", after, path)
            if _read(layout, "index.json") != before:
                raise WriteFailed(f"{path}/index.json was changed while it was written; try again")
            publish_index(layout, part.directory)
        for digest in unneeded:
            with suppress(FileNotFoundError):
                layout.place(blob_path(digest)).unlink()


def _read(layout: Directory, name: str) -> bytes:
    """Return a document of a layout. Raises `LimitExceeded`."""
    limit = DEFAULT_LIMITS.manifest_size
    with open(layout.place(name).open(), "rb") as file:
        raw = file.read(limit + 1)
    if len(raw) > limit:
        raise DEFAULT_LIMITS.exceeded("manifest_size", f"{name} has more than {limit} bytes")
    return raw


def _entries(raw: bytes) -> set[str]:
    return {str(one.digest) for one in Index.from_json(raw).manifests}


def _about(layout: Directory, left: Iterable[str], gone: set[str]) -> set[str]:
    """Return the entries that refer to what is gone."""
    found = set()
    for text in left:
        document = _document(layout, text)
        if document is not None and document.subject is not None and str(document.subject.digest) in gone:
            found.add(text)
    return found


def _document(layout: Directory, text: str) -> Manifest | Index | None:
    """Return a manifest or an index of the layout; None where it is neither, or cannot be read."""
    try:
        return parse_manifest(_read(layout, blob_path(Digest.parse(text))))
    except (InvalidDigest, InvalidManifest, OSError):
        return None


def _reached(layout: Directory, entries: Iterable[str], *, is_whole: bool = True) -> set[Digest] | None:
    """Return all that entries lead to; None where something is there that cannot be read, and ``is_whole`` asks for it.

    What is not there needs nothing: a layout may lack parts of its indexes.
    """
    found: set[str] = set()
    waiting = list(entries)
    while waiting:
        text = waiting.pop()
        if text in found:
            continue
        found.add(text)
        if len(found) > _MOST:
            return None
        document = _document(layout, text)
        if document is None:
            if is_whole and _is_there(layout, text):
                return None
        elif isinstance(document, Index):
            waiting += [str(one.digest) for one in document.manifests]
        else:
            found |= {str(one.digest) for one in (document.config, *document.layers)}
    return {digest for text in found if (digest := Digest.unchecked(text)).is_valid}


def _is_there(layout: Directory, text: str) -> bool:
    digest = Digest.unchecked(text)
    return not digest.is_valid or layout.place(blob_path(digest)).state() is not None
