"""From an archive's content to the store: the one way in, whatever the format, all or nothing.

A source has said what it holds (`ArchiveContent`), and its layers can be taken by name. A commit goes through these
steps, and only the last one is visible to others:

1. Which layers are needed? Each is taken once, however many images have it. One member cannot be two layers.
2. Which of them are there already? Those are held by a lease, and looked at again after that: what went between the
   look and the hold is taken like a new one.
3. Take the others, several at once where the source allows it: hashed as received, decompressed, hashed again, scanned,
   and written below ``ingest/``. Each must have the digest, size and diff ID that it was announced with.
4. Sync them. Nothing slow is left to do.
5. One write, under the write lock: layers get their names, what is relied on is looked at once more, and chains,
   images, parents, manifests, names and events follow. Names come last, so that a name never leads to what is not
   there.

A failure in steps 1 to 4 discards what was taken; a failure in step 5 undoes the write, and with it the new names of
files. A crash leaves files below ``ingest/`` that the next removal or collection takes.

Inside the write nothing is hashed, scanned or synced but directories, and nothing costs more than once for what an
archive repeats: layers, chains and configs are remembered, since an archive may list one image a thousand times.
"""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING

from orlop.errors import ContentNotFound, DigestMismatch, InvalidArchive, SizeMismatch
from orlop.intake.report import LoadedImage, LoadReport, MovedReference
from orlop.model.progress import LayerExists
from orlop.store.blobs.ingest import ingest_layer
from orlop.store.layers import add_chain
from orlop.streams.pipeline import in_parallel

if TYPE_CHECKING:
    from collections.abc import Callable

    from orlop.intake.content import ArchiveContent, ArchiveLayer
    from orlop.intake.source import ImageSource, L, LayerTaker
    from orlop.model.digest import ChainID, DiffID, ImageID
    from orlop.model.image import Image
    from orlop.store.blobs.ingest import IngestedLayer, Readable
    from orlop.store.root import Store
    from orlop.store.rows.metadata import DiffRow, WritableRows
    from orlop.streams.meter import Meter


# One layer at a time keeps this many cores busy, with hashing, scanning and writing.
_CORES = 2

# More would take memory and only wait for the disk.
_WORKERS = 4


def layer_taker(store: Store) -> LayerTaker[IngestedLayer]:
    """Return what ingests an archive's layers into a store."""

    def take(source: Readable, progress: Callable[[int], object] | None, meter: Meter) -> IngestedLayer:
        return ingest_layer(source, store.blobs, meter=meter, progress=progress)

    return take


def commit(store: Store, members: ImageSource[IngestedLayer], content: ArchiveContent, *, form: str) -> LoadReport:
    """Keep every image, name, parent link and manifest of an archive, in one transaction.

    Args:
        store: where to.
        members: the archive's.
        content: what a format's reader made of them.
        form: the name of that format, for the report.

    Raises:
        DigestMismatch, SizeMismatch, InvalidTar, …: a layer is not what the archive says. NoSpace, ReadOnlyStore, …:
            it cannot be kept. The store is then as it was.
    """
    return _Commit(store, members, content).run(form)


def verified_layer(members: ImageSource[L], layer: ArchiveLayer, *, check: Callable[[], None] | None = None) -> L:
    """Return a layer, read to its end, whose bytes have the digest and size, and whose content the diff ID, of it.

    Raises:
        DigestMismatch, SizeMismatch: they have not. InvalidArchive, InvalidTar, …: it is not there, or no layer.
    """
    name = layer.name
    check_presence(members, layer)
    if layer.size is not None and (size := members.size_of(name, what="the layer")) != layer.size:
        msg = f"the archive's layer {name!r} has {size} bytes, but its manifest says {layer.size}; it is damaged"
        raise SizeMismatch(msg)
    taken = members.layer(name, label=layer.diff_id.short, check=check)
    if layer.digest is not None and taken.blob.digest != layer.digest:
        key = members.key_of(name, what="the layer")
        msg = f"the archive's member {key!r} has the digest {taken.blob.digest}, not {layer.digest}; it is damaged"
        raise DigestMismatch(msg)
    if taken.diff.diff_id != layer.diff_id:
        msg = f"the layer {name!r} has the diff ID {taken.diff.diff_id}, but its image's config says {layer.diff_id}"
        raise DigestMismatch(msg)
    return taken


def check_presence(members: ImageSource[L], layer: ArchiveLayer) -> None:
    """Check that an archive has a layer. Raises `InvalidArchive`, which says where else it is, if that is known."""
    if layer.urls and not members.has(layer.name):
        msg = (
            f"the archive does not carry the layer {layer.digest}, which is at {layer.urls[0]!r}; orlop does not fetch"
            " it: save the image on a machine that has this layer"
        )
        raise InvalidArchive(msg)
    members.key_of(layer.name, what="the layer")


