"""The stores of blobs that orlop ships, each under the one contract."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from orlop.store.blobs.memory import MemoryBlobStore
from orlop.store.local import local_store
from orlop.testing.blob_store import BlobStoreContract, Opened, row_of
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

    def test_a_name_is_there_before_its_rows_are(self, opened: Opened) -> None:
        """A pull that finds no file asks for the content; one that finds it waits for the write."""
        row = row_of(b"content")
        with opened.begin(b"content") as ingest:
            assert opened.blobs.is_missing(row.digest)
            ingest.sync()
            with opened.metadata.write() as rows:
                ingest.commit(rows, row)
                assert not opened.blobs.is_missing(row.digest)


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
