"""``orlop store``: the commands about the store itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orlop.cli.declared import group

if TYPE_CHECKING:
    from orlop.cli.session import Session

_COMMANDS: Final = {
    "backup": "store_copies:backup",
    "check": "store_facts:check",
    "copy": "store_copies:copy",
    "info": "store_facts:info",
    "init": "store_facts:init",
    "migrate": "store_facts:migrate",
    "move": "store_copies:move",
}


@group(_COMMANDS, epilog="Example: orlop store backup /mnt/backup/images")
def store(session: Session) -> None:
    """The commands about the store itself: what it holds, whether it is whole, copies of it."""
    del session
