"""The merged view of layers: what a container sees, from headers alone."""

from __future__ import annotations

import pytest

from tests.unit import merge_cases


@pytest.mark.parametrize("resolve_links", [False, True], ids=["engines", "resolve-links"])
@pytest.mark.parametrize("case", merge_cases.names())
def test_a_case_gives_the_listing_that_is_agreed_on(case: str, *, resolve_links: bool) -> None:
    layers = merge_cases.layers_of(case)
    merge = merge_cases.merged(layers, resolve_links=resolve_links)
    assert merge_cases.listing(layers, merge) == merge_cases.expected(case, resolve_links=resolve_links)
