"""The examples in README.md and `docs/` run, and print what they say; relative links lead somewhere.

CONTRIBUTING.md says how a block is marked.
"""

from __future__ import annotations

import ast
import doctest
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from orlop.service.image_service import ImageService
from tests import engines
from tests.hostile.lists import LISTS

if TYPE_CHECKING:
    from collections.abc import Iterator

TOP: Final = Path(__file__).parents[2]
DOCUMENTS: Final = {path.relative_to(TOP).as_posix(): path for path in [*TOP.glob("*.md"), *TOP.glob("docs/**/*.md")]}

_FENCE: Final = re.compile(r"^```(?P<mark>[a-z]*)[^\n]*\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK: Final = re.compile(r"\]\((?!https?:|mailto:)(?P<path>[^)#\s]*)(?:#(?P<anchor>[^)\s]*))?\)")
_LOOSE: Final = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@dataclass(frozen=True)
class Block:
    """One fenced block of a document."""

    mark: str
    text: str
    line: int


def blocks(path: Path) -> Iterator[Block]:
    """Return the fenced blocks of a document that are to be run."""
    text = path.read_text()
    for match in _FENCE.finditer(text):
        if match["mark"] in {"python", "console"}:
            yield Block(match["mark"], match["text"], text.count("\n", 0, match.start()) + 2)


def steps(console: str) -> Iterator[tuple[str, str]]:
    """Return the commands of a console block, each with the output below it."""
    for part in re.split(r"^\$ ", console, flags=re.MULTILINE)[1:]:
        lines = part.splitlines(keepends=True)
        size = next((number for number, line in enumerate(lines, 1) if not line.endswith("\\\n")), len(lines))
        yield "".join(lines[:size]), "".join(lines[size:])


def run_console(block: Block, place: str) -> None:
    """Run a console block's commands and compare what they print."""
    checker = doctest.OutputChecker()
    for command, expected in steps(block.text):
        done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False, timeout=120)
        got = done.stdout + done.stderr
        assert checker.check_output(expected, got, _LOOSE), f"{place}: $ {command}\nprints\n{got}\nand not\n{expected}"


@pytest.mark.sampled(9)
@pytest.mark.parametrize("name", sorted(name for name, path in DOCUMENTS.items() if any(blocks(path))))
def test_examples_run_and_print_what_they_say(
    name: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(data / "dockerd-29-overlay2" / "multi.tar", tmp_path / "images.tar")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ORLOP_ROOT", str(tmp_path / "store"))
    if name == "docs/howto/remote.md":
        # The page has said how to start both engines.
        engines.install(monkeypatch)
        monkeypatch.setenv("ORLOP_ROOT", engines.new_url(prepared=False))
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent) + os.pathsep + os.environ["PATH"])
    monkeypatch.setenv("TZ", "UTC")
    namespace: dict[str, object] = {"__name__": "__main__"}
    for block in blocks(DOCUMENTS[name]):
        place = f"{name}:{block.line}"
        if block.mark == "console":
            run_console(block, place)
        else:
            exec(compile("\n" * (block.line - 1) + block.text, DOCUMENTS[name], "exec"), namespace)


