"""``orlop tag``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orlop.cli.declared import argument, command
from orlop.cli.shell.completion import complete_names

if TYPE_CHECKING:
    from orlop.cli.session import Session


@command(epilog="Example: orlop tag alpine registry.example.com/mirror/alpine:3.20")
@argument("source", metavar="SOURCE", shell_complete=complete_names)
@argument("target", metavar="TARGET")
def tag(session: Session, source: str, target: str) -> None:
    """Add a name to an image.

    TARGET without a tag gets the tag latest. If TARGET names another image already, the name moves.
    """
    with session.open() as images:
        images.tag(source, target)
