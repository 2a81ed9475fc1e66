"""The stores of blobs that orlop ships, each under the one contract."""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from orlop.errors import DigestMismatch
from orlop.model.digest import Digest
from orlop.store.blobs.memory import MemoryBlobStore
from orlop.store.local import local_store
from orlop.store.rows.metadata import BlobRow
from orlop.testing.blob_store import BlobStoreContract, Opened

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class _Algorithms:
    """What both promise of content that is named by another algorithm than most."""

    @pytest.mark.parametrize("algorithm", ["sha384", "sha512"])
    def test_content_may_be_named_by_another_algorithm(self, opened: Opened, algorithm: str) -> None:
        """It is kept under the digest by which it was announced, beside the same content under others."""
        data = b"content"
        digest = Digest(algorithm, hashlib.new(algorithm, data).hexdigest())
        row = BlobRow(digest, len(data), "none")
        with opened.blobs.begin(algorithm) as wrong, opened.metadata.write() as rows:
            wrong.write(b"another")
            with pytest.raises(DigestMismatch):
                wrong.commit(rows, row)
        for ingest in (opened.blobs.begin(algorithm), opened.blobs.resume(digest)):
            ingest.write(data)
            ingest.finish()
            ingest.sync()
            assert ingest.digest == digest
            with opened.metadata.write() as rows:
                ingest.commit(rows, row)
                rows.put_blob(row)
        assert opened.read(row) == data
        opened.keep(data)
        assert set(opened.blobs.digests()) == {digest, Digest.of(data)}
        with opened.metadata.read() as view:
            assert not list(opened.blobs.strays(view))
        with opened.metadata.write() as rows:
            opened.blobs.remove(rows, [digest])
        assert set(opened.blobs.digests()) == {Digest.of(data)}


class TestFiles(_Algorithms, BlobStoreContract):
    @contextmanager
    def open(self, folder: Path) -> Iterator[Opened]:
        with local_store(folder / "root") as store:
            yield Opened(store.blobs, store.metadata)

    def damage(self, folder: Path, digest: Digest, data: bytes | None) -> None:
        path = folder / "root" / "blobs" / digest.algorithm / digest.hex
        path.unlink()
        if data is not None:
            path.write_bytes(data)


class TestMemory(_Algorithms, BlobStoreContract):
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
