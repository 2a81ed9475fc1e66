"""Uploads to a bucket over a slow line: what the system keeps of them is taken late, and the answer comes later."""

from __future__ import annotations

import socket
import threading

import pytest
import urllib3

from orlop.store.blobs.s3.waiting import PlainPool, Taken
from tests.waiting import PATIENCE

_SIZE = 3 << 20
_SLICE = 256 << 10


def _serve(listener: socket.socket, over: threading.Event, *, pause: float) -> None:
    with listener.accept()[0] as connection:
        got = 0
        while got < _SIZE:
            piece = connection.recv(64 << 10)
            if not piece:
                return
            got += len(piece)
            if over.wait(pause):
                return
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")


def _put(pause: float, silence: float) -> int:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        over = threading.Event()
        thread = threading.Thread(target=_serve, args=(listener, over), kwargs={"pause": pause}, daemon=True)
        thread.start()
        timeout = urllib3.Timeout(connect=silence, read=silence)
        with PlainPool("127.0.0.1", listener.getsockname()[1], timeout=timeout) as pool:
            headers = {"Content-Length": str(_SIZE)}
            pieces = (bytes(_SLICE) for _ in range(_SIZE // _SLICE))
            try:
                return int(pool.urlopen("PUT", "/a", body=pieces, headers=headers, retries=False).status)
            finally:
                over.set()
                thread.join()


@pytest.mark.sampled(3, daily=False)
def test_a_server_that_takes_what_was_sent_is_waited_for_as_long_as_that_takes() -> None:
    assert _put(0.006, silence=0.4) == 200


def test_a_server_that_takes_nothing_is_given_up() -> None:
    with pytest.raises(urllib3.exceptions.ProtocolError):
        _put(PATIENCE, silence=0.6)


def test_only_what_became_less_was_taken() -> None:
    numbers = iter([5, 3, 9, 9, 2])
    taken = Taken(lambda: next(numbers))
    assert [taken() for _ in range(4)] == [2, 2, 2, 9]
