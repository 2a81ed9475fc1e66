"""``orlop image``: docker's newer names of the commands."""

from __future__ import annotations

from orlop.cli.declared import group

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from orlop.cli.session import Session

_COMMANDS: Final = {
    "history": "commands.history:history",
    "import": "commands.import_image:import_image",
    "inspect": "commands.inspect:inspect",
    "list": "commands.images:images",
    "load": "commands.load:load",
    "ls": "commands.images:images",
    "prune": "commands.image_prune:image_prune",
    "pull": "commands.pull:pull",
    "push": "commands.push:push",
    "remove": "commands.rmi:rmi",
    "rm": "commands.rmi:rmi",
    "save": "commands.save:save",
    "tag": "commands.tag:tag",
}


@group(
    _COMMANDS,
    hidden=("list", "remove"),
    epilog="Example: orlop image ls --filter dangling=true",
)
def image(session: Session) -> None:
    """Manage images, with docker's newer command names."""
    del session
