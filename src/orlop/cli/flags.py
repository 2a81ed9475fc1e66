"""Flags in the way of docker's command line: ``--human=false`` and ``--no-trunc=true`` mean what they say."""

from __future__ import annotations

from typing import Final

import click

# What Go's strconv.ParseBool takes.
_WORDS: Final = {
    **dict.fromkeys(("1", "t", "T", "true", "TRUE", "True"), True),
    **dict.fromkeys(("0", "f", "F", "false", "FALSE", "False"), False),
}


class Command(click.Command):
    """A command whose flags may be given with a value behind an equals sign."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the flag without a value, or none, in place of each that has one; then parse."""
        flags = {name: option for option in self.params for name in option.opts if _is_flag(option)}
        end = args.index("--") if "--" in args else len(args)
        plain = (_without_value(arg, flags) for arg in args[:end])
        return super().parse_args(ctx, [arg for arg in plain if arg is not None] + args[end:])


def _is_flag(parameter: click.Parameter) -> bool:
    return isinstance(parameter, click.Option) and parameter.is_flag


def _without_value(arg: str, flags: dict[str, click.Parameter]) -> str | None:
    name, equals, word = arg.partition("=")
    if not equals or name not in flags:
        return arg
    if word not in _WORDS:
        raise click.BadParameter(f"{word!r} is neither true nor false", param_hint=f"'{name}'")
    if _WORDS[word]:
        return name
    # A flag that is set by default has a second name that takes it away.
    return next(iter(flags[name].secondary_opts), None)
