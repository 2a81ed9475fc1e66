"""The set of numbers of an audit is one."""

from __future__ import annotations

from hashlib import sha256

from hypothesis import given
from hypothesis import strategies as st

from orlop.inside.marks import Marks


@given(st.lists(st.integers(0, (1 << 64) - 1) | st.integers(0, 8).map(lambda number: number << 20)))
def test_a_number_is_new_once(numbers: list[int]) -> None:
    marks = Marks()
    known: set[int] = set()
    for number in numbers:
        assert marks.add(number) is (max(number, 1) not in known)
        known.add(max(number, 1))
    assert len(marks) == len(known)


def test_it_grows_and_forgets_nothing() -> None:
    marks = Marks()
    numbers = [int.from_bytes(sha256(str(number).encode()).digest()[:8]) for number in range(5000)]
    assert [marks.add(number) for number in [*numbers, *numbers]] == [True] * 5000 + [False] * 5000
