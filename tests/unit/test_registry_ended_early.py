"""Registries without TLS that end a connection at once when they are greeted with it, as many plain servers do."""

from __future__ import annotations

import socket
import threading

import pytest

from orlop.errors import RegistryUnreachable
from orlop.registry.access import Access
from orlop.registry.certificates import HostTrust
from orlop.registry.client import RegistryClient
from orlop.registry.exchange import Exchange
from orlop.registry.hosts import Endpoint
from orlop.registry.origin import Origin
from orlop.registry.patience import Waiting
from orlop.registry.transport import HttpTransport
from tests.unit.faked import Pauses

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


def serve(listener: socket.socket) -> None:
    """Answer HTTP, and end whatever else comes without a word: after it is read, so that no reset is sent."""
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection:
            if connection.recv(1 << 16).startswith(b"GET "):
                connection.sendall(OK)
            connection.shutdown(socket.SHUT_WR)


@pytest.mark.parametrize("may_be_plain", [True, False])
def test_plain_http_is_spoken_where_tls_is_ended_without_a_word(may_be_plain):
    pauses = Pauses()
    waiting = Waiting(clock=pauses.clock())
    transport = HttpTransport(HostTrust(), waiting=waiting)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,), daemon=True)
        thread.start()
        origin = Origin.of(f"https://127.0.0.1:{listener.getsockname()[1]}")
        exchange = Exchange(
            Endpoint(origin=origin, may_be_plain=may_be_plain),
            transport,
            waiting,
            lambda there, send: Access(there, send, waiting.clock),
        )
        try:
            if may_be_plain:
                RegistryClient(exchange).ping()
                assert exchange.origin.scheme == "http"
                assert pauses.taken == []
            else:
                with pytest.raises(RegistryUnreachable, match="TLS"):
                    RegistryClient(exchange).ping()
        finally:
            transport.close()
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
