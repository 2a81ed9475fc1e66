"""Content of every kind by digest: what a manifest or an index is, what it leads to, and the bytes of anything.

`orlop.store.rows.content` says how content is reached, and so what stays. Here it is read: a `Node` is one manifest or
index; `ContentStore.walk` goes down from one, `ContentStore.referrers` finds what speaks of it.
"""

from __future__ import annotations

import hashlib
import io
from contextlib import contextmanager

from orlop.errors import ContentNotFound, DigestMismatch
from orlop.model.digest import ImageID
from orlop.model.generic import Protocol
from orlop.model.manifest import Manifest, kind_of, parse_manifest
from orlop.model.reference import Reference
from orlop.model.values import dataclass
from orlop.store.rows.content import CHILD, SUBJECT
from orlop.store.rows.metadata import TopRow

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Final

    from orlop.model.digest import Digest
    from orlop.model.manifest import Index
    from orlop.store.blobs.store import BlobStore
    from orlop.store.rows.metadata import ManifestRow, Metadata, Rows, WritableRows


class _Address:
    """Texts by which layouts name what they hold and that no reference can hold, as rows of names.

    Such a row stands beside those of others with the same text, since two layouts may name two things alike. An empty
    text stands for what has no name at all, and is kept all the same until somebody removes it.
    """

    _PREFIX: Final = "layout:"

    def name(self, text: str) -> str:
        """Return the name in the rows of a text."""
        return f"{self._PREFIX}{text}"

    def row(self, text: str, digest: Digest, now: int) -> TopRow:
        """Return the row that keeps something under a text."""
        return TopRow(self.name(text), f"@{digest}", digest, now)

    def text(self, row: TopRow) -> str | None:
        """Return the text of a row; nothing where it is a reference's."""
        return row.name.removeprefix(self._PREFIX) if row.name.startswith(self._PREFIX) else None


ADDRESS: Final = _Address()


CACHED: Final = "cache:"
"""What the names of rows begin with that a pull-through cache keeps content by; no reference begins so."""


def top_row(reference: Reference, digest: Digest, now: int) -> TopRow:
    """Return the row that says what a tag means."""
    return TopRow(reference.name, f":{reference.tag}", digest, now)


def home_row(name: str, digest: Digest, now: int) -> TopRow:
    """Return the row that keeps a manifest or an index in a repository by its digest, where no image has that name."""
    return TopRow(name, f"@{digest}", digest, now)


def reference_of_top(row: TopRow) -> Reference | None:
    """Return the tag that a row is about; nothing for an address, a repository's name by digest, and a cache's row."""
    if ADDRESS.text(row) is not None or row.name.startswith(CACHED) or not row.suffix.startswith(":"):
        return None
    domain, _, path = row.name.partition("/")
    return Reference(domain, path, row.suffix[1:], None)


class Readable(Protocol):
    """Anything that gives bytes: at most ``n`` at once, none at the end."""

    def read(self, n: int, /) -> bytes:
        """Return at most ``n`` bytes."""


@dataclass(frozen=True, slots=True)
class Node:
    """A manifest or an index: its ``kind`` is ``index``, ``image`` or ``artifact``, by its content and never by a name.

    ``artifact_type`` is what it says, else the type of its config where it is an artifact, else empty. ``subject`` is
    what it refers to, if it refers to something, which need not be there.
    """

    row: ManifestRow
    document: Manifest | Index
    kind: str
    artifact_type: str
    subject: Digest | None

    @property
    def digest(self) -> Digest:
        """Its digest."""
        return self.row.digest

    @property
    def media_type(self) -> str:
        """Its media type."""
        return self.row.media_type

    @property
    def size(self) -> int:
        """The number of its bytes."""
        return len(self.row.raw)

    @property
    def raw(self) -> bytes:
        """Its exact bytes."""
        return self.row.raw


