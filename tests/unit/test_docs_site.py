"""The pages of the site reach everything that is public. Whether it can be built is asked by the check `docs`."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Final

import pytest

import orlop

API: Final = Path(__file__).parents[2] / "docs" / "api"
TEXT: Final = "\n".join(path.read_text() for path in sorted(API.glob("*.md")))
MODULES: Final = sorted(set(re.findall(r"^\.\. automodule:: (\S+)$", TEXT, flags=re.MULTILINE)))


@pytest.mark.parametrize("name", orlop.__all__)
def test_every_public_name_of_orlop_is_in_the_reference(name: str) -> None:
    value = getattr(orlop, name)
    home = getattr(value, "__module__", None)
    described = re.search(rf"^\.\. auto(class|function|data):: orlop\.{name}$", TEXT, flags=re.MULTILINE)
    assert described or home in MODULES or f"`orlop.{name}`" in TEXT


@pytest.mark.parametrize("name", MODULES)
def test_every_module_in_the_reference_is_there(name: str) -> None:
    assert importlib.import_module(name).__doc__
