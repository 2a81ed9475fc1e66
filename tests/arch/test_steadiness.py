"""Tests do not depend on how fast a machine is: what waits, waits for the thing itself, and patiently."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TESTS: Final = Path(__file__).parents[1]
MODULES: Final = sorted(
    path for path in TESTS.rglob("*.py") if TESTS / "data" not in path.parents and path != Path(__file__)
)
#: A limit below is to be reached: the test is about silence. One from here on is never reached.
SHORT: Final = 2
PATIENT: Final = 30
#: Tests that let time pass, and why nothing depends on how much a busy machine makes of it.
PASSING: Final = {
    "interop/test_interrupted.py": "the signal comes at any moment",
    "unit/test_cli_process.py": "a slow reader, for whom nothing is too slow",
    "unit/test_postgres_schema.py": "an upgrade that has not begun by then waits all the same",
    "unit/test_leftovers.py": "what lives then has lived all the while",
    "unit/test_remote_store.py": "others work meanwhile, and end as they should whatever they have come to",
}
#: Limits between the two.
LIMITS: Final = {"interop/test_serve_http.py": "a connection that stays open is known by silence only"}


def number_of(node: ast.expr | None) -> float | None:
    """Return a number that stands in the source."""
    return node.value if isinstance(node, ast.Constant) and type(node.value) in {int, float} else None  # type: ignore[return-value]


def is_sleep(node: ast.AST) -> bool:
    """Return whether something is a call of `time.sleep`."""
    return isinstance(node, ast.Call) and ast.unparse(node.func) == "time.sleep"


def hasty_limits(tree: ast.AST) -> Iterator[ast.Call]:
    """Yield each call that is given up after some seconds which a busy machine may need."""
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        limits = [word.value for word in call.keywords if word.arg == "timeout"]
        if isinstance(call.func, ast.Attribute) and call.func.attr in {"wait", "join", "settimeout"}:
            limits += call.args[:1]
        if any(SHORT < number < PATIENT for limit in limits if (number := number_of(limit)) is not None):
            yield call


def silent_waits(tree: ast.AST) -> Iterator[ast.For]:
    """Yield each loop that waits for so many moments, and goes on where that was in vain."""
    for loop in (node for node in ast.walk(tree) if isinstance(node, ast.For)):
        is_counted = isinstance(loop.iter, ast.Call) and ast.unparse(loop.iter.func) == "range"
        inside = list(ast.walk(loop))
        ends = any(isinstance(node, ast.Break) for node in inside)
        sleeps = any(map(is_sleep, inside))
        if is_counted and sleeps and ends and not loop.orelse:
            yield loop


def passing_time(tree: ast.AST) -> Iterator[ast.Call]:
    """Yield each call of a test that only lets time pass: not in a loop that looks for something."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            # What a test defines is done by others, who may be as slow as they like.
            apart = [one for one in ast.walk(node) if isinstance(one, ast.While | ast.FunctionDef) and one is not node]
            elsewhere = {id(inner) for one in apart for inner in ast.walk(one)}
            for call in ast.walk(node):
                if isinstance(call, ast.Call) and is_sleep(call) and id(call) not in elsewhere:
                    yield call


def found(kind: Callable[[ast.AST], Iterator[ast.expr | ast.stmt]], words: str) -> list[str]:
    """Return where modules have something of a kind; what has none of some words is not parsed, which takes long."""
    return [
        f"{path.relative_to(TESTS)}:{node.lineno}"
        for path in MODULES
        if re.search(words, source := path.read_text(encoding="utf-8"))
        for node in kind(ast.parse(source))
    ]


def test_a_limit_is_short_on_purpose_or_never_reached() -> None:
    limits = found(hasty_limits, r"(timeout=|\.(wait|join|settimeout)\()[0-9]")
    assert {line.partition(":")[0] for line in limits} == LIMITS.keys(), limits


def test_nothing_waits_in_vain_without_a_word() -> None:
    assert found(silent_waits, r"time\.sleep\(") == []


def test_where_time_only_passes_somebody_has_thought_about_it() -> None:
    passing = {line.partition(":")[0] for line in found(passing_time, r"time\.sleep\(")}
    assert passing == PASSING.keys()


@pytest.mark.parametrize(
    ("kind", "source"),
    [
        (hasty_limits, "done.wait(10)"),
        (hasty_limits, "subprocess.run(argv, timeout=5)"),
        (silent_waits, "for _ in range(100):\n    if x():\n        break\n    time.sleep(0.1)"),
        (passing_time, "def test_x():\n    time.sleep(1)\n    assert x()"),
    ],
)
def test_each_kind_is_found(kind: Callable[[ast.AST], Iterator[ast.AST]], source: str) -> None:
    assert len(list(kind(ast.parse(source)))) == 1
