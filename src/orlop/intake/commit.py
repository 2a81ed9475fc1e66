"""From a source to the store: the one way in, whatever the source is, all or nothing.

A source has said what it holds (an `orlop.intake.offer.Offer`), and its layers can be taken. A commit goes through
these steps, and only the last one is visible to others:

1. Which layers are needed? Each is taken once, however many images have it. One name cannot be two layers.
2. Which of them are there already? Those are held by a lease, and looked at again after that: what went between the
   look and the hold is taken like a new one.
3. Take the others, several at once where the source allows it: hashed as received, decompressed, hashed again, scanned,
   and written below ``ingest/``. Each must have the digest, size and diff ID that it was announced with.
4. Sync them. Nothing slow is left to do.
5. One write, under the write lock: layers get their names, what is relied on is looked at once more, and chains,
   images, parents, manifests, names and events follow. Names come last, so that a name never leads to what is not
   there.

Of a remote source each layer is kept soon after step 3 has verified it (`orlop.intake.keeping`), under the lease and
without any name: two that pull the same fetch it once, and a pull that is killed goes on where it was.

A failure in steps 1 to 4 discards what was taken; a failure in step 5 undoes the write, and with it the new names of
files. A crash leaves files below ``ingest/`` that the next removal or collection takes.

Inside the write nothing is hashed, scanned or synced but directories, and nothing costs more than once for what a
source repeats: layers, chains and configs are remembered, since an archive may list one image a thousand times.
"""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING

from orlop.errors import ContentNotFound, DigestMismatch, SizeMismatch
from orlop.intake.content import BlobIntake, keep_content
from orlop.intake.keeping import Keeper
from orlop.intake.lacking import absent, lacks
from orlop.intake.report import LoadedImage, LoadReport, MovedReference
from orlop.model.progress import LayerExists
from orlop.model.values import replace
from orlop.store.layers import add_chain
from orlop.streams.pipeline import in_parallel

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from orlop.intake.offer import Offer, OfferedLayer
    from orlop.intake.source import Found, ImageSource
    from orlop.intake.taking import L
    from orlop.model.digest import ChainID, DiffID, ImageID
    from orlop.model.image import Image
    from orlop.model.reference import Reference
    from orlop.store.blobs.ingest import IngestedLayer
    from orlop.store.root import Store
    from orlop.store.rows.metadata import DiffRow, Rows, WritableRows


# One layer at a time keeps this many cores busy, with hashing, scanning and writing.
_CORES = 2

# More would take memory and only wait for the disk.
_WORKERS = 4

# Docker fetches as many at once; each takes about 10 MiB, and registries limit what one client may ask for.
_REMOTE_WORKERS = 3


def commit(
    store: Store,
    source: ImageSource[IngestedLayer],
    offer: Offer,
    *,
    require: Callable[[Rows], object] = lambda _: None,
) -> LoadReport:
    """Keep every image, name, parent link and manifest that a source offers, in one transaction.

    Args:
        store: where to; the source takes its layers into the same one.
        source: where the layers come from. Those that the store has are not asked for.
        offer: what it offers, or a part of that.
        require: called first in the one write, under its lock; raises where something must not be so.

    Raises:
        DigestMismatch, SizeMismatch, InvalidTar, …: a layer is not what the source says. NoSpace, ReadOnlyStore, …:
            it cannot be kept. The store is then as it was.
    """
    return _Commit(store, source, offer).run(require)


def verified_layer(source: ImageSource[L], layer: OfferedLayer, *, check: Callable[[], None] | None = None) -> L:
    """Return a layer, read to its end, whose bytes have the digest and size, and whose content the diff ID, of it.

    Raises:
        DigestMismatch, SizeMismatch: they have not. InvalidTar, …: it is not a layer. Otherwise it is not there.
    """
    name, words, found = layer.name, source.words, find(source, layer)
    if layer.size is not None and found.size is not None and found.size != layer.size:
        raise _missized(source, layer, found.size)
    taken = source.layer(layer, check=check)
    if layer.digest is not None and taken.blob.digest != layer.digest:
        msg = (
            f"{words.name}'s {words.part} {found.key!r} has the digest {taken.blob.digest}, not {layer.digest}; it is"
            " damaged"
        )
        raise DigestMismatch(msg)
    if layer.size is not None and taken.blob.size != layer.size:
        raise _missized(source, layer, taken.blob.size)
    if taken.diff.diff_id != layer.diff_id:
        msg = f"the layer {name!r} has the diff ID {taken.diff.diff_id}, but its image's config says {layer.diff_id}"
        raise DigestMismatch(msg)
    return taken


