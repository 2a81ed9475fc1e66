"""Servers that speak S3 in ways of their own: what was seen of them, done by a server that does it always."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from orlop.errors import BucketUnavailable, StorageError, StoreInUse
from orlop.store.blobs.s3 import ingest
from orlop.store.blobs.s3.bucket import Bucket
from orlop.store.blobs.s3.client import Pieces, S3Client
from orlop.store.blobs.s3.reclaim import MARKER, init_bucket
from orlop.store.blobs.s3.store import S3BlobStore
from orlop.store.rows.memory_keys import MemoryKeys
from orlop.store.rows.sqlite.memory import MemoryMetadata
from orlop.testing.blob_store import Opened
from tests.s3_strict import strict_s3

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.s3_strict import Asked, StrictS3

_PART = 1 << 20
_DATA = bytes(range(256)) * (10 << 10)


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[StrictS3]:
    monkeypatch.setattr(ingest, "part_size", lambda number, first, *, equal: _PART)  # noqa: ARG005 - its names
    with strict_s3(smallest=_PART) as found:
        yield found


@pytest.fixture
def opened(s3: StrictS3) -> Opened:
    blobs = S3BlobStore(s3.settings(), MemoryKeys())
    init_bucket(blobs.bucket, blobs.keys)
    return Opened(blobs, MemoryMetadata())


def bucket(s3: StrictS3) -> Bucket:
    return Bucket(S3Client(s3.settings()))


def test_a_range_may_be_answered_as_if_it_were_the_whole(s3: StrictS3, opened: Opened) -> None:
    """`rclone serve s3` says 200 with a Content-Range."""
    row = opened.keep(_DATA)
    s3.plain_ranges = True
    assert opened.blobs.read_range(row, 100, 70_000) == _DATA[100:70_100]
    with opened.blobs.open_unverified(row) as reader:
        reader.seek(2_000_000)
        assert reader.read(9) == _DATA[2_000_000:2_000_009]


def test_a_range_is_not_taken_from_the_whole(s3: StrictS3, opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands between may put the whole for a range, and leave what was said of the range."""
    row = opened.keep(_DATA)
    real = s3.answer

    def whole(asked: Asked, body: bytes) -> tuple[int, dict[str, str], bytes]:
        status, headers, content = real(asked, body)
        return (200, headers, s3.objects[asked.key].data) if "Content-Range" in headers else (status, headers, content)

    monkeypatch.setattr(s3, "answer", whole)
    with pytest.raises(BucketUnavailable, match="other bytes than those asked for"):
        opened.blobs.read_range(row, 100, 70_000)


def test_a_list_of_uploads_may_be_refused_where_there_are_none(s3: StrictS3, opened: Opened) -> None:
    """`rclone serve s3` says NoSuchUpload until there was one."""
    s3.misses_uploads = True
    assert isinstance(opened.blobs, S3BlobStore)
    assert opened.blobs.sweep_bucket().uploads == 0
    bucket(s3).begin_parts(f"blobs/{'0' * 32}")
    assert opened.blobs.sweep_bucket().uploads == 1
    assert s3.pending == {}


@pytest.mark.parametrize("data", [b"small", _DATA], ids=["one-request", "parts"])
def test_what_was_damaged_on_the_way_is_refused(opened: Opened, data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ceph compares a checksum only where another header names its algorithm."""
    real = Pieces.crc32
    monkeypatch.setattr(Pieces, "crc32", lambda pieces: real(pieces) ^ 1)
    with pytest.raises(StorageError, match="BadDigest"):
        opened.keep(data)


def test_of_two_that_prepare_one_prefix_only_one_writes_where_both_may_create(s3: StrictS3) -> None:
    """`rclone serve s3` passes over If-None-Match, and other servers have done so at times."""
    one, other = (S3BlobStore(s3.settings(), MemoryKeys()) for _ in range(2))
    s3.creates_twice = True

    def overtaking(asked: Asked) -> None:
        if asked.method == "PUT" and asked.key.endswith(MARKER):
            s3.plan = lambda _: None
            init_bucket(other.bucket, other.keys)

    s3.plan = overtaking
    init_bucket(one.bucket, one.keys)
    Opened(one, MemoryMetadata()).keep(_DATA)
    with pytest.raises(StoreInUse):
        Opened(other, MemoryMetadata()).keep(_DATA)
    with pytest.raises(StoreInUse):
        other.sweep_bucket()
