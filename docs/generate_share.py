"""Write `share/`, which a wheel installs beside the package: a manual page for each command, and completion for shells.

./dev run python docs/generate_share.py            writes it, and so does `./dev nox -s generate`
./dev run python docs/generate_share.py --check    ends with status 1 where it is not up to date
"""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from orlop._version import __version__
from orlop.cli.clicked import command_of
from orlop.cli.root import orlop

if TYPE_CHECKING:
    from collections.abc import Iterator

TOP: Final = Path(__file__).parents[1]
SHARE: Final = TOP / "share"
#: Where each shell looks below a prefix for what completes `orlop`.
COMPLETIONS: Final = {
    "bash": "bash-completion/completions/orlop",
    "zsh": "zsh/site-functions/_orlop",
    "fish": "fish/vendor_completions.d/orlop.fish",
}


def files() -> dict[str, str]:
    """Return the text of each file, by its path below `share`."""
    pages = {f"man/man1/{page(words)}.1": text for words, text in manual().items()}
    return pages | {path: completion(shell) for shell, path in COMPLETIONS.items()}


def completion(shell: str) -> str:
    """Return the script that the command itself prints for a shell."""
    argv = [sys.executable, "-m", "orlop", "completion", shell]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


def manual() -> dict[str, str]:
    """Return the page of each command by its words; another name of a command refers to its page."""
    root = command_of(orlop)
    # Lines are wrapped by the program that shows them.
    context = click.Context(
        root, info_name="orlop", terminal_width=1000, max_content_width=1000, **root.context_settings
    )
    pages: dict[str, str] = {}
    first: dict[int, str] = {}
    for inner in _walked(context):
        words = inner.command_path
        known = first.setdefault(id(inner.command), words)
        pages[words] = "\n".join(_page(inner)) + "\n" if known == words else f".so man1/{page(known)}.1\n"
    return pages


def page(words: str) -> str:
    """Return the name of a command's page."""
    return words.replace(" ", "-")


def _walked(context: click.Context) -> Iterator[click.Context]:
    """Yield a command and those below it, single words before those of two, which are mostly other names of them."""
    yield context
    for inner in sorted(_below(context), key=lambda inner: isinstance(inner.command, click.Group)):
        yield from _walked(inner)


def _below(context: click.Context) -> list[click.Context]:
    group = context.command
    if not isinstance(group, click.Group):
        return []
    found = [(name, group.get_command(context, name)) for name in group.list_commands(context)]
    return [
        click.Context(command, info_name=name, parent=context, terminal_width=1000, max_content_width=1000)
        for name, command in found
        if command is not None
    ]


def _page(context: click.Context) -> Iterator[str]:
    command = context.command
    name = page(context.command_path)
    yield f'.TH "{_plain(name.upper())}" "1" "{_date()}" "orlop {__version__}" "User Commands"'
    yield ".SH NAME"
    yield f"{_plain(name)} \\- {_plain(command.get_short_help_str(1000).rstrip('.'))}"
    yield ".SH SYNOPSIS"
    usage = " ".join(context.get_usage().removeprefix(f"Usage: {context.command_path}").split())
    yield f"\\fB{_plain(context.command_path)}\\fR {_plain(usage)}".rstrip()
    yield ".SH DESCRIPTION"
    yield "\n.PP\n".join(_text(" ".join(part.split())) for part in inspect.cleandoc(command.help or "").split("\n\n"))
    yield ".SH OPTIONS"
    for option in command.get_params(context):
        record = option.get_help_record(context) if isinstance(option, click.Option) else None
        if record is not None:
            yield from _item(record[0].strip().removesuffix(" /"), record[1])
    if commands := _below(context):
        yield ".SH COMMANDS"
        for inner in commands:
            yield from _item(inner.info_name or "", inner.command.get_short_help_str(1000))
    if command.epilog:
        yield ".SH EXAMPLES"
        yield f".nf\n{_text(command.epilog.partition(': ')[2])}\n.fi"
    if context.parent is None:
        yield ".SH EXIT STATUS"
        for status, meaning in _statuses():
            yield from _item(status, meaning)
    yield ".SH SEE ALSO"
    others = [context.parent] if context.parent is not None else []
    yield ",\n".join(f"\\fB{_plain(page(other.command_path))}\\fR(1)" for other in [*others, *commands]) or _text("")


def _item(term: str, text: str) -> Iterator[str]:
    yield f".TP\n\\fB{_plain(term)}\\fR\n{_text(' '.join(text.split()))}"


def _text(text: str) -> str:
    """Return text that begins a line, where a dot would begin a request."""
    plain = _plain(text)
    return f"\\&{plain}" if plain.startswith(".") else plain


def _plain(text: str) -> str:
    return (
        text.replace("\\", "\\e").replace("-", "\\-").replace("`", "\\(ga").replace("'", "\\(aq").replace("~", "\\(ti")
    )


def _statuses() -> list[tuple[str, str]]:
    """Return the exit statuses and what they mean, of the page that lists them."""
    rows = re.findall(
        r"^\| (\d+) \| ([^|]+) \|$", (TOP / "docs" / "errors.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    return [(status, re.sub(r"[`*]|\]\([^)]*\)|\[", "", meaning)) for status, meaning in rows]


def _date() -> str:
    """Return the day on which this version was released, of the change log; nothing before that."""
    log = (TOP / "CHANGELOG.md").read_text(encoding="utf-8")
    found = re.search(rf"^## {re.escape(__version__)} \((\d{{4}}-\d\d-\d\d)\)$", log, re.MULTILINE)
    return found[1] if found else ""


def main(arguments: list[str]) -> int:
    """Write the files, or compare them; return the exit status."""
    wanted = {SHARE / path: text.encode() for path, text in files().items()}
    there = {path: path.read_bytes() for path in SHARE.rglob("*") if path.is_file()}
    if "--check" in arguments:
        return int(wanted != there)
    for path in there.keys() - wanted.keys():
        path.unlink()
    for path, content in wanted.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
