"""What a machine keeps of a bucket: nothing is fetched twice, nothing wrong stays, and there is an end to it."""

from __future__ import annotations

import errno
import multiprocessing
import os
import random
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from orlop.errors import DigestMismatch, SizeMismatch
from orlop.store.blobs.s3.cache import BLOCK, BlockCache
from orlop.store.blobs.s3.reclaim import init_bucket
from orlop.store.blobs.s3.store import S3BlobStore
from orlop.store.rows.memory_keys import MemoryKeys
from orlop.store.rows.sqlite.memory import MemoryMetadata
from orlop.testing.blob_store import Opened
from tests.s3_strict import strict_s3
from tests.socket_files import make_socket

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.s3_strict import StrictS3

_DATA = random.Random(1).randbytes(3 * BLOCK + 12_345)


class Site:
    """A strict server, a store over it, and a cache."""

    def __init__(self, s3: StrictS3, folder: Path) -> None:
        self.s3, self.folder = s3, folder / "cache"
        self.keys = MemoryKeys()
        self.opened = Opened(self.blobs(), MemoryMetadata())
        init_bucket(self.blobs().bucket, self.keys)

    def blobs(self, most: int = 64 << 20) -> S3BlobStore:
        return S3BlobStore(self.s3.settings(patience=0.0), self.keys, cache=BlockCache(str(self.folder), most=most))

    def fetched(self) -> int:
        """How many requests for objects there were since the last time this was asked."""
        count = sum(asked.method == "GET" and "/blobs/" in asked.key for asked in self.s3.asked)
        self.s3.asked.clear()
        return count

    def blocks(self) -> list[Path]:
        return sorted(one for one in self.folder.iterdir() if one.name != "lock")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with strict_s3() as s3:
        yield Site(s3, tmp_path)


def test_nothing_is_fetched_twice(site: Site) -> None:
    row = site.opened.keep(_DATA)
    assert site.opened.read(row) == _DATA
    assert site.fetched() == 1
    assert site.opened.read(row) == _DATA
    assert site.opened.blobs.read_range(row, 5, 2_000_000) == _DATA[5:2_000_005]
    # Another process begins with another object.
    assert site.blobs().read_range(row, BLOCK - 1, 2) == _DATA[BLOCK - 1 : BLOCK + 1]
    assert site.fetched() == 0


def test_ranges_are_kept_as_well(site: Site) -> None:
    row = site.opened.keep(_DATA)
    dice = random.Random(2)
    for _ in range(60):
        start, size = dice.randrange(len(_DATA)), dice.randrange(2 * BLOCK)
        assert site.opened.blobs.read_range(row, start, size) == _DATA[start : start + size]
    assert site.fetched() <= 4
    assert site.opened.read(row) == _DATA
    assert site.fetched() == 0


def test_a_part_that_is_kept_is_used_and_the_rest_is_fetched_once(site: Site) -> None:
    row = site.opened.keep(_DATA)
    assert site.opened.blobs.read_range(row, 0, 10) == _DATA[:10]
    site.s3.asked.clear()
    assert site.opened.read(row) == _DATA
    [asked] = [one for one in site.s3.asked if "/blobs/" in one.key]
    assert asked.headers["range"] == f"bytes={BLOCK}-{len(_DATA) - 1}"


def test_tables_of_contents_are_kept_and_never_stale(site: Site) -> None:
    for data in (b"a table", b"another table"):
        site.opened.keep_toc(data)
        site.s3.asked.clear()
        assert site.opened.toc() == site.opened.toc() == data
        assert site.fetched() == 1


def test_a_reader_may_be_sought_in(site: Site) -> None:
    row = site.opened.keep(_DATA)
    dice = random.Random(3)
    with site.opened.blobs.open_unverified(row) as file:
        for _ in range(40):
            place, size = dice.randrange(len(_DATA)), dice.randrange(2 * BLOCK)
            file.seek(place)
            assert file.read(size) == _DATA[place : place + size]


