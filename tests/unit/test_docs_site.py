"""The pages of the site reach everything that is public. Whether it can be built is asked by the check `docs`."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path
from typing import Final
from xml.sax.saxutils import unescape

import pytest

import orlop

DOCS: Final = Path(__file__).parents[2] / "docs"
API: Final = DOCS / "api"
TEXT: Final = "\n".join(path.read_text() for path in sorted(API.glob("*.md")))
MODULES: Final = sorted(set(re.findall(r"^\.\. automodule:: (\S+)$", TEXT, flags=re.MULTILINE)))


@pytest.mark.sampled(3)
@pytest.mark.parametrize("name", orlop.__all__)
def test_every_public_name_of_orlop_is_in_the_reference(name: str) -> None:
    value = getattr(orlop, name)
    home = getattr(value, "__module__", None)
    described = re.search(rf"^\.\. auto(class|function|data):: orlop\.{name}$", TEXT, flags=re.MULTILINE)
    assert described or home in MODULES or f"`orlop.{name}`" in TEXT


@pytest.mark.sampled(3)
@pytest.mark.parametrize("name", MODULES)
def test_every_module_in_the_reference_is_there(name: str) -> None:
    assert importlib.import_module(name).__doc__


@pytest.mark.sampled(3)
@pytest.mark.needs("terminals")
def test_pictures_show_what_the_commands_print() -> None:
    script = DOCS / "generate_pictures.py"
    done = subprocess.run([sys.executable, script, "--check"], check=False, timeout=300)
    assert done.returncode == 0, f"run `python docs/{script.name}`"
    named = {
        name for path in DOCS.rglob("*.md") for name in re.findall(r"pictures/([\w-]+\.(?:svg|webp))", path.read_text())
    }
    assert {path.name for path in (DOCS / "pictures").iterdir()} == named


def test_the_site_fetches_nothing_from_elsewhere() -> None:
    own = [*DOCS.glob("_static/*"), *DOCS.glob("pictures/*.svg"), DOCS / "architecture.svg"]
    assert len(own) > 5
    for path in own:
        addresses = re.findall(r"https?://[^\s\"')]+", path.read_text())
        assert {*addresses} <= {"http://www.w3.org/2000/svg"}, path


def test_a_picture_of_a_terminal_shows_every_line_to_its_end() -> None:
    pictures = sorted((DOCS / "pictures").glob("*.svg"))
    assert pictures
    for picture in pictures:
        drawn = picture.read_text(encoding="utf-8")
        (width,) = re.findall(r'viewBox="0 0 (\d+)', drawn)
        (shown,) = re.findall(r"<desc[^>]*>(.*?)</desc>", drawn, re.DOTALL)
        # A cell is 12.2 wide, as rich draws it.
        assert max(map(len, unescape(shown).splitlines())) * 12.2 <= int(width), picture