class ContentStore:
    """All content of a store, read by digest.

    Args:
        metadata: the rows.
        blobs: the bytes that rows name.
    """

    def __init__(self, metadata: Metadata, blobs: BlobStore) -> None:
        self._metadata = metadata
        self._blobs = blobs

    def node(self, digest: Digest) -> Node:
        """Return a manifest or an index, verified.

        Raises:
            ContentNotFound: there is none. DigestMismatch: its bytes are damaged. InvalidManifest: it cannot be read.
        """
        with self._metadata.read() as rows:
            row = rows.manifest(digest)
        if row is None:
            raise _missing(digest)
        return node_of(row)

    def named(self, reference: Reference) -> Digest:
        """Return the manifest or index that a tag means. Raises `ContentNotFound` where that is not recorded."""
        with self._metadata.read() as rows:
            row = rows.top(reference.name, f":{reference.tag or 'latest'}")
        if row is None:
            raise ContentNotFound(f"{reference.familiar} means no manifest that is there")
        return row.digest

    def names(self, digest: Digest) -> tuple[Reference, ...]:
        """Return the tags that mean a manifest or an index, sorted."""
        with self._metadata.read() as rows:
            found = [reference_of_top(row) for row in rows.tops(digest)]
        return tuple(name for name in found if name is not None)

    def tops(self) -> tuple[tuple[Digest, tuple[Reference, ...]], ...]:
        """Return all manifests and indexes that a name or an address means, each with its tags, sorted by digest."""
        found: dict[Digest, list[Reference]] = {}
        with self._metadata.read() as rows:
            for row in rows.tops():
                names = found.setdefault(row.digest, [])
                if (reference := reference_of_top(row)) is not None:
                    names.append(reference)
        return tuple((digest, tuple(names)) for digest, names in sorted(found.items()))

    def addresses(self, digest: Digest) -> tuple[str, ...]:
        """Return the texts by which layouts have named a manifest or an index and that are not references, sorted."""
        with self._metadata.read() as rows:
            found = [ADDRESS.text(row) for row in rows.tops(digest)]
        return tuple(text for text in found if text)

    def referrers(self, digest: Digest) -> tuple[Node, ...]:
        """Return what refers to some content as its subject, sorted by digest. The content need not be there."""
        with self._metadata.read() as rows:
            edges = [edge for edge in rows.edges_to(digest) if edge.role == SUBJECT]
            found = [row for edge in edges if (row := rows.manifest(edge.parent)) is not None]
        return tuple(map(node_of, found))

    def walk(self, digest: Digest, *, referrers: bool = True) -> Iterator[Node]:
        """Yield a manifest or index and all below it that are there, each once, a parent before its children.

        Args:
            digest: where to begin.
            referrers: go to what refers to each of them, too, after its children.

        Raises:
            ContentNotFound: the first is not there. Beside it, what `node` raises.
        """
        yield self.node(digest)
        seen = {digest}
        waiting = [digest]
        while waiting:
            current = waiting.pop(0)
            with self._metadata.read() as rows:
                near = list(_near(rows, current, referrers=referrers))
            for one in near:
                if one.digest not in seen:
                    seen.add(one.digest)
                    yield node_of(one)
                    waiting.append(one.digest)

    def sweep(self, rows: WritableRows) -> None:
        """Remove, inside a write, the blobs that only manifests needed which went in it."""
        self._blobs.remove(rows, rows.prune_freed())

    def forget(self, rows: WritableRows, digest: Digest) -> tuple[Reference, ...]:
        """Take all names and addresses from a manifest or index, inside a write, and return the tags that went.

        It goes with all below it and about it, as far as nothing else leads there. Idempotent.
        """
        tops = rows.tops(digest)
        rows.delete_tops((row.name, row.suffix) for row in tops)
        self.sweep(rows)
        return tuple(reference for row in tops if (reference := reference_of_top(row)) is not None)

    def has(self, digest: Digest) -> bool:
        """Return whether a manifest, an index, a config or a blob is there, whatever it is."""
        with self._metadata.read() as rows:
            if rows.manifest(digest) is not None or rows.config(digest) is not None:
                return True
            row = rows.blob(digest)
        return row is not None and self._blobs.has(row)

    def size(self, digest: Digest) -> int:
        """Return the number of bytes of any content. Raises `ContentNotFound`."""
        with self._metadata.read() as rows:
            document = _document(rows, digest)
            row = rows.blob(digest)
        if document is not None:
            return len(document)
        if row is None:
            raise _missing(digest)
        return row.size

    @contextmanager
    def open(self, digest: Digest) -> Iterator[Readable]:
        """Return, for a block, a reader of any content by its digest, whatever it is.

        The reader fails before the last byte where the bytes are not what the digest says. Whoever reads for long holds
        a lease on the digest first.

        Raises:
            ContentNotFound: it is not there. DigestMismatch: a document is damaged.
        """
        with self._metadata.read() as rows:
            document = _document(rows, digest)
            row = rows.blob(digest)
        if document is not None:
            yield io.BytesIO(verified(digest, document))
            return
        if row is None:
            raise _missing(digest)
        with self._blobs.open(row) as reader:
            yield reader


def node_of(row: ManifestRow, document: Manifest | Index | None = None) -> Node:
    """Return what a row is. Raises `DigestMismatch` where its bytes are damaged, `InvalidManifest`.

    The document is what `parse_manifest` returned for these bytes, if somebody has called it.
    """
    raw = verified(row.digest, row.raw)
    document = parse_manifest(raw) if document is None else document
    subject = None if document.subject is None else document.subject.digest
    kind = kind_of(document)
    implied = document.config.media_type if isinstance(document, Manifest) and kind == "artifact" else ""
    return Node(row, document, kind, document.artifact_type or implied, subject)


def is_sound(digest: Digest, raw: bytes) -> bool:
    """Return whether the bytes of a document are what its digest says."""
    return hashlib.new(digest.algorithm, raw).hexdigest() == digest.hex


def sound_config(rows: Rows, digest: Digest) -> bytes | None:
    """Return the config of an image by its digest; nothing where there is none, or it is damaged."""
    config = rows.config(ImageID.wrap(digest))
    return config if config is not None and is_sound(digest, config) else None


def sound_manifest(rows: Rows, digest: Digest) -> ManifestRow | None:
    """Return a manifest or an index by its digest; nothing where there is none, or it is damaged."""
    row = rows.manifest(digest)
    return row if row is not None and is_sound(digest, row.raw) else None


def verified(digest: Digest, raw: bytes) -> bytes:
    """Return the bytes of a document. Raises `DigestMismatch` where they are not what its digest says."""
    if not is_sound(digest, raw):
        msg = f"the document {digest} in the store is damaged; run `orlop fsck`, then load it again"
        raise DigestMismatch(msg)
    return raw


def _document(rows: Rows, digest: Digest) -> bytes | None:
    row = rows.manifest(digest)
    return rows.config(ImageID.wrap(digest)) if row is None else row.raw


def _near(rows: Rows, digest: Digest, *, referrers: bool) -> Iterator[ManifestRow]:
    found = [edge.child for edge in rows.edges(digest) if edge.role == CHILD]
    if referrers:
        found += [edge.parent for edge in rows.edges_to(digest) if edge.role == SUBJECT]
    for one in found:
        row = rows.manifest(one)
        if row is not None:
            yield row


def _missing(digest: Digest) -> ContentNotFound:
    return ContentNotFound(f"there is no content {digest} in the store; load it first")
