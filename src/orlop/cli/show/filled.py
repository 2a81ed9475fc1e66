"""Lists by templates that are more than plain fields; imported only for these."""

from __future__ import annotations

from orlop.cli.show import output, terminal
from orlop.cli.show.field import Row
from orlop.cli.show.template.fill import Template
from orlop.cli.show.template.values import Struct
from orlop.model.generic import Generic
from orlop.model.gojson import Number, dumps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from orlop.cli.show.field import Field


class Filled(Generic[Row]):
    """How a list is printed: a template that is filled with the fields of each row.

    Args:
        text: the template, without ``table``.
        fields: what there is.
        table: whether columns are aligned below headings.

    Raises:
        InvalidTemplate: it is none, or uses what is outside the subset.
    """

    def __init__(self, text: str, fields: Mapping[str, Field[Row]], *, table: bool) -> None:
        self._template = Template(text)
        self._fields = fields
        self._table = table

    def unknown(self) -> str | None:
        """Return a field that the template asks for and that is not there."""
        return next((name for name, _ in sorted(self._template.root_fields()) if name not in self._fields), None)

    def print(self, rows: Iterable[Row]) -> None:
        """Print a line for each row. Raises `InvalidTemplate` where a function does not fit its value."""
        clean = terminal.harmless if output.is_terminal() else str
        fields = self._fields.items()
        lines = [self._template.fill(_struct({name: clean(field.text(row)) for name, field in fields})) for row in rows]
        if self._table:
            lines.insert(0, self._template.fill_heading({name: field.heading for name, field in fields}))
        text = "".join(f"{line}\n" for line in lines)
        if self._table:
            from orlop.cli.show.columns import align  # noqa: PLC0415 - other lists need none

            text = align(text)
        output.write(text)


def _struct(fields: dict[str, str]) -> Struct:
    # A row writes its own JSON, which escapes what the function `json` leaves as it is.
    return Struct(fields, Number(dumps(fields, sort_keys=True).decode()))
