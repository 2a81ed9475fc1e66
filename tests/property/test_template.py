"""Templates: whatever is given, the answer is a text or an error that says where."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orlop.build.expansion import expand, expand_words, split_words
from orlop.cli.show.template.fill import Template
from orlop.cli.show.template.values import NIL_MAP, NIL_POINTER, NIL_SLICE, Duration, Map, Struct
from orlop.errors import InvalidFilter, InvalidInstruction, InvalidReference, InvalidTemplate
from orlop.model.reference import Reference
from orlop.service.listing.filters import parse_filters

VALUE = Struct(
    {
        "A": "text é",
        "B": 3,
        "C": ["x", "y"],
        "D": Map({"k": "v"}, ""),
        "E": None,
        "F": NIL_SLICE,
        "G": NIL_MAP,
        "H": NIL_POINTER,
        "I": Duration(5),
        "J": True,
        "K": 1.5,
        "L": Struct({"M": "n"}, {"M": "n"}),
    },
    {},
)
WORDS = st.sampled_from(
    [
        *(
            "{{",
            "}}",
            "{{-",
            "-}}",
            "if",
            "else",
            "end",
            "range",
            "with",
            "/*",
            "*/",
            "text",
            "$",
            "$x",
            ":=",
            "=",
            ",",
        ),
        *("|", "(", ")", ".", ".A", ".B", ".C", ".D", ".E", ".F", ".G", ".H", ".I", ".J", ".K", ".L", ".L.M", "nil"),
        *("len", "index", "slice", "printf", "print", "println", "json", "upper", "lower", "title", "split", "join"),
        *("truncate", "pad", "eq", "ne", "lt", "le", "gt", "ge", "and", "or", "not", "true", "0", "1", "-1", "2.5"),
        *("`a`", '"%v"', '"%5d"', '"%q"', '"%s %x"'),
    ]
)


@given(st.lists(WORDS, max_size=24), st.sampled_from(["", " "]))
def test_any_words_are_a_template_or_refused(words: list[str], between: str) -> None:
    try:
        assert isinstance(Template(between.join(words)).fill(VALUE), str)
    except InvalidTemplate as error:
        said = str(error)
    else:
        return
    assert said.startswith("the template cannot be used (character ")


@given(st.lists(WORDS, min_size=1, max_size=6))
def test_any_action_is_filled_or_refused(words: list[str]) -> None:
    with suppress(InvalidTemplate):
        assert isinstance(Template("{{" + " ".join(words) + "}}").fill(VALUE), str)


@given(st.text())
def test_a_text_without_braces_is_itself(text: str) -> None:
    text = text.replace("{{", "")
    if "{{" not in text:
        assert Template(text).fill(VALUE) == text


def test_nesting_ends() -> None:
    for text in ("{{" + "(" * 5000 + "}}", "{{if .A}}" * 5000, "{{if 0}}" + "{{else if 0}}" * 5000 + "{{end}}"):
        with pytest.raises(InvalidTemplate, match="nested too deeply"):
            Template(text)


@given(st.text(alphabet="ab'\"$\\ {}:-+?\t"))
def test_words_of_instructions_are_expanded_or_refused(text: str) -> None:
    """Words are what `expand` gives, cut at white space that was not quoted: no other character comes or goes."""
    try:
        whole, words = expand(text, {"a": "1 2"}), expand_words(text, {"a": "1 2"})
    except InvalidInstruction:
        return
    assert "".join("".join(words).split()) == "".join(whole.split())


@given(st.text(alphabet="ab'\"\\ \t"))
def test_cutting_words_loses_white_space_only(text: str) -> None:
    words = split_words(text)
    assert "".join("".join(words).split()) == "".join(text.split())
    assert all(words)


@given(st.text(alphabet="ab*?[]^-\\/", max_size=12), st.text(alphabet="ab/", max_size=8))
def test_any_pattern_fits_or_is_refused(pattern: str, name: str) -> None:
    try:
        filters = parse_filters([f"reference={pattern}"], now=0)
        reference = Reference.parse(name)
    except (InvalidFilter, InvalidReference):
        return
    assert filters.match_reference(reference) in {True, False}


@given(st.from_regex(r"[ab/]{1,6}", fullmatch=True))
def test_a_pattern_without_wildcards_fits_itself_only(name: str) -> None:
    try:
        reference = Reference.parse(name)
    except InvalidReference:
        return
    filters = parse_filters([f"reference={reference.familiar}"], now=0)
    assert filters.match_reference(reference)
    assert not filters.match_reference(Reference.parse(f"x{name}"))
