"""A blob that no manifest names, but an ``index.json`` itself: kept by a small document that names it in its place.

Rows know content by what leads to it, and a name leads to a manifest or an index. So what stands in an ``index.json``
and is neither gets an index of its own, with the descriptor that stood there: its type and annotations are in it.
Behind it stand the blobs that it names, where it is a manifest of a type that was withdrawn and is otherwise not read.
This document has a media type that nothing else has, and is never written to a layout or sent to a registry: whoever
shows or writes it takes `loose_blob`.
"""

from __future__ import annotations

from orlop.model.digest import Digest
from orlop.model.manifest import INDEX_TYPES, MANIFEST_TYPES, Index
from orlop.store.rows.metadata import ManifestRow

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Final

    from orlop.model.descriptor import Descriptor
    from orlop.store.rows.metadata import Rows

_TYPE: Final = "application/vnd.dev.orlop.loose.v1+json"
_WITHDRAWN: Final = frozenset(
    {"application/vnd.oci.artifact.manifest.v1+json", "application/vnd.cncf.oras.artifact.manifest.v1+json"}
)


def is_loose(descriptor: Descriptor) -> bool:
    """Return whether an entry of ``index.json`` leads to a blob: its type is neither a manifest's nor an index's."""
    return bool(descriptor.media_type) and descriptor.media_type not in MANIFEST_TYPES | INDEX_TYPES


def names_blobs(descriptor: Descriptor) -> bool:
    """Return whether a blob is a manifest of a type that was withdrawn: what it names is kept with it."""
    return descriptor.media_type in _WITHDRAWN


def loose_row(descriptor: Descriptor, named: Iterable[Descriptor] = ()) -> ManifestRow:
    """Return the document that keeps a blob, and what it names."""
    raw = Index(media_type=_TYPE, manifests=(descriptor, *filter(is_loose, named))).to_json()
    return ManifestRow(Digest.of(raw), _TYPE, raw)


def loose_blob(row: ManifestRow) -> Descriptor | None:
    """Return the descriptor of the blob that a row keeps; nothing where it is a manifest or index like any other."""
    if row.media_type != _TYPE:
        return None
    named = loose_parts(row)
    # The type alone proves nothing: a stranger may have written it into an index.
    return named[0] if named and all(map(is_loose, named)) else None


def loose_parts(row: ManifestRow) -> tuple[Descriptor, ...]:
    """Return all that the document of a blob keeps, itself first."""
    return Index.from_json(row.raw).manifests


def loose_keeper(rows: Rows, blob: Digest) -> Digest | None:
    """Return the digest of the first document that keeps a blob, if one does."""
    return next((row.digest for row in loose_keepers(rows, blob)), None)


def loose_keepers(rows: Rows, blob: Digest) -> Iterator[ManifestRow]:
    """Yield the documents that keep a blob: one for each entry in which it stood, as its type and annotations say."""
    for edge in rows.edges_to(blob):
        row = rows.manifest(edge.parent)
        kept = None if row is None else loose_blob(row)
        if row is not None and kept is not None and kept.digest == blob:
            yield row
