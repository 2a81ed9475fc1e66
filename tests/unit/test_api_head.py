"""Heads and bodies of requests as bytes: one meaning, or none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orlop.api.framing import Chunked, Sized
from orlop.api.head import Head, Refused, end_of_head, parse_head

PING = b"GET /_ping HTTP/1.1\r\nHost: d\r\n"


def status_of(data: bytes) -> int:
    """Return the status with which a head is refused, or 200."""
    try:
        parse_head(data)
    except Refused as refused:
        return refused.status
    return 200


def test_a_head_is_read() -> None:
    head = parse_head(b"POST /v1.41/images/a%2fb/tag?repo=x&tag=y HTTP/1.1\r\nHost: d\r\nX-A: \tb c \r\nX-B:\r\n\r\n")
    assert head == Head(
        "POST",
        b"/v1.41/images/a%2fb/tag",
        b"repo=x&tag=y",
        1,
        ((b"host", b"d"), (b"x-a", b"b c"), (b"x-b", b"")),
        0,
        keep_alive=True,
        expects_continue=False,
    )
    assert head.decoded_path == "/v1.41/images/a/b/tag"


@pytest.mark.parametrize("lines", [b"\r\n", b"\n"])
def test_lines_may_end_with_lf_alone_and_mean_the_same(lines: bytes) -> None:
    data = PING + b"Content-Length: 3\r\nConnection: close\r\n\r\n"
    other = data.replace(b"\r\n", lines)
    assert end_of_head(bytearray(other + b"abc"), 0) == len(other)
    assert parse_head(other) == parse_head(data)


@given(st.lists(st.sampled_from([b"\r\n", b"\n"]), min_size=4, max_size=4))
def test_lines_may_end_in_both_ways_in_one_head(ends: list[bytes]) -> None:
    lines = [b"GET /_ping HTTP/1.1", b"Host: d", b"X: y", b""]
    data = b"".join(line + end for line, end in zip(lines, ends, strict=True))
    assert end_of_head(bytearray(data + b"GET"), 0) == len(data)
    assert parse_head(data) == parse_head(b"\r\n".join([*lines, b""]))


@given(st.integers(0, 60))
def test_the_end_is_found_wherever_the_bytes_were_cut(cut: int) -> None:
    data = bytearray(PING + b"X: y\r\n\r\n")
    first = bytearray(data[:cut])
    end = end_of_head(first, 0)
    assert (end or end_of_head(data, len(first))) == len(data)


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        (b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", 400),
        (b"Content-Length: 3\r\nContent-Length: 4\r\n", 400),
        (b"Content-Length: 3\r\nContent-Length: 3\r\n", 200),
        (b"Content-Length: 3, 3\r\n", 400),
        (b"Content-Length: +3\r\n", 400),
        (b"Content-Length: 0x3\r\n", 400),
        (b"Content-Length: \xd9\xa3\r\n", 400),
        (b"Content-Length:\r\n", 400),
        (b"Content-Length: 9999999999999999999\r\n", 400),
        (b"Content_Length: 3\r\n", 200),
        (b"Transfer-Encoding: gzip, chunked\r\n", 501),
        (b"Transfer-Encoding: chunked, identity\r\n", 501),
        (b"Transfer-Encoding: identity\r\n", 501),
        (b"Transfer-Encoding: \x0bchunked\r\n", 400),
        (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", 501),
        (b"Transfer-Encoding: CHUNKED\r\n", 200),
        (b"Transfer-Encoding:\r\n", 501),
        (b"X-A: b\r\n c\r\n", 400),
        (b" X-A: b\r\n", 400),
        (b"X-A: b\rc\r\n", 400),
        (b"X-A: \rb\r\n", 400),
        (b"X-A: b\0c\r\n", 400),
        (b"X-\0A: b\r\n", 400),
        (b"X-A : b\r\n", 400),
        (b"X A: b\r\n", 400),
        (b"X-A\r\n", 400),
        (b": b\r\n", 400),
        (b"X-A: \x7f\r\n", 400),
        (b"X-A: \xff\r\n", 200),
        (b"Host: d\r\n", 400),
        (b"Expect: 100-continue\r\n", 200),
        (b"Expect: something\r\n", 417),
        (b"X: y\r\n" * 600, 431),
    ],
)
def test_what_could_mean_two_things_is_refused(fields: bytes, status: int) -> None:
    assert status_of(PING + fields + b"\r\n") == status
    # With LF alone it means the same.
    assert status_of((PING + fields + b"\r\n").replace(b"\r\n", b"\n")) == status


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"GET /_ping HTTP/1.0", 200),
        (b"GET /_ping HTTP/1.1", 200),
        (b"GET /_ping HTTP/1.2", 200),
        (b"GET /_ping HTTP/2.0", 505),
        (b"GET /_ping HTTP/1.10", 400),
        (b"GET /_ping http/1.1", 400),
        (b"GET  /_ping HTTP/1.1", 400),
        (b"GET /_ping  HTTP/1.1", 400),
        (b"GET /_ping x HTTP/1.1", 400),
        (b"GET\t/_ping HTTP/1.1", 400),
        (b" GET /_ping HTTP/1.1", 400),
        (b"GET /_ping", 400),
        (b"G@T /_ping HTTP/1.1", 400),
        (b"FOO /_ping HTTP/1.1", 200),
        (b"GET _ping HTTP/1.1", 400),
        (b"GET /\xff HTTP/1.1", 400),
        (b"GET http://d/_ping HTTP/1.1", 200),
        (b"OPTIONS * HTTP/1.1", 200),
        (b"CONNECT d:1 HTTP/1.1", 400),
    ],
)
def test_only_one_kind_of_first_line_is_taken(line: bytes, status: int) -> None:
    assert status_of(line + b"\r\nHost: d\r\n\r\n") == status


def test_a_host_is_asked_for_from_http_1_1_on() -> None:
    assert status_of(b"GET /_ping HTTP/1.1\r\n\r\n") == 400
    assert status_of(b"GET /_ping HTTP/1.0\r\n\r\n") == 200
    assert status_of(b"GET /_ping HTTP/1.1\r\nHost: a b\r\n\r\n") == 400


def test_an_encoding_is_not_taken_from_http_1_0() -> None:
    assert status_of(b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n") == 400


def test_a_target_with_a_host_is_its_path() -> None:
    head = parse_head(b"GET http://other/_ping?x HTTP/1.1\r\nHost: d\r\n\r\n")
    assert (head.path, head.query) == (b"/_ping", b"x")
    assert parse_head(b"GET http://other?x HTTP/1.1\r\nHost: d\r\n\r\n").path == b"/"


@pytest.mark.parametrize(
    ("first", "connection", "keeps"),
    [
        ("1.1", "", True),
        ("1.1", "close", False),
        ("1.1", "x, Close", False),
        ("1.0", "", False),
        ("1.0", "keep-alive", True),
    ],
)
def test_how_long_a_connection_is_kept(first: str, connection: str, *, keeps: bool) -> None:
    data = f"GET / HTTP/{first}\r\nHost: d\r\nConnection: {connection}\r\n\r\n"
    assert parse_head(data.encode()).keep_alive is keeps


# Bodies.


def chunked(*parts: bytes, trailers: bytes = b"") -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n" + trailers + b"\r\n"


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=8), st.lists(st.integers(1, 30), max_size=30), st.binary())
def test_chunks_are_put_together_wherever_they_were_cut(parts: list[bytes], cuts: list[int], after: bytes) -> None:
    data, body, framing = chunked(*parts), b"", Chunked()
    size = len(data)
    for cut in [*cuts, size]:
        taken, rest = framing.take(data[:cut])
        assert rest == b""
        body, data = body + taken, data[cut:]
    assert framing.complete
    assert body == b"".join(parts)
    assert framing.take(after) == (b"", after)


def test_what_follows_a_body_is_left() -> None:
    assert Sized(3).take(b"abcGET") == (b"abc", b"GET")
    assert Chunked().take(chunked(b"abc") + b"GET") == (b"abc", b"GET")
    assert Sized(0).complete


def test_extensions_and_trailers_are_thrown_away() -> None:
    framing = Chunked()
    assert framing.take(b"3 ;a=b\r\nabc\r\n0;c\r\nX: y\r\nZ: \r\n\r\n") == (b"abc", b"")
    assert framing.complete


@pytest.mark.parametrize(
    "data",
    [
        b"zz\r\n",
        b"\r\n",
        b"-1\r\n",
        b"+1\r\n",
        b"0x1\r\n",
        b" 1\r\n",
        b"1\nx\r\n",
        b"1\r\nx\n",
        b"1\r\nxy\r\n",
        b"1;a\rb\r\n",
        b"1;a\0b\r\n",
        b"fffffffffffffffff\r\n",
        b"0\r\nX: y\n\r\n",
        b"1;" + b"x" * 5000,
        b"0\r\n" + b"X" * 5000,
    ],
)
def test_chunks_that_are_not_valid_are_refused(data: bytes) -> None:
    with pytest.raises(Refused):
        Chunked().take(data)


def test_many_small_chunks_are_a_body_but_extensions_and_trailers_without_end_are_none() -> None:
    tiny = Chunked()
    assert len(tiny.take(b"1\r\nx\r\n" * 10_000)[0]) == 10_000
    with pytest.raises(Refused, match="besides its data"):
        Chunked().take((b"1;" + b"x" * 100 + b"\r\nx\r\n") * 1000)
    with pytest.raises(Refused, match="besides its data"):
        Chunked().take(b"0\r\n" + b"X: y\r\n" * 10_000)
