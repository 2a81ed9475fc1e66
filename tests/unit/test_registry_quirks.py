"""Every way in which the registry for tests can be odd is one that something here is tried with."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from orlop.testing.registry.quirks import Failure, Quirks

TESTS = Path(__file__).parents[1]
TEXT = "\n".join(path.read_text() for path in sorted(TESTS.rglob("test_*.py")) if path != Path(__file__))


@pytest.mark.sampled(6)
@pytest.mark.parametrize("name", [field.name for kind in (Quirks, Failure) for field in fields(kind)])
def test_a_quirk_is_tried(name: str):
    if name not in {"status", "body"}:  # the positional ones
        assert re.search(rf"""(?:\b{name}=|["']{name}["']:)""", TEXT) is not None


def test_each_quirk_is_described_in_its_order():
    names = [field.name for field in fields(Quirks)]
    # Python 3.13 takes the indentation away.
    described = re.findall(r"^ +(\w+): ", Quirks.__doc__ or "", re.MULTILINE)
    assert [name for name in described if name in names] == names


@pytest.mark.parametrize(
    "flaw", ["CVE-2019-10214", "CVE-2020-15136", "CVE-2020-15157", "CVE-2021-41190", "CVE-2024-3727"]
)
def test_a_flaw_of_other_clients_is_tried(flaw: str):
    assert re.search(rf"#[^\n]*\b{flaw}\b", TEXT) is not None
