"""Answers that are awaited with patience leave the socket as it was: after a proxy's, TLS begins on it."""

from __future__ import annotations

import socket

import pytest

from orlop.streams.awaited import awaited_response, is_interim


class Patient:
    def look(self, moved: int, *, is_awaited: bool) -> None:
        pass


def test_the_time_out_of_a_socket_is_what_it_was_before_a_proxy_answered() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(30)
        theirs.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        response = awaited_response(Patient(), ours, method="CONNECT")
        response.begin()
        assert ours.gettimeout() == 0.5
        response.close()
        assert ours.gettimeout() == 30


@pytest.mark.parametrize(
    "came",
    [
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 100\r\n\r\n",
        b"HTTP/1.0 100 Continue\n\n",
        b"HTTP/1.1 103 Early Hints\r\nLink: <a>; rel=preload\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n",
    ],
)
def test_an_answer_has_begun_after_those_that_announce_it(came: bytes) -> None:
    assert all(is_interim(came[:end]) for end in range(1, len(came) + 1))
    final = b"HTTP/1.1 413 Content Too Large\r\n"
    assert not any(is_interim(came + final[:end]) for end in range(len("HTTP/1.1 4"), len(final) + 1))


@pytest.mark.parametrize(
    "came", [b"", b"HTTP/1.1 101 Switching\r\n\r\n", b"HTTP/1.1 200 OK\r\n", b"HTTP/2", b"\x15\x03"]
)
def test_another_answer_announces_nothing(came: bytes) -> None:
    assert not is_interim(came)
