"""``orlop store``: the commands about the store itself."""

from __future__ import annotations

from orlop.cli.declared import group

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from orlop.cli.session import Session

_COMMANDS: Final = {
    "backup": "commands.store_copies:backup",
    "check": "commands.store_facts:check",
    "copy": "commands.store_copies:copy",
    "import-registry": "commands.store_import_registry:import_registry",
    "info": "commands.store_facts:info",
    "init": "commands.store_facts:init",
    "migrate": "commands.store_facts:migrate",
    "move": "commands.store_copies:move",
}


@group(_COMMANDS, epilog="Example: orlop store backup /mnt/backup/images")
def store(session: Session) -> None:
    """Inspect, check, copy and move the store itself."""
    del session
