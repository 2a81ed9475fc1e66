"""``orlop archive``: commands that inspect archives."""

from __future__ import annotations

from orlop.cli.declared import group

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from orlop.cli.session import Session

_COMMANDS: Final = {
    "list": "commands.archive_ls:archive_ls",
    "ls": "commands.archive_ls:archive_ls",
}


@group(_COMMANDS, hidden=("list",), epilog="Example: orlop archive ls images.tar")
def archive(session: Session) -> None:
    """Inspect archives and layouts, without a store."""
    del session
