"""A server of a bucket that sends a byte now and then is given up: its time counts, and not that of its reader."""

from __future__ import annotations

import socket
import threading
import time
from typing import TYPE_CHECKING

import pytest

from orlop.errors import BucketUnavailable
from orlop.store.blobs.s3.client import Request, S3Client
from orlop.store.blobs.s3.settings import Credentials, S3Settings
from orlop.store.blobs.s3.waiting import ENOUGH, Watch
from tests.s3_strict import ACCESS, SECRET, Trouble, strict_s3
from tests.unit.served import slowly
from tests.unit.test_s3_faults import rigged

if TYPE_CHECKING:
    from tests.s3_strict import Asked

PART = 600_000


@pytest.mark.parametrize("cut", [0, 1000])
def test_a_body_that_drips_is_one_error(cut: int) -> None:
    with strict_s3(smallest=PART) as s3:
        rig = rigged(s3, timeout=0.3, patience=0.5)
        row = rig.opened.keep(bytes(500_000))
        s3.plan = lambda asked: Trouble(200, cut=cut, drip=0.02) if asked.method == "GET" else None
        before = time.monotonic()
        with pytest.raises(BucketUnavailable, match=r"failed: hardly a byte came within 0\.9 s"):
            rig.opened.read(row)
        assert time.monotonic() - before < 20


def test_a_read_goes_on_where_a_server_dripped() -> None:
    with strict_s3(smallest=PART) as s3:
        rig = rigged(s3, timeout=0.3)
        row = rig.opened.keep(bytes(3_000_000))
        left = [1]

        def plan(asked: Asked) -> Trouble | None:
            if asked.method != "GET" or not left:
                return None
            left.pop()
            return Trouble(200, cut=2_500_000, drip=0.02)

        s3.plan = plan
        with rig.blobs.open_unverified(row) as file:
            assert file.read() == bytes(3_000_000)
        assert any("range" in asked.headers for asked in s3.asked)


@pytest.mark.parametrize("first", [b"", b"HTTP/1.1 200 OK\r\nX-A: ", b"HTTP/1.1 100 Continue\r\n\r\n"])
def test_a_head_that_drips_is_one_error(first: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                    with connection:
                        slowly(b"X", first)(connection)
                except OSError:
                    if listener.fileno() < 0:
                        return

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        settings = S3Settings(
            "bucket",
            endpoint=f"http://127.0.0.1:{listener.getsockname()[1]}",
            credentials=Credentials(ACCESS, SECRET),
            allow_http=True,
            timeout=0.3,
            patience=0.5,
        )
        client = S3Client(settings)
        with pytest.raises(BucketUnavailable, match=r"failed: hardly a byte came within 0\.9 s"):
            client.call(Request("GET", "key"))
        client.close()
        listener.shutdown(socket.SHUT_RDWR)
    thread.join()


def test_the_time_of_a_reader_does_not_count() -> None:
    now = [0.0]
    watch = Watch(20, 60, lambda: now[0])
    for moved in range(1000):
        watch.look(moved, is_awaited=True)
        watch.look(moved, is_awaited=False)
        now[0] += 100


def test_a_server_that_sends_enough_is_waited_for() -> None:
    now = [0.0]
    watch = Watch(20, 60, lambda: now[0])
    for moved in range(0, 100 * ENOUGH, ENOUGH // 4):
        watch.look(moved, is_awaited=True)
        now[0] += 14


def test_a_server_that_sends_less_is_not() -> None:
    now = [0.0]
    watch = Watch(20, 60, lambda: now[0])

    def drip() -> None:
        for moved in range(20):
            watch.look(moved, is_awaited=True)
            now[0] += 14

    with pytest.raises(TimeoutError, match="60 s"):
        drip()
    assert now[0] == 70


def test_silence_ends_sooner() -> None:
    now = [0.0]
    watch = Watch(20, 60, lambda: now[0])
    watch.look(1, is_awaited=True)
    now[0] += 21
    with pytest.raises(TimeoutError):
        watch.look(1, is_awaited=True)
