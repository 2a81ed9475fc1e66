"""Reading templates: the text of ``--format`` becomes a tree, or an error that says what is outside the subset.

The language is a subset of that of Go's package ``text/template``; `docs/templates.md` describes it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from orlop.errors import InvalidTemplate
from orlop.model.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import Final, NoReturn, TypeAlias

_TOKEN: Final = re.compile(
    r"""(?P<space>[ \t\r\n]+)
    |(?P<field>\.[^\W\d]\w*)
    |(?P<variable>\$\w*)
    |(?P<number>[+-]?(?:0[xX][0-9a-fA-F]+|(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)(?!\w))
    |(?P<string>"(?:[^"\\\n]|\\.)*")
    |(?P<raw>`[^`]*`)
    |(?P<word>[^\W\d]\w*)
    |(?P<sign>:=|[.|()=,])""",
    re.VERBOSE,
)
_ACTION: Final = re.compile(r"\{\{(-[ \t\r\n])?")
_ACTION_END: Final = re.compile(r"((?<=[ \t\r\n])-)?\}\}")
_COMMENT: Final = re.compile(r"/\*.*?\*/([ \t\r\n]-)?\}\}", re.DOTALL)
_SPACE: Final = " \t\r\n"
_ESCAPE: Final = re.compile(
    r"\\(?:([abfnrtv\\\"'])|x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{3})|.)"
)
_ESCAPED: Final = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_CONSTANTS: Final[dict[str, bool | None]] = {"true": True, "false": False, "nil": None}
_OUTSIDE: Final = frozenset({"template", "define", "block", "call", "html", "js", "urlquery"})
_BLOCKS: Final = frozenset({"if", "range", "with"})
_MAX_NESTING: Final = 100
_NOT_READ: Final = "is outside the subset of Go's templates that orlop reads, or out of place"


class Token(NamedTuple):
    """A word of an action: what it is, its text, where it starts, and whether white space comes before it."""

    kind: str
    text: str
    start: int
    spaced: bool


@dataclass(frozen=True, slots=True)
class Literal:
    """A constant."""

    value: str | int | float | bool | None
    start: int


@dataclass(frozen=True, slots=True)
class Function:
    """A function by its name."""

    name: str
    start: int


@dataclass(frozen=True, slots=True)
class Chain:
    """A value and its fields: ``base`` is a variable's name (``$`` is the root), a pipeline, or nothing for the dot."""

    base: str | Pipeline | None
    fields: tuple[str, ...]
    start: int


Operand: TypeAlias = Literal | Function | Chain


@dataclass(frozen=True, slots=True)
class Command:
    """A value, or a function with its arguments."""

    operands: tuple[Operand, ...]
    start: int


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Commands, each with the result of the one before as its last argument, and the variables that get the result."""

    commands: tuple[Command, ...]
    variables: tuple[str, ...]
    declares: bool
    start: int


@dataclass(frozen=True, slots=True)
class Block:
    """An ``if``, ``range`` or ``with``."""

    word: str
    pipeline: Pipeline
    body: tuple[Node, ...]
    otherwise: tuple[Node, ...]


Node: TypeAlias = str | Pipeline | Block


def parse(text: str, functions: Collection[str]) -> tuple[Node, ...]:
    """Read a template in which these functions are known.

    Raises:
        InvalidTemplate: it is none, or uses what is outside the subset.
    """
    return _Parser(text, functions).template()


def refuse(start: int, why: str) -> NoReturn:
    """Raise `InvalidTemplate` for what stands at a position of the template, counted from 0."""
    msg = f"the template cannot be used (character {start + 1}): {why}"
    raise InvalidTemplate(msg)


class _Parser:
    """One template under reading: a list of literal texts and actions, then the tree of them."""

    def __init__(self, text: str, functions: Collection[str]) -> None:
        self._functions = functions
        self._pieces = _pieces(text)
        self._next = 0
        self._tokens: list[Token] = []
        self._at = 0
        self._end = 0
        self._scopes: list[set[str]] = [{"$"}]
        # Parentheses that are open.
        self._open = 0

    def template(self) -> tuple[Node, ...]:
        nodes, ending = self._nodes(0)
        if ending is not None:
            refuse(ending.start, f"{{{{{ending.text}}}}} ends or divides a block, and there is none")
        return nodes

    def _nodes(self, depth: int) -> tuple[tuple[Node, ...], Token | None]:
        """Return what stands before the next ``else`` or ``end``, and that word; its action is then the current one."""
        if depth > _MAX_NESTING:
            refuse(self._end, "its blocks are nested too deeply")
        nodes: list[Node] = []
        while self._next < len(self._pieces):
            piece = self._pieces[self._next]
            self._next += 1
            if isinstance(piece, str):
                nodes.append(piece)
                continue
            self._tokens, self._end = piece
            self._at = 0
            word = self._peek()
            if word is None:
                refuse(self._end, "an action is empty")
            if word.text in {"else", "end"} and word.kind == "word":
                self._at += 1
                return tuple(nodes), word
            if word.text in _BLOCKS and word.kind == "word":
                self._at += 1
                nodes.append(self._block(word, depth))
            else:
                nodes.append(self._whole_pipeline(most=1))
        return tuple(nodes), None

    def _block(self, word: Token, depth: int) -> Block:
        self._scopes.append(set(self._scopes[-1]))
        pipeline = self._whole_pipeline(most=2 if word.text == "range" else 1)
        body, ending = self._nodes(depth + 1)
        otherwise: tuple[Node, ...] = ()
        if ending is not None and ending.text == "else":
            following = self._peek()
            if following is not None and following.text == "if" and word.text == "if":
                # One {{end}} ends the whole chain of them.
                self._at += 1
                otherwise = (self._block(following, depth + 1),)
                self._scopes.pop()
                return Block(word.text, pipeline, body, otherwise)
            self._expect_end("{{else}}")
            otherwise, ending = self._nodes(depth + 1)
            if ending is not None and ending.text == "else":
                refuse(ending.start, "a block has a second {{else}}")
        if ending is None:
            refuse(word.start, f"this {{{{{word.text}}}}} has no {{{{end}}}}")
        self._expect_end("{{end}}")
        self._scopes.pop()
        return Block(word.text, pipeline, body, otherwise)

    def _whole_pipeline(self, *, most: int) -> Pipeline:
        pipeline = self._pipeline(most=most)
        self._expect_end("a pipeline")
        return pipeline

    def _expect_end(self, what: str) -> None:
        token = self._peek()
        if token is not None:
            refuse(token.start, f"{token.text!r} does not belong after {what}")

    def _pipeline(self, *, most: int) -> Pipeline:
        """Read a pipeline, which may give its result to at most so many variables."""
        start = self._start()
        variables, declares = self._declared(most)
        commands = [self._command()]
        while (token := self._peek()) is not None and token.text == "|" and token.kind == "sign":
            self._at += 1
            commands.append(self._command())
        for command in commands[1:]:
            if not isinstance(command.operands[0], Function):
                refuse(command.start, "what follows a | must be a function")
        if declares:
            self._scopes[-1].update(variables)
        return Pipeline(tuple(commands), variables, declares, start)

    def _declared(self, most: int) -> tuple[tuple[str, ...], bool]:
        """Read ``$x :=``, ``$x =`` or ``$i, $x :=``, if that comes next."""
        kinds = [(token.kind, token.text) for token in self._tokens[self._at : self._at + 4]]
        count = 2 if len(kinds) == 4 and kinds[1] == ("sign", ",") and kinds[2][0] == "variable" else 1
        sign = kinds[2 * count - 1] if len(kinds) >= 2 * count else ("", "")
        if kinds[:1] == [] or kinds[0][0] != "variable" or sign not in {("sign", ":="), ("sign", "=")}:
            return (), False
        names = tuple(kinds[2 * number][1] for number in range(count))
        start = self._start()
        if count > most:
            refuse(start, "only {{range}} sets two variables")
        declares = sign[1] == ":="
        for name in names:
            if name == "$":
                refuse(start, "$ is the root, and cannot be set")
            if not declares:
                self._check_variable(name, start)
        self._at += 2 * count
        return names, declares

    def _command(self) -> Command:
        start = self._start()
        operands: list[Operand] = []
        while (token := self._peek()) is not None and (token.kind != "sign" or token.text in {".", "("}):
            if operands and not token.spaced:
                refuse(token.start, f"a space is missing before {token.text!r}")
            operands.append(self._operand())
        if not operands:
            refuse(self._start(), "a value or a function is missing")
        if len(operands) > 1 and not isinstance(operands[0], Function):
            refuse(start, "only a function takes arguments")
        return Command(tuple(operands), start)

    def _operand(self) -> Operand:
        token = self._tokens[self._at]
        self._at += 1
        if token.kind == "number":
            return Literal(_number(token), token.start)
        if token.kind in {"string", "raw"}:
            return Literal(_unquoted(token), token.start)
        if token.kind == "word":
            if token.text in _CONSTANTS:
                return Literal(_CONSTANTS[token.text], token.start)
            self._check_function(token)
            return Function(token.text, token.start)
        if token.kind == "field":
            return Chain(None, (token.text[1:], *self._fields()), token.start)
        if token.kind == "variable":
            self._check_variable(token.text, token.start)
            return Chain(token.text, self._fields(), token.start)
        if token.text == "(":
            self._open += 1
            if self._open > _MAX_NESTING:
                refuse(token.start, "its parentheses are nested too deeply")
            inner = self._pipeline(most=0)
            self._open -= 1
            closing = self._peek()
            if closing is None or closing.text != ")":
                refuse(token.start, "this parenthesis is not closed")
            self._at += 1
            return Chain(inner, self._fields(), token.start)
        return Chain(None, (), token.start)

    def _fields(self) -> tuple[str, ...]:
        fields: list[str] = []
        while (token := self._peek()) is not None and token.kind == "field" and not token.spaced:
            fields.append(token.text[1:])
            self._at += 1
        return tuple(fields)

    def _check_function(self, token: Token) -> None:
        if token.text in self._functions:
            return
        if token.text in _OUTSIDE or token.text in _BLOCKS or token.text in {"break", "continue", "else", "end"}:
            refuse(token.start, f"{token.text!r} {_NOT_READ}")
        refuse(token.start, f"there is no function {token.text!r}; there are {', '.join(sorted(self._functions))}")

    def _check_variable(self, name: str, start: int) -> None:
        if name not in self._scopes[-1]:
            refuse(start, f"the variable {name} has no value here")

    def _peek(self) -> Token | None:
        return self._tokens[self._at] if self._at < len(self._tokens) else None

    def _start(self) -> int:
        token = self._peek()
        return self._end if token is None else token.start


def _pieces(text: str) -> list[str | tuple[list[Token], int]]:
    """Cut a template into texts, and actions with where each ends; white space goes where ``-`` asks for it."""
    pieces: list[str | tuple[list[Token], int]] = []
    at = 0
    trim = False
    while True:
        action = _ACTION.search(text, at)
        literal = text[at:] if action is None else text[at : action.start()]
        if trim:
            literal = literal.lstrip(_SPACE)
        if action is not None and action[1]:
            literal = literal.rstrip(_SPACE)
        if literal:
            pieces.append(literal)
        if action is None:
            return pieces
        comment = _COMMENT.match(text, action.end())
        if comment is not None:
            trim, at = bool(comment[1]), comment.end()
            continue
        tokens, end = _tokens(text, action.end(), action.start())
        pieces.append((tokens, end.start()))
        trim, at = bool(end[1]), end.end()


def _tokens(text: str, at: int, opened: int) -> tuple[list[Token], re.Match[str]]:
    tokens: list[Token] = []
    spaced = True
    while True:
        end = _ACTION_END.match(text, at)
        if end is not None:
            return tokens, end
        if at >= len(text):
            refuse(opened, "this {{ has no }}")
        found = _TOKEN.match(text, at)
        if found is None or found.lastgroup is None:
            refuse(at, f"{text[at]!r} {_NOT_READ}")
        if found.lastgroup == "space":
            spaced = True
        else:
            tokens.append(Token(found.lastgroup, found[0], at, spaced))
            spaced = False
        at = found.end()


def _number(token: Token) -> int | float:
    digits = token.text.lstrip("+-")
    if digits[:2] in {"0x", "0X"}:
        return int(token.text, 16)
    if not digits.isdecimal():
        return float(token.text)
    # As in Go, a leading zero means octal.
    try:
        return int(token.text, 8 if digits[0] == "0" else 10)
    except ValueError:
        refuse(token.start, f"{token.text} is not a number")


def _unquoted(token: Token) -> str:
    if token.kind == "raw":
        return token.text[1:-1]

    def character(match: re.Match[str]) -> str:
        if match[1]:
            return _ESCAPED.get(match[1], match[1])
        code = int(match[5], 8) if match[5] else int(match[2] or match[3] or match[4] or "-1", 16)
        if not 0 <= code <= 0x10FFFF:
            refuse(token.start + match.start(), f"the escape {match[0]} is not known")
        return chr(code)

    return _ESCAPE.sub(character, token.text[1:-1])
