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
@option("-o", "--output", "target", metavar="FILE", help="Write to this file instead of standard output.")
@option(
    "--format",
    "form",
    type=click.Choice(["docker", "docker-20.10"]),
    default="docker",
    show_default=True,
    help="Use the layout of Docker Engine 25 and later, or of 20.10. Both load anywhere.",
)
@platform_option("Save only images of this platform; fail if there are none.")
@argument("names", metavar="NAME...", nargs=-1, required=True, shell_complete=complete_names)
def save(session: Session, names: tuple[str, ...], target: str | None, form: str, platform: Platform | None) -> None:
    """Save images to an archive.

    `docker load` and other tools read it. NAME without a tag saves all tags of a repository; an ID saves the image
    without a name. The same images in the same order give the same bytes. FILE appears only when it is complete; "-" is
    standard output.
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
