"""`orlop have`, and `orlop save` with `--since` and `--without`, as a user runs them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.unit.test_cli_push import Shell
from tests.unit.test_incremental import NEW, OLD, layers_in, layout, only

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def here(tmp_path: Path) -> Shell:
    shell = _shell(tmp_path / "here")
    shell.load(layout())
    return shell


def _shell(folder: Path) -> Shell:
    folder.mkdir()
    return Shell(folder)


@pytest.mark.sampled(3)
def test_one_side_says_what_it_has_and_the_other_sends_the_rest(here: Shell, tmp_path: Path) -> None:
    there = _shell(tmp_path / "there")
    there.load(only(OLD))
    had = there.run("have").stdout
    sent = here.run("save", "--format", "oci", "--without", "-", NEW, stdin=had)
    assert (sent.returncode, layers_in(sent.stdout)) == (0, 1)
    assert b"Left out 2 layers" in sent.stderr
    assert there.run("load", "-q", stdin=sent.stdout).stdout.decode() == "Loaded image: example/app:2\n"
    (tmp_path / "had").write_bytes(had)
    for words in (("--without", str(tmp_path / "had")), ("--since", OLD)):
        assert here.run("save", "--format", "oci", *words, NEW).stdout == sent.stdout
    again = there.run("have").stdout
    assert set(had.splitlines()) < set(again.splitlines())
    assert there.run("have", OLD).stdout == had


def test_an_empty_store_has_nothing(tmp_path: Path) -> None:
    assert _shell(tmp_path / "empty").run("have").stdout == b"# orlop-have 1\n"


@pytest.mark.sampled(3)
def test_what_goes_wrong_is_one_sentence(here: Shell, tmp_path: Path) -> None:
    there = _shell(tmp_path / "there")
    part = here.run("save", "--since", OLD, NEW).stdout
    for done, status, words in (
        (there.run("load", stdin=part), 3, "2 layers"),
        (here.run("save", "--since", "nothing", "-o", str(tmp_path / "out"), NEW), 4, "nothing"),
        (here.run("save", "--without", str(tmp_path / "none"), "-o", str(tmp_path / "out"), NEW), 4, "none"),
        (here.run("save", "--without", str(tmp_path), "-o", str(tmp_path / "out"), NEW), 7, str(tmp_path)),
        (here.run("save", "--without", "-", "-o", str(tmp_path / "out"), NEW, stdin=b"junk"), 3, "line 1"),
        (here.run("have", "nothing"), 4, "nothing"),
    ):
        assert done.returncode == status, done.stderr
        assert words in done.stderr.decode()
        assert done.stderr.decode().count("Error: ") == 1
        assert b"Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()
    assert there.run("images", "-q").stdout == b""


@pytest.mark.sampled(2)
def test_a_form_that_is_not_the_manifests_is_told(here: Shell, tmp_path: Path) -> None:
    there = _shell(tmp_path / "there")
    there.run("load", "-q", stdin=here.run("save", OLD).stdout)
    done = there.run("load", "-q", stdin=here.run("save", "--format", "oci", "--since", OLD, NEW).stdout)
    assert (done.returncode, done.stdout) == (0, b"Loaded image: example/app:2\n")
    assert b"2 layers are here in another form" in done.stderr
    assert json.loads(there.run("inspect", NEW).stdout)[0]["Id"]
