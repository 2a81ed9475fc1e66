"""Uploads to a store without files, which are sent on while they come."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
import threading
from typing import TYPE_CHECKING

import pytest

import orlop
from orlop.errors import BodyTooLarge, DigestMismatch, RequestAborted, StorageError
from orlop.model.digest import Digest
from orlop.model.store_url import StoreURL
from orlop.service.hosted import ahead, uploads
from orlop.service.hosted.registry import HostedRegistry
from orlop.service.hosted.uploads import AT_ONCE, Bound
from orlop.store.blobs.s3 import ingest, store
from orlop.store.remote import remote_store
from tests import engines
from tests.elsewhere import install

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from orlop.service.hosted.repository import Repository
    from orlop.service.hosted.uploads import Uploads
    from orlop.store.root import Store


def _layer() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for number in range(5):
            member = tarfile.TarInfo(f"file{number}")
            member.size = AT_ONCE
            tar.addfile(member, io.BytesIO(os.urandom(AT_ONCE)))
    return out.getvalue()


LAYER = _layer()


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[orlop.ImageService]:
    install(monkeypatch, str(tmp_path / "scratch"))
    with orlop.open("postgresql://db/images?blobs=s3://bucket") as found:
        yield found


class Pushing:
    """One upload to a repository."""

    def __init__(self, images: orlop.ImageService, uploads: Uploads | None = None) -> None:
        registry = HostedRegistry(images.store)
        self.store: Store = images.store
        self.uploads = uploads or registry.uploads
        self.repository: Repository = registry.hosts.repository("a")
        self.key = self.uploads.begin(self.repository)

    def append(self, data: bytes, **options: object) -> None:
        self.uploads.append(self.repository, self.key, io.BytesIO(data), **options)  # type: ignore[arg-type]

    def finish(self, data: bytes, whole: bytes) -> None:
        digest = Digest.of(whole)
        assert self.uploads.finish(self.repository, self.key, digest, io.BytesIO(data)) == len(whole)
        with self.store.metadata.read() as rows:
            row = rows.blob(digest)
        assert row is not None
        assert self.store.blobs.read_range(row, 0, len(whole)) == whole
        assert not {self.key} & {*self.store.incoming.keys()}


def followers() -> list[str]:
    return [one.name for one in threading.enumerate() if one.name == "orlop-ahead"]


@pytest.fixture
def once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is looked through a second time."""

    def look(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(uploads, "_looked_through", look)


# What looks like a layer and is none.
ODD = LAYER[: 3 * AT_ONCE] + os.urandom(2 * AT_ONCE)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("content", [LAYER, os.urandom(3 * AT_ONCE), ODD], ids=["layer", "blob", "odd"])
@pytest.mark.parametrize("cuts", [(), (3 * AT_ONCE,), (2 * AT_ONCE, 2 * AT_ONCE + 7, 2 * AT_ONCE + 9)])
def test_what_came_is_taken_as_it_came(
    images: orlop.ImageService, once: None, content: bytes, cuts: tuple[int, ...]
) -> None:
    pushing = Pushing(images)
    ends = [*cuts, len(content)]
    for start, end in zip([0, *cuts], ends, strict=True):
        pushing.append(content[start:end])
    pushing.finish(b"", content)
    with images.store.metadata.read() as rows:
        assert bool(rows.diffs_of(Digest.of(content))) is (content == LAYER)
    assert followers() == []


def test_one_request_with_everything_is_followed_too(images: orlop.ImageService, once: None) -> None:
    Pushing(images).finish(LAYER, LAYER)


def test_what_is_cut_off_is_not_sent(images: orlop.ImageService) -> None:
    pushing = Pushing(images)
    pushing.append(LAYER[: 2 * AT_ONCE])
    with pytest.raises(BodyTooLarge):
        pushing.append(b"x" * 3 * AT_ONCE, bound=Bound(most=4 * AT_ONCE))
    assert followers() == []
    pushing.append(LAYER[2 * AT_ONCE :])
    pushing.finish(b"", LAYER)


def test_a_body_that_breaks_off_goes_on_where_it_was(images: orlop.ImageService, once: None) -> None:
    class Broken(io.BytesIO):
        def read(self, n: int | None = -1, /) -> bytes:
            data = super().read(n)
            if not data:
                raise RequestAborted("the client hung up")
            return data

    pushing = Pushing(images)
    with pytest.raises(RequestAborted):
        pushing.uploads.append(pushing.repository, pushing.key, Broken(LAYER[: 2 * AT_ONCE + 11]))
    pushing.finish(LAYER[2 * AT_ONCE + 11 :], LAYER)


def test_another_server_goes_on_with_an_upload(images: orlop.ImageService) -> None:
    pushing, other = Pushing(images), HostedRegistry(images.store).uploads
    pushing.append(LAYER[: 2 * AT_ONCE])
    other.append(pushing.repository, pushing.key, io.BytesIO(LAYER[2 * AT_ONCE : 3 * AT_ONCE]))
    pushing.append(LAYER[3 * AT_ONCE : -7])
    other.append(pushing.repository, pushing.key, io.BytesIO(LAYER[-7:]))
    pushing.finish(b"", LAYER)
    assert followers() == []


def test_an_upload_that_is_cancelled_or_wrong_leaves_nothing(images: orlop.ImageService) -> None:
    pushing = Pushing(images)
    pushing.append(LAYER)
    pushing.uploads.cancel(pushing.repository, pushing.key)
    pushing = Pushing(images, pushing.uploads)
    with pytest.raises(DigestMismatch):
        pushing.uploads.finish(pushing.repository, pushing.key, Digest.of(b""), io.BytesIO(LAYER))
    assert followers() == []
    assert pushing.store.incoming.keys() == []
    with images.store.metadata.read() as rows:
        assert rows.blob(Digest.of(LAYER)) is None


def test_a_blob_by_another_digest_than_was_announced_is_taken(images: orlop.ImageService) -> None:
    pushing = Pushing(images)
    pushing.append(LAYER)
    digest = Digest("sha512", hashlib.sha512(LAYER).hexdigest())
    pushing.uploads.finish(pushing.repository, pushing.key, digest, io.BytesIO())
    with images.store.metadata.read() as rows:
        assert rows.blob(digest) is not None


def test_few_are_followed_and_those_for_which_nothing_comes_are_not(
    images: orlop.ImageService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ahead, "MOST", 2)
    first = Pushing(images)
    others = [Pushing(images, first.uploads) for _ in range(3)]
    for one in (first, *others):
        one.append(LAYER[: 2 * AT_ONCE])
    assert len(followers()) == 2
    for one in (first, *others):
        one.finish(LAYER[2 * AT_ONCE :], LAYER)
    assert followers() == []
    idle = ahead.IDLE
    monkeypatch.setattr(ahead, "IDLE", 0.01)
    late = [Pushing(images, first.uploads) for _ in range(2)]
    for one in late:
        one.append(LAYER[: 2 * AT_ONCE])
    until = threading.Event()
    while followers():
        until.wait(0.01)
    # Their places are free, and they are looked through when they are whole.
    monkeypatch.setattr(ahead, "IDLE", idle)
    for _ in range(2):
        Pushing(images, first.uploads).append(LAYER[: 2 * AT_ONCE])
    assert len(followers()) == 2
    for one in late:
        one.finish(LAYER[2 * AT_ONCE :], LAYER)


def test_a_push_that_nobody_can_follow_goes_on(images: orlop.ImageService, monkeypatch: pytest.MonkeyPatch) -> None:
    def crowded(_: object) -> None:
        raise StorageError("too many open files")

    monkeypatch.setattr(ahead, "_Growing", crowded)
    Pushing(images).finish(LAYER, LAYER)
    assert followers() == []


def test_a_store_that_is_closed_follows_nothing(images: orlop.ImageService) -> None:
    Pushing(images).append(LAYER[: 2 * AT_ONCE])
    assert len(followers()) == 1
    images.close()
    assert followers() == []


@pytest.mark.sampled(2)
def test_parts_are_in_the_bucket_before_the_upload_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over real engines; what was sent of an upload that is given up is doomed."""
    monkeypatch.setattr(ingest, "part_size", lambda number, first, *, equal: 5 << 20)  # noqa: ARG005 - its names
    engines.install(monkeypatch)
    content = os.urandom(12 << 20)
    with orlop.open(engines.new_url()) as images:
        pushing = Pushing(images)
        pushing.append(content)
        blobs = images.store.blobs
        assert isinstance(blobs, store.S3BlobStore)
        until = threading.Event()
        while not (found := [one for one in blobs.keys.uploads() if one.upload_id]):
            assert not until.wait(0.01)
        pushing.finish(b"", content)
        assert list(blobs.keys.uploads()) == []
        assert len(found) == 1
        given_up = Pushing(images)
        given_up.append(content)
        url = images.store.root
    with remote_store(StoreURL.parse(url, engines.variables())) as again:
        assert isinstance(again.blobs, store.S3BlobStore)
        assert list(again.blobs.keys.uploads()) == []