def _missized(source: ImageSource[L], layer: OfferedLayer, size: int) -> SizeMismatch:
    what = f"{source.words.name}'s layer {layer.name!r}"
    return SizeMismatch(f"{what} has {size} bytes, but its manifest says {layer.size}; it is damaged")


def find(source: ImageSource[L], layer: OfferedLayer) -> Found:
    """Return where a layer is in its source. Raises an error that says where else it is, if that is known."""
    found = source.find(layer)
    if found is None:
        raise absent(source, layer)
    return found


class _Commit:
    """One way in, under way."""

    def __init__(self, store: Store, source: ImageSource[IngestedLayer], offer: Offer) -> None:
        self._store = store
        self._source = source
        self._offer = offer
        self._layers: dict[OfferedLayer, IngestedLayer | None] = {}
        self._in_other_form: dict[DiffID, None] = {}
        self._blobs = BlobIntake(store, source, offer.blobs)

    def run(self, require: Callable[[Rows], object]) -> LoadReport:
        needed = self._needed()
        known = self._known(needed)
        # What a remote source brings is kept at once, so that it must be held before it is there.
        layers = {layer.diff_id for layer in needed} if self._source.remote else known
        with self._store.leases.hold([*layers, *self._blobs.held()]):
            # Only what was held before it is looked at again may be relied on.
            self._take_all(needed, known)
            self._blobs.take()
            for taken in self._layers.values():
                if taken is not None:
                    taken.sync()
            self._blobs.sync()
            with self._store.metadata.write() as rows:
                require(rows)
                return self._write(rows)

    def _needed(self) -> list[OfferedLayer]:
        """Return each layer once; what has one name cannot be two layers."""
        diff_ids: dict[str, DiffID] = {}
        needed = dict.fromkeys(layer for entry in self._offer.images for layer in entry.layers)
        for layer in needed:
            if diff_ids.setdefault(layer.name, layer.diff_id) != layer.diff_id:
                msg = (
                    f"{self._source.words.name}'s configs give the layer {layer.name!r} two diff IDs,"
                    f" {diff_ids[layer.name]} and {layer.diff_id}"
                )
                raise DigestMismatch(msg)
        return list(needed)

    def _known(self, layers: list[OfferedLayer]) -> set[DiffID]:
        """Return the layers that are there already."""
        with self._store.metadata.read() as rows:
            return {diff_id for diff_id in {layer.diff_id for layer in layers} if rows.diff(diff_id) is not None}

    def _take_all(self, needed: list[OfferedLayer], known: set[DiffID]) -> None:
        """Take every layer that the store has not, or that is not held; several at once where the source allows it."""
        new: dict[str, list[OfferedLayer]] = {}
        lacking: list[OfferedLayer] = []
        for layer in needed:
            if layer.diff_id in known and self._is_had(layer):
                self._layers[layer] = None
                if self._source.progress is not None:
                    self._source.progress(LayerExists(layer.label(remote=self._source.remote)))
            elif (found := self._source.find(layer)) is not None:
                new.setdefault(found.key, []).append(layer)
            else:
                lacking.append(layer)
        if lacking:
            raise lacks(self._source, self._offer, lacking)
        with Keeper(self._store.metadata) as keeper:
            in_parallel([partial(self._take, keeper, layers) for layers in new.values()], workers=self._workers())

    def _workers(self) -> int:
        if self._source.remote:
            return _REMOTE_WORKERS
        cores = max(1, len(os.sched_getaffinity(0)) // _CORES) if self._source.parallel else 1
        return min(cores, _WORKERS)

    def _take(self, keeper: Keeper, layers: list[OfferedLayer], check: Callable[[], None]) -> None:
        """Take what several layers may have in common: the same bytes.

        What comes from far away is kept before its image: it need not be fetched again, by whoever else wants it or
        whatever ends this. Nothing but the lease needs it, so that the next removal takes it where no image follows.
        """
        for layer in layers:
            taken = verified_layer(self._source, layer, check=keeper.watched(check))
            if self._source.remote:
                keeper.add(taken.sync, taken.publish, taken.blob.size)
            self._layers[layer] = None if self._source.remote else taken

    def _is_had(self, layer: OfferedLayer) -> bool:
        """Return whether a layer need not be taken: it is kept as its digest says, or the source lacks it.

        In another form it has the same files. The source's manifest then names bytes that are not here.
        """
        if self._is_kept(layer):
            return True
        if self._source.find(layer) is not None or not self._is_kept(replace(layer, any_form=True)):
            return False
        self._in_other_form[layer.diff_id] = None
        return True

    def _is_kept(self, layer: OfferedLayer) -> bool:
        with self._store.metadata.read() as rows:
            kept = rows.blobs_of(layer.diff_id)
        # A digest asks for just that form, since a manifest may name it.
        return any(
            (layer.any_form or (layer.digest in {None, blob.digest} and layer.size in {None, blob.size}))
            and self._store.blobs.has(blob)
            for blob in kept
        )

    def _write(self, rows: WritableRows) -> LoadReport:
        store = self._store
        published: set[int] = set()
        kept_images: set[ImageID] = set()
        parents: dict[ImageID, ImageID] = {}
        loaded: list[LoadedImage] = []
        moved: list[MovedReference] = []
        ids = {entry.image.id for entry in self._offer.images}
        # Many images have the same layers at their bottom.
        kept: dict[DiffID, DiffRow] = {}
        chains: dict[tuple[ChainID | None, DiffID], ChainID] = {}
        for entry in self._offer.images:
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
                    chains[link] = add_chain(rows, chain, kept[layer.diff_id], limits=self._source.limits).chain_id
                chain = chains[link]
            image_id = entry.image.id
            created = image_id not in kept_images and rows.image_row(image_id) is None
            # A source may list one image any number of times, and its config may be large.
            if image_id not in kept_images:
                self._keep(entry.image)
                kept_images.add(image_id)
            # What it came in last decides.
            if entry.listing or (self._offer.form == "docker" and not created):
                store.images.set_listing(image_id, entry.listing)
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
        self._blobs.publish(rows)
        artifacts = keep_content(store, rows, self._offer)
        store.images.set_parents(parents)
        names = {
            entry.image.id: name for entry in self._offer.images for name in (*entry.references, *entry.digests)[:1]
        }
        for image in {entry.image.id: entry.image for entry in self._offer.images}.values():
            labels = None if image.config is None else image.config.labels
            self._tell(image.id, names.get(image.id), labels)
        return LoadReport(
            tuple(loaded),
            tuple(moved),
            self._offer.form,
            artifacts,
            tuple(self._in_other_form),
            self._offer.strange,
        )

    def _tell(self, image: ImageID, name: Reference | None, labels: Mapping[str, str] | None) -> None:
        """Record what was done: of a pull by its name, as engines do."""
        verb = self._source.words.verb
        if self._source.remote and name is not None:
            self._store.events.moved(verb, name, labels)
        else:
            self._store.events.image(verb, image, labels=labels)

    def _keep(self, image: Image) -> None:
        image_id = self._store.images.keep(image)
        self._store.images.set_last_used(image_id)

    def _kept(self, rows: WritableRows, diff_id: DiffID) -> DiffRow:
        """Look again, under the lock, at what is relied on."""
        diff = rows.diff(diff_id)
        if diff is None or not any(self._store.blobs.has(blob) for blob in rows.blobs_of(diff_id)):
            words = self._source.words
            msg = f"the layer {diff_id} went away {words.meanwhile}; {words.verb} it again"
            raise ContentNotFound(msg)
        return diff