@pytest.mark.parametrize("what", ["a bit", "cut", "longer", "empty", "another block"])
def test_a_damaged_block_is_dropped_and_fetched_again(site: Site, what: str) -> None:
    row = site.opened.keep(_DATA)
    site.opened.read(row)
    for block in site.blocks():
        raw = bytearray(block.read_bytes())
        if what == "a bit":
            raw[len(raw) // 2] ^= 1
        other = site.blocks()[0 if block != site.blocks()[0] else 1].read_bytes()
        whole: dict[str, bytes] = {
            "cut": bytes(raw[:-1]),
            "longer": bytes(raw) + b"x",
            "empty": b"",
            "another block": other,
        }
        block.write_bytes(whole.get(what, bytes(raw)))
    site.fetched()
    assert site.opened.read(row) == _DATA
    assert site.fetched() >= 1
    assert site.opened.read(row) == _DATA
    assert site.fetched() == 0


def test_what_came_wrong_from_the_bucket_does_not_stay(site: Site) -> None:
    row = site.opened.keep(_DATA)
    [key] = [key for key in site.s3.objects if "/blobs/" in key]
    right = site.s3.objects[key]
    site.s3.objects[key] = right._replace(data=bytes(len(_DATA)))
    for _ in range(2):
        with pytest.raises(DigestMismatch):
            site.opened.read(row)
    assert site.blocks() == []
    site.s3.objects[key] = right
    assert site.opened.read(row) == _DATA


def test_another_size_is_told_at_once(site: Site) -> None:
    row = site.opened.keep(_DATA)
    [key] = [key for key in site.s3.objects if "/blobs/" in key]
    site.s3.objects[key] = site.s3.objects[key]._replace(data=_DATA + b"x")
    with pytest.raises(SizeMismatch):
        site.opened.blobs.open_unverified(row)


@pytest.mark.sampled(3)
def test_it_has_an_end_and_what_was_used_last_stays(site: Site) -> None:
    most = 10 * BLOCK
    blobs = site.blobs(most)
    rows = [site.opened.keep(random.Random(number).randbytes(BLOCK - 100)) for number in range(25)]
    for number, row in enumerate(rows):
        assert len(blobs.read_range(row, 0, BLOCK)) == BLOCK - 100
        for place, block in enumerate(sorted(site.blocks(), key=lambda one: one.stat().st_mtime_ns)):
            os.utime(block, ns=(0, 1000 * number + place))
        assert len(blobs.read_range(rows[0], 0, BLOCK)) == BLOCK - 100
        assert sum(block.stat().st_size for block in site.blocks()) <= most
    site.fetched()
    blobs.read_range(rows[0], 0, 1)
    blobs.read_range(rows[-1], 0, 1)
    assert site.fetched() == 0
    blobs.read_range(rows[1], 0, 1)
    assert site.fetched() == 1


def test_what_a_dead_process_left_goes_as_well(site: Site) -> None:
    row = site.opened.keep(_DATA)
    site.opened.read(row)
    left = site.folder / f"new-{16 * '0'}"
    left.write_bytes(bytes(BLOCK))
    os.utime(left, (0, 0))
    site.blobs(4 * BLOCK).read_range(site.opened.keep(b"more"), 0, 4)
    assert not left.exists()


def test_files_that_are_not_of_the_cache_stay(site: Site) -> None:
    """A user may have named a directory in which he keeps other things."""
    site.folder.mkdir(mode=0o700)
    names = ["letter", "photo-1", "new-year", f"{32 * 'a'}-x", f"{32 * 'A'}-1", f"{32 * 'a'}-1.bak", ".profile"]
    for name in names:
        (site.folder / name).write_bytes(bytes(BLOCK))
        os.utime(site.folder / name, (0, 0))
    blobs = site.blobs(4 * BLOCK)
    for number in range(8):
        blobs.read_range(site.opened.keep(random.Random(number).randbytes(BLOCK - 100)), 0, 1)
    assert len(list(site.folder.iterdir())) > len(names)
    assert [name for name in names if not (site.folder / name).exists()] == []


def _fill(folder: str, most: int, seed: int) -> None:
    cache, dice = BlockCache(folder, most=most), random.Random(seed)
    for _ in range(300):
        number = dice.randrange(40)
        data = random.Random(number).randbytes(20_000)
        assert cache.get("a" * 32, number, len(data)) in {None, data}
        cache.put("a" * 32, number, data)


@pytest.mark.sampled(3)
def test_processes_share_it(tmp_path: Path) -> None:
    most = 400_000
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_fill, args=(str(tmp_path / "c"), most, seed)) for seed in range(3)]
    for one in workers:
        one.start()
    for one in workers:
        one.join()
        assert one.exitcode == 0
    assert 0 < sum(one.stat().st_size for one in (tmp_path / "c").iterdir()) <= most


