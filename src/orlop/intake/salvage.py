"""From a source into a store that has lost something: only what is wanted is taken, and no name is given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from orlop.errors import IntegrityError, InvalidInput
from orlop.intake.commit import verified_layer
from orlop.intake.content import verified_blob
from orlop.intake.platforms import chosen
from orlop.store.layers import add_chain
from orlop.store.upkeep.problem import Repair
from orlop.store.upkeep.repair_files import is_whole

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from orlop.errors import OrlopError
    from orlop.intake.offer import Offer, OfferedImage, OfferedLayer
    from orlop.intake.source import ImageSource
    from orlop.model.digest import ChainID
    from orlop.store.blobs.ingest import IngestedLayer, TakenBlob
    from orlop.store.root import Store
    from orlop.store.rows.metadata import Rows, WritableRows
    from orlop.store.upkeep.repair import Wanted


@dataclass(frozen=True, slots=True)
class Salvaged:
    """What came from a source, and why what else was wanted did not, where a part of it is damaged."""

    repairs: tuple[Repair, ...]
    failures: tuple[OrlopError, ...]


def salvage(store: Store, source: ImageSource[IngestedLayer], wanted: Wanted) -> Salvaged:
    """Take what is wanted from a source, in one transaction. Every byte is verified as in a load.

    Args:
        store: where to; the source takes its layers into the same one.
        source: what may have it.
        wanted: what the store lacks. A layer is taken in the form that it has in the source.

    Raises:
        InvalidInput, IntegrityError, NotFound, PlatformNotFound: the source is refused. StorageError: it cannot be
        read, or nothing can be kept. The store is then as it was.
    """
    return _Salvage(store, source, source.offer(chosen(None)), wanted).run()


class _Salvage:
    """One source under way."""

    def __init__(self, store: Store, source: ImageSource[IngestedLayer], offer: Offer, wanted: Wanted) -> None:
        self._store = store
        self._source = source
        self._offer = offer
        self._wanted = wanted
        self._name = source.words.name
        self._repairs: list[Repair] = []

    def run(self) -> Salvaged:
        taken: list[IngestedLayer] = []
        failures: list[OrlopError] = []
        with self._store.metadata.read() as rows:
            useful = list(dict.fromkeys(self._useful(rows)))
        for layer in useful:
            try:
                found = verified_layer(self._source, layer)
            except (IntegrityError, InvalidInput) as error:
                failures.append(error)
                continue
            found.sync()
            taken.append(found)
        blobs = list(self._lost_blobs(failures))
        with self._store.metadata.write() as rows:
            for blob in blobs:
                blob.publish_blob(rows)
                message = f"the blob {blob.blob.digest} was taken from {self._name}"
                self._repairs.append(Repair("blob-missing", str(blob.blob.digest), message))
            self._keep_layers(rows, taken)
            self._keep_documents(rows)
            for entry in self._offer.images:
                if entry.image.id in self._wanted.images:
                    self._keep_image(rows, entry)
        return Salvaged(tuple(self._repairs), tuple(failures))

    def _useful(self, rows: Rows) -> Iterator[OfferedLayer]:
        """Yield the layers that may be what is wanted: some sources do not say what their bytes are."""
        for entry in self._offer.images:
            for layer in entry.layers:
                if layer.digest is not None and layer.digest not in self._wanted.blobs:
                    missing = False
                else:
                    forms = {form.digest for form in rows.blobs_of(layer.diff_id)}
                    missing = layer.digest in self._wanted.blobs or bool(forms & self._wanted.blobs)
                lacking = entry.image.id in self._wanted.images and not is_whole(self._store, rows, layer.diff_id)
                if missing or lacking or layer.diff_id in self._wanted.layers:
                    yield layer

    def _lost_blobs(self, failures: list[OrlopError]) -> Iterator[TakenBlob]:
        """Yield the wanted blobs that the source has and that are not layers there, on disk and verified."""
        for offered in self._offer.blobs:
            if offered.digest not in self._wanted.blobs:
                continue
            try:
                taken = verified_blob(self._source, offered)
            except (IntegrityError, InvalidInput) as error:
                failures.append(error)
                continue
            taken.sync()
            yield taken

    def _keep_layers(self, rows: WritableRows, taken: Iterable[IngestedLayer]) -> None:
        for layer in taken:
            digest, diff_id = layer.blob.digest, layer.diff.diff_id
            known = rows.blob(digest)
            # Another form is of use only where none is there.
            if (known is None or self._store.blobs.has(known)) and is_whole(self._store, rows, diff_id):
                continue
            layer.publish(rows)
            message = f"the layer {diff_id} was taken from {self._name} as the blob {digest}"
            self._repairs.append(Repair("blob-missing", str(digest), message))

    def _keep_documents(self, rows: WritableRows) -> None:
        mender = self._store.metadata.mender()
        for entry in self._offer.images:
            image = entry.image
            if image.id in self._wanted.configs and rows.config(image.id) not in {None, image.raw_json}:
                mender.set_config(image.id, image.raw_json)
                message = f"the config of the image {image.id} was taken from {self._name}"
                self._repairs.append(Repair("config-damaged", str(image.id), message))
        for manifest in self._offer.manifests:
            row = manifest.row
            if row.digest in self._wanted.manifests and mender.manifest(str(row.digest)) != row.raw:
                mender.set_manifest(row)
                message = f"the manifest {row.digest} was taken from {self._name}"
                self._repairs.append(Repair("manifest-damaged", str(row.digest), message))

    def _keep_image(self, rows: WritableRows, entry: OfferedImage) -> None:
        """Keep an image that names or children lead to, with its manifests, if all of its layers are there."""
        image_id = entry.image.id
        if rows.image_row(image_id) is not None:
            return
        if not all(is_whole(self._store, rows, layer.diff_id) for layer in entry.layers):
            return
        chain: ChainID | None = None
        for layer in entry.layers:
            diff = rows.diff(layer.diff_id)
            if diff is None:
                return
            chain = add_chain(rows, chain, diff, limits=self._source.limits).chain_id
        self._store.images.keep(entry.image)
        for manifest in self._offer.manifests:
            if image_id in manifest.images:
                rows.put_manifest(manifest.row, [image_id])
        message = f"the image {image_id} was taken from {self._name}"
        self._repairs.append(Repair("name-dangling", str(image_id), message))
