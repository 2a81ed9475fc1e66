"""Groups of commands, each imported when it is used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class LazyGroup(click.Group):
    """A group that imports a command's module when the command is asked for.

    Args:
        commands: where each command is: ``module:attribute``, below `orlop.cli`.
        hidden: those that help does not list, because they are other names of listed ones.
    """

    def __init__(self, *args: Any, commands: Mapping[str, str], hidden: Sequence[str] = (), **options: Any) -> None:
        super().__init__(*args, **options)
        self._places = commands
        self._hidden = frozenset(hidden)

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Give the names of all commands, sorted."""
        return sorted(self._places.keys() - self._hidden)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - as above
        """Give one command, or nothing where there is none of that name."""
        place = self._places.get(cmd_name)
        if place is None:
            return None
        module, _, attribute = place.partition(":")
        command: click.Command = getattr(import_module(f"orlop.cli.{module}"), attribute)
        return command
