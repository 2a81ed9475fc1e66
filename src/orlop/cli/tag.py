"""``orlop tag``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from orlop.cli.completion import complete_names
from orlop.cli.flags import Command

if TYPE_CHECKING:
    from orlop.cli.session import Session


@click.command(cls=Command, epilog="Example: orlop tag alpine registry.example.com/mirror/alpine:3.20")
@click.argument("source", metavar="SOURCE", shell_complete=complete_names)
@click.argument("target", metavar="TARGET")
@click.pass_obj
def tag(session: Session, source: str, target: str) -> None:
    """Give an image one more name.

    A TARGET without a tag gets the tag latest. A name that belongs to another image moves.
    """
    with session.open() as images:
        images.tag(source, target)
