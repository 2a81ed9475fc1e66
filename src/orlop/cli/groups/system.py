"""``orlop system``: docker's group of commands about the whole, with those that orlop has."""

from __future__ import annotations

from orlop.cli.declared import group

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from orlop.cli.session import Session

_COMMANDS: Final = {
    "df": "commands.df:df",
    "prune": "commands.prune:prune",
}


@group(_COMMANDS, epilog="Example: orlop system df -v")
def system(session: Session) -> None:
    """Manage the whole store, with docker's command names."""
    del session
