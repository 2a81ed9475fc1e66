"""Declared commands as click's, which read everything that people may write; see `declared`."""

from __future__ import annotations

from functools import cache

import click

from orlop.cli.completed import COMPLETIONS
from orlop.cli.declared import DeclaredGroup, WrongUsage
from orlop.cli.flagged import NoBoolean, Switch, rewritten
from orlop.cli.plain import call

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, Final

    from orlop.cli.declared import Declared, Parameter

_HYPHEN: Final = "\u2011"
"""A hyphen at which no line is broken."""


class Formatter(click.HelpFormatter):
    """Writes help whose lines are broken between words only, so that ``--keep-last`` stays whole."""

    def write_text(self, text: str) -> None:
        """Write paragraphs."""
        super().write_text(text.replace("-", _HYPHEN))

    def write_dl(self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        """Write a list of options or commands, with what each does."""
        super().write_dl([(term, text.replace("-", _HYPHEN)) for term, text in rows], col_max, col_spacing)

    def getvalue(self) -> str:
        """Return what was written, with the usual hyphens."""
        return super().getvalue().replace(_HYPHEN, "-")


class Context(click.Context):
    """What one command was given."""

    formatter_class = Formatter


class Command(click.Command):
    """A command whose words are read as Docker's parser reads them, see `flagged`."""

    context_class = Context

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put words that click knows in the place of those that it does not; then parse."""
        return super().parse_args(ctx, _rewritten(self, ctx, args))


class Group(click.Group):
    """A group that imports a command's module when the command is asked for."""

    context_class = Context

    def __init__(self, *args: Any, declared: DeclaredGroup, **options: Any) -> None:
        super().__init__(*args, **options)
        self._declared = declared

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Do the same as a command, with what comes before the name of one."""
        return super().parse_args(ctx, _rewritten(self, ctx, args, only_first=True))

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names of the commands that help lists, sorted."""
        return sorted(self._declared.places.keys() - self._declared.hidden)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - as above
        """Return one command, or nothing where there is none of that name."""
        found = self._declared.find(cmd_name)
        return None if found is None else command_of(found)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that words begin with; where there is none, name those that are spelt alike."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            from difflib import get_close_matches  # noqa: PLC0415 - few words are misspelt

            alike = get_close_matches(args[0], self.list_commands(ctx), cutoff=0.7)
            if alike and self.get_command(ctx, args[0]) is None:
                words = " or ".join(f"'{name}'" for name in alike)
                raise click.UsageError(f"No such command '{args[0]}'. (Did you mean {words}?)", ctx) from error
            raise


@cache
def command_of(declared: Declared) -> click.Command:
    """Return a command of click that takes what is declared, and does the same; always the same one."""
    settings = dict(declared.settings)
    version = settings.pop("version", None)
    run = _callback(declared)
    if version is not None:
        click.version_option(version, prog_name=declared.name, message="%(prog)s %(version)s")(run)
    for one in reversed(declared.parameters):
        _decorator(one)(run)
    if isinstance(declared, DeclaredGroup):
        return click.group(declared.name, cls=Group, declared=declared, **settings)(run)
    return click.command(declared.name, cls=Command, **settings)(run)


def _callback(declared: Declared) -> Callable[..., None]:
    def run(**values: Any) -> None:
        context = click.get_current_context()
        try:
            status = call(declared, context.obj, values)
        except WrongUsage as wrong:
            if wrong.option is None:
                raise click.UsageError(str(wrong)) from wrong
            raise click.BadParameter(str(wrong), param_hint=f"'{wrong.option}'") from wrong
        if status:
            context.exit(status)

    run.__doc__ = declared.run.__doc__
    return run


def _decorator(one: Parameter) -> Callable[[Callable[..., None]], Callable[..., None]]:
    settings = dict(one.settings)
    if (words := settings.pop("complete", None)) is not None:
        settings["shell_complete"] = COMPLETIONS[words]
    if (choices := settings.pop("choices", None)) is not None:
        settings["type"] = click.Choice(choices)
    if one.read is not None:
        settings["callback"] = _reading(one)
    if one.kind == "argument":
        return click.argument(*one.names, **settings)
    return click.option(*one.names, **settings)


def _reading(one: Parameter) -> Callable[[click.Context, click.Parameter, Any], object]:
    read = one.read

    def reading(context: click.Context, parameter: click.Parameter, value: Any) -> object:
        if read is None or value is None or value == ():
            return one.default
        try:
            return read(value)
        except WrongUsage as wrong:
            raise click.BadParameter(str(wrong), context, parameter) from wrong

    return reading


def _rewritten(
    command: click.Command, context: click.Context, words: list[str], *, only_first: bool = False
) -> list[str]:
    options: dict[str, Switch | None] = {}
    for one in command.get_params(context):
        if isinstance(one, click.Option):
            # A flag that is set by default has a second name that takes it away.
            flag = Switch(next(iter(one.secondary_opts), None)) if one.is_flag else None
            options.update(dict.fromkeys(one.opts, flag))
    try:
        return list(rewritten(words, options, only_first=only_first))
    except NoBoolean as wrong:
        raise click.BadParameter(str(wrong), context, param_hint=f"'{wrong.flag}'") from wrong
