"""``orlop rmi``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from orlop.cli import output
from orlop.cli.flags import Command
from orlop.errors import OrlopError

if TYPE_CHECKING:
    from orlop.cli.session import Session


@click.command(cls=Command, epilog="Example: orlop rmi user/app:1.0")
@click.option("-f", "--force", is_flag=True, help="Remove an image that has names in several repositories.")
@click.option("--no-prune", is_flag=True, help="Keep parents that have no name.")
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@click.pass_context
def rmi(context: click.Context, names: tuple[str, ...], *, force: bool, no_prune: bool) -> None:
    """Remove names, and images that have none left.

    With a name that is not there the command goes on to the next one, and ends with an error.
    """
    session: Session = context.obj
    status = 0
    with session.open() as images:
        for name in names:
            try:
                report = images.remove(name, force=force, prune=not no_prune)
            except OrlopError as error:
                output.complain(f"Error: {error}")
                status = status or error.exit_code
                continue
            output.write("".join(f"{kind}: {text}\n" for kind, text in report.lines))
            # What is gone is told, however the command goes on.
            output.flush()
    context.exit(status)
