"""``orlop image``: docker's newer names of the commands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orlop.cli.declared import group

if TYPE_CHECKING:
    from orlop.cli.session import Session

_COMMANDS: Final = {
    "history": "history:history",
    "import": "import_image:import_image",
    "inspect": "inspect:inspect",
    "list": "images:images",
    "load": "load:load",
    "ls": "images:images",
    "prune": "image_prune:image_prune",
    "pull": "registries:pull",
    "push": "registries:push",
    "remove": "rmi:rmi",
    "rm": "rmi:rmi",
    "save": "save:save",
    "tag": "tag:tag",
}


@group(
    _COMMANDS,
    hidden=("list", "remove", "pull", "push"),
    epilog="Example: orlop image ls --filter dangling=true",
)
def image(session: Session) -> None:
    """The commands about images, and prune, under docker's newer names."""
    del session
