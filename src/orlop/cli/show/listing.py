"""Lists on the standard output: as a table, as JSON, or by a template, as ``--format`` asks for."""

from __future__ import annotations

from orlop.cli.declared import WrongUsage
from orlop.cli.show import output, terminal
from orlop.cli.show.field import Row
from orlop.model.generic import Generic
from orlop.model.regex import regex

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Final

    from orlop.cli.show.field import Field
    from orlop.cli.show.filled import Filled

_FIELD: Final = regex(r"\{\{\s*\.(\w+)\s*\}\}")
_JSON: Final = regex(r"json|\{\{\s*json\s+\.\s*\}\}")
_TABLE: Final = "table"


class Template(Generic[Row]):
    """How a list is printed: the pieces of each line, with columns and headings where it is a table."""

    __slots__ = ("pieces", "table")

    def __init__(self, pieces: tuple[str | Field[Row], ...], *, table: bool) -> None:
        self.pieces = pieces
        self.table = table

    def print(self, rows: Iterable[Row]) -> None:
        """Print a line for each row."""
        clean = terminal.harmless if output.is_terminal() else str
        lines = [
            "".join(piece if isinstance(piece, str) else clean(piece.text(row)) for piece in self.pieces)
            for row in rows
        ]
        if self.table:
            lines.insert(0, "".join(piece if isinstance(piece, str) else piece.heading for piece in self.pieces))
        text = "".join(f"{line}\n" for line in lines)
        if self.table:
            from orlop.cli.show.columns import align  # noqa: PLC0415 - lists of IDs need none

            text = align(text)
        output.write(text)


class JSONLines(Generic[Row]):
    """Each row as a JSON object on a line of its own, all values strings or null, keys sorted."""

    __slots__ = ("fields",)

    def __init__(self, fields: Mapping[str, Field[Row]]) -> None:
        self.fields = fields

    def print(self, rows: Iterable[Row]) -> None:
        """Print a line for each row."""
        from orlop.model.gojson import dumps  # noqa: PLC0415 - other formats need none

        for row in rows:
            line = dumps({name: field.value(row) for name, field in self.fields.items()}, sort_keys=True).decode()
            output.write(f"{terminal.harmless_json(line) if output.is_terminal() else line}\n")


def table(*fields: Field[Row]) -> Template[Row]:
    """Make the template of a table."""
    pieces: list[str | Field[Row]] = []
    for field in fields:
        pieces += [field, "\t"]
    return Template(tuple(pieces[:-1]), table=True)


def parse_format(
    text: str, fields: Mapping[str, Field[Row]], default: Template[Row]
) -> Template[Row] | JSONLines[Row] | Filled[Row]:
    r"""Read what ``--format`` says.

    Args:
        text: ``table``, ``json``, or a template such as ``{{.Repository}}:{{.Tag}}``, in which ``\t`` and ``\n`` are
            a tab and a line end; ``table`` and a space before it ask for columns and headings. See
            `orlop.cli.show.template.fill`.
        fields: what there is.
        default: what ``table`` alone stands for.

    Raises:
        WrongUsage: it has no field, one that is not there, or what is outside the subset of templates.
    """
    text = text.strip()
    if text == _TABLE:
        return default
    if _JSON.fullmatch(text):
        return JSONLines(fields)
    is_table = text.startswith(f"{_TABLE} ")
    if is_table:
        text = text.removeprefix(_TABLE).strip()
    text = text.replace(r"\t", "\t").replace(r"\n", "\n")
    # Names of fields and the text between them take turns.
    parts = _FIELD.split(text)
    literals, names = parts[::2], parts[1::2]
    if any("{{" in literal for literal in literals):
        return _filled(text, fields, table=is_table)
    if not names:
        raise _refusal(f"{text!r} is none of them", fields)
    for name in names:
        if name not in fields:
            raise _refusal(f"there is no field {name!r}", fields)
    pieces: list[str | Field[Row]] = [literals[0]]
    for name, literal in zip(names, literals[1:], strict=True):
        pieces += [fields[name], literal]
    return Template(tuple(pieces), table=is_table)


def _filled(text: str, fields: Mapping[str, Field[Row]], *, table: bool) -> Filled[Row]:
    from orlop.cli.show.filled import Filled  # noqa: PLC0415 - plain fields need no language
    from orlop.errors import InvalidTemplate  # noqa: PLC0415 - as above

    try:
        filled = Filled(text, fields, table=table)
    except InvalidTemplate as error:
        raise WrongUsage(str(error), "--format") from error
    unknown = filled.unknown()
    if unknown is not None:
        raise _refusal(f"there is no field {unknown!r}", fields)
    return filled


def _refusal(why: str, fields: Mapping[str, object]) -> WrongUsage:
    known = _enumerated([f"{{{{.{name}}}}}" for name in sorted(fields)])
    message = f"{why}: a format is 'table', 'json', or text with fields, which are {known}."
    return WrongUsage(message, "--format")


def _enumerated(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"
