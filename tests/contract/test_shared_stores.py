"""A store that several machines share, under the contracts: rows in a real PostgreSQL, bytes in a real object store."""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from typing import TYPE_CHECKING

from orlop.store.blobs.s3.client import Pieces
from orlop.store.blobs.s3.ingest import path_of
from orlop.store.blobs.s3.reclaim import init_bucket
from orlop.store.blobs.s3.store import S3BlobStore
from orlop.store.leases import Leases
from orlop.store.root import Store
from orlop.store.rows.postgres.database import PostgresMetadata
from orlop.store.rows.postgres.keys import PostgresKeys
from orlop.store.rows.postgres.sessions import Session
from orlop.store.sessions import SessionOwners
from orlop.testing.blob_store import BlobStoreContract, Opened
from orlop.testing.layer_store import LayerStoreContract
from orlop.testing.reference_store import ReferenceStoreContract
from tests.contract.named_otherwise import Algorithms
from tests.postgres import database
from tests.seaweed import the_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from orlop.model.digest import DiffID, Digest
    from orlop.store.blobs.s3.settings import S3Settings
    from orlop.store.layers import LayerStore
    from orlop.store.references import ReferenceStore
    from orlop.store.rows.metadata import BlobRow

_DATABASES: dict[Path, str] = {}
_OURS: set[str] = set()
"""The sessions of this process."""


def settings(folder: Path) -> S3Settings:
    server = the_server()
    server.bucket("contract").make()
    return server.settings("contract", prefix=hashlib.sha256(str(folder).encode()).hexdigest()[:16])


def opened(folder: Path) -> tuple[PostgresMetadata, Session, S3BlobStore]:
    if folder not in _DATABASES:
        _DATABASES[folder] = database()
    metadata = PostgresMetadata(_DATABASES[folder])
    session = Session(metadata)
    with metadata.short() as rows:
        # Nobody waits here until a process that was killed is silent for long enough.
        rows.run("UPDATE session SET seen = seen - interval '1 hour' WHERE NOT id = ANY(%s)", (list(_OURS),))
    _OURS.add(session.id)
    blobs = S3BlobStore(settings(folder), PostgresKeys(metadata, session), doubting=True)
    return metadata, session, blobs


@contextmanager
def store(folder: Path) -> Iterator[Store]:
    metadata, session, blobs = opened(folder)
    init_bucket(blobs.bucket, PostgresKeys(metadata, session))
    leases = Leases(metadata, SessionOwners(metadata, session))
    with Store(metadata, blobs, leases=leases, closing=session.end) as one:
        yield one


def damage(folder: Path, digest: Digest, data: bytes | None) -> None:
    metadata, session, blobs = opened(folder)
    stored = PostgresKeys(metadata, session).find(str(digest))
    assert stored is not None
    if data is None:
        blobs.bucket.delete([path_of(stored.key)])
    else:
        blobs.bucket.put(path_of(stored.key), Pieces([data]))
    session.end()
    metadata.end()
    blobs.close()


class TestBlobs(Algorithms, BlobStoreContract):
    @contextmanager
    def open(self, folder: Path) -> Iterator[Opened]:
        metadata, session, blobs = opened(folder)
        init_bucket(blobs.bucket, PostgresKeys(metadata, session))
        try:
            yield Opened(blobs, metadata)
        finally:
            session.end()
            metadata.end()
            blobs.close()

    def damage(self, folder: Path, digest: Digest, data: bytes | None) -> None:
        damage(folder, digest, data)


class TestLayers(LayerStoreContract):
    @contextmanager
    def open(self, folder: Path) -> Iterator[LayerStore]:
        with store(folder) as one:
            yield one.layers

    def damage(self, folder: Path, diff_id: DiffID) -> None:
        metadata, session, blobs = opened(folder)
        with blobs.open_unverified(next(iter(_forms(metadata, diff_id)))) as file:
            content = bytearray(file.read())
        session.end()
        metadata.end()
        blobs.close()
        content[512] ^= 1
        damage(folder, diff_id, bytes(content))


class TestReferences(ReferenceStoreContract):
    @contextmanager
    def open(self, folder: Path) -> Iterator[ReferenceStore]:
        with store(folder) as one:
            yield one.references


def _forms(metadata: PostgresMetadata, diff_id: DiffID) -> list[BlobRow]:
    with metadata.read() as rows:
        return rows.blobs_of(diff_id)
