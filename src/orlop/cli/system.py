"""``orlop system``: docker's group of commands about the whole, with those that orlop has."""

from __future__ import annotations

from typing import Final

import click

from orlop.cli.lazy import LazyGroup

_COMMANDS: Final = {
    "df": "df:df",
    "prune": "prune:prune",
}


@click.group(cls=LazyGroup, commands=_COMMANDS, epilog="Example: orlop system df -v")
def system() -> None:
    """The commands about the whole store, under docker's names."""
