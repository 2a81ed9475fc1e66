"""Patterns end where a text does: `$` fits before a newline at the end as well, so that another name is meant."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

SOURCE: Final = Path(__file__).parents[2] / "src"
_OF_RE: Final = frozenset({"compile", "match", "search", "sub", "split", "findall", "finditer"})
_PLAIN: Final = re.compile(r"(?:\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|[^$])*+", re.DOTALL)


def patterns(tree: ast.Module) -> Iterator[ast.Call]:
    """Yield the calls that are given a pattern, first of all."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and node.args:
            function = node.func
            is_ours = isinstance(function, ast.Name) and function.id == "regex"
            is_re = (
                isinstance(function, ast.Attribute) and ast.unparse(function.value) == "re" and function.attr in _OF_RE
            )
            if is_ours or is_re:
                yield node


def _constants(node: ast.expr) -> Iterator[object]:
    if isinstance(node, ast.Constant):
        yield node.value
    elif isinstance(node, ast.JoinedStr):
        for part in node.values:
            yield from _constants(part)
    elif isinstance(node, ast.BinOp):
        yield from _constants(node.left)
        yield from _constants(node.right)


def ends_before_newline(call: ast.Call) -> bool:
    """Return whether a pattern has a `$` that means the end of a text; with `MULTILINE` it means that of a line."""
    if any("MULTILINE" in ast.unparse(more) for more in [*call.args[1:], *(one.value for one in call.keywords)]):
        return False
    texts = [one.decode("latin-1") if isinstance(one, bytes) else one for one in _constants(call.args[0])]
    return any(isinstance(text, str) and _PLAIN.fullmatch(text) is None for text in texts)


@pytest.mark.parametrize(
    ("source", "is_wrong"),
    [
        (r"regex('a$')", True),
        (r"regex(rb'a(b|$)')", True),
        (r"re.compile(f'{NAME}$')", True),
        (r"re.compile(r'\\$' + END)", True),
        (r"regex(r'a\Z')", False),
        (r"regex(r'\$\[$')", True),
        (r"regex(r'[$]\$')", False),
        (r"regex(r'[^]$]')", False),
        (r"re.compile('a$', re.MULTILINE)", False),
        (r"other('a$')", False),
    ],
)
def test_such_patterns_are_found(source: str, is_wrong: bool) -> None:  # noqa: FBT001 - a table
    assert any(map(ends_before_newline, patterns(ast.parse(source)))) is is_wrong


def test_no_pattern_fits_before_a_newline_at_the_end() -> None:
    found = [
        f"{path.relative_to(SOURCE)}:{call.lineno}"
        for path in sorted(SOURCE.rglob("*.py"))
        for call in patterns(ast.parse(path.read_text(encoding="utf-8")))
        if ends_before_newline(call)
    ]
    assert not found, "write \\Z for the end of a text"
