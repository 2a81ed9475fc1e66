"""Write `docs/commands.md`, the reference of the command line, from the commands themselves.

python docs/generate_commands.py            writes it
python docs/generate_commands.py --check    ends with status 1 where it is not up to date
"""

from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from orlop.cli.clicked import command_of
from orlop.cli.root import orlop

if TYPE_CHECKING:
    from collections.abc import Iterator

TARGET: Final = Path(__file__).with_name("commands.md")
_WIDTH: Final = 100
_INTRODUCTION: Final = """\
# Commands

What `orlop COMMAND --help` says, on one page. It is written by `python docs/generate_commands.py`; a test sees that it
is up to date. [Templates](templates.md), [JSON](json.md), [completion in shells](completion.md), [exit
statuses](errors.md) and the [differences to docker](differences.md) have pages of their own.
"""


def document() -> str:
    """Return the whole reference."""
    root = command_of(orlop)
    context = click.Context(root, info_name="orlop", terminal_width=_WIDTH, **root.context_settings)
    return "\n".join([_INTRODUCTION, *_described(context, {})])


def _described(context: click.Context, seen: dict[str, str]) -> Iterator[str]:
    """Describe a command and those below it; ``seen`` has the names of those that were described, by what they run."""
    command = context.command
    key = str(id(command))
    yield f"## {context.command_path}\n"
    if key in seen:
        yield f"The same as [`{seen[key]}`](#{seen[key].replace(' ', '-')}).\n"
        return
    seen[key] = context.command_path
    yield f"```text\n{context.get_usage().removeprefix('Usage: ')}\n```\n"
    yield f"{_paragraphs(command.help or '')}\n"
    if command.epilog:
        kind, _, example = command.epilog.partition(": ")
        yield f"{kind}: `{example}`\n"
    options = [parameter for parameter in command.get_params(context) if isinstance(parameter, click.Option)]
    yield "| option | what it does |\n|---|---|"
    for option in options:
        yield _row(option, context)
    yield ""
    if not isinstance(command, click.Group):
        return
    commands = [(name, command.get_command(context, name)) for name in command.list_commands(context)]
    # Single words come before those of two, which are mostly other names of them.
    for name, inner in sorted(commands, key=lambda pair: isinstance(pair[1], click.Group)):
        if inner is not None:
            yield from _described(click.Context(inner, info_name=name, parent=context), seen)


def _row(option: click.Option, context: click.Context) -> str:
    record = option.get_help_record(context)
    names, text = record or ("", "")
    return f"| `{_cell(names.strip().removesuffix(' /'))}` | {_cell(text)} |"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _paragraphs(text: str) -> str:
    paragraphs = inspect.cleandoc(text).split("\n\n")
    return "\n\n".join(" ".join(_escaped(paragraph).split()) for paragraph in paragraphs)


def _escaped(text: str) -> str:
    return re.sub(r"([*_\[\]<>|])", r"\\\1", text)


def main(arguments: list[str]) -> int:
    """Write the reference, or compare it; return the exit status."""
    text = document()
    if "--check" in arguments:
        return int(not TARGET.exists() or TARGET.read_text(encoding="utf-8") != text)
    TARGET.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
