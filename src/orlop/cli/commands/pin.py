"""``orlop pin`` and ``orlop unpin``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orlop.cli.declared import WrongUsage, argument, command, option
from orlop.cli.shell.completion import complete_names
from orlop.cli.show import output
from orlop.errors import OrlopError

if TYPE_CHECKING:
    from collections.abc import Callable

    from orlop.cli.session import Session
    from orlop.model.digest import ImageID
    from orlop.service.image_service import ImageService


@command(epilog="Example: orlop pin user/app:1.0")
@option("-q", "--quiet", is_flag=True, help="Print only IDs of the list.")
@option("--no-trunc", is_flag=True, help="Print IDs of the list whole.")
@option("--format", "form", metavar="FORMAT", help="Of the list: table, json, or a template such as {{.ID}}.")
@argument("names", metavar="[NAME...]", nargs=-1, shell_complete=complete_names)
def pin(session: Session, names: tuple[str, ...], *, quiet: bool, no_trunc: bool, form: str | None) -> int:
    """Let images stay whatever is pruned; without a NAME list those that are pinned.

    The image is pinned, not its name: if that moves on to another image, this one still stays. The ID of each image is
    printed. Who names a pinned image to rmi removes it.
    """
    if names:
        if form is not None or quiet or no_trunc:
            raise WrongUsage("--format, --quiet and --no-trunc are about the list; leave the names away")
        return _each(session, names, lambda images, name: images.pin(name))
    from orlop.cli.commands.images import ImageListing  # noqa: PLC0415 - only the list needs it

    listing = ImageListing(form, quiet=quiet, no_trunc=no_trunc)
    with session.open() as images:
        listing.print(images.pinned())
    return 0


@command(epilog="Example: orlop unpin user/app:1.0")
@argument("names", metavar="NAME...", nargs=-1, required=True, shell_complete=complete_names)
def unpin(session: Session, names: tuple[str, ...]) -> int:
    """Let pinned images go again when they are pruned.

    The ID of each image is printed, whether it was pinned or not.
    """
    return _each(session, names, lambda images, name: images.unpin(name))


def _each(session: Session, names: tuple[str, ...], verb: Callable[[ImageService, str], ImageID]) -> int:
    """Do something to each image, tell its ID, and return the status of the first error."""
    status = 0
    with session.open() as images:
        for name in names:
            try:
                output.write(f"{verb(images, name)}\n")
            except OrlopError as error:
                output.complain(f"Error: {error}")
                status = status or error.exit_code
    return status
