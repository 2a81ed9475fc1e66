"""The words that this project avoids, and the places where it uses them: `faults` lists each with its reason.

Three kinds of text are read. A docstring, a help text and a fragment of the change log tell what something does, so the
first words of their clauses are looked at. Comments, messages and pages are prose, so they are searched for turns of
phrase. Code, names in backquotes and the targets of links are left out.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from typing import TYPE_CHECKING, Final, NamedTuple

from tests.statements import statements

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_WEAK: Final = re.compile(
    r"(?:^|[.;:] |, (?:and|or) )(?P<word>(?:give|say|let|tell)s?)\b(?! (?:go|out|up)\b)", re.IGNORECASE
)
_NO: Final = re.compile(
    r"(?<![Tt]here )(?<!where )\b(?:is|are|was|were|be|been) no (?!longer\b|more\b|less\b|other\b|one\b)[\w'-]+"
)
_THINGS: Final = "process|command|program|thread|server|client|reader|writer|tool|engine|daemon|store|orlop"
_WHO: Final = re.compile(
    rf"\b(?:{_THINGS})(?:s|es)?,? who\b"
    r"|\b(?:to|for|by|but|from) who\b"
    # A clause, not a question: `who reads deletes nothing`.
    r"|(?<=[.;:] )[Ww]ho [a-z]+s\b(?=[^.;?]*[.;])"
)
_HAS_NOT: Final = re.compile(r"\b(?:has|have) not (?:the|an?)\b")
# `Return to what a tag leads` begins as if something went back.
_TO_WHAT: Final = re.compile(r"\b(?:[Rr]eturn|[Nn]ote|[Yy]ield)s? to (?:what|which|whom)\b")
_SO_MANY: Final = re.compile(r"\ASo (?:many|much)\b")
_PHRASES: Final = (
    (_NO, "write `is not a …` or `are not …`"),
    (_HAS_NOT, "write `does not have`"),
    (_TO_WHAT, "write `what … leads to`"),
    (_SO_MANY, "write `how many …`, or `at most …`"),
    (_WHO, "write `a process that …` or `a reader that …`, or name the person"),
)
_FRAGMENT: Final = re.compile(r"(?:\d+|\+[a-z0-9]+(?:-[a-z0-9]+)*)\.(?:added|changed|fixed|removed|security)\.md")

_DOCUMENTED: Final = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
_LITERALS: Final = (ast.Constant, ast.JoinedStr)
#: What gives wrong words on purpose.
EXEMPT: Final = ("tests/arch/test_language.py", "tests/language.py")


class Text(NamedTuple):
    """A piece of prose and its first line; the first paragraph of one that ``acts`` tells what something does."""

    line: int
    words: str
    acts: bool = False


def of_python(source: str, *, messages: bool) -> Iterator[Text]:
    """Yield the docstrings, help texts and comments of a module; with ``messages`` all other sentences in it, too."""
    tree = ast.parse(source)
    # Where neither messages nor help texts are looked for, what is within statements need not be.
    nodes = list(ast.walk(tree) if messages or "help" in source else statements(tree))
    seen = set()
    for node in nodes:
        if isinstance(node, _DOCUMENTED):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and _literal(first.value):
                seen.add(first.value)
                yield Text(first.lineno, ast.get_docstring(node) or "", acts=True)
        elif isinstance(node, ast.keyword) and node.arg in {"help", "short_help"} and _literal(node.value):
            seen.add(node.value)
            yield Text(node.value.lineno, _literal(node.value), acts=True)
    for node in nodes if messages else ():
        if isinstance(node, ast.JoinedStr):
            seen.update(node.values)
        if isinstance(node, _LITERALS) and node not in seen:
            words = _literal(node)
            if words.count(" ") > 1:
                yield Text(node.lineno, words)
    yield from _comments(source)


def of_page(markdown: str) -> Iterator[Text]:
    """Yield the paragraphs of a page in Markdown."""
    line = 1
    # Code keeps its lines, so that numbers stay right.
    prose = re.sub(r"^```.*?^```$", lambda code: "\n" * code[0].count("\n"), markdown, flags=re.MULTILINE | re.DOTALL)
    for paragraph in re.split(r"(\n\s*\n)", re.sub(r"\]\([^)]*\)", "]", prose)):
        if paragraph.strip():
            yield Text(line, paragraph)
        line += paragraph.count("\n")


def faults(texts: Iterable[Text]) -> Iterator[str]:
    """Yield what is wrong with texts, each as ``LINE: reason: words``."""
    for text in texts:
        weak = _WEAK.search(_prose(text.words.partition("\n\n")[0])) if text.acts else None
        if weak is not None:
            yield f"{text.line}: write `return`, `report`, `allow` or `show`, not `{weak['word']}`: {text.words[:80]}"
        prose = _prose(text.words)
        for pattern, reason in _PHRASES:
            for found in pattern.finditer(prose):
                yield f"{text.line}: {reason}: {prose[max(found.start() - 40, 0) : found.end() + 40]}"


def faults_of_fragment(name: str, text: str) -> Iterator[str]:
    """Yield what is wrong with a fragment of the change log: its name, how it begins and ends, its words."""
    if not _FRAGMENT.fullmatch(name):
        yield "name it `ISSUE.KIND.md` or `+word.KIND.md`, with a kind that changes/README.md lists"
    if not re.match(r"[A-Z`]|orlop\b", text):
        yield "begin with a capital letter or with a name in backquotes"
    if not text.rstrip().endswith("."):
        yield "write whole sentences: the last one ends with a full stop"
    yield from faults([Text(1, text, acts=True)])


def of_file(path: Path, top: Path) -> list[str]:
    """Return what is wrong with a file of the checkout at ``top``, each fault after the file's path in it.

    Only modules of the package are searched for messages; a file of another kind has no faults.
    """
    name = path.relative_to(top)
    if name.as_posix() in EXEMPT or path.suffix not in {".py", ".md"}:
        return []
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        found = faults(of_python(text, messages=name.parts[0] == "src"))
    elif name.parts[0] == "changes" and path.name != "README.md":
        found = faults_of_fragment(path.name, text)
    else:
        found = faults(of_page(text))
    return [f"{name}:{fault}" for fault in found]


def _comments(source: str) -> Iterator[Text]:
    """Yield the comments of a module; none where no text behind a `#` has a fault, since telling them apart is slow."""
    maybe = (Text(0, line[at:].lstrip("# ")) for line in source.splitlines() for at in _hashes(line))
    if next(faults(maybe), None) is None:
        return
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield Text(token.start[0], token.string.lstrip("# "))


def _hashes(line: str) -> Iterator[int]:
    """Yield where a comment may begin in a line, and where a text has the same character."""
    at = line.find("#")
    while at >= 0:
        yield at
        at = line.find("#", at + 1)


def _literal(node: ast.AST) -> str:
    """Return the text of a literal; a value in an f-string is read as ``…``."""
    if isinstance(node, ast.JoinedStr):
        return "".join(_literal(value) or "…" for value in node.values)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def _prose(words: str) -> str:
    return " ".join(re.sub(r"``?[^`]+``?", "`…`", words).split())
