"""``orlop pin`` and ``orlop unpin``."""

from __future__ import annotations

from orlop.cli.declared import WrongUsage, argument, command, option
from orlop.cli.show import output
from orlop.errors import OrlopError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from orlop.cli.session import Session
    from orlop.model.digest import ImageID
    from orlop.service.image_service import ImageService


@command(epilog="Example: orlop pin user/app:1.0")
@option("-q", "--quiet", is_flag=True, help="List only image IDs.")
@option("--no-trunc", is_flag=True, help="Do not shorten IDs in the list.")
@option("--format", "form", metavar="FORMAT", help="List as a table, json, or a template such as {{.ID}}.")
@argument("names", metavar="[NAME...]", nargs=-1, complete="names")
def pin(session: Session, names: tuple[str, ...], *, quiet: bool, no_trunc: bool, form: str | None) -> int:
    """Pin images so that pruning keeps them, or list pinned images.

    A pin belongs to the image and not to its name: it stays when the name moves to another image. Prints the ID of each
    image. `orlop rmi` still removes a pinned image.
    """
    if names:
        if form is not None or quiet or no_trunc:
            raise WrongUsage("--format, --quiet and --no-trunc are about the list; omit the names")
        return _each(session, names, lambda images, name: images.pin(name))
    from orlop.cli.commands.images import ImageListing  # noqa: PLC0415 - only the list needs it

    listing = ImageListing(form, quiet=quiet, no_trunc=no_trunc)
    with session.open() as images:
        listing.print(images.pinned())
    return 0


@command(epilog="Example: orlop unpin user/app:1.0")
@argument("names", metavar="NAME...", nargs=-1, required=True, complete="names")
def unpin(session: Session, names: tuple[str, ...]) -> int:
    """Unpin images so that pruning can remove them.

    Prints the ID of each image, whether or not it was pinned.
    """
    return _each(session, names, lambda images, name: images.unpin(name))


def _each(session: Session, names: tuple[str, ...], verb: Callable[[ImageService, str], ImageID]) -> int:
    """Pin or unpin each image, print its ID, and return the status of the first error."""
    status = 0
    with session.open() as images:
        for name in names:
            try:
                output.write(f"{verb(images, name)}\n")
            except OrlopError as error:
                output.complain(f"Error: {error}")
                status = status or error.exit_code
    return status
