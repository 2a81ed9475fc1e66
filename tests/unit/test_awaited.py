"""Answers that are awaited with patience leave the socket as it was: after a proxy's, TLS begins on it."""

from __future__ import annotations

import socket

from orlop.streams.awaited import awaited_response


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
