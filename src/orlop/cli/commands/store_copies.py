"""``orlop store copy``, ``backup`` and ``move``."""

from __future__ import annotations

from orlop.cli.declared import argument, command, option
from orlop.cli.show import output, terminal
from orlop.cli.show.units import human_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

    from orlop.cli.session import Session
    from orlop.cli.show.records import Records
    from orlop.service.stores import CopyReport

_FIELDS: Final = ("Root", "Images", "Blobs", "Size", "Added")
_QUIET: Final = option("-q", "--quiet", is_flag=True, help="Do not show progress.")
_LINK: Final = option(
    "--link", is_flag=True, help="Hard-link layer files instead of copying them, where the file system allows it."
)
_FORMAT: Final = option("--format", "form", metavar="FORMAT", help="Print json, or a template such as {{.Size}}.")
_TARGET: Final = argument("target", metavar="TARGET")


@command(epilog="Example: orlop store copy /srv/images")
@_LINK
@_QUIET
@_FORMAT
@_TARGET
def copy(session: Session, target: str, *, link: bool, quiet: bool, form: str | None) -> None:
    """Copy the store to a new directory.

    The copy is a snapshot: later changes to the store do not affect it. It appears only when it is complete. All
    content is verified, except files that are hard-linked with --link.
    """
    from orlop.service.stores import copy  # noqa: PLC0415 - help needs no store

    _run(session, copy, target, "Copied", form, quiet=quiet, link=link)


@command(epilog="Example: orlop store backup /mnt/backup/images")
@_LINK
@_QUIET
@_FORMAT
@_TARGET
def backup(session: Session, target: str, *, link: bool, quiet: bool, form: str | None) -> None:
    """Back up the store, or update an earlier backup.

    Copies only what is new, and removes from the backup what is gone from the store. The backup is a snapshot, and is
    complete at every moment: the old one or the new one. It is a store itself: use it with --root, or copy it back.
    """
    from orlop.service.stores import backup  # noqa: PLC0415 - help needs no store

    _run(session, backup, target, "Backed up", form, quiet=quiet, link=link)


@command(epilog="Example: orlop store move /srv/images")
@_QUIET
@_FORMAT
@_TARGET
def move(session: Session, target: str, *, quiet: bool, form: str | None) -> None:
    """Move the store to a new directory.

    Within a file system this is one rename. To another file system the store is copied and verified before the old one
    is removed. No other process may have the store open.
    """
    from orlop.service.stores import move  # noqa: PLC0415 - help needs no store

    _run(session, move, target, "Moved", form, quiet=quiet)


def _run(
    session: Session,
    verb: Callable[..., CopyReport],
    target: str,
    done: str,
    form: str | None,
    *,
    quiet: bool,
    **settings: bool,
) -> None:
    """Do one of the three, with ``settings`` that not all of them have, and print what was done."""
    records = _records(form) if form else None
    with output.progress(quiet=quiet) as progress:
        report = verb(
            session.place(),
            session.named(target),
            allow_network=session.allow_network,
            allow_foreign=session.allow_foreign,
            progress=progress,
            **settings,
        )
    if records is not None:
        values = (report.root, report.images, report.blobs, report.size, report.added)
        records.print(dict(zip(_FIELDS, values, strict=True)))
        return
    size = human_size(report.size)
    if done == "Backed up":
        size += f", {human_size(report.added)} of it new"
    line = f"{done} {report.images} images in {report.blobs} blobs ({size}) to {report.root}"
    output.write(f"{terminal.harmless(line) if output.is_terminal() else line}\n")


def _records(form: str) -> Records:
    from orlop.cli.show.records import Records  # noqa: PLC0415 - most copies have none

    return Records(form, _FIELDS)
