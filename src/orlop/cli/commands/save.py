"""``orlop save``."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import click

from orlop.cli.declared import WrongUsage, argument, command, option
from orlop.cli.shell.completion import complete_names
from orlop.cli.show import output
from orlop.cli.source import platform_option

if TYPE_CHECKING:
    from orlop.cli.session import Session
    from orlop.model.platform import Platform


@command(epilog="Example: orlop save -o images.tar alpine user/app:1.0")
@option("-o", "--output", "target", metavar="FILE", help="Where to write, instead of the standard output.")
@option(
    "--format",
    "form",
    type=click.Choice(["docker", "docker-20.10"]),
    default="docker",
    show_default=True,
    help="The layout: of Docker Engine 25 and later, or of 20.10. Both load anywhere.",
)
@platform_option("Save only images of this platform; else refuse.")
@argument("names", metavar="NAME...", nargs=-1, required=True, shell_complete=complete_names)
def save(session: Session, names: tuple[str, ...], target: str | None, form: str, platform: Platform | None) -> None:
    """Write images to an archive.

    docker load and others read it. A bare name saves all tags of its repository, an ID saves the image without a name.
    Equal images in the same order give equal bytes. FILE appears whole or not at all; "-" is the standard output.
    """
    if target == "-":
        target = None
    if target is None and output.is_terminal():
        msg = "an archive is not for a terminal; name a file with -o, or redirect the output"
        raise WrongUsage(msg)
    with session.open() as images:
        if target is not None:
            images.save(names, target, format=form, platform=platform)
            return
        with closing(images.save_chunks(names, format=form, platform=platform)) as chunks:
            for chunk in chunks:
                output.write(chunk)
        output.flush()
