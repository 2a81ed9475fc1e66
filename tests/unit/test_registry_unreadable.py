"""A blob that the disk cannot read counts as missing, so that the next push replaces it, and is read anew later."""

from __future__ import annotations

import errno
import os
import random
from http.client import IncompleteRead
from typing import TYPE_CHECKING, Any

import pytest

import orlop
from orlop.errors import StorageError
from orlop.model.digest import Digest
from orlop.service.hosted.damage import Damage
from orlop.store.blobs import files
from orlop.streams.files import explaining
from tests.named import named
from tests.unit.hosted import digest_of, hosting
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from orlop.store.rows.metadata import BlobRow


@pytest.fixture
def images(tmp_path: Path) -> Iterator[orlop.ImageService]:
    with orlop.open(tmp_path / "root") as found:
        yield found


class Disk:
    """Fails to read some files, as a disk with bad sectors does."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.bad: set[str] = set()
        self.number = errno.EIO
        read, readinto, send = files._BlobFile.read, files._BlobFile.readinto, os.sendfile

        def reading(file: Any, size: int = -1, /) -> bytes:
            self._check(file.fileno())
            return read(file, size)

        def reading_into(file: Any, buffer: Any, /) -> int:
            self._check(file.fileno())
            return readinto(file, buffer)

        def sending(target: int, file: int, first: int, count: int) -> int:
            if named(file) in self.bad:
                raise OSError(self.number, os.strerror(self.number))
            return send(target, file, first, count)

        patch.setattr(files._BlobFile, "read", reading)
        patch.setattr(files._BlobFile, "readinto", reading_into)
        patch.setattr(os, "sendfile", sending)

    def _check(self, descriptor: int) -> None:
        path = named(descriptor)
        with explaining("read", path):
            if path in self.bad:
                raise OSError(self.number, os.strerror(self.number))


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("size", [100, 3 << 20])
def test_a_blob_with_a_sector_that_cannot_be_read_is_missing_until_it_is_pushed(images, tmp_path, disk, size, caplog):
    content = random.Random(size).randbytes(size)
    digest = digest_of(content)
    with hosting(images, tmp_path) as registry:
        registry.push_blob("a", content)
    (file,) = (tmp_path / "root" / "blobs" / "sha256").iterdir()
    disk.bad.add(str(file))
    with hosting(images, tmp_path) as registry:
        assert registry.head(f"/v2/a/blobs/{digest}").status == 200
        # What the client gets breaks off, or is an error; it never has the right length.
        try:
            assert registry.get(f"/v2/a/blobs/{digest}").status == 500
        except (IncompleteRead, ConnectionError):
            assert size > 100
        until(lambda: registry.head(f"/v2/a/blobs/{digest}").status == 404)
        assert registry.get(f"/v2/a/blobs/{digest}").status == 404
        assert registry.finish(registry.begin("a"), digest, content).status == 201
        # A new file has the name, of other sectors.
        (aside,) = (tmp_path / "root" / "quarantine").iterdir()
        assert not file.samefile(aside)
        disk.bad = {str(aside)}
        assert registry.get(f"/v2/a/blobs/{digest}").body == content
    assert any("is damaged" in one.message and digest in one.message for one in caplog.records)


def held(images: orlop.ImageService, content: bytes) -> BlobRow:
    with images.store.metadata.read() as rows:
        row = rows.blob(Digest.of(content))
    assert row is not None
    return row


@pytest.mark.sampled(2)
def test_what_could_not_be_read_is_read_anew_after_some_minutes(images, tmp_path, disk):
    content = b"some content " * 40
    with hosting(images, tmp_path) as registry:
        registry.push_blob("a", content)
    (file,) = (tmp_path / "root" / "blobs" / "sha256").iterdir()
    now = [0.0]
    damage, row = Damage(images.store, clock=lambda: now[0]), held(images, content)
    disk.bad.add(str(file))
    damage.was_read(row)
    until(lambda: not damage.has(row))
    now[0] = 599
    assert not damage.has(row)
    now[0] = 600
    assert damage.has(row)

    # Whoever pulls it has it proved again, on the same day, once the first proof is over.
    def is_proved_again() -> bool:
        damage.was_read(row)
        return not damage.has(row)

    until(is_proved_again)
    disk.bad.clear()
    now[0] = 1200
    damage.was_read(row)
    assert damage.has(row)


def test_a_push_finds_that_what_could_not_be_read_is_right(images, tmp_path, disk):
    content = b"some content " * 40
    digest = digest_of(content)
    with hosting(images, tmp_path) as registry:
        registry.push_blob("a", content)
    (file,) = (tmp_path / "root" / "blobs" / "sha256").iterdir()
    disk.bad.add(str(file))
    with hosting(images, tmp_path) as registry:
        registry.get(f"/v2/a/blobs/{digest}")
        until(lambda: registry.head(f"/v2/a/blobs/{digest}").status == 404)
        disk.bad.clear()
        assert registry.finish(registry.begin("a"), digest, content).status == 201
        assert registry.get(f"/v2/a/blobs/{digest}").body == content
    assert not (tmp_path / "root" / "quarantine").exists()


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENOMEM, errno.EACCES])
def test_what_says_nothing_of_the_bytes_is_no_verdict(images, tmp_path, disk, number):
    content = b"some content " * 40
    with hosting(images, tmp_path) as registry:
        registry.push_blob("a", content)
    (file,) = (tmp_path / "root" / "blobs" / "sha256").iterdir()
    disk.bad.add(str(file))
    disk.number = number
    damage, row = Damage(images.store), held(images, content)
    with pytest.raises(StorageError):
        damage._proved(row)
    assert damage.has(row)
