"""The stores of layers and references that orlop ships, each under its contract."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from orlop.store.local import local_store
from orlop.testing.layer_store import LayerStoreContract
from orlop.testing.reference_store import ReferenceStoreContract

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from orlop.model.digest import DiffID, Digest
    from orlop.store.layers import LayerStore
    from orlop.store.references import ReferenceStore


def blob(folder: Path, digest: Digest) -> Path:
    return folder / "root" / "blobs" / digest.algorithm / digest.hex


class TestLayers(LayerStoreContract):
    @contextmanager
    def open(self, folder: Path) -> Iterator[LayerStore]:
        with local_store(folder / "root") as store:
            yield store.layers

    def damage(self, folder: Path, diff_id: DiffID) -> None:
        path = blob(folder, diff_id)
        content = bytearray(path.read_bytes())
        # A file's content, not a header: the tar stays one.
        content[512] ^= 1
        path.unlink()
        path.write_bytes(content)


class TestReferences(ReferenceStoreContract):
    @contextmanager
    def open(self, folder: Path) -> Iterator[ReferenceStore]:
        with local_store(folder / "root") as store:
            yield store.references
