"""Blobs in a bucket under the contract of all stores of blobs, against a real server and a strict one."""

from __future__ import annotations

import atexit
import hashlib
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import TYPE_CHECKING

import pytest

from orlop.store.blobs.s3 import ingest
from orlop.store.blobs.s3.client import Pieces
from orlop.store.blobs.s3.ingest import path_of
from orlop.store.blobs.s3.reclaim import init_bucket
from orlop.store.blobs.s3.store import S3BlobStore
from orlop.store.rows.memory_keys import MemoryKeys, MemoryObjects
from orlop.store.rows.sqlite.memory import MemoryMetadata, MemoryRows
from orlop.testing.blob_store import BlobStoreContract, Opened
from tests.contract.named_otherwise import Algorithms
from tests.s3_strict import strict_s3
from tests.seaweed import the_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from orlop.model.digest import Digest
    from orlop.store.blobs.s3.settings import S3Settings
    from tests.s3_strict import StrictS3


class _Kept:
    """What lasts of a store whose rows and keys are in memory."""

    def __init__(self) -> None:
        self.rows = MemoryRows()
        self.objects = MemoryObjects()


_KEPT: dict[Path, _Kept] = {}


class S3Contract(Algorithms, BlobStoreContract):
    """The hooks over a bucket that `settings` names."""

    @staticmethod
    def settings(folder: Path) -> S3Settings:
        raise NotImplementedError

    @contextmanager
    def open(self, folder: Path) -> Iterator[Opened]:
        kept = _KEPT.setdefault(folder, _Kept())
        keys = MemoryKeys(kept.objects)
        metadata = MemoryMetadata(kept.rows)
        blobs = S3BlobStore(self.settings(folder), keys, doubting=True)
        init_bucket(blobs.bucket, keys)
        try:
            yield Opened(blobs, metadata)
        finally:
            kept.objects.declare_dead(keys.session)
            metadata.end()
            blobs.close()

    def damage(self, folder: Path, digest: Digest, data: bytes | None) -> None:
        keys = MemoryKeys(_KEPT[folder].objects)
        stored = keys.find(str(digest))
        assert stored is not None
        bucket = S3BlobStore(self.settings(folder), keys).bucket
        if data is None:
            bucket.delete([path_of(stored.key)])
        else:
            bucket.put(path_of(stored.key), Pieces([data]))


class TestSeaweed(S3Contract):
    @staticmethod
    def settings(folder: Path) -> S3Settings:
        server = the_server()
        server.bucket("contract").make()
        return server.settings("contract", prefix=hashlib.sha256(str(folder).encode()).hexdigest()[:16])


@cache
def _strict() -> StrictS3:
    """Return a strict server that runs as long as this process."""
    running = ExitStack()
    # Later, in the end of the interpreter, its thread is gone and nobody would hear that it is to end.
    atexit.register(running.close)
    return running.enter_context(strict_s3(smallest=_PART))


_PART = 1 << 16


class TestStrict(S3Contract):
    """A server that checks what the real one forgives."""

    @staticmethod
    def settings(folder: Path) -> S3Settings:
        return _strict().settings(prefix=hashlib.sha256(str(folder).encode()).hexdigest()[:16])


class TestStrictInParts(TestStrict):
    """Everything that has more than 64 KiB goes in parts of that size."""

    @pytest.fixture(autouse=True)
    def _small_parts(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(ingest, "part_size", lambda number, first, *, equal: _PART)  # noqa: ARG005 - its names