class _Commit:
    """One load under way."""

    def __init__(self, store: Store, members: ImageSource[IngestedLayer], content: ArchiveContent) -> None:
        self._store = store
        self._members = members
        self._content = content
        self._layers: dict[ArchiveLayer, IngestedLayer | None] = {}

    def run(self, form: str) -> LoadReport:
        needed = self._needed()
        known = self._known(needed)
        with self._store.leases.hold(known):
            # Only what was held before it is looked at again may be relied on.
            self._take_all(needed, known)
            for taken in self._layers.values():
                if taken is not None:
                    taken.sync()
            with self._store.metadata.write() as rows:
                return self._write(rows, form)

    def _needed(self) -> list[ArchiveLayer]:
        """Return each layer once; one member cannot be two layers."""
        diff_ids: dict[str, DiffID] = {}
        needed = dict.fromkeys(layer for entry in self._content.images for layer in entry.layers)
        for layer in needed:
            if diff_ids.setdefault(layer.name, layer.diff_id) != layer.diff_id:
                msg = (
                    f"the archive's configs give the layer {layer.name!r} two diff IDs, {diff_ids[layer.name]} and"
                    f" {layer.diff_id}"
                )
                raise DigestMismatch(msg)
        return list(needed)

    def _known(self, layers: list[ArchiveLayer]) -> set[DiffID]:
        """Return the layers that are there already."""
        with self._store.metadata.read() as rows:
            return {diff_id for diff_id in {layer.diff_id for layer in layers} if rows.diff(diff_id) is not None}

    def _take_all(self, needed: list[ArchiveLayer], known: set[DiffID]) -> None:
        """Take every layer that the store has not, or that is not held; several at once where the archive allows it."""
        new: dict[str, list[ArchiveLayer]] = {}
        for layer in needed:
            if layer.diff_id in known and self._is_kept(layer):
                self._layers[layer] = None
                if self._members.progress is not None:
                    self._members.progress(LayerExists(layer.diff_id.short))
            else:
                check_presence(self._members, layer)
                new.setdefault(self._members.key_of(layer.name, what="the layer"), []).append(layer)
        workers = max(1, len(os.sched_getaffinity(0)) // _CORES) if self._members.parallel else 1
        in_parallel([partial(self._take, layers) for layers in new.values()], workers=min(workers, _WORKERS))

    def _take(self, layers: list[ArchiveLayer], check: Callable[[], None]) -> None:
        """Take one member, which may be several layers' content."""
        for layer in layers:
            self._layers[layer] = verified_layer(self._members, layer, check=check)

    def _is_kept(self, layer: ArchiveLayer) -> bool:
        with self._store.metadata.read() as rows:
            kept = rows.blobs_of(layer.diff_id)
        # A digest asks for just that form, since a manifest may name it.
        return any(
            layer.digest in {None, blob.digest} and layer.size in {None, blob.size} and self._store.blobs.has(blob)
            for blob in kept
        )

    def _write(self, rows: WritableRows, form: str) -> LoadReport:
        store = self._store
        published: set[int] = set()
        kept_images: set[ImageID] = set()
        parents: dict[ImageID, ImageID] = {}
        loaded: list[LoadedImage] = []
        moved: list[MovedReference] = []
        ids = {entry.image.id for entry in self._content.images}
        # Many images have the same layers at their bottom.
        kept: dict[DiffID, DiffRow] = {}
        chains: dict[tuple[ChainID | None, DiffID], ChainID] = {}
        for entry in self._content.images:
            chain: ChainID | None = None
            for layer in entry.layers:
                taken = self._layers[layer]
                if taken is not None and id(taken) not in published:
                    taken.publish(rows)
                    published.add(id(taken))
                if layer.diff_id not in kept:
                    kept[layer.diff_id] = self._kept(rows, layer.diff_id)
                link = (chain, layer.diff_id)
                if link not in chains:
                    chains[link] = add_chain(rows, chain, kept[layer.diff_id], limits=self._members.limits).chain_id
                chain = chains[link]
            image_id = entry.image.id
            created = image_id not in kept_images and rows.image_row(image_id) is None
            # An archive may list one image any number of times, and its config may be large.
            if image_id not in kept_images:
                self._keep(entry.image)
                kept_images.add(image_id)
            for reference in entry.references:
                old = store.references.set(reference, image_id)
                if old is not None:
                    moved.append(MovedReference(reference, old))
            for reference in entry.digests:
                store.references.set(reference, image_id)
            parent = entry.parent if entry.parent in ids else None
            if parent is not None:
                parents[image_id] = parent
            loaded.append(LoadedImage(image_id, entry.references, created, entry.digests, parent, entry.platform))
        for manifest in self._content.manifests:
            rows.put_manifest(manifest.row, manifest.images)
        store.images.set_parents(parents)
        for image in {entry.image.id: entry.image for entry in self._content.images}.values():
            labels = None if image.config is None else image.config.labels
            store.events.image("load", image.id, labels=labels)
        return LoadReport(tuple(loaded), tuple(moved), form)

    def _keep(self, image: Image) -> None:
        image_id = self._store.images.keep(image)
        self._store.images.set_last_used(image_id)

    def _kept(self, rows: WritableRows, diff_id: DiffID) -> DiffRow:
        """Look again, under the lock, at what is relied on."""
        diff = rows.diff(diff_id)
        if diff is None or not any(self._store.blobs.has(blob) for blob in rows.blobs_of(diff_id)):
            msg = f"the layer {diff_id} went away while the archive was loaded; load it again"
            raise ContentNotFound(msg)
        return diff
