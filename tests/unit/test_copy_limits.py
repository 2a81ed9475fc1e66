"""Limits of copies and syncs are changed as those of loads are, as their errors say."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import orlop
from orlop.cli.main import run
from orlop.errors import LimitExceeded

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

NAME = "example/tiny:1.0"


@pytest.fixture
def layout(tmp_path: Path, data: Path) -> str:
    with orlop.open(tmp_path / "root") as images:
        images.load(data / "dockerd-29-overlay2" / "multi.tar")
        images.copy(f"store:{NAME}", f"oci:{tmp_path / 'layout'}")
    return f"oci:{tmp_path / 'layout'}"


def status(tmp_path: Path, words: Sequence[str]) -> int:
    return run(["--root", str(tmp_path / "root"), *words])


@pytest.mark.parametrize(
    ("source", "target", "limit"),
    [
        ("layout", "oci:new", "manifest-size=100"),
        ("layout", "docker-archive:new.tar", "members=1"),
        ("layout", "store:new:1", "manifest-size=100"),
        (f"store:{NAME}", "layout", "manifest-size=100"),
        ("archive", "oci:new", "members=1"),
        ("dir", "oci:new", "manifest-size=100"),
    ],
)
def test_copies_take_limits(
    source: str,
    target: str,
    limit: str,
    layout: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert status(tmp_path, ["copy", "-q", layout, "docker-archive:archive.tar"]) == 0
    assert status(tmp_path, ["copy", "-q", layout, "dir:folder"]) == 0
    places = {"layout": layout, "archive": "docker-archive:archive.tar", "dir": "dir:folder"}
    words = [places.get(source, source), places.get(target, target)]
    capsys.readouterr()

    assert status(tmp_path, ["copy", "-q", "--limit", limit, *words]) == LimitExceeded("").exit_code

    assert f"--limit {limit.partition('=')[0]}=NUMBER" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
    assert not (tmp_path / "new.tar").exists()
    assert status(tmp_path, ["copy", "-q", "--limit", f"{limit.partition('=')[0]}=none", *words]) == 0


@pytest.mark.parametrize(("source", "target"), [("layout", "oci:new"), (f"store:{NAME}", "layout")])
def test_syncs_take_limits(
    source: str, target: str, layout: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, target = (layout if one == "layout" else one for one in (source, target))
    file = tmp_path / "plan.toml"
    target = target.replace("oci:new", f"oci:{tmp_path / 'new'}")
    file.write_text(f"[[sync]]\nsource = '{source.removesuffix(':1.0')}'\ntarget = '{target}:example/tiny'\n")

    words = ["sync", "-q", "--state", str(tmp_path / "state"), str(file)]
    assert status(tmp_path, [*words, "--limit", "manifest-size=100"]) == LimitExceeded("").exit_code
    assert "--limit manifest-size=NUMBER" in capsys.readouterr().err
    assert status(tmp_path, [*words, "--limit", "manifest-size=none"]) == 0


def test_copies_of_programs_take_the_limits_of_their_store(layout: str, tmp_path: Path) -> None:
    with (
        orlop.open(tmp_path / "root", limits=orlop.Limits(manifest_size=100)) as images,
        pytest.raises(LimitExceeded),
    ):
        images.copy(layout, f"oci:{tmp_path / 'new'}")