@pytest.mark.parametrize("trouble", ["a file", "others may write", "a link"])
def test_a_cache_that_cannot_be_used_is_left_alone(
    site: Site, trouble: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    if trouble == "a file":
        site.folder.write_bytes(b"")
    elif trouble == "others may write":
        site.folder.mkdir()
        site.folder.chmod(0o777)
    row = site.opened.keep(_DATA)
    if trouble == "a link":
        site.opened.read(row)
        for block in site.blocks():
            block.unlink()
            block.symlink_to(tmp_path / "elsewhere")
    for _ in range(2):
        assert site.opened.read(row) == _DATA
    assert not (tmp_path / "elsewhere").exists()
    if trouble != "a link":
        assert len(caplog.records) == 1
        assert trouble == "a file" or list(site.folder.iterdir()) == []


def _spoiled(block: Path, what: str) -> None:
    """Put something else in the place of a block."""
    block.unlink()
    if what == "a pipe":
        os.mkfifo(block)
    elif what == "a directory":
        block.mkdir()
        (block / "kept").touch()
    elif what == "a huge file":
        with block.open("wb") as file:
            file.truncate(1 << 40)
    elif what == "a file without rights":
        block.touch(0o000)
    elif what == "a link to a device":
        block.symlink_to("/dev/zero")
    elif what == "a socket":
        make_socket(block)


@pytest.mark.parametrize(
    "what",
    ["a pipe", "a directory", "a huge file", "a file without rights", "a link to a device", "a socket"],
)
def test_whatever_lies_in_place_of_a_block_the_bytes_are_right(site: Site, what: str) -> None:
    row = site.opened.keep(_DATA)
    site.opened.read(row)
    for block in site.blocks():
        _spoiled(block, what)
    assert site.opened.read(row) == _DATA
    assert site.blobs().read_range(row, BLOCK - 1, 2) == _DATA[BLOCK - 1 : BLOCK + 1]


@pytest.mark.needs("root")
def test_a_block_of_another_user_is_not_used(site: Site) -> None:
    """Its bytes may be anything, and its checksum right."""
    row = site.opened.keep(_DATA)
    site.opened.read(row)
    wrong = BlockCache(str(site.folder), most=64 << 20)
    key = site.blocks()[0].name.rpartition("-")[0]
    wrong.put(key, 0, bytes(BLOCK))
    os.chown(site.folder / f"{key}-0", 65534, 65534)
    assert site.opened.blobs.read_range(row, 0, 100) == _DATA[:100]
    wrong.put(key, 1, bytes(BLOCK))
    (site.folder / f"{key}-1").chmod(0o666)
    assert site.opened.blobs.read_range(row, BLOCK, 100) == _DATA[BLOCK : BLOCK + 100]


@pytest.mark.parametrize("what", ["removed", "emptied", "replaced"])
def test_a_cache_that_goes_while_it_is_used_is_not_missed(site: Site, what: str) -> None:
    row = site.opened.keep(_DATA)
    with site.opened.blobs.open(row) as reader:
        first = reader.read(BLOCK + 5)
        # What reads ahead keeps blocks meanwhile.
        for block in site.blocks():
            block.unlink(missing_ok=True)
        while what != "emptied" and site.folder.exists():
            shutil.rmtree(site.folder, ignore_errors=True)
        if what == "replaced":
            site.folder.write_bytes(b"not a directory")
        assert first + b"".join(reader.chunks()) == _DATA
    for _ in range(2):
        assert site.opened.read(row) == _DATA


def test_a_full_disk_of_the_cache_costs_no_read(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was begun does not stay behind either."""
    row = site.opened.keep(_DATA)
    real = os.write

    def write(descriptor: int, data: bytes) -> int:
        if len(data) > 1000 and str(Path(f"/proc/self/fd/{descriptor}").readlink()).startswith(str(site.folder)):
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor, data)

    monkeypatch.setattr(os, "write", write)
    assert site.opened.read(row) == _DATA
    assert site.blocks() == []
    monkeypatch.undo()
    assert site.opened.read(row) == _DATA
    site.fetched()
    assert site.opened.read(row) == _DATA
    assert site.fetched() == 0
