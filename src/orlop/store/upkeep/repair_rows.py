"""Rows put right: what content says, what follows from other rows, and what leads to nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orlop.errors import InvalidInput
from orlop.model.digest import Digest, ImageID, chain_ids
from orlop.store.rows.corrected import corrected
from orlop.store.rows.image_facts import manifest_type
from orlop.store.rows.metadata import ChainRow
from orlop.store.upkeep.fsck_blobs import same_facts
from orlop.store.upkeep.problem import Repair

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from orlop.model.digest import DiffID
    from orlop.model.image import Image
    from orlop.store.root import Store
    from orlop.store.rows.mender import RowMender
    from orlop.store.rows.metadata import BlobRow, DiffRow, WritableRows
    from orlop.store.upkeep.fsck_content import Exam
    from orlop.store.upkeep.problem import Problem

_BATCH: Final = 256
_OF_IMAGES: Final = ("layers-missing", "image-wrong", "chain-wrong", "config-damaged", "content-missing", "database")


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

    # Rows under a wrong name.

    def put_keys_right(self) -> None:
        """Rename rows to the digest of what they hold; those of layers are made again from their content."""
        if self._has("key-invalid"):
            with self._store.metadata.write():
                found = self._store.metadata.mender().forget_invalid_keys()
            for table, key in found:
                self._done(Repair("key-invalid", key, f"the row for {key!r} was removed from the table {table}"))
        for one in self._problems:
            if one.kind in {"key-invalid", "config-damaged", "manifest-damaged"}:
                self._adopt(one)

    def correct_documents(self) -> None:
        """Put right the configs and manifests in which a single bit is wrong: their digests tell which."""
        for one in self._problems:
            if one.kind not in {"config-damaged", "manifest-damaged"}:
                continue
            with self._store.metadata.read() as rows:
                digest = Digest.unchecked(one.subject)
                content = rows.config(digest) if one.kind == "config-damaged" else self._manifest(one.subject)
            right = None if content is None else corrected(content, one.subject)
            if content is None or right is None:
                continue
            with self._store.metadata.write():
                mender = self._store.metadata.mender()
                changed = mender.correct(one.subject, content, right)
            if changed:
                self._done(Repair(one.kind, one.subject, f"one wrong bit of {one.subject} was put right by its digest"))

    def _manifest(self, digest: str) -> bytes | None:
        return self._store.metadata.mender().manifest(digest)

    def _adopt(self, one: Problem) -> None:
        with self._store.metadata.write():
            mender = self._store.metadata.mender()
            image = None if one.kind == "manifest-damaged" else mender.adopt_image(one.subject)
            manifest = None if one.kind == "config-damaged" else mender.adopt_manifest(one.subject)
        if image:
            self._done(Repair(one.kind, one.subject, f"the image {one.subject!r} is {image} again, by its config"))
        elif image is not None:
            self._done(Repair(one.kind, one.subject, f"the image {one.subject!r}, which cannot be read, was removed"))
        if manifest is not None:
            self._done(Repair(one.kind, one.subject, f"the manifest {one.subject!r} is {manifest} again, by its bytes"))

    def forget_loose_ends(self) -> None:
        """Forget rows that nothing refers to, and that are wrong or about lost content."""
        if not self._has("chain-wrong", "content-missing", "blob-missing", "database", "key-invalid"):
            return
        with self._store.metadata.write() as rows:
            mender = self._store.metadata.mender()
            ends = mender.forget_loose_ends()
            unlinked = [row for digest in mender.unlinked_blobs() if (row := rows.blob(digest)) is not None]
            lost = [
                row
                for row in unlinked
                if not (rows.diffs_of(row.digest) or rows.edges_to(row.digest) or self._store.blobs.has(row))
            ]
            for row in lost:
                mender.forget_blob(row.digest)
        for kind, subject in ends:
            self._done(Repair(kind, subject, f"the row for {subject}, to which nothing referred, was removed"))
        for row in lost:
            message = f"the row for the blob {row.digest}, which is lost and which no layer had, was removed"
            self._done(Repair("blob-missing", str(row.digest), message))

    # Layers.

    def record(self, exam: Exam, needed: set[DiffID]) -> None:
        """Record what a blob that was read is, and the layer that it holds, as far as something needs them."""
        with self._store.metadata.write() as rows:
            if not self._store.blobs.has(exam.blob):
                return
            repairs = [] if exam.diff is None else [*self._record_links(rows, exam.blob, exam.diff, needed)]
            repairs += self._record_opaque(rows, exam.blob)
        self._tell(repairs)

    def _record_opaque(self, rows: WritableRows, blob: BlobRow) -> Iterator[Repair]:
        """Record a blob that a manifest names and that is not the content of a layer."""
        row = rows.blob(blob.digest)
        if row != blob and not rows.diffs_of(blob.digest) and rows.edges_to(blob.digest):
            self._store.metadata.mender().set_blob(blob)
            kind, digest = "blob-wrong" if row else "stray", str(blob.digest)
            yield Repair(kind, digest, f"the blob {digest}, which a manifest names, was recorded again")

    def _record_links(self, rows: WritableRows, blob: BlobRow, diff: DiffRow, needed: set[DiffID]) -> Iterator[Repair]:
        mender = self._store.metadata.mender()
        row, links, recorded = rows.blob(blob.digest), rows.diffs_of(blob.digest), rows.diff(diff.diff_id)
        digest, diff_id = str(blob.digest), str(diff.diff_id)
        wanted = diff.diff_id in needed or diff.diff_id in links
        if row is None and not wanted:
            return
        if recorded is None and not wanted:
            if links:
                mender.unlink(blob.digest)
                yield Repair(
                    "form-wrong", digest, f"the blob {digest} is recorded as no layer: nothing needs {diff_id}"
                )
            return
        if recorded is None or not same_facts(recorded, diff):
            mender.set_diff(diff)
            kind = "layer-wrong" if recorded else "content-missing"
            yield Repair(kind, diff_id, f"what the layer {diff_id} holds was recorded again")
        if row != blob:
            mender.set_blob(blob)
            kind = "blob-wrong" if row else "content-missing"
            yield Repair(kind, digest, f"the size and the compression of the blob {digest} were recorded again")
        if links != [diff.diff_id]:
            mender.unlink(blob.digest)
            mender.link(blob.digest, diff.diff_id)
            kind = "form-wrong" if links else "content-missing"
            yield Repair(kind, digest, f"the blob {digest} is recorded as the layer {diff_id} again")

    def forget_lost_forms(self, is_right: Callable[[Digest], bool]) -> None:
        """Forget blobs that are missing, that no manifest names, and whose layer is there in another form.

        ``is_right`` says whether a blob is what its digest says.
        """
        store = self._store
        with store.metadata.read() as rows:
            missing = [row for row in rows.blobs() if not store.blobs.has(row)]
        for row in missing:
            with store.metadata.read() as rows:
                forms = [form for diff_id in rows.diffs_of(row.digest) for form in rows.blobs_of(diff_id)]
            kept = next((form for form in forms if store.blobs.has(form) and is_right(form.digest)), None)
            if kept is None:
                continue
            with store.metadata.write() as rows:
                mender = store.metadata.mender()
                if store.blobs.has(row) or not store.blobs.has(kept) or mender.is_named(row.digest):
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
            images = self.images(ids[start : start + _BATCH])
            with self._store.metadata.write() as rows:
                repairs = [repair for image in images for repair in self._put_image_right(rows, image)]
            self._tell(repairs)

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

    def _put_image_right(self, rows: WritableRows, image: Image) -> Iterator[Repair]:
        name, mender = str(image.id), self._store.metadata.mender()
        if rows.image_row(image.id) is None:
            return
        if self._build_chains(rows, mender, image):
            yield Repair("layers-missing", name, f"the layers of the image {name} are in their places again")
        if mender.set_image(image.id, image.raw_json):
            message = f"the layers, the time and the labels of the image {name} were recorded again"
            yield Repair("image-wrong", name, message)

    @staticmethod
    def _build_chains(rows: WritableRows, mender: RowMender, image: Image) -> bool:
        """Make the chain of an image as far up as its layers are there, and return whether anything was changed."""
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
        """Record the media types of manifests, and where they lead, as they say themselves."""
        for one in self._problems:
            if one.kind == "edges-wrong":
                with self._store.metadata.write():
                    self._store.metadata.mender().set_edges(one.subject)
                message = f"what the manifest {one.subject} leads to was recorded again"
                self._done(Repair(one.kind, one.subject, message))
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

    def record_lost_names(self) -> None:
        """Name the images again whose manifests or indexes names mean."""
        if not self._has("name-lost"):
            return
        with self._store.metadata.write():
            found = self._store.metadata.mender().record_lost_names()
        for name, image in found:
            message = f"the name {name} was recorded again for the image {image}, whose manifest it means"
            self._done(Repair("name-lost", name, message))

    def forget_invalid_names(self) -> None:
        """Forget names that nobody can ask for, of what has another one."""
        for one in self._problems:
            if one.kind != "name-invalid":
                continue
            with self._store.metadata.write():
                meant = self._store.metadata.mender().forget_name(one.subject)
            if meant is not None:
                message = f"the name {one.subject!r} was removed; {meant} has another one"
                self._done(Repair(one.kind, one.subject, message))

    # What leads nowhere.

    def cut_parents(self) -> None:
        """Unlink images from a parent that is not there, or that descends from them."""
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
