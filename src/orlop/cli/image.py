"""``orlop image``: docker's newer names of the commands."""

from __future__ import annotations

from typing import Final

import click

from orlop.cli.lazy import LazyGroup

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


@click.group(
    cls=LazyGroup,
    commands=_COMMANDS,
    hidden=("list", "remove", "pull", "push"),
    epilog="Example: orlop image ls --filter dangling=true",
)
def image() -> None:
    """The commands about images, and prune, under docker's newer names."""
