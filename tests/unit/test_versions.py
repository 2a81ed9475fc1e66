"""Versions in tags, and ranges of them."""

from __future__ import annotations

import pytest

from orlop.errors import InvalidInput
from orlop.model.versions import Version, VersionRange


def within(text: str, *tags: str) -> list[str]:
    found = VersionRange.parse(text)
    return [tag for tag in tags if (version := Version.of(tag)) is not None and version in found]


def test_versions_are_ordered_as_semantic_versioning_says():
    ordered = ["1.2", "1.2.3-rc.2", "1.2.3-rc.10", "1.2.3", "v1.10", "2-alpha.1", "2-alpha.beta", "2", "10.0"]
    versions = {tag: version for tag in ordered if (version := Version.of(tag)) is not None}
    mixed = [*ordered[1::2], *ordered[::2]]
    assert sorted(mixed, key=lambda tag: versions[tag].key) == ordered
    assert Version.of("1.0") == Version.of("v1") == Version.of("1.0.0")
    for other in ("latest", "1.", "v", "1..2", "sha256-00", "", "1.2.3.4.5.6.7.8.9", "1.2 "):
        assert Version.of(other) is None, other


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        (">=1.20, <2", "1.20 1.20.1 1.99.9-x v1.21", "1.19.9 2 2.0-rc1 2.1"),
        (">1.2 <=1.4 !=1.3", "1.2.1 1.4 1.4.0", "1.2 1.2.0 1.3 1.3.0 1.4.1"),
        ("~1.4", "1.4 1.4.9", "1.3.9 1.5"),
        ("~1.4.2", "1.4.2 1.4.9", "1.4.1 1.5"),
        ("~1", "1 1.9", "2"),
        ("^1.4", "1.4 1.9", "1.3 2"),
        ("^0.3", "0.3 0.3.9", "0.4 1"),
        ("^0.0.3", "0.0.3", "0.0.4"),
        ("1.2", "1.2 1.2.0 v1.2", "1.2.1"),
        ("==1.2", "1.2", "1.2.1"),
        (">=0", "0 0.0.1", ""),
    ],
)
def test_a_range_holds_what_its_conditions_say(text: str, inside: str, outside: str):
    assert within(text, *inside.split(), *outside.split()) == inside.split()


@pytest.mark.parametrize(
    ("text", "place"), [("", 1), ("a", 1), (">=1.2,,", 7), (">=1.2;<2", 1), (">=1, <b", 5), ("1.x", 1)]
)
def test_what_is_not_a_range_is_refused_with_the_place(text: str, place: int):
    with pytest.raises(InvalidInput, match=f"character {place} on"):
        VersionRange.parse(text)
