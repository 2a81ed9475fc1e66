"""What registries do otherwise: each switch of the fake registry is turned in a test."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

from orlop.testing.registry.quirks import Quirks

TESTS = Path(__file__).parent.parent


def test_each_switch_is_turned_by_a_test():
    texts = [path.read_text() for path in TESTS.glob("[iu]*/test_*.py")]
    turned = set().union(*(re.findall(r"\b(\w+)=|\"(\w+)\":", text) for text in texts))
    names = {name for pair in turned for name in pair}
    assert [one.name for one in fields(Quirks) if one.name not in names] == []


def test_each_switch_is_described_in_its_order():
    described = re.findall(r"^        (\w+): ", Quirks.__doc__ or "", re.MULTILINE)
    assert described == [one.name for one in fields(Quirks)]
