"""JSON that is read without `json` is what `json` reads, and what is written what it writes."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orlop.model import plain_json

if TYPE_CHECKING:
    from collections.abc import Callable

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=9,
)
ODD: list[str | bytes] = [
    *("NaN", "-Infinity", "1e400", '{"a":1,"a":2}', " [1]\n", "\xa0[1]", "\ufeff1", '"\ud800"', "1" * 5000, "", "[1,]"),
    *("1 2", "[" * 100_000, '"\x01"', "{1:2}", "'a'", "nul", '{"a"}', '"\\u00e9\\ud83d\\ude00\\q"', "\x00", " "),
    *(
        b"\xff\xfe1\x00",
        b'"\xed\xa0\x80"',
        b"\x001",
        b"\xef\xbb\xbf1",
        b'"\xff"',
        b"\xff",
        b"",
        b" 1 ",
        b"\x00\x00\x001",
    ),
]


def outcome(read: Callable[..., object], text: str | bytes, **how: Any) -> tuple[type, str]:
    try:
        found = read(text, **how)
    except (ValueError, RecursionError) as error:
        found = error
    return type(found), str(found) if isinstance(found, RecursionError) else repr(found)


@pytest.fixture(params=["the scanner", "no scanner", "another scanner"], autouse=True)
def interpreter(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run each test as in a Python without these functions, too, and in one where they ask for more."""
    if request.param == "no scanner":
        monkeypatch.setattr(plain_json, "make_scanner", None)
        monkeypatch.setattr(plain_json, "quote", None)
    elif request.param == "another scanner":
        monkeypatch.setattr(plain_json, "make_scanner", lambda decoder: decoder.of_another_python)


@pytest.mark.sampled(3)
@pytest.mark.parametrize("text", ODD, ids=lambda text: repr(text)[:20])
def test_odd_json_is_read_or_refused_as_json_does(text: str | bytes) -> None:
    assert outcome(plain_json.loads, text) == outcome(json.loads, text)
    assert outcome(plain_json.loads, text, object_pairs_hook=list) == outcome(json.loads, text, object_pairs_hook=list)


@pytest.mark.sampled(2)
def test_any_json_is_read_as_json_does() -> None:
    @given(VALUES, st.sampled_from([None, 2]), st.integers(0, 40))
    def check(value: object, indent: int | None, cut: int) -> None:
        text = json.dumps(value, indent=indent, ensure_ascii=indent is None)
        for part in (text, text[:cut], text.encode("utf-8", "surrogatepass")):
            assert outcome(plain_json.loads, part) == outcome(json.loads, part)

    check()


@pytest.mark.sampled(2)
def test_texts_are_written_as_json_does() -> None:
    @given(st.dictionaries(st.text(), st.text()), st.lists(st.text()))
    def check(named: dict[str, str], texts: list[str]) -> None:
        assert plain_json.dumps(named) == json.dumps(named)
        assert plain_json.dumps(texts) == json.dumps(texts)

    check()


@pytest.mark.parametrize("text", ["{", "[", '"', "[1,", "nul", '{"a"', '"\\u12'])
def test_a_mistake_is_told_where_nobody_has_imported_json(text: str) -> None:
    code = f"""
import sys
from orlop.model import plain_json
assert "json" not in sys.modules
try:
    plain_json.loads({text!r})
except ValueError as error:
    print(type(error).__name__)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("JSONDecodeError\n", "")
