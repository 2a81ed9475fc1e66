"""A client that waits for permission to send a body gets it; one without a body gets the answer alone."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

import orlop
from tests.unit.served import served

if TYPE_CHECKING:
    from pathlib import Path

TINY = "/images/example/tiny:1.0"


@pytest.mark.parametrize(
    ("method", "target", "fields", "body", "statuses"),
    [
        ("GET", f"{TINY}/get", "", b"", [200]),
        ("GET", "/images/get?names=example/tiny:1.0", "Content-Length: 0\r\n", b"", [200]),
        ("GET", "/images/json", "", b"", [200]),
        ("POST", "/images/load", "", b"", [200]),
        ("POST", "/images/load", "Content-Length: 1024\r\n", bytes(1024), [100, 200]),
        ("POST", "/images/load", "Transfer-Encoding: chunked\r\n", b"0\r\n\r\n", [100, 200]),
    ],
)
def test_a_client_is_told_to_go_on_if_it_has_something_to_send(
    tmp_path: Path, data: Path, method: str, target: str, fields: str, body: bytes, statuses: list[int]
):
    with orlop.open(tmp_path / "root") as images, served(images, tmp_path) as client:
        images.load(data / "dockerd-20.10-overlay2" / "multi.tar")
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(60)
            line.connect(client.path)
            head = f"{method} {target} HTTP/1.1\r\nHost: d\r\nConnection: close\r\nExpect: 100-continue\r\n{fields}\r\n"
            line.sendall(head.encode() + body)
            answer = b"".join(iter(lambda: line.recv(1 << 16), b""))
    found = [int(part[:3]) for part in answer.split(b"HTTP/1.1 ")[1:]]
    assert found == statuses
