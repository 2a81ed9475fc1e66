"""The stores of blobs that orlop ships, each under the one contract."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from orlop.store.blobs.memory import MemoryBlobStore
from orlop.store.local import local_store
from orlop.testing.blob_store import BlobStoreContract, Opened
from tests.contract.named_otherwise import Algorithms

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from orlop.model.digest import Digest


class TestFiles(Algorithms, BlobStoreContract):
    @contextmanager
    def open(self, folder: Path) -> Iterator[Opened]:
        with local_store(folder / "root") as store:
            yield Opened(store.blobs, store.metadata)

    def damage(self, folder: Path, digest: Digest, data: bytes | None) -> None:
        path = folder / "root" / "blobs" / digest.algorithm / digest.hex
        path.unlink()
        if data is not None:
            path.write_bytes(data)


class TestMemory(Algorithms, BlobStoreContract):
    """Memory beside rows in a file: what a crash leaves of the rows, it leaves without blobs."""

    @contextmanager
    def open(self, folder: Path) -> Iterator[Opened]:
        with local_store(folder / "root") as store:
            yield Opened(_KEPT.setdefault(folder, MemoryBlobStore()), store.metadata)

    def damage(self, folder: Path, digest: Digest, data: bytes | None) -> None:
        blobs = _KEPT[folder]._blobs
        del blobs[digest]
        if data is not None:
            blobs[digest] = data


_KEPT: dict[Path, MemoryBlobStore] = {}
