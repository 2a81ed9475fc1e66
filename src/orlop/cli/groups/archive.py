"""``orlop archive``: the commands about archives themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orlop.cli.declared import group

if TYPE_CHECKING:
    from orlop.cli.session import Session

_COMMANDS: Final = {
    "list": "commands.archive_ls:archive_ls",
    "ls": "commands.archive_ls:archive_ls",
}


@group(_COMMANDS, hidden=("list",), epilog="Example: orlop archive ls images.tar")
def archive(session: Session) -> None:
    """The commands about archives and layouts themselves, which need no store."""
    del session
