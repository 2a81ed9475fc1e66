"""``orlop store``: the commands about the store itself."""

from __future__ import annotations

from typing import Final

import click

from orlop.cli.lazy import LazyGroup

_COMMANDS: Final = {
    "backup": "store_copies:backup",
    "check": "store_facts:check",
    "copy": "store_copies:copy",
    "info": "store_facts:info",
    "init": "store_facts:init",
    "migrate": "store_facts:migrate",
    "move": "store_copies:move",
}


@click.group(cls=LazyGroup, commands=_COMMANDS, epilog="Example: orlop store backup /mnt/backup/images")
def store() -> None:
    """The commands about the store itself: what it holds, whether it is whole, copies of it."""
