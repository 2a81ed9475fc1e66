"""Results of verbs, as JSON or by a template, a line for each; imported only where ``--format`` is given."""

from __future__ import annotations

from orlop.cli.declared import WrongUsage
from orlop.cli.show import output, terminal
from orlop.cli.show.template.values import Map, Struct
from orlop.errors import InvalidTemplate
from orlop.model.gojson import dumps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from orlop.cli.show.template.fill import Template


class Records:
    """What ``--format`` of a verb asks for.

    Args:
        form: ``json``, or a template.
        fields: the names that every record has.

    Raises:
        WrongUsage: it is neither, or has a field that is not there.
    """

    def __init__(self, form: str, fields: Sequence[str]) -> None:
        self._template: Template | None = None
        text = form.strip()
        if text == "json":
            return
        if "{{" not in text:
            msg = f"{text!r} is neither 'json' nor a template with fields, which are {', '.join(fields)}."
            raise WrongUsage(msg, "--format")
        from orlop.cli.show.template.fill import Template  # noqa: PLC0415 - JSON needs none

        try:
            self._template = Template(text.replace(r"\t", "\t").replace(r"\n", "\n"))
        except InvalidTemplate as error:
            raise WrongUsage(str(error), "--format") from error
        for name, _ in sorted(self._template.root_fields()):
            if name not in fields:
                msg = f"there is no field {name!r}; there are {', '.join(fields)}."
                raise WrongUsage(msg, "--format")

    def print(self, record: Mapping[str, object]) -> None:
        """Print one record: texts, integers, booleans, and lists of texts or of such records.

        Raises:
            InvalidTemplate: a function of the template does not fit its value.
        """
        if self._template is None:
            line = dumps(dict(record), escape_html=False).decode()
            output.write(f"{terminal.harmless_json(line) if output.is_terminal() else line}\n")
            return
        line = self._template.fill(Struct({name: _value(value) for name, value in record.items()}, dict(record)))
        output.write(f"{terminal.harmless_text(line) if output.is_terminal() else line}\n")


def _value(value: object) -> object:
    if isinstance(value, dict):
        return Map({name: _value(member) for name, member in value.items()})
    return [_value(item) for item in value] if isinstance(value, list) else value
