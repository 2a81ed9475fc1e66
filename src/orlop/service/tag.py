"""``tag``: one more name for an image, or for anything else that has a manifest.

A name of an image may mean more than it: an index of several platforms, or one of several manifests that have the same
config. The new name means the same.
"""

from __future__ import annotations

from orlop.errors import ImageNotFound, InvalidReference
from orlop.model.digest import Digest
from orlop.service.listing.lookup import find_image, labels
from orlop.store.events import LABELS
from orlop.store.references import suffix_of
from orlop.store.rows.metadata import TopRow

TYPE_CHECKING = False
if TYPE_CHECKING:
    from orlop.model.digest import ImageID
    from orlop.model.names import ImageName
    from orlop.model.reference import Reference
    from orlop.store.root import Store
    from orlop.store.rows.metadata import Rows, WritableRows


def tag(store: Store, source: ImageName, target: Reference) -> None:
    """See `orlop.service.ImageService.tag`."""
    with store.metadata.write() as rows:
        try:
            image_id = find_image(store, source)
        except ImageNotFound as error:
            _tag_content(store, rows, source, target, error)
            return
        meant = _meant(rows, source, image_id)
        store.references.set(target, image_id)
        if meant is not None:
            rows.put_top(TopRow(target.name, suffix_of(target), meant, store.now()))
        store.blobs.remove(rows, rows.prune_freed())
        store.images.set_last_used(image_id)
        store.events.image("tag", image_id, name=target.familiar, labels=labels(store, image_id, most=LABELS))


def _meant(rows: Rows, source: ImageName, image: ImageID) -> Digest | None:
    """Return the manifest or index that a name of an image means, if it says one."""
    asked = source.tagged
    if isinstance(asked, Digest):
        return None
    if asked.digest is not None:
        meant = asked.digest
    elif (row := rows.top(asked.name, suffix_of(asked))) is not None:
        meant = row.digest
    else:
        return None
    return meant if Digest.wrap(image) in rows.images_of(meant) else None


def _tag_content(
    store: Store, rows: WritableRows, source: ImageName, target: Reference, missing: ImageNotFound
) -> None:
    """Add a name to a manifest or an index that is not an image; raise ``missing`` where there is none."""
    from orlop.intake.platforms import first_image, images_in  # noqa: PLC0415 - as below
    from orlop.service.listing.content import find_content  # noqa: PLC0415 - most names are those of images
    from orlop.store.loose import loose_blob  # noqa: PLC0415 - as above

    found = find_content(store, source)
    row = None if found is None else rows.manifest(found[0])
    if row is None:
        raise missing
    if loose_blob(row) is not None:
        raise InvalidReference(f"{source.text} is a blob without a manifest, and cannot have a name")
    if target.is_id_like:
        raise InvalidReference(f"{target.familiar!r} cannot be a name: it could be taken for an image ID")
    suffix = suffix_of(target)
    if images := images_in(rows, row.digest):
        # It was named by the digest of a manifest or an index: the new name means an image of it, too.
        store.references.set(target, first_image(store, images))
    elif rows.reference(target.name, suffix) is not None:
        rows.delete_reference(target.name, suffix)
    rows.put_top(TopRow(target.name, suffix, row.digest, store.now()))
    store.content.sweep(rows)
