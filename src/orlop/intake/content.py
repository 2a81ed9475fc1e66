"""The part of a commit that is about content beside images: blobs as they are, manifests, and what names mean."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, cast

from orlop.errors import ContentNotFound, DigestMismatch, SizeMismatch
from orlop.intake.keeping import Keeper
from orlop.intake.platforms import first_image, images_in
from orlop.intake.report import LoadedArtifact
from orlop.store.content import ADDRESS, home_row, reference_of_top, top_row
from orlop.store.loose import loose_blob
from orlop.store.rows.metadata import ReferenceRow
from orlop.streams.pipeline import in_parallel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from orlop.intake.offer import Offer, OfferedBlob, OfferedManifest
    from orlop.intake.source import BlobSource, ImageSource
    from orlop.model.digest import Digest
    from orlop.store.blobs.ingest import IngestedLayer, TakenBlob
    from orlop.store.root import Store
    from orlop.store.rows.metadata import BlobRow, Rows, WritableRows

_WORKERS = 4


class BlobIntake:
    """The blobs of one offer on their way in. Those that the store has are held and not asked for.

    Whoever made the source's taking discards what was taken and not published.
    """

    def __init__(self, store: Store, source: ImageSource[IngestedLayer], blobs: Sequence[OfferedBlob]) -> None:
        self._store = store
        self._source = source
        self._offered = {blob.digest: blob for blob in blobs}
        self._taken: dict[Digest, TakenBlob] = {}

    def known(self) -> set[Digest]:
        """Return those that are there already, to be held."""
        if not self._offered:
            return set()
        with self._store.metadata.read() as rows:
            return {digest for digest in self._offered if self._is_there(rows, digest)}

    def held(self) -> Iterable[Digest]:
        """Return what must be held before it is taken: what is relied on, and all that is kept at once."""
        return self._offered if self._source.remote else self.known()

    def take(self) -> None:
        """Take the others, several at once where the source allows it.

        Raises:
            DigestMismatch, SizeMismatch: one is not what its manifest says. LimitExceeded, StorageError, …: it cannot
                be read, or kept.
        """
        known = self.known()
        new = [blob for digest, blob in self._offered.items() if digest not in known]
        workers = _WORKERS if self._source.parallel else 1
        with Keeper(self._store.metadata) as keeper:
            in_parallel([partial(self._take, keeper, blob) for blob in new], workers=workers)

    def _take(self, keeper: Keeper, blob: OfferedBlob, check: Callable[[], None]) -> None:
        taken = verified_blob(self._source, blob, check=keeper.watched(check))
        if self._source.remote:
            # It need not be fetched again, whatever ends this; until a manifest names it, only the lease needs it.
            keeper.add(taken.sync, taken.publish_blob, taken.blob.size)
        else:
            self._taken[blob.digest] = taken

    def sync(self) -> None:
        """Put what was taken on disk."""
        for taken in self._taken.values():
            taken.sync()

    def publish(self, rows: WritableRows) -> None:
        """Make what was taken visible, and look again at what is relied on. Raises `ContentNotFound`."""
        for digest in self._offered:
            if self._is_there(rows, digest):
                continue
            if digest not in self._taken:
                words = self._source.words
                raise ContentNotFound(f"the blob {digest} went away {words.meanwhile}; {words.verb} it again")
            self._taken[digest].publish_blob(rows)

    def _is_there(self, rows: Rows, digest: Digest) -> bool:
        row: BlobRow | None = rows.blob(digest)
        return row is not None and self._store.blobs.has(row)


def verified_blob(
    source: ImageSource[IngestedLayer], blob: OfferedBlob, *, check: Callable[[], None] | None = None
) -> TakenBlob:
    """Return a blob, read to its end, that has the digest and the size that were offered.

    Raises:
        DigestMismatch, SizeMismatch: it has not. Otherwise it cannot be read, or kept.
    """
    taken = cast("BlobSource", source).blob(blob, check=check)
    what = f"{source.words.name}'s blob {blob.name!r}"
    if taken.blob.size != blob.size:
        msg = f"{what} has {taken.blob.size} bytes, but its manifest says {blob.size}; it is damaged"
        raise SizeMismatch(msg)
    if taken.blob.digest != blob.digest:
        raise DigestMismatch(f"{what} has the digest {taken.blob.digest}, not {blob.digest}; it is damaged")
    return taken


def keep_content(store: Store, rows: WritableRows, offer: Offer) -> tuple[LoadedArtifact, ...]:
    """Keep the manifests and indexes of an offer, and what its names mean; return what was named and is not an image.

    A name that an image had before and that means something else now is taken from that image, as a name that moves.
    """
    for reference in (name for manifest in offer.manifests for name in manifest.names):
        suffix = f":{reference.tag}"
        # This may take manifests along that come again now.
        if rows.reference(reference.name, suffix) is not None:
            rows.delete_reference(reference.name, suffix)
    for manifest in offer.manifests:
        rows.put_manifest(manifest.row, manifest.images)
    for image in offer.images:
        for reference, digest in image.tops:
            rows.put_top(top_row(reference, digest, store.now()))
    found: list[LoadedArtifact] = []
    reached = _named_below(rows, (one.row.digest for one in offer.manifests))
    for manifest in offer.manifests:
        digest = manifest.row.digest
        for name in manifest.names:
            rows.put_top(top_row(name, digest, store.now()))
        for home in manifest.homes:
            rows.put_top(home_row(home, digest, store.now()))
        for address in manifest.addresses:
            # What an image or another manifest keeps needs no name of its own.
            if address or not (manifest.images or manifest.names or digest in reached):
                rows.put_top(ADDRESS.row(address, digest, store.now()))
        if not manifest.images and (manifest.names or manifest.addresses):
            blob = loose_blob(manifest.row)
            found.append(LoadedArtifact(digest if blob is None else blob.digest, manifest.names))
    for manifest in offer.manifests:
        _name_images(store, rows, manifest)
    store.content.sweep(rows)
    return tuple(found)


def _name_images(store: Store, rows: WritableRows, manifest: OfferedManifest) -> None:
    """Name an image that came for a manifest or an index by the tags that meant this before it had an image here."""
    if not manifest.images:
        return
    digest = manifest.row.digest
    image = None
    for top in list(rows.tops(digest)):
        is_kept = rows.reference(top.name, top.suffix) or rows.top(top.name, f"@{digest}")
        if is_kept is not None or reference_of_top(top) is None:
            continue
        # Many tags may mean one index of many images.
        image = image or first_image(store, images_in(rows, digest))
        rows.put_reference(ReferenceRow(top.name, top.suffix, image, store.now()))
        rows.put_top(top)


def _named_below(rows: Rows, digests: Iterable[Digest]) -> set[Digest]:
    """Return those manifests that an index, or a subject that is there, keeps."""
    found: set[Digest] = set()
    for digest in digests:
        held = any(edge.role == "child" for edge in rows.edges_to(digest))
        about = (edge.child for edge in rows.edges(digest) if edge.role == "subject")
        if held or any(rows.manifest(one) is not None for one in about):
            found.add(digest)
    return found
