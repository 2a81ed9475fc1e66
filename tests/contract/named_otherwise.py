"""What stores of blobs promise of content that is named by another algorithm than most."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from orlop.errors import DigestMismatch
from orlop.model.digest import Digest
from orlop.store.rows.metadata import BlobRow

if TYPE_CHECKING:
    from orlop.testing.blob_store import Opened


class Algorithms:
    """Tests for a subclass of `BlobStoreContract`."""

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
