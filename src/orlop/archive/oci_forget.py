"""Names that go from an OCI layout in a directory, with the blobs that nothing in it needs any more.

The index changes first, under the lock that writers of orlop's take, and the blobs go after it: a reader sees the old
index or the new one, and all that either names. What goes is what the lost entries lead to and the others do not. Where
an entry that stays cannot be read, no blob goes.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from orlop.archive.names import IMAGE_NAME, REF_NAME, named_by
from orlop.archive.oci_blobs import blob_path
from orlop.archive.oci_directory import publish_index, put_file, read_document
from orlop.archive.oci_index import index_without
from orlop.errors import InvalidArchive, InvalidDigest, InvalidJSON, InvalidManifest, LimitExceeded, WriteFailed
from orlop.model.attached import refers_to, staying_beside
from orlop.model.digest import Digest
from orlop.model.limits import DEFAULT_LIMITS
from orlop.model.manifest import Index, parse_manifest
from orlop.streams.directory import Directory
from orlop.streams.files import explaining
from orlop.streams.part_directory import DirectoryLock, PartDirectory

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from orlop.model.descriptor import Descriptor
    from orlop.model.limits import Limits
    from orlop.model.manifest import Manifest
    from orlop.model.reference import Reference

_MOST: Final = 1_000_000


def forget_names(path: str, names: Collection[Reference], limits: Limits = DEFAULT_LIMITS) -> None:
    """Remove names from a layout. Those that it does not have are gone already; idempotent.

    Raises:
        InvalidArchive: the layout cannot be read. LimitExceeded: its index is too large. StorageError: it cannot be
            written. It is then as it was, but for blobs that nothing names any more.
    """
    with explaining("write", path), Directory(os.path.realpath(path)) as layout, DirectoryLock(layout):
        before = _index(layout, limits)
        try:
            after = index_without(before, names)
            old, left = _entries(before), _entries(after)
            kept = Index.of_layout(after, may_be_strange=True)
            after = index_without(before, names, _about(layout, kept, old - left))
            left = _entries(after)
        except (InvalidJSON, InvalidManifest) as error:
            raise InvalidArchive(
                f"cannot read {path}/index.json: {error}; correct it, or name a new directory"
            ) from error
        if left == old and after == before:
            return
        needed = None if kept.strange else _reached(layout, left)
        unneeded = set() if needed is None else (_reached(layout, old - left, is_whole=False) or set()) - needed
        with PartDirectory(layout) as part:
            put_file(part.directory, "index.json", after, path)
            if _index(layout, limits) != before:
                raise WriteFailed(f"{path}/index.json was changed while it was written; try again")
            publish_index(layout, part.directory)
        for digest in unneeded:
            with suppress(FileNotFoundError):
                layout.place(blob_path(digest)).unlink()


def _index(layout: Directory, limits: Limits) -> bytes:
    return read_document(layout.place("index.json"), "index.json", limits)


def _entries(raw: bytes) -> set[str]:
    return {str(one.digest) for one in Index.of_layout(raw, may_be_strange=True).manifests}


def _about(layout: Directory, left: Index, lost: set[str]) -> set[tuple[str, str]]:
    """Return the entries that go with others, by what they are called and their digests: what refers to what goes.

    What goes is what lost entries alone lead to, themselves among it. Where that cannot be told, it is they alone.
    Nobody can tell what is below a digest by an algorithm that is not known.
    """
    beside: list[tuple[tuple[str, str], Digest, frozenset[Digest]]] = []
    alone: list[str] = []
    for one in left.manifests:
        subjects = _subjects(layout, one)
        if subjects:
            beside.append(((one.annotations.get(REF_NAME, ""), str(one.digest)), one.digest, subjects))
        else:
            alone.append(str(one.digest))
    held = None if left.strange else _reached(layout, alone)
    below = _reached(layout, lost, is_whole=False)
    if held is None or below is None:
        held, below = _digests(alone), _digests(lost)
    staying = staying_beside(beside, held, below)
    return {entry for entry, _, _ in beside} - set(staying)


def _subjects(layout: Directory, entry: Descriptor) -> frozenset[Digest]:
    if named_by(entry.annotations.get(IMAGE_NAME, "")) is not None:
        return frozenset()
    return refers_to(entry.annotations.get(REF_NAME, ""), lambda: _document(layout, str(entry.digest)))


def _document(layout: Directory, text: str) -> Manifest | Index | None:
    """Return a manifest or an index of the layout; None where it is neither, or cannot be read."""
    try:
        return parse_manifest(read_document(layout.place(blob_path(Digest.parse(text))), text, DEFAULT_LIMITS))
    except (InvalidDigest, InvalidManifest, LimitExceeded, OSError):
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
    return _digests(found)


def _digests(texts: Iterable[str]) -> set[Digest]:
    return {digest for text in texts if (digest := Digest.unchecked(text)).is_valid}


def _is_there(layout: Directory, text: str) -> bool:
    digest = Digest.unchecked(text)
    return not digest.is_valid or layout.place(blob_path(digest)).state() is not None
