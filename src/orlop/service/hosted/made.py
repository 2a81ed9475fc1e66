"""Manifests for images that came without one, or whose layers the store keeps in other forms than their manifest says.

A pull needs a manifest, so one is made when it is first asked for: the same for equal images, with layers compressed
reproducibly where the store keeps them plain. What was made is kept, with its layers: it is recorded as a manifest that
came with the image, and as what its tag means, and goes with the image. So it is made once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from orlop.archive.oci_blobs import Document, MadeLayer, PlainLayer, StoredLayer
from orlop.archive.oci_layout import Asked
from orlop.archive.oci_platforms import Platforms
from orlop.errors import ContentNotFound
from orlop.model.manifest import Manifest, parse_manifest
from orlop.service.save_oci import held_content
from orlop.store.content import top_row
from orlop.store.rows.metadata import BlobRow, ManifestRow
from orlop.streams.compression import PREFIX_SIZE, Compression, detect

if TYPE_CHECKING:
    from orlop.archive.oci_layout import LayoutContent
    from orlop.model.digest import DiffID, Digest, ImageID
    from orlop.model.reference import Reference
    from orlop.store.blobs.store import Ingest
    from orlop.store.root import Store
    from orlop.streams.compressing import Recipe


def manifest_of(store: Store, reference: Reference, image: ImageID, recipe: Recipe) -> Digest:
    """Return the digest of a manifest or an index that stands for an image, which is made and kept if it must be.

    Args:
        store: where the image is.
        reference: its tag.
        image: which.
        recipe: how layers are compressed that are kept plain.

    Raises:
        ContentNotFound: the image is not whole. ReadOnlyStore: a manifest would have to be kept. What reading a layer
            raises.
    """
    asked = [Asked(str(reference), image, reference)]
    with held_content(store, asked, Platforms.of(None), None) as (content, _):
        digest = content.entries[0].descriptor.digest
        with store.metadata.read() as rows:
            is_kept = rows.manifest(digest) is not None
        is_plain = any(isinstance(blob, PlainLayer) or _is_plain(blob) for blob in content.blobs)
        if is_kept or not is_plain or recipe.form is Compression.NONE:
            _keep(store, content, reference, image)
            return digest
    with held_content(store, asked, Platforms.of(None), recipe) as (content, _):
        _keep(store, content, reference, image)
        return content.entries[0].descriptor.digest


def _is_plain(blob: object) -> bool:
    return isinstance(blob, StoredLayer) and blob.row.compression == Compression.NONE.name.lower()


def _keep(store: Store, content: LayoutContent, reference: Reference, image_id: ImageID) -> None:
    """Keep the manifest of some content, with the layers that were made for it."""
    digest = content.entries[0].descriptor.digest
    documents = {blob.digest: blob for blob in content.blobs if isinstance(blob, Document)}
    top = documents[digest]
    store.require_writable()
    made: list[tuple[DiffID, BlobRow, Ingest]] = []
    try:
        document = parse_manifest(top.data)
        if isinstance(document, Manifest):
            image = store.images.get(image_id)
            diff_ids = {one.digest: diff for one, diff in zip(document.layers, image.rootfs.diff_ids, strict=True)}
            # Each is there to be discarded as soon as it is written.
            made.extend(
                (diff_ids[blob.digest], *_written(store, blob))
                for blob in content.blobs
                if isinstance(blob, (MadeLayer, PlainLayer))
            )
        with store.metadata.write() as rows:
            named = rows.reference(reference.name, f":{reference.tag}")
            if named is None or named.image != image_id or rows.image_row(image_id) is None:
                raise ContentNotFound(f"the image {reference.familiar} disappeared while it was looked at")
            for diff_id, row, ingest in made:
                diff = rows.diff(diff_id)
                if diff is None:
                    raise ContentNotFound(f"the layer {diff_id} disappeared while it was compressed")
                ingest.commit(rows, row)
                rows.put_diff(diff, row)
            rows.put_manifest(ManifestRow(digest, top.media_type, top.data), [image_id])
            rows.put_top(top_row(reference, digest, store.now()))
    finally:
        for _, _, ingest in made:
            ingest.discard()


def _written(store: Store, blob: MadeLayer | PlainLayer) -> tuple[BlobRow, Ingest]:
    """Write the bytes of a layer, and return what they are."""
    ingest = store.blobs.begin()
    try:
        form = Compression.NONE
        for number, chunk in enumerate(blob.chunks()):
            if not number:
                form = detect(chunk[:PREFIX_SIZE]) if isinstance(blob, MadeLayer) else form
            ingest.write(chunk)
        ingest.finish()
        ingest.sync()
    except BaseException:
        ingest.discard()
        raise
    return BlobRow(blob.digest, blob.size, form.name.lower()), ingest
