"""``have``: which layers are here, for somebody who is to send only others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orlop.model.digest import chain_ids
from orlop.model.holdings import Holdings

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from orlop.model.digest import ChainID, DiffID, Digest
    from orlop.model.image import Image
    from orlop.model.names import ImageName
    from orlop.service.saving import AskedPlatforms
    from orlop.store.root import Store
    from orlop.store.rows.metadata import BlobRow, ChainRow


def have(store: Store, names: Sequence[ImageName]) -> Holdings:
    """See `orlop.service.ImageService.have`."""
    if names:
        return _of_names(store, names)
    with store.metadata.read() as rows:
        contents, chains = rows.contents(), rows.chains()
    forms: dict[DiffID, list[BlobRow]] = {}
    for diff_id, blob in contents:
        if blob is not None and store.blobs.has(blob):
            forms.setdefault(diff_id, []).append(blob)
    blobs = {blob.digest for kept in forms.values() for blob in kept}
    return Holdings(frozenset(blobs), frozenset(_whole_chains(chains, forms)))


def had_with(store: Store, names: Sequence[ImageName], platform: AskedPlatforms) -> Holdings:
    """Return what somebody has who got a save of some images: layers in the form in which an OCI layout holds them.

    Raises what `save` raises of names and platforms.
    """
    from orlop.archive.oci_content import layout_content  # noqa: PLC0415 - only what leaves layers out needs it
    from orlop.archive.oci_platforms import Platforms  # noqa: PLC0415 - as above
    from orlop.service.save_oci import asked_content  # noqa: PLC0415 - as above

    content = layout_content(store, asked_content(store, names), Platforms.of(platform))
    return Holdings(frozenset(blob.digest for blob in content.layers), _chains_of(content.images))


def _of_names(store: Store, names: Sequence[ImageName]) -> Holdings:
    from orlop.archive.oci_content import layout_content  # noqa: PLC0415 - as above
    from orlop.archive.oci_platforms import Platforms  # noqa: PLC0415 - as above
    from orlop.service.save_oci import asked_content  # noqa: PLC0415 - as above

    images = layout_content(store, asked_content(store, names), Platforms.of(None)).images
    blobs: set[Digest] = set()
    with store.metadata.read() as rows:
        for diff_id in {diff_id for image in images for diff_id in image.rootfs.diff_ids}:
            blobs.update(blob.digest for blob in rows.blobs_of(diff_id) if store.blobs.has(blob))
    return Holdings(frozenset(blobs), _chains_of(images))


def _chains_of(images: Iterable[Image]) -> frozenset[ChainID]:
    return frozenset(chain for image in images for chain in chain_ids(image.rootfs.diff_ids))


def _whole_chains(chains: Iterable[ChainRow], forms: dict[DiffID, list[BlobRow]]) -> set[ChainID]:
    """Return the chains of which every layer is here."""
    found: set[ChainID] = set()
    for chain in sorted(chains, key=lambda chain: chain.depth):
        if chain.diff_id in forms and (chain.parent is None or chain.parent in found):
            found.add(chain.chain_id)
    return found
