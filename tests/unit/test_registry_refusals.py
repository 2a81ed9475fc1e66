"""What clients of a registry hear of requests that do not reach it: too large, ambiguous, or not HTTP at all."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING

from orlop.api.doors import Security
from orlop.api.server import Options, Serves
from orlop.service.hosted.registry import HostedRegistry
from tests.unit.served import serving

if TYPE_CHECKING:
    import orlop

HOST = b"Host: localhost\r\n"
POST = b"POST /v2/team/app/blobs/uploads/ HTTP/1.1\r\n" + HOST
REFUSED = {
    "head too large": (b"GET /v2/ HTTP/1.1\r\n" + HOST + b"X: " + b"x" * (70 << 10), 431),
    "target too large": (b"GET /v2/" + b"x" * (70 << 10), 431),
    "too many headers": (b"GET /v2/ HTTP/1.1\r\n" + HOST + b"X: y\r\n" * 600 + b"\r\n", 431),
    "two meanings": (POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "two lengths": (POST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400),
    "no chunk": (POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
    "encoding": (POST + b"Transfer-Encoding: gzip\r\n\r\n", 501),
    "expectation": (POST + b"Expect: wonders\r\n\r\n", 417),
    "version": (b"GET /v2/ HTTP/2.0\r\n" + HOST + b"\r\n", 505),
    "no host": (b"GET /v2/ HTTP/1.1\r\n\r\n", 400),
    "by its full address": (b"GET http://localhost/v2/ HTTP/1.1\r\nbad header\r\n\r\n", 400),
}
#: What does not tell which of the two it is about, where both are served.
NAMELESS = {
    "words": (b"nonsense\r\n\r\n", 400),
    "no path": (b"CONNECT localhost:443 HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "encrypted": (b"\x16\x03\x01\x02\x00", 400),
}


def said(images: orlop.ImageService, serves: Serves, *requests: bytes) -> list[bytes]:
    """Return what a server says to each of some requests, each on a connection of its own."""
    options = Options(registry=HostedRegistry(images.store))
    security = Security(anonymous=True)
    with serving(images, "tcp://127.0.0.1:0", options=options, serves=serves, security=security) as places:
        answers = []
        for request in requests:
            with socket.create_connection(("127.0.0.1", int(places[0].rpartition(":")[2])), timeout=60) as connection:
                connection.sendall(request)
                answer = b""
                try:
                    while more := connection.recv(100_000):
                        answer += more
                except ConnectionResetError:
                    pass
                answers.append(answer)
        return answers


def check(answer: bytes, status: int) -> None:
    """See that a refusal is the registry's."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status), answer
    assert b"\r\ndocker-distribution-api-version: registry/2.0\r\n" in head
    assert b"\r\nconnection: close" in head
    [error] = json.loads(body)["errors"]
    assert error["code"].isupper()
    assert error["message"]


def test_a_registry_refuses_in_its_own_words(images):
    cases = list((REFUSED | NAMELESS).values())
    answers = said(images, Serves.REGISTRY, *(request for request, _ in cases))
    for answer, (_, status) in zip(answers, cases, strict=True):
        check(answer, status)


def test_the_path_tells_whose_words_are_understood_where_both_are_served(images):
    cases = list(REFUSED.values())
    engine = [request.replace(b"/v2/", b"/v1.41/") for request, _ in cases]
    nameless = [request for request, _ in NAMELESS.values()]
    both = Serves.ENGINE | Serves.REGISTRY
    answers = said(images, both, *(request for request, _ in cases), *engine, *nameless)
    for answer, (_, status) in zip(answers, cases, strict=False):
        check(answer, status)
    for answer in answers[len(cases) :]:
        assert list(json.loads(answer.partition(b"\r\n\r\n")[2])) == ["message"], answer


def test_a_refusal_of_a_head_has_no_body(images):
    [answer] = said(images, Serves.REGISTRY, b"HEAD /v2/ HTTP/1.1\r\nbad header\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.endswith(b"\r\n\r\n")


def test_one_connection_too_many_hears_that_it_may_come_again(images):
    options = Options(registry=HostedRegistry(images.store), connections=0)
    with serving(images, "tcp://127.0.0.1:0", options=options, serves=Serves.REGISTRY) as places:
        port = int(places[0].rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
            answer = connection.recv(100_000)
    check(answer, 503)
    assert b"\r\nretry-after: 1\r\n" in answer
