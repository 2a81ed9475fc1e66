"""What the standard error may hold of what others wrote: each error, warning and note is one line of some length."""

from __future__ import annotations

import io
import logging
from typing import TYPE_CHECKING

import pytest

import orlop
from orlop.cli.main import run
from orlop.cli.show import output
from orlop.model.logger import Logger
from tests.unit.damage import sql
from tests.unit.images_made import image, layer

if TYPE_CHECKING:
    from pathlib import Path

EVIL = "a\nError: b\x1b[2Jc\u202ed\r\x00" + "x" * 100_000


def _lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Return the lines of the standard error, none of which controls anything or is very long."""
    said = capsys.readouterr().err
    lines = said.splitlines()
    assert said == "".join(f"{line}\n" for line in lines)
    assert all(line.isprintable() and len(line) < 5100 for line in lines), [line[:100] for line in lines]
    return lines


def test_a_complaint_is_one_line_where_nobody_sees_a_terminal(capsys):
    output.complain(f"Warning: {EVIL}")
    (line,) = _lines(capsys)
    assert line.startswith("Warning: a Error: b")


def test_several_lines_stay_several(capsys):
    output.complain("one\ntwo\x1b", lines=True)
    assert _lines(capsys) == ["one", "two\ufffd"]


def test_what_is_logged_is_one_line(tmp_path, capsys, monkeypatch):
    def warn(*_: object, **__: object) -> None:
        Logger("orlop.test").warning("skipping %s", EVIL)
        logging.getLogger("orlop.test").error("skipping %s", EVIL)

    with orlop.open(tmp_path / "root"):
        pass
    monkeypatch.setattr("orlop.service.image_service.ImageService.history", warn)
    run(["--root", str(tmp_path / "root"), "history", "a"])
    assert sum(line.startswith(("Warning: skipping a", "Error: skipping a")) for line in _lines(capsys)) >= 1


@pytest.mark.parametrize(
    "words",
    [
        ["images"],
        ["fsck"],
        ["fsck", "--repair"],
        ["gc"],
        ["prune", "-f"],
        ["rmi", "made:1"],
        ["df", "-v"],
        ["inspect", "made:1"],
    ],
    ids=" ".join,
)
def test_a_damaged_name_is_told_on_a_line_of_its_own(tmp_path: Path, words: list[str], capsys) -> None:
    root = tmp_path / "root"
    with orlop.open(root) as images:
        images.load(io.BytesIO(image(layer(("a", b"a")))))
    sql(root, f"INSERT INTO reference VALUES ('{EVIL.replace(chr(0), '')}', ':1', (SELECT id FROM image), 1)")
    run(["--root", str(root), *words])
    _lines(capsys)
