"""A real object store that is killed and comes back while a store is at work."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import pytest

from orlop.errors import StorageError
from orlop.store.blobs.s3.reclaim import init_bucket
from orlop.store.blobs.s3.store import S3BlobStore
from orlop.store.rows.memory_keys import MemoryKeys
from orlop.store.rows.sqlite.memory import MemoryMetadata
from orlop.testing.blob_store import Opened
from tests.seaweed import Seaweed

if TYPE_CHECKING:
    from pathlib import Path

    from orlop.store.rows.metadata import BlobRow


@pytest.mark.sampled(3)
@pytest.mark.slow
def test_what_was_kept_is_there_when_the_server_comes_back(tmp_path: Path) -> None:
    """What is under way when it dies ends right or with one clear error, and succeeds when it is repeated."""
    server = Seaweed(tmp_path / "seaweed")
    server.start()
    try:
        server.bucket("away").make()
        keys = MemoryKeys()
        opened = Opened(S3BlobStore(server.settings("away", patience=1.0), keys), MemoryMetadata())
        assert isinstance(opened.blobs, S3BlobStore)
        init_bucket(opened.blobs.bucket, keys)
        first = os.urandom(20 << 20)
        row = opened.keep(first)
        kept: list[tuple[BlobRow, bytes]] = []
        errors: list[StorageError] = []
        busy = threading.Event()

        def work() -> None:
            while not errors:
                data = os.urandom(9 << 20)
                try:
                    kept.append((opened.keep(data), data))
                    assert opened.read(kept[-1][0]) == data
                except StorageError as error:
                    errors.append(error)
                busy.set()

        worker = threading.Thread(target=work)
        worker.start()
        busy.wait()
        server.stop()
        worker.join()
        assert "Signature" not in str(errors[0])
        with pytest.raises(StorageError):
            opened.keep(b"while it is away")
        server.start()
        # It takes requests before it has found all of its volumes.
        blobs = S3BlobStore(server.settings("away", patience=60.0), keys)
        opened = Opened(blobs, opened.metadata)
        assert opened.read(row) == first
        for one, data in kept:
            assert opened.read(one) == data
        again = opened.keep(b"while it is away")
        assert opened.read(again) == b"while it is away"
        blobs.reclaim()
        blobs.sweep_bucket()
        assert list(blobs.bucket.uploads("")) == []
        objects = {one.key for one in blobs.bucket.objects("blobs/")}
        named = {f"blobs/{one.key}" for one in keys.objects(tocs=False)}
        assert named <= objects
    finally:
        server.stop()
