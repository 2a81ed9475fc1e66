"""Uploads on their way: how large their parts are, how much waits, and who may use them."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from orlop.errors import InvalidInput, LimitExceeded
from orlop.store.blobs.s3 import ingest, sending
from orlop.store.blobs.s3.ingest import part_size
from orlop.store.blobs.s3.reclaim import init_bucket
from orlop.store.blobs.s3.sending import Senders
from orlop.store.blobs.s3.settings import S3Settings
from orlop.store.blobs.s3.store import S3BlobStore
from orlop.store.rows.memory_keys import MemoryKeys
from orlop.store.rows.sqlite.memory import MemoryMetadata
from orlop.testing.blob_store import Opened, row_of
from tests.s3_strict import strict_s3
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from orlop.store.blobs.s3.sending import Sending
    from tests.s3_strict import StrictS3

_MIB = 1 << 20


def test_parts_grow_so_that_ten_thousand_hold_two_tebibytes() -> None:
    sizes = [part_size(number, 8 * _MIB, equal=False) for number in range(1, 10_001)]
    assert sizes[:1000] == [8 * _MIB] * 1000
    assert sizes == sorted(sizes)
    assert sum(sizes) > 2 << 40
    assert sizes[-1] <= 5 << 30
    assert {part_size(number, 64 * _MIB, equal=True) for number in (1, 5000, 10_000)} == {64 * _MIB}


def marked(s3: StrictS3, **how: Any) -> Opened:
    """Return a store over a server whose bucket is marked as its own; takes what `StrictS3.settings` takes."""
    blobs = S3BlobStore(s3.settings(**how), MemoryKeys())
    init_bucket(blobs.bucket, blobs.keys)
    return Opened(blobs, MemoryMetadata())


def contents(s3: StrictS3) -> list[bytes]:
    """Return the bytes of all objects but the one that marks the bucket."""
    return [kept.data for key, kept in s3.objects.items() if "/blobs/" in key]


def test_more_than_an_object_can_have_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest, "part_size", lambda number, first, *, equal: 10)  # noqa: ARG005 - its names
    monkeypatch.setattr(ingest, "_MOST_PARTS", 3)
    with strict_s3(smallest=1) as s3:
        opened = marked(s3)
        opened.keep(bytes(30))
        with pytest.raises(LimitExceeded), opened.blobs.begin() as begun:
            begun.write(bytes(100))
        opened.blobs.close()
        assert s3.pending == {}


def test_what_waits_to_be_sent_is_bounded() -> None:
    senders, gate = Senders(2, most=100), threading.Semaphore(0)
    waiting, most = [0], [0]
    guard = threading.Lock()

    def work(size: int) -> Callable[[], int]:
        def send() -> int:
            gate.acquire()
            with guard:
                waiting[0] -= size
            return size

        return send

    def write() -> None:
        for size in [30] * 20 + [250] + [30] * 5:
            sent.append(senders.submit(size, work(size)))
            with guard:
                waiting[0] += size
                most[0] = max(most[0], waiting[0])

    sent: list[Sending[int]] = []
    writer = threading.Thread(target=write)
    writer.start()
    for _ in range(26):
        gate.release()
    writer.join()
    senders.close()
    assert sum(one.result() for one in sent) == 25 * 30 + 250
    assert most[0] <= 250


def test_work_that_was_given_up_is_not_done() -> None:
    senders, gate, done = Senders(1), threading.Event(), []
    first = senders.submit(1, gate.wait)
    second = senders.submit(1, lambda: done.append(1))
    second.cancel()
    gate.set()
    first.result()
    with pytest.raises(OSError, match="given up"):
        second.result()
    senders.close()
    assert done == []
    # Threads come again.
    assert senders.submit(1, lambda: 7).result() == 7
    senders.close()


def test_threads_live_as_long_as_there_is_work() -> None:
    """A store that nobody closes leaves none behind."""
    with strict_s3() as s3:
        opened = marked(s3)
        row = opened.keep(bytes(20 * _MIB))
        until(lambda: not any(each.name == "orlop-s3-send" for each in threading.enumerate()))
        assert len(opened.read(row)) == 20 * _MIB


def test_work_needs_one_thread_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system gives no more, those that there are do it; where it gives none, the caller hears of it."""

    def refused(*_: object, **__: object) -> NoReturn:
        raise RuntimeError("can't start new thread")

    senders, gate = Senders(4), threading.Event()
    first = senders.submit(1, gate.wait)
    monkeypatch.setattr(sending, "started", refused)
    second = senders.submit(1, lambda: 7)
    gate.set()
    assert second.result() == 7
    first.result()
    senders.close()
    with pytest.raises(RuntimeError):
        senders.submit(1, lambda: 8)
    monkeypatch.undo()
    assert senders.submit(1, lambda: 9).result() == 9


def test_threads_of_a_forked_child_share_what_it_has() -> None:
    """Also where its parent has threads at work, and several of its own are the first to need some."""
    senders, gate = Senders(2), threading.Event()
    first = senders.submit(1, gate.wait)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            results: list[int] = []

            def use(number: int) -> None:
                results.append(senders.submit(1, lambda: number).result())

            threads = [threading.Thread(target=use, args=(number,)) for number in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            senders.close()
            status = 0 if sorted(results) == list(range(8)) else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    gate.set()
    first.result()
    senders.close()


def test_many_threads_share_a_store() -> None:
    with strict_s3() as s3:
        opened = marked(s3)
        errors: list[BaseException] = []

        def use(number: int) -> None:
            try:
                for turn in range(5):
                    data = os.urandom(50_000) + bytes([number, turn])
                    assert opened.read(opened.keep(data)) == data
            except BaseException as error:  # noqa: BLE001 - told by the assertion
                errors.append(error)

        threads = [threading.Thread(target=use, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []
        assert len(contents(s3)) == 40


def test_a_forked_child_goes_on_with_the_store() -> None:
    """With connections and threads of its own, though its parent has used both."""
    with strict_s3() as s3:
        opened = marked(s3)
        row = opened.keep(b"content")
        child = os.fork()
        if child == 0:
            status = 1
            try:
                with opened.blobs.begin() as begun:
                    begun.write(b"of the child")
                    begun.sync()
                status = 0 if opened.read(row) == b"content" else 2
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert opened.read(row) == b"content"
        assert sorted(contents(s3)) == [b"content", b"of the child"]


def test_encryption_is_asked_for_with_every_object() -> None:
    with strict_s3() as s3:
        opened = marked(s3, sse="aws:kms", sse_key="some-key")
        opened.keep(b"small")
        opened.keep(bytes(12 * _MIB))
        for kept in s3.objects.values():
            assert kept.headers["x-amz-server-side-encryption"] == "aws:kms"
            assert kept.headers["x-amz-server-side-encryption-aws-kms-key-id"] == "some-key"


def test_a_spool_may_be_a_file(tmp_path: Path) -> None:
    blobs = S3BlobStore(S3Settings("bucket"), MemoryKeys(), scratch=lambda: str(tmp_path))
    spool = blobs.spool()
    starts = [spool.append(bytes([number]) * 1000) for number in range(5)]
    assert [spool.read(start, 1000) for start in starts] == [bytes([number]) * 1000 for number in range(5)]
    assert list(tmp_path.iterdir()) == []
    spool.close()
    spool.close()


def test_a_url_for_too_long_is_refused() -> None:
    with strict_s3() as s3:
        opened = marked(s3)
        row = opened.keep(b"content")
        with pytest.raises(InvalidInput):
            opened.blobs.url_of(row, seconds=8 * 24 * 3600)
        assert row == row_of(b"content")
