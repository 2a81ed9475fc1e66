"""``orlop rmi``."""

from __future__ import annotations

from orlop.cli.declared import argument, command, option
from orlop.cli.show import output
from orlop.cli.source import platform_option
from orlop.errors import ImageNotFound, OrlopError, ReferenceNotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from orlop.cli.session import Session
    from orlop.cli.show.records import Records
    from orlop.model.platform import Platform

_FIELDS: Final = ("Untagged", "Deleted")


@command(epilog="Example: orlop rmi user/app:1.0")
@option("-f", "--force", is_flag=True, help="Remove an image even if other names lead to it.")
@option("--no-prune", is_flag=True, help="Keep untagged parents.")
@platform_option("Remove only the image of this platform; the name stays for the others.")
@option("--format", "form", metavar="FORMAT", help="Print json, or a template such as {{.Deleted}}.")
@argument("names", metavar="NAME...", nargs=-1, required=True, complete="names")
def rmi(
    session: Session,
    names: tuple[str, ...],
    *,
    force: bool,
    no_prune: bool,
    platform: Platform | None,
    form: str | None,
) -> int:
    """Remove image names, and images that have no name left.

    A NAME that does not exist is reported and makes the command exit with an error, unless --force is given. The other
    names are still removed.
    """
    records = _records(form) if form else None
    status = 0
    with session.open() as images:
        for name in names:
            try:
                report = images.remove(name, force=force, prune=not no_prune, platform=platform)
            except OrlopError as error:
                output.complain(f"Error: {error}")
                # As with docker: --force asks for it to be gone, and it is.
                if not (force and isinstance(error, (ImageNotFound, ReferenceNotFound))):
                    status = status or error.exit_code
                continue
            for kind, text in report.lines:
                if records is None:
                    output.write(f"{kind}: {text}\n")
                else:
                    records.print({name: text if name == kind else "" for name in _FIELDS})
            # What is gone is told, however the command goes on.
            output.flush()
    return status


def _records(form: str) -> Records:
    from orlop.cli.show.records import Records  # noqa: PLC0415 - most removals have none

    return Records(form, _FIELDS)
