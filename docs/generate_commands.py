"""Write the reference of the command line, `docs/commands.md` and a page for each command, from the commands.

python docs/generate_commands.py            writes the pages, and removes those of commands that are gone
python docs/generate_commands.py --check    ends with status 1 where a page is not up to date
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

HERE: Final = Path(__file__).parent
_WIDTH: Final = 100
_THEMES: Final = {
    "Images": "load save have import images inspect history tag rmi archive",
    "Registries": "pull push copy sync tags manifest login logout",
    "Inside images": "ls cat find grep tree stat cp export diff audit",
    "Space": "df prune pin unpin gc",
    "The store": "fsck store",
    "Servers": "serve",
    "Recovery": "rescue",
    "Docker's newer names": "image system",
    "Shells": "completion",
}
_INTRODUCTION: Final = """\
# Commands

These pages show what `orlop COMMAND --help` prints. `python docs/generate_commands.py` writes them, and a test checks
that they are up to date. See also [templates](templates.md), [JSON](json.md), [shell completion](completion.md),
[exit statuses](errors.md) and [differences from docker](differences.md).
"""


def pages() -> dict[str, str]:
    """Return the text of each page, by its path below this folder."""
    root = command_of(orlop)
    top = click.Context(root, info_name="orlop", terminal_width=_WIDTH, **root.context_settings)
    described = dict(_below(top))
    return {"commands.md": "\n".join(_overview(top)), **described}


def _overview(top: click.Context) -> Iterator[str]:
    yield _INTRODUCTION
    contexts = {str(context.info_name): context for context in _contexts(top)}
    themes = {name: words.split() for name, words in _THEMES.items()}
    if missing := contexts.keys() - {word for words in themes.values() for word in words}:
        raise SystemExit(f"{Path(__file__).name}: put {', '.join(sorted(missing))} under a heading in _THEMES")
    for theme, words in themes.items():
        yield f"## {theme}\n"
        yield from _table([contexts[word] for word in words], "commands/")
    yield "## Options of orlop itself\n"
    yield "They come before the command, as in `orlop --root /srv/images load -i images.tar`.\n"
    yield from _options(top)


def _below(context: click.Context) -> Iterator[tuple[str, str]]:
    """Yield the pages of all commands below one; a command under a second name has none of its own."""
    for inner in _contexts(context):
        if _path(inner) == _home(inner):
            yield _path(inner), "\n".join(_page(inner))
            yield from _below(inner)


def _page(context: click.Context) -> Iterator[str]:
    command = context.command
    yield f"# {context.command_path}\n"
    yield f"{_paragraphs(command.help or '')}\n"
    yield f"```text\n{context.get_usage().removeprefix('Usage: ')}\n```\n"
    if isinstance(command, click.Group):
        yield "## Commands\n"
        yield from _table(list(_contexts(context)), "")
    yield "## Options\n"
    yield from _options(context)
    if command.epilog:
        kind, _, examples = command.epilog.partition(": ")
        yield f"## {kind}\n"
        yield "\n".join(["```sh", *examples.split("; "), "```\n"])


def _table(contexts: list[click.Context], folder: str) -> Iterator[str]:
    yield "| command | what it does |\n|---|---|"
    for context in contexts:
        page = folder + _home(context).removeprefix("commands/")
        first = _paragraphs(context.command.help or "").partition("\n\n")[0]
        yield f"| [`{context.command_path}`]({page}) | {first.removesuffix('.')} |"
    yield ""


def _options(context: click.Context) -> Iterator[str]:
    yield "| option | what it does |\n|---|---|"
    for option in context.command.get_params(context):
        if isinstance(option, click.Option):
            yield _row(option, context)
    yield ""


def _contexts(context: click.Context) -> Iterator[click.Context]:
    """Yield the commands of a group that help lists, each in a context of its own."""
    group = context.command
    if isinstance(group, click.Group):
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            if command is not None and not command.hidden:
                yield click.Context(command, info_name=name, parent=context)


def _path(context: click.Context) -> str:
    words = context.command_path.split()[1:]
    return f"commands/{'-'.join(words)}.md"


def _home(context: click.Context) -> str:
    """Return the page of what a command runs, such as that of `orlop images` for `orlop image ls`."""
    top = context.find_root()
    same = [other for other in _contexts(top) if other.command is context.command]
    return _path(same[0] if same else context)


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
    """Write the pages, or compare them; return the exit status."""
    wanted = pages()
    there = {path.relative_to(HERE).as_posix() for path in [HERE / "commands.md", *HERE.glob("commands/*.md")]}
    if "--check" in arguments:
        return int(there != wanted.keys() or any((HERE / name).read_text() != text for name, text in wanted.items()))
    for name in there - wanted.keys():
        (HERE / name).unlink()
    for name, text in wanted.items():
        (HERE / name).parent.mkdir(exist_ok=True)
        (HERE / name).write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
