"""JSON as Go reads and writes it."""

from __future__ import annotations

import json
import tracemalloc
from functools import partial

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from orlop.errors import InvalidJSON
from orlop.model import gojson, plain_json
from orlop.model.gojson import MAX_DEPTH, Number, Object
from tests.growing import growth, spent


def test_a_tree_keeps_duplicates_order_and_the_text_of_numbers():
    tree = gojson.parse(b' {"a":1.0e+5, "b":[null,true,"x",{}], "a":-0}\r\n')
    assert isinstance(tree, Object)
    assert [key for key, _ in tree.members] == ["a", "b", "a"]
    values = [value for _, value in tree.members]
    assert values[0] == "1.0e+5"
    assert isinstance(values[0], Number)
    assert isinstance(values[1], list)
    assert values[1][:3] == [None, True, "x"]


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b" ",
        b"{",
        b"[1,]",
        b'{"a":1,}',
        b'{"a" 1}',
        b"{a:1}",
        b"{]",
        b"[}",
        b"[1}",
        b'{"a":1]',
        b"[1 2]",
        b"01",
        b"1.",
        b".5",
        b"+1",
        b"-",
        b"1e",
        b"NaN",
        b"Infinity",
        b"tru",
        b"truefalse",
        b'"a',
        b'"\\x"',
        b'"\\u12g4"',
        b'"a\nb"',
        b'"a\x00b"',
        b"\xef\xbb\xbf{}",
        b"{} x",
        b"{}\x00",
        b"\x0c1",
        b"'a'",
    ],
)
def test_what_go_refuses_is_refused(raw):
    with pytest.raises(InvalidJSON):
        gojson.parse(raw)


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (rb'"\"\\\/\b\f\n\r\t"', '"\\/\b\f\n\r\t'),
        (rb'"\u00e9\u2028"', "\u00e9\u2028"),
        (rb'"\ud83d\ude00"', "\U0001f600"),
        (rb'"\ud800\ud83d\ude00 \udc00x"', "\ufffd\U0001f600 \ufffdx"),
        (b'"\xff\xe2\x80 \xed\xa0\x80 \xf4\x90\x80\x80"', "\ufffd" * 3 + " " + "\ufffd" * 3 + " " + "\ufffd" * 4),
        (b'"\xc3\\n"', "\ufffd\n"),
        (b'"\x7f"', "\x7f"),
    ],
)
def test_each_bad_byte_and_each_lone_surrogate_becomes_one_replacement(raw, text):
    assert gojson.parse(raw) == text


@pytest.mark.parametrize("piece", [b"\xff", b"a\xff", rb"\ud800"])
def test_a_text_of_nothing_but_bad_bytes_takes_little_more_memory_than_others(piece: bytes):
    count = (1 << 20) // len(piece)
    raw = b'"' + piece * count + b'"'
    tracemalloc.start()
    try:
        text = gojson.loads(raw)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert text == str(gojson.loads(b'"' + piece + b'"')) * count
    assert peak < 10 * len(raw)


def test_nesting_is_limited_and_costs_no_recursion():
    gojson.loads(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH)
    gojson.loads(b'{"a":' * MAX_DEPTH + b"1" + b"}" * MAX_DEPTH)
    for opening in (b"[", b'{"a":'):
        with pytest.raises(InvalidJSON):
            gojson.loads(opening * (MAX_DEPTH + 1) + b"1")


def test_raw_members_are_the_very_bytes_and_the_last_of_a_key_counts():
    raw = b' { "a" : [1, {"x":"}"} ] , "b":"\xff" ,"c":{ },"a" : 1e2,"\\u0064":null } '
    assert gojson.raw_members(raw) == {"a": b"1e2", "b": b'"\xff"', "c": b"{ }", "d": b"null"}
    assert gojson.raw_members(b"null") == {}
    assert gojson.raw_members(b"{}") == {}
    for other in (b"[]", b"1", b'"x"'):
        with pytest.raises(InvalidJSON):
            gojson.raw_members(other)


def test_plain_values_keep_the_order_of_keys():
    value = gojson.loads(b'{"b":[1,2.5,"x",[]],"a":{"z":null,"y":true},"b":{"k":-1}}')
    assert value == {"b": {"k": -1}, "a": {"z": None, "y": True}}
    assert isinstance(value, dict)
    assert list(value) == ["b", "a"]
    assert list(value["a"]) == ["z", "y"]


def test_numbers_of_any_length_are_read():
    assert gojson.loads(b"9" * 5000) == float("inf")
    assert gojson.loads(b"9223372036854775807") == 2**63 - 1


def test_what_follows_the_first_value_is_ignored_only_on_request():
    assert gojson.loads(b"[1] trailing", allow_trailing=True) == [1]
    with pytest.raises(InvalidJSON):
        gojson.loads(b"[1] trailing")


def outcome(raw: bytes) -> str:
    def shape(value: object) -> object:
        if isinstance(value, Object):
            return {"object": [(key, shape(one)) for key, one in value.members]}
        return [shape(one) for one in value] if isinstance(value, list) else (type(value), value)

    try:
        return repr(shape(gojson.parse(raw)))
    except InvalidJSON as error:
        return str(error)


