"""Rows put right: what content says, what follows from other rows, and what leads to nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orlop.errors import InvalidInput
from orlop.model.digest import ImageID, chain_ids
from orlop.store.fsck_blobs import same_facts
from orlop.store.metadata import ChainRow
from orlop.store.metadata_sqlite_check import manifest_type
from orlop.store.problem import Repair

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from orlop.model.digest import DiffID
    from orlop.model.image import Image
    from orlop.store.fsck_content import Exam
    from orlop.store.metadata import WritableRows
    from orlop.store.metadata_sqlite_repair import RowMender
    from orlop.store.problem import Problem
    from orlop.store.root import Store

_BATCH: Final = 256
_OF_IMAGES: Final = ("layers-missing", "image-wrong", "chain-wrong", "database", "content-missing")


class RowsRepair:
    """The part of a repair that is about rows. Each step is a write of its own, and looks again inside it.

    Args:
        store: a store that can be written.
        problems: what was found.
        done: called with each repair, once it is durable.
    """

    def __init__(self, store: Store, problems: Iterable[Problem], done: Callable[[Repair], object]) -> None:
        self._store = store
        self._problems = tuple(problems)
        self._done = done

    def _has(self, *kinds: str) -> bool:
        return any(one.kind in kinds for one in self._problems)

    def _tell(self, repairs: list[Repair]) -> None:
        for repair in repairs:
            self._done(repair)

    # Layers.

    def record(self, exam: Exam, needed: set[DiffID]) -> None:
        """Record what a blob that was read is, and the layer that it holds, if something needs that layer."""
        diff, blob = exam.diff, exam.blob
        if diff is None:
            return
        digest, diff_id = blob.digest, diff.diff_id
        repairs: list[Repair] = []
        with self._store.metadata.write() as rows:
            mender = self._store.metadata.mender()
            row, links, recorded = rows.blob(digest), rows.diffs_of(digest), rows.diff(diff_id)
            if not self._store.blobs.has(blob) or (recorded is None and diff_id not in needed):
                return
            if row is None and diff_id not in needed:
                return
            if recorded is None or not same_facts(recorded, diff):
                mender.set_diff(diff)
                message = f"what the layer {diff_id} holds was recorded again"
                repairs.append(Repair("layer-wrong" if recorded else "content-missing", str(diff_id), message))
            if row != blob:
                mender.set_blob(blob)
                message = f"the size and the compression of the blob {digest} were recorded again"
                repairs.append(Repair("blob-wrong" if row else "content-missing", str(digest), message))
            if links != [diff_id]:
                mender.set_links(digest, diff_id)
                message = f"the blob {digest} is recorded as the layer {diff_id} again"
                repairs.append(Repair("form-wrong" if links else "content-missing", str(digest), message))
        self._tell(repairs)

    def forget_lost_forms(self) -> None:
        """Forget blobs that are missing, that no manifest names, and whose layer is there in another form."""
        store = self._store
        with store.metadata.read() as rows:
            missing = [row for row in rows.blobs() if not store.blobs.has(row)]
        for row in missing:
            with store.metadata.write() as rows:
                mender, links = store.metadata.mender(), rows.diffs_of(row.digest)
                others = [form for diff_id in links for form in rows.blobs_of(diff_id) if form != row]
                kept = next((form for form in others if store.blobs.has(form)), None)
                if store.blobs.has(row) or kept is None or len(links) != 1 or mender.is_named(row.digest):
                    continue
                mender.forget_blob(row.digest)
            message = f"the {row.compression} form {row.digest} is lost; its layer is there as {kept.digest}"
            self._done(Repair("blob-missing", str(row.digest), message))

    # Images.

    def put_images_right(self) -> None:
        """Record the chains, times and layers of images as their configs say."""
        if not self._has(*_OF_IMAGES):
            return
        with self._store.metadata.read() as rows:
            ids = list(rows.image_ids())
        for start in range(0, len(ids), _BATCH):
            for image in self.images(ids[start : start + _BATCH]):
                self._put_image_right(image)

    def images(self, ids: list[ImageID]) -> list[Image]:
        """Read configs; one that is damaged says nothing."""
        from orlop.model.image import Image  # noqa: PLC0415 - few repairs read configs

        images: list[Image] = []
        with self._store.metadata.read() as rows:
            configs = [(image_id, rows.config(image_id)) for image_id in ids]
        for image_id, config in configs:
            if config is None or ImageID.of(config) != image_id:
                continue
            try:
                images.append(Image.from_json(config))
            except InvalidInput:
                continue
        return images

    def _put_image_right(self, image: Image) -> None:
        repairs: list[Repair] = []
        name = str(image.id)
        with self._store.metadata.write() as rows:
            if rows.image_row(image.id) is None:
                return
            mender = self._store.metadata.mender()
            if self._build_chains(rows, mender, image):
                message = f"the layers of the image {name} are in their places again"
                repairs.append(Repair("layers-missing", name, message))
            if mender.set_image(image.id, image.raw_json):
                message = f"the layers and the time of the image {name} were recorded again"
                repairs.append(Repair("image-wrong", name, message))
        self._tell(repairs)

    @staticmethod
    def _build_chains(rows: WritableRows, mender: RowMender, image: Image) -> bool:
        """Make the chain of an image as far up as its layers are there, and say whether anything was changed."""
        changed = False
        below: ChainRow | None = None
        for chain, diff_id in zip(chain_ids(image.rootfs.diff_ids), image.rootfs.diff_ids, strict=True):
            diff = rows.diff(diff_id)
            if diff is None:
                break
            parent, size, depth = (None, 0, 0) if below is None else (below.chain_id, below.size, below.depth)
            below = ChainRow(chain, parent, diff_id, size + diff.content_size, depth + 1)
            changed |= mender.set_chain(below)
        return changed

    def restore_config(self, image: Image) -> bool:
        """Put the right bytes in place of an image's damaged config; say whether that was needed."""
        with self._store.metadata.write() as rows:
            config = rows.config(image.id)
            if config is None or config == image.raw_json:
                return False
            self._store.metadata.mender().set_config(image.id, image.raw_json)
        return True

    # What follows from other rows.

    def put_sums_right(self) -> None:
        """Add up the sizes of chains, and mark the images without children."""
        with self._store.metadata.write():
            mender = self._store.metadata.mender()
            chains, heads = mender.add_up_chains(), mender.mark_heads()
        for chain in chains:
            self._done(Repair("chain-wrong", chain, f"the size and the depth of the chain {chain} were added up again"))
        for image in heads:
            self._done(Repair("head-wrong", image, f"whether the image {image} has children was recorded again"))

    def put_manifests_right(self) -> None:
        """Record the media types of manifests as they say themselves."""
        for one in self._problems:
            if one.kind != "manifest-wrong":
                continue
            with self._store.metadata.write():
                mender = self._store.metadata.mender()
                content = mender.manifest(one.subject)
                media_type = None if content is None else manifest_type(content)
                if media_type is None:
                    continue
                mender.set_media_type(one.subject, media_type)
            self._done(Repair(one.kind, one.subject, f"the manifest {one.subject} is recorded as {media_type} now"))

    # What leads nowhere.

    def cut_parents(self) -> None:
        """Let images have no parent whose parent is not there, or descends from them."""
        if not self._has("parent-missing", "parent-loop"):
            return
        with self._store.metadata.write():
            mender = self._store.metadata.mender()
            missing, loops = mender.forget_missing_parents(), mender.open_loops()
        for image, parent in missing:
            message = f"the image {image} has no parent any more; it had {parent}, which is not there"
            self._done(Repair("parent-missing", image, message))
        for image, parent in loops:
            message = f"the image {image} has no parent any more; it had {parent}, which descends from it"
            self._done(Repair("parent-loop", image, message))

    def forget_nowhere(self) -> None:
        """Remove links between rows that are not there."""
        if not self._has("database"):
            return
        with self._store.metadata.write():
            found = self._store.metadata.mender().forget_nowhere()
        for table, count in found:
            message = f"{count} rows of the table {table} led to nothing and were removed"
            self._done(Repair("database", table, message))
