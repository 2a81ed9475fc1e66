"""Rows that were cloned or restored, beside a bucket that belongs to those that they were made from."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import psycopg
import pytest

import orlop
from orlop.errors import StoreInUse
from orlop.model.store_url import StoreURL
from orlop.model.values import replace
from orlop.store.blobs.s3.client import Pieces
from orlop.store.blobs.s3.reclaim import MARKER
from orlop.store.blobs.s3.store import S3BlobStore
from orlop.store.remote import init_store, remote_store
from tests import engines

if TYPE_CHECKING:
    from pathlib import Path

    from orlop.store.blobs.s3.bucket import Bucket

CLONE = "a_clone"


def bucket_of(url: StoreURL) -> Bucket:
    with remote_store(url) as store:
        assert isinstance(store.blobs, S3BlobStore)
        return store.blobs.bucket


def keys_in(url: StoreURL) -> set[str]:
    return {found.key for found in bucket_of(url).objects("blobs/")}


@pytest.mark.sampled(3)
def test_older_rows_in_another_database_take_nothing_until_they_adopt(data: Path) -> None:
    folder = data / "dockerd-20.10-overlay2"
    url = StoreURL.parse(engines.new_url(), engines.variables())
    with orlop.open(url) as images:
        images.load(folder / "tiny.tar")
    with psycopg.connect(host=url.host, user=url.user, dbname="postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {CLONE} TEMPLATE {url.database}".encode())
    with orlop.open(url) as images:
        images.load(folder / "dup.tar")
    before = keys_in(url)
    clone = replace(url, database=CLONE)
    with orlop.open(clone) as images:
        for one in list(images.images()):
            images.remove(str(one.id), force=True)
        with pytest.raises(StoreInUse, match="restored from a dump"):
            images.gc()
        with pytest.raises(StoreInUse, match="--adopt"):
            images.load(folder / "tiny.tar")
    with pytest.raises(StoreInUse):
        orlop.stores.fsck(clone, repair=True)
    assert keys_in(url) == before
    assert orlop.stores.check(url, verify=True).damage == ()
    init_store(clone, adopt=True).close()
    orlop.stores.fsck(clone, repair=True)
    with orlop.open(clone) as images:
        images.load(folder / "tiny.tar")
    assert not keys_in(clone) & before
    with orlop.open(url) as images, pytest.raises(StoreInUse, match="generation"):
        images.load(folder / "multi.tar")


def test_a_mark_that_does_not_tell_the_database_is_good(data: Path) -> None:
    """As it was written before."""
    url = StoreURL.parse(engines.new_url(), engines.variables())
    bucket = bucket_of(url)
    mark = json.loads(bucket.read(MARKER) or b"")
    del mark["rows"]
    bucket.put(MARKER, Pieces([json.dumps(mark).encode()]))
    with orlop.open(url) as images:
        images.load(data / "dockerd-20.10-overlay2" / "tiny.tar")
        images.gc()
