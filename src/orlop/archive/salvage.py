"""From an archive into a store that has lost something: only what is wanted is taken, and no name is given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from orlop.archive.detect import exporter_of, open_members
from orlop.errors import IntegrityError, InvalidInput
from orlop.intake.commit import layer_taker, verified_layer
from orlop.intake.platforms import chosen
from orlop.store.layers import add_chain
from orlop.store.upkeep.problem import Repair
from orlop.store.upkeep.repair_files import is_whole

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator
    from typing import BinaryIO

    from orlop.archive.members import Members
    from orlop.errors import OrlopError
    from orlop.intake.content import ArchiveContent, ArchiveImage, ArchiveLayer
    from orlop.model.digest import ChainID
    from orlop.model.progress import Progress
    from orlop.store.blobs.ingest import IngestedLayer
    from orlop.store.root import Store
    from orlop.store.rows.metadata import Rows, WritableRows
    from orlop.store.upkeep.repair import Wanted


@dataclass(frozen=True, slots=True)
class Salvaged:
    """What came from an archive, and why what else was wanted did not, where a part of it is damaged."""

    repairs: tuple[Repair, ...]
    failures: tuple[OrlopError, ...]


def salvage(
    store: Store, source: BinaryIO | str | os.PathLike[str], wanted: Wanted, *, progress: Progress | None = None
) -> Salvaged:
    """Take what is wanted from an archive, in one transaction. Every byte is verified as in a load.

    Args:
        store: where to.
        source: an archive of any format that is loaded: a path, or a binary file or stream.
        wanted: what the store lacks. A layer is taken in the form that it has in the archive.
        progress: called with events about layers that are read.

    Raises:
        InvalidInput, IntegrityError, NotFound, PlatformNotFound: the archive is refused. StorageError: it cannot be
        read, or nothing can be kept. The store is then as it was.
    """
    with open_members(
        source, layer_taker(store), limits=store.limits, progress=progress, scratch=store.blobs.spool
    ) as members:
        content = exporter_of(members).read(members, chosen(None))
        return _Salvage(store, members, content, wanted).run()


class _Salvage:
    """One archive under way."""

    def __init__(self, store: Store, members: Members[IngestedLayer], content: ArchiveContent, wanted: Wanted) -> None:
        self._store = store
        self._members = members
        self._content = content
        self._wanted = wanted
        self._repairs: list[Repair] = []

    def run(self) -> Salvaged:
        taken: list[IngestedLayer] = []
        failures: list[OrlopError] = []
        with self._store.metadata.read() as rows:
            useful = list(dict.fromkeys(self._useful(rows)))
        for layer in useful:
            try:
                found = verified_layer(self._members, layer)
            except (IntegrityError, InvalidInput) as error:
                failures.append(error)
                continue
            found.sync()
            taken.append(found)
        with self._store.metadata.write() as rows:
            self._keep_layers(rows, taken)
            self._keep_documents(rows)
            for entry in self._content.images:
                if entry.image.id in self._wanted.images:
                    self._keep_image(rows, entry)
        return Salvaged(tuple(self._repairs), tuple(failures))

    def _useful(self, rows: Rows) -> Iterator[ArchiveLayer]:
        """Yield the layers that may be what is wanted: some archives do not say what their bytes are."""
        for entry in self._content.images:
            for layer in entry.layers:
                if layer.digest is not None and layer.digest not in self._wanted.blobs:
                    missing = False
                else:
                    forms = {form.digest for form in rows.blobs_of(layer.diff_id)}
                    missing = layer.digest in self._wanted.blobs or bool(forms & self._wanted.blobs)
                lacking = entry.image.id in self._wanted.images and not is_whole(self._store, rows, layer.diff_id)
                if missing or lacking or layer.diff_id in self._wanted.layers:
                    yield layer

    def _keep_layers(self, rows: WritableRows, taken: Iterable[IngestedLayer]) -> None:
        for layer in taken:
            digest, diff_id = layer.blob.digest, layer.diff.diff_id
            known = rows.blob(digest)
            # Another form is of use only where none is there.
            if (known is None or self._store.blobs.has(known)) and is_whole(self._store, rows, diff_id):
                continue
            layer.publish(rows)
            message = f"the layer {diff_id} was taken from the archive as the blob {digest}"
            self._repairs.append(Repair("blob-missing", str(digest), message))

    def _keep_documents(self, rows: WritableRows) -> None:
        mender = self._store.metadata.mender()
        for entry in self._content.images:
            image = entry.image
            if image.id in self._wanted.configs and rows.config(image.id) not in {None, image.raw_json}:
                mender.set_config(image.id, image.raw_json)
                message = f"the config of the image {image.id} was taken from the archive"
                self._repairs.append(Repair("config-damaged", str(image.id), message))
        for manifest in self._content.manifests:
            row = manifest.row
            if row.digest in self._wanted.manifests and mender.manifest(str(row.digest)) != row.raw:
                mender.set_manifest(row)
                message = f"the manifest {row.digest} was taken from the archive"
                self._repairs.append(Repair("manifest-damaged", str(row.digest), message))

    def _keep_image(self, rows: WritableRows, entry: ArchiveImage) -> None:
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
            chain = add_chain(rows, chain, diff, limits=self._members.limits).chain_id
        self._store.images.keep(entry.image)
        for manifest in self._content.manifests:
            if image_id in manifest.images:
                rows.put_manifest(manifest.row, [image_id])
        message = f"the image {image_id} was taken from the archive"
        self._repairs.append(Repair("name-dangling", str(image_id), message))