def anchors(path: Path) -> set[str]:
    """Return the anchors that a hosting site makes of a document's headings."""
    headings = re.findall(r"^#+ +(.+)$", path.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.sampled(2)
@pytest.mark.parametrize("name", sorted(DOCUMENTS))
def test_relative_links_lead_somewhere(name: str) -> None:
    path = DOCUMENTS[name]
    prose = _FENCE.sub("", path.read_text())
    for link in _LINK.finditer(prose):
        target = path.parent / link["path"] if link["path"] else path
        assert target.exists(), link[0]
        if link["anchor"]:
            assert link["anchor"] in anchors(target), link[0]


@pytest.mark.parametrize("name", [name for name, path in DOCUMENTS.items() if "`tests/" in path.read_text()])
def test_every_test_that_a_page_names_is_there(name: str) -> None:
    for named in re.findall(r"`(tests/[^`\s]+?)`", DOCUMENTS[name].read_text()):
        path, _, test = named.partition("::")
        assert (TOP / path).exists(), named
        if test:
            assert re.search(rf"^ *(async )?def {re.escape(test)}\(", (TOP / path).read_text(), re.MULTILINE), named


def test_every_decision_record_is_listed() -> None:
    folder = TOP / "docs" / "adr"
    index = (folder / "README.md").read_text()
    records = sorted(path.name for path in folder.glob("[0-9]*.md"))
    assert records
    for record in records:
        assert f"]({record})" in index
        assert title(folder / record) in index


def title(record: Path) -> str:
    """Return a record's heading."""
    return next(line[2:] for line in record.read_text().splitlines() if line.startswith("# "))


def test_the_reference_of_commands_is_up_to_date() -> None:
    script = TOP / "docs" / "generate_commands.py"
    done = subprocess.run([sys.executable, script, "--check"], check=False, env={**os.environ, "COLUMNS": "50"})
    assert done.returncode == 0, f"run `python {script.relative_to(TOP)}`"


@pytest.mark.parametrize("name", ["SECURITY.md", "docs/reliability.md"])
def test_the_tests_that_a_page_names_are_there(name: str) -> None:
    named = re.findall(r"`((?:tests|fuzz)/[\w/.]*)(?:::(\w+))?`", DOCUMENTS[name].read_text())
    assert named
    for place, test in named:
        path = TOP / place
        assert path.exists(), place
        assert not test or f"def {test}(" in path.read_text(), f"{place}::{test}"


def test_the_table_of_growth_has_every_list_that_the_tests_double() -> None:
    rows = re.findall(
        r"^\| ([^|]+) \| ([\d,]+) \| \d+\.\d\d \|", DOCUMENTS["docs/reliability.md"].read_text(), re.MULTILINE
    )
    shown = {name: int(count.replace(",", "")) for name, count in rows}
    assert shown.keys() == {one.name for one in LISTS}
    assert all(shown[one.name] in {one.count, 2 * one.count} for one in LISTS)


SUBJECTS: Final = {
    "load": ("orlop load", "skopeo → dir", "podman load", "Engine load"),
    "load, already there": ("orlop load, already there", "Engine load, already there"),
    "save": ("orlop save", "skopeo dir → archive", "podman save", "Engine save"),
}


@pytest.mark.parametrize("name", ["README.md", "docs/index.md"])
def test_the_seconds_on_a_page_are_those_that_were_measured(name: str) -> None:
    page = DOCUMENTS[name].read_text()
    measured = (TOP / "docs" / "benchmarks" / "peers.md").read_text()
    seconds = dict(re.findall(r"^\| ([^|]+) \| (\d+\.\d\d) \| \d+\.\d\d \| \d+ \|$", measured, re.MULTILINE))
    for work, subjects in SUBJECTS.items():
        row = re.search(rf"^\| {work} \| ([^a-z]+) \|$", page, re.MULTILINE)
        assert row is not None
        assert re.findall(r"[\d.]+", row[1]) == [seconds[subject] for subject in subjects]
    known = {f"{value} s" for value in seconds.values()}
    assert {*re.findall(r"\b\d+\.\d\d s\b", page)} <= known


def test_the_page_of_the_library_names_every_parameter_of_each_call() -> None:
    calls = re.findall(r"`(\w+)\(([^`]*)\)`", (TOP / "docs" / "library.md").read_text())
    methods = {name: getattr(ImageService, name) for name in dir(ImageService) if not name.startswith("_")}
    known = {name: signature(method) for name, method in methods.items() if callable(method)}
    said = {name: ast.parse(f"def call({given}): ...".replace("…", "None")).body[0] for name, given in calls}
    shown = {
        name: [(one.arg, None if value is None else ast.unparse(value)) for one, value in _parameters(call)]
        for name, call in said.items()
        if name in known
    }
    assert len(shown) > 20
    for name, parameters in shown.items():
        declared = [one for one in known[name].parameters.values() if one.name != "self"]
        assert [one for one, _ in parameters] == [one.name for one in declared], name
        assert [value is None for _, value in parameters] == [one.default is one.empty for one in declared], name


def _parameters(call: ast.stmt) -> Iterator[tuple[ast.arg, ast.expr | None]]:
    assert isinstance(call, ast.FunctionDef)
    given = call.args
    first = len(given.args) - len(given.defaults)
    yield from zip(given.args, [*[None] * first, *given.defaults], strict=True)
    yield from zip(given.kwonlyargs, given.kw_defaults, strict=True)
