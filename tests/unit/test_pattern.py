"""Patterns of names: those of Go's `path.Match`, without its way back or anybody else's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orlop.errors import InvalidFilter
from orlop.model.pattern import Pattern
from tests.growing import growth, spent

PARTS = ("*", "?", "a", "b", "/", "[ab]", "[^a]", "\\*")


def go_match(pattern: tuple[str, ...], text: str) -> bool:
    """What each part stands for, tried in every way; a class that holds a slash is left out, as Go does not try all."""
    if not pattern:
        return not text
    part, rest = pattern[0], pattern[1:]
    if part == "*":
        ends = [at for at in range(len(text) + 1) if "/" not in text[:at]]
        return any(go_match(rest, text[at:]) for at in ends)
    if not text:
        return False
    first = text[0]
    fits = {"?": first != "/", "[ab]": first in "ab", "[^b/]": first not in "b/", "\\*": first == "*"}
    return fits.get(part, first == part) and go_match(rest, text[1:])


@given(
    st.lists(st.sampled_from([part if part != "[^a]" else "[^b/]" for part in PARTS]), max_size=8),
    st.text("ab/*", max_size=8),
)
def test_a_pattern_fits_what_its_parts_stand_for(parts: list[str], text: str) -> None:
    assert Pattern.parse("".join(parts)).matches(text) is go_match(tuple(parts), text)


@pytest.mark.parametrize("text", ["[", "[a", "[]", "[]a]", "[a-]", "[-a]", "a\\", "[\\", "*[", "a[^]"])
def test_what_has_no_end_is_no_pattern(text: str) -> None:
    with pytest.raises(InvalidFilter, match="is not a valid pattern of names"):
        Pattern.parse(text)


class Counted(str):
    """A text that counts how often one of its characters is looked at."""

    looks = 0
    __slots__ = ()

    def __getitem__(self, key: object) -> str:
        Counted.looks += 1
        return str.__getitem__(self, key)  # type: ignore[index]


@pytest.mark.parametrize("piece", ["*?", "*[ab]", "*a?", "?*"])
def test_a_pattern_of_many_stars_looks_at_each_character_a_few_times(piece: str) -> None:
    looks = []
    for stars in (10, 20, 40):
        Counted.looks = 0
        assert not Pattern.parse(piece * stars + "!").matches(Counted("a" * 255))
        looks.append(Counted.looks)
    assert looks[2] <= 4 * max(looks[0], 1)
    assert looks[2] <= 255 * 2 * 40


NAMES = (*"aAbZz9!^-][*?\\. ~", "ab", "a-b", "[x]", "a*", "[", "[a", "é", "\t", "x\\", "!b", "^a")
GLOBS: dict[str, str] = {
    "[!a]": "AbZz9!^-][*?\\. ~é\t",
    "[^a]": "AbZz9!^-][*?\\. ~é\t",
    "[]]": "]",
    "[]-]": "]-",
    "[!]]": "aAbZz9!^-[*?\\. ~é\t",
    "[a-]": "a-",
    "[-a]": "a-",
    "[a-c]": "ab",
    "[c-a]": "",
    "[[]": "[",
    "[a^]": "a^",
    "[a!]": "a!",
    "[\\]]": "]",
    "[\\\\]": "\\",
    "[[:digit:]!]": "9!",
    "[![:alnum:][:punct:]]": " é\t",
    "[[:upper:]b]": "AZb",
    "[[=a=]]": "a",
    "[[.-.]9]": "-9",
    "\\*": "*",
    "[": "[",
}


@pytest.mark.parametrize("pattern", GLOBS)
def test_a_glob_fits_what_shells_say(pattern: str) -> None:
    fits = Pattern.parse_glob(pattern).matches
    assert [name for name in NAMES if fits(name)] == [name for name in NAMES if name in [*GLOBS[pattern]]]


def test_a_bracket_without_an_end_stands_for_itself() -> None:
    for pattern, name in (
        ("[a", "[a"),
        ("*[", "x["),
        ("[a*b", "[axb"),
        ("[!", "[!"),
        ("[]", "[]"),
        ("[[:digit:]", "[[:digit:]"),
    ):
        assert Pattern.parse_glob(pattern).matches(name) is (pattern != "[[:digit:]")


@pytest.mark.parametrize("pattern", ["[[:no:]]", "[[.ab.]]", "a\\"])
def test_what_shells_refuse_is_no_glob(pattern: str) -> None:
    with pytest.raises(InvalidFilter, match="is not a valid pattern of names"):
        Pattern.parse_glob(pattern)


@pytest.mark.parametrize("text", ["[", "[!", "[a-", "[[:alpha:]", "[\\]"])
def test_brackets_without_an_end_take_no_time(text: str) -> None:
    def worked(times: int) -> float:
        return spent(lambda: Pattern.parse_glob(text * times))

    assert growth(worked, 100, 800, below=24, least=0.001) < 24
