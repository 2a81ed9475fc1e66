"""The disk of an engine fills up: each command ends with one clear error, and succeeds once there is room again."""

from __future__ import annotations

import json
import os
import random
import subprocess
import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from psycopg.conninfo import conninfo_to_dict

import orlop
from orlop.errors import NoSpace, StorageError
from orlop.model.store_url import StoreURL
from orlop.store.blobs.s3.reclaim import init_bucket
from orlop.store.blobs.s3.store import S3BlobStore
from orlop.store.remote import init_store
from orlop.store.rows.memory_keys import MemoryKeys
from orlop.store.rows.sqlite.memory import MemoryMetadata
from orlop.testing.blob_store import Opened
from tests import engines
from tests.needs import need_mounts
from tests.postgres import Postgres
from tests.seaweed import Seaweed
from tests.unit.layouts import packed, sha256

if TYPE_CHECKING:
    from collections.abc import Iterator

_MIB = 1 << 20


@contextmanager
def small(place: Path, size: int) -> Iterator[Path]:
    """Mount a file system of some bytes for a block."""
    need_mounts()
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=0755", "tmpfs", place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


@contextmanager
def full(place: Path) -> Iterator[None]:
    """Fill a disk for a block."""
    with (place / "filler").open("wb", buffering=0) as filler:
        piece = bytes(_MIB)
        try:
            while True:
                piece = piece[: filler.write(piece) or 1]
        except OSError:
            pass
        yield
    (place / "filler").unlink()


def wordy(path: Path) -> Path:
    """Write an archive of an image whose configuration has many bytes, which is a row."""
    layer = packed({"a": b"1"})
    noise = random.Random(1).randbytes(_MIB).hex()
    config = {"rootfs": {"type": "layers", "diff_ids": [sha256(layer)]}, "config": {"Labels": {"noise": noise}}}
    manifest = [{"Config": "config.json", "RepoTags": ["wordy:1"], "Layers": ["layer.tar"]}]
    documents = {"config.json": json.dumps(config).encode(), "manifest.json": json.dumps(manifest).encode()}
    path.write_bytes(packed({"layer.tar": layer, **documents}))
    return path


def send(opened: Opened, content: bytes) -> None:
    """Upload content, and drop it again."""
    with opened.blobs.begin() as ingest:
        ingest.write(content)
        ingest.sync()


@pytest.mark.sampled(4)
@pytest.mark.slow
def test_a_database_whose_disk_is_full_is_one_error_until_there_is_room(tmp_path: Path, data: Path) -> None:
    """What is there is read meanwhile."""
    archive = wordy(tmp_path / "wordy.tar")
    # A user without rights runs it, who cannot enter the folders of pytest.
    with tempfile.TemporaryDirectory(prefix="orlop-pg-", dir="/tmp") as folder, ExitStack() as stack:
        Path(folder).chmod(0o755)
        disk = stack.enter_context(small(Path(folder) / "disk", 220 * _MIB))
        (disk / "pg").mkdir()
        server = Postgres(disk / "pg", durable=True)
        server.start()
        try:
            engines.new_url(prepared=False)
            name = conninfo_to_dict(server.database(empty=True))["dbname"]
            host = quote(str(disk / "pg"), safe="")
            rest = f"{name}?blobs=s3://{engines.BUCKET}/{os.urandom(8).hex()}"
            url = StoreURL.parse(f"postgresql://orlop@{host}/{rest}", engines.variables())
            init_store(url).close()
            with orlop.open(url) as images:
                images.load(data / "dockerd-20.10-overlay2" / "dup.tar")
                there = next(str(name) for one in images.images() for name in one.references)
                with full(disk):
                    for _ in range(2):
                        with pytest.raises(NoSpace, match="no space left on its disk"):
                            images.load(archive)
                        assert next(str(name) for one in images.images() for name in one.references) == there
                images.load(archive)
                images.remove(there, force=True)
            assert orlop.stores.check(url, verify=True).damage == ()
            assert orlop.stores.fsck(url).problems == ()
        finally:
            server.stop()


@pytest.mark.sampled(3)
@pytest.mark.slow
def test_an_object_store_whose_disk_is_full_is_one_error_until_there_is_room(tmp_path: Path) -> None:
    with small(tmp_path / "disk", 160 * _MIB) as disk:
        server = Seaweed(disk / "weed")
        server.start()
        try:
            server.bucket("full").make()
            keys = MemoryKeys()
            blobs = S3BlobStore(server.settings("full", patience=2.0), keys)
            init_bucket(blobs.bucket, keys)
            opened = Opened(blobs, MemoryMetadata())
            kept, large = os.urandom(3 * _MIB), os.urandom(24 * _MIB)
            row = opened.keep(kept)
            with full(disk):
                for _ in range(2):
                    with pytest.raises(StorageError) as caught:
                        send(opened, large)
                    assert len(str(caught.value)) < 400
                    assert opened.read(row) == kept
            blobs = S3BlobStore(server.settings("full", patience=60.0), keys)
            opened = Opened(blobs, opened.metadata)
            assert opened.read(opened.keep(large)) == large
            blobs.reclaim()
            blobs.sweep_bucket()
            assert list(blobs.bucket.uploads("")) == []
            assert opened.read(row) == kept
        finally:
            server.stop()
