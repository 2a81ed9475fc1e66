"""The merged view of layers: what a container sees, from headers alone."""

from __future__ import annotations

import tarfile

import pytest

from tests.unit import merge_cases
from tests.unit.images_made import layer


@pytest.mark.parametrize("resolve_links", [False, True], ids=["engines", "resolve-links"])
@pytest.mark.parametrize("case", merge_cases.names())
def test_a_case_gives_the_listing_that_is_agreed_on(case: str, *, resolve_links: bool) -> None:
    layers = merge_cases.layers_of(case)
    merge = merge_cases.merged(layers, resolve_links=resolve_links)
    assert merge_cases.listing(layers, merge) == merge_cases.expected(case, resolve_links=resolve_links)


@pytest.mark.parametrize("fact", ["mode", "uid", "gid", "mtime"])
def test_a_hard_link_with_another_attribute_is_told(fact: str) -> None:
    def findings(change: int) -> list[str]:
        link = tarfile.TarInfo("b")
        link.type, link.linkname, link.mode, link.mtime = tarfile.LNKTYPE, "a", 0o644, 1_600_000_000
        setattr(link, fact, getattr(link, fact) + change)
        return [one.kind for one in merge_cases.merged([layer("a", link)]).findings]

    assert findings(0) == []
    assert findings(1) == ["link-with-attributes"]
