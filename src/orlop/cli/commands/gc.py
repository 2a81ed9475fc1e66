"""``orlop gc``."""

from __future__ import annotations

from orlop.cli.declared import command, option
from orlop.cli.show import output, terminal
from orlop.cli.show.units import human_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from orlop.cli.session import Session
    from orlop.cli.show.records import Records

_FIELDS: Final = ("Root", "DryRun", "Garbage", "Freed")


@command(epilog="Example: orlop gc --dry-run")
@option("-n", "--dry-run", is_flag=True, help="Show what would be removed, and remove nothing.")
@option("--release", is_flag=True, help="Also remove what is held since a repair could not read all rows.")
@option("--format", "form", metavar="FORMAT", help="Print json, or a template such as {{.Freed}}.")
def gc(session: Session, *, dry_run: bool, release: bool, form: str | None) -> None:
    """Remove unreferenced content and leftovers of crashes.

    All images stay, even those without a name; use `orlop prune` to remove images. Other commands can use the store
    meanwhile, and content that they are working with stays.

    After a repair that could not read all rows, content that no row needs stays until --release.
    """
    records = _records(form) if form else None
    with session.open() as images:
        report = images.gc(release=release, dry_run=dry_run)
    if records is not None:
        garbage = [
            {"Kind": one.kind, "Subject": one.subject, "Size": one.size, "Reason": one.reason} for one in report.garbage
        ]
        records.print({"Root": report.root, "DryRun": dry_run, "Garbage": garbage, "Freed": report.freed})
        return
    lines = [f"{one.kind}: {one.subject}: {one.reason} ({human_size(one.size)})\n" for one in report.garbage]
    lines.append(f"{'Would free' if dry_run else 'Freed'}: {human_size(report.freed)}\n")
    text = "".join(lines)
    output.write(terminal.harmless_text(text) if output.is_terminal() else text)


def _records(form: str) -> Records:
    from orlop.cli.show.records import Records  # noqa: PLC0415 - mostly people read it

    return Records(form, _FIELDS)
