"""Which manifest, index or artifact a name stands for, where it is not an image."""

from __future__ import annotations

from orlop.errors import NotFound, StorageError
from orlop.model.digest import Digest
from orlop.model.manifest import Manifest
from orlop.store.content import top_row
from orlop.store.loose import loose_keeper

TYPE_CHECKING = False
if TYPE_CHECKING:
    from orlop.model.names import ImageName
    from orlop.model.reference import Reference
    from orlop.store.content import Node
    from orlop.store.root import Store
    from orlop.store.rows.metadata import Rows


def find_content(store: Store, name: ImageName) -> tuple[Digest, Reference | None] | None:
    """Return the digest of what a name means, and the tag that it has there; nothing where it means nothing.

    A tag means what was named so; a digest alone, or behind the name of a repository, what has it. The digest of a blob
    that stands for itself means the document that keeps it.
    """
    asked = name.asked
    with store.metadata.read() as rows:
        if isinstance(asked, Digest):
            found = asked if rows.manifest(asked) is not None else loose_keeper(rows, asked)
            return None if found is None else (found, None)
        if asked.digest is not None:
            return None if rows.manifest(asked.digest) is None else (asked.digest, None)
        reference = asked.with_default_tag()
        wanted = top_row(reference, Digest.unchecked(""), 0)
        row = rows.top(wanted.name, wanted.suffix)
        if row is not None and rows.manifest(row.digest) is not None:
            return row.digest, reference
        plain = Digest.unchecked(f"sha256:{name.text}")
        if not plain.is_valid:
            return None
        found = plain if rows.manifest(plain) is not None else loose_keeper(rows, plain)
        return None if found is None else (found, None)


def kind_here(store: Store, rows: Rows, node: Node) -> str:
    """Return the kind of a manifest or an index as it was taken in: a config without layers makes an artifact of it."""
    document = node.document
    if node.kind != "image" or not isinstance(document, Manifest) or not document.layers:
        return node.kind
    blob = rows.blob(document.config.digest)
    if rows.images_of(node.digest) or blob is None or blob.size > store.limits.config_size:
        return node.kind
    from orlop.intake.manifests import names_layers  # noqa: PLC0415 - few configs are kept as blobs

    try:
        raw = store.blobs.read_range(blob, 0, blob.size)
    except (NotFound, StorageError):
        return node.kind
    return "image" if names_layers(raw, unread=True) else "artifact"
