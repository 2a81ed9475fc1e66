from __future__ import annotations

import functools
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orlop.streams.pipeline import Fanout


class Broken(Exception):
    pass


@given(chunks=st.lists(st.binary(max_size=8), max_size=20), consumers=st.integers(1, 3), depth=st.integers(1, 4))
def test_every_consumer_gets_every_chunk_in_order(chunks: list[bytes], consumers: int, depth: int) -> None:
    got: list[list[bytes]] = [[] for _ in range(consumers)]
    with Fanout(*(each.append for each in got), depth=depth) as fan:
        for chunk in chunks:
            fan.put(chunk)
    assert got == [chunks] * consumers


@given(
    total=st.integers(1, 12),
    failures=st.dictionaries(st.integers(0, 2), st.integers(0, 12), max_size=3),
    depth=st.integers(1, 4),
)
def test_when_any_stage_fails_every_stage_ends(total: int, failures: dict[int, int], depth: int) -> None:
    counts = [0, 0, 0]

    def consume(number: int, _: bytes) -> None:
        if counts[number] == failures.get(number, -1):
            raise Broken
        counts[number] += 1

    def run() -> None:
        consumers = [functools.partial(consume, number) for number in range(3)]
        with Fanout(*consumers, depth=depth) as fan:
            for _ in range(total):
                fan.put(b"x")

    if any(at < total for at in failures.values()):
        with pytest.raises(Broken):
            run()
    else:
        run()
        assert counts == [total] * 3
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("orlop-fanout")]
