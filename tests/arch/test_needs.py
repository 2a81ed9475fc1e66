"""Tests say what they need beyond the README: `tests/needs.py` is the one place that looks for it."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests import needs

TESTS = Path(__file__).parents[1]
ELSEWHERE = sorted(
    path for path in TESTS.rglob("*.py") if path != TESTS / "needs.py" and TESTS / "data" not in path.parents
)


def calls(path: Path, *words: str) -> list[ast.Call]:
    """Return the calls in a module that has all of some words; what lacks one is not parsed, which takes long."""
    source = path.read_text(encoding="utf-8")
    if not all(word in source for word in words):
        return []
    return [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]


def looking(path: Path) -> list[str]:
    """Return each place of a test that looks by itself for what may be missing, and skips."""
    found = []
    words = ("mark.skipif", "pytest.skip", "importorskip", ".which")
    for node in {call: None for word in words for call in calls(path, word)}:
        called = ast.unparse(node.func)
        skips = called.endswith("mark.skipif") and "geteuid" in ast.unparse(node)
        if skips or called in {"pytest.skip", "pytest.importorskip", "shutil.which"}:
            found.append(f"{path.relative_to(TESTS)}:{node.lineno}: {called}")
    return found


def test_one_place_says_what_is_missing() -> None:
    assert [line for path in ELSEWHERE for line in looking(path)] == []


def unasked(path: Path) -> list[str]:
    """Return each place that starts a program by its name, of which the module never says that it needs it.

    The hook of `needs.py` knows what was asked for before, by any test of the same process; which tests those are
    differs from run to run.
    """
    made = calls(path, "subprocess")
    called = [(ast.unparse(call.func).rpartition(".")[2], call) for call in made]
    asked = {
        argument.value
        for name, call in called
        if name in {"need", "need_all", "needs"}
        for argument in call.args
        if isinstance(argument, ast.Constant)
    }
    if "mounts" in asked or "need_mounts" in dict(called):
        asked |= {"mount", "umount"}
    return [
        f"{path.relative_to(TESTS)}:{call.lineno}: {program.value}"
        for call in made
        if ast.unparse(call.func) in {f"subprocess.{name}" for name in ("run", "Popen", "check_call", "check_output")}
        if call.args and isinstance(call.args[0], ast.List) and call.args[0].elts
        if isinstance(program := call.args[0].elts[0], ast.Constant)
        if isinstance(program.value, str) and program.value not in asked | needs.BARE
    ]


def test_programs_are_asked_for_where_they_are_started() -> None:
    others = [path for path in ELSEWHERE if path != Path(__file__)]
    assert [line for path in others for line in unasked(path)] == []


def filtering(path: Path) -> list[str]:
    """Return each place that names the filter of an extraction, which Python 3.11.2 does not know."""
    return [
        f"{path}:{node.lineno}"
        for node in calls(path, "extract", "filter")
        if isinstance(node.func, ast.Attribute)
        if node.func.attr in {"extract", "extractall"} and "filter" in {keyword.arg for keyword in node.keywords}
    ]


def test_archives_are_unpacked_as_the_oldest_python_can() -> None:
    top = TESTS.parent
    others = [path for folder in ("src", "benchmarks", "docs", "fuzz") for path in (top / folder).rglob("*.py")]
    assert [line for path in [*ELSEWHERE, *others, top / "release.py"] for line in filtering(path)] == []


def test_a_program_that_a_test_did_not_ask_for_is_not_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(needs, "asked", set())
    with pytest.raises(AssertionError, match="did not say that it needs it"):
        subprocess.run(["mount", "--version"], check=True)
    needs.asked.add("true")
    subprocess.run(["true"], check=True)
    subprocess.run([sys.executable, "-c", ""], check=True)


@pytest.mark.parametrize(
    ("ci", "outcome"), [("", pytest.skip.Exception), ("true", pytest.fail.Exception)], ids=["elsewhere", "in CI"]
)
def test_what_is_missing_is_skipped_and_fails_in_ci(
    monkeypatch: pytest.MonkeyPatch, ci: str, outcome: type[BaseException]
) -> None:
    monkeypatch.setenv("CI", ci)
    monkeypatch.setenv("ORLOP_REQUIRE_INTEROP", "")
    with pytest.raises(outcome, match="orlop-no-such-program is not installed"):
        needs.need_all("orlop-no-such-program")