TEXTS = st.text() | st.sampled_from(["\ud800", "\u2028", "é", "\x7f", "1e5", "\\ud800"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=9,
)
WRITTEN = st.builds(
    lambda value, ascii_only, indent: json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode(
        "utf-8", "surrogatepass"
    ),
    VALUES, st.booleans(), st.sampled_from([None, 1]),
)  # fmt: skip


@pytest.mark.sampled(2)
@given(raw=WRITTEN, odd=st.binary(max_size=3), at=st.integers(0, 99), cut=st.integers(0, 3))
@example(raw=b'{"a":1,"a":{"b":[]},"A":-0.0e+1}', odd=b"", at=0, cut=0)
@example(raw=b"\xef\xbb\xbf[1]", odd=b"", at=0, cut=0)
@example(raw=b'["\\ud83d\\ude00","\\uD800"]', odd=b"", at=0, cut=0)
@example(raw=b"[" * 200 + b"]" * 200, odd=b"", at=0, cut=0)
@example(raw=b"[" * 10_001 + b"]" * 10_001, odd=b"", at=0, cut=0)
@example(raw=b"-NaN [Infinity] 01", odd=b"", at=5, cut=2)
def test_a_document_is_read_alike_with_and_without_the_functions_in_c(raw: bytes, odd: bytes, at: int, cut: int):
    raw = raw[:at] + odd + raw[at + cut :]
    found = outcome(raw)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plain_json, "make_scanner", None)
        assert outcome(raw) == found


@given(TEXTS)
def test_a_text_is_read_as_it_was_quoted(text: str):
    expected = "".join("\ufffd" if "\ud800" <= one <= "\udfff" else one for one in text)
    for how in ({}, {"escape_html": False}, {"short_escapes": False}):
        assert gojson.parse(gojson.quote(text, **how).encode()) == expected


def test_plain_values_are_written_compactly_and_escaped():
    value = {"b": ["<&>", "\u2028\u2029", None, True, -5, ()], "a": '"\\\x01\x7f'}
    assert gojson.dumps(value) == (
        rb'{"b":["\u003c\u0026\u003e","\u2028\u2029",null,true,-5,[]],"a":"\"\\\u0001' + b'\x7f"}'
    )
    assert gojson.dumps(value, escape_html=False, sort_keys=True) == (
        rb'{"a":"\"\\\u0001' + b'\x7f"' + rb',"b":["<&>","\u2028\u2029",null,true,-5,[]]}'
    )
    with pytest.raises(TypeError):
        gojson.dumps(1.5)


def test_backspace_and_form_feed_are_short_in_newer_go_only():
    assert gojson.dumps("\b\f") == rb'"\b\f"'
    assert gojson.dumps("\b\f", short_escapes=False) == rb'"\u0008\u000c"'
    assert gojson.quote("\ud800") == '"\ufffd"'


def test_compacting_touches_nothing_but_white_space_and_html():
    raw = b'{ "k" : 1.0 ,\n"k":[ "a b\t<\\" >" , "\xe2\x80\xa8\xff\\ud800" ] }'
    assert gojson.compact(raw) == b'{"k":1.0,"k":["a b\t\\u003c\\" \\u003e","\\u2028\xff\\ud800"]}'


def test_keys_fold_as_go_folds_them():
    assert gojson.fold("Ro\u017f\u212a") == "rosk"
    assert gojson.fold("\u0130d") != "id"
    assert gojson.folded({"A": 1, "a": 2, "B": 3}) == {"a": 2, "b": 3}


@pytest.mark.parametrize("one", [b"[]", b"{}", b"1", b'{"":0}', b'""', b"[[]]"])
def test_values_are_bounded_before_they_take_memory(one: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gojson, "MAX_VALUES", 100)
    few, many = (b'{"a":[' + b",".join([one] * count) + b"]}" for count in (20, 110))
    assert gojson.bounded(few) == few
    with pytest.raises(InvalidJSON, match="more than 100 values"):
        gojson.bounded(many)


def test_commas_and_brackets_in_texts_are_no_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gojson, "MAX_VALUES", 100)
    texts = [",[{" * 50, '\\",[{"' * 50, "é,[{" * 50]
    assert gojson.loads(gojson.bounded(gojson.dumps(texts))) == texts


@pytest.mark.parametrize(
    "text",
    [b'"', b'\\"', b'"\\', b'\\\n"', b'"\\\n', b'"\\"', b'\\\\"'],
    ids=["ends", "escaped", "torn", "a", "b", "c", "d"],
)
def test_counting_values_takes_no_longer_for_texts_without_an_end(text: bytes) -> None:
    def counted(count: int) -> float:
        raw = b'"' + b"," * 1000 + text * count
        return spent(partial(gojson.values_at_most, raw, 100))

    assert growth(counted, 4000, 64_000, below=64) < 64


def test_an_index_as_large_as_it_may_be_has_fewer_values() -> None:
    entry = b'{"mediaType":"a/b","digest":"sha256:%064d","size":1}' % 0
    raw = b'{"manifests":[' + b",".join([entry] * ((16 << 20) // (len(entry) + 1))) + b"]}"
    assert gojson.values_at_most(raw, gojson.MAX_VALUES)
