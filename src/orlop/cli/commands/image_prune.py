"""``orlop image prune``."""

from __future__ import annotations

from orlop.cli.declared import WrongUsage, command, filter_option, option
from orlop.cli.show import output, terminal
from orlop.cli.show.units import human_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Final

    from orlop.cli.session import Session
    from orlop.cli.show.records import Records

_FIELDS: Final = ("Untagged", "Deleted", "Reclaimed")
DANGLING: Final = "WARNING! This will remove all dangling images."
ALL: Final = "WARNING! This will remove all images without at least one container associated to them."
_QUESTION: Final = "Are you sure you want to continue? [y/N] "


@command("prune", epilog="Example: orlop image prune -f --filter until=240h")
@option("-a", "--all", "everything", is_flag=True, help="Remove all images, not only dangling ones.")
@option("-f", "--force", is_flag=True, help="Do not ask for confirmation.")
@filter_option(help="Remove only images that match, such as until=240h.")
@option("--format", "form", metavar="FORMAT", help="Print json, or a template such as {{.Reclaimed}}. Needs -f.")
def image_prune(session: Session, *, everything: bool, force: bool, filters: tuple[str, ...], form: str | None) -> None:
    """Remove dangling images.

    An image is dangling if it has no tag and is not the parent of another image.

    Filters: until=TIME, label=NAME[=VALUE], label!=NAME[=VALUE]. TIME is an age (24h) or a date.
    """
    records = _records(form) if form else None
    if records is not None and not force:
        raise WrongUsage("--format does not ask for confirmation; give -f with it")
    if not force and not confirmed(ALL if everything else DANGLING):
        return
    with session.open() as images:
        report = images.prune(all=everything, filters=filters)
    if records is not None:
        records.print(
            {"Untagged": list(report.untagged), "Deleted": list(report.deleted), "Reclaimed": report.reclaimed}
        )
        return
    print_removed(report.lines, report.reclaimed)


def print_removed(lines: Sequence[tuple[str, str]], total: int) -> None:
    """Print what went, and how many bytes that freed, as docker does."""
    if lines:
        text = "".join(f"{kind.lower()}: {what}\n" for kind, what in lines)
        output.write(f"Deleted Images:\n{terminal.harmless_text(text) if output.is_terminal() else text}\n")
    output.write(f"Total reclaimed space: {human_size(total)}\n")


def _records(form: str) -> Records:
    from orlop.cli.show.records import Records  # noqa: PLC0415 - most prunings have none

    return Records(form, _FIELDS)


def confirmed(warning: str) -> bool:
    """Return whether the user answered yes; if not, report that nothing was removed."""
    import sys  # noqa: PLC0415 - only where it is asked

    output.write(f"{warning}\n{_QUESTION}")
    output.flush()
    answer = "" if sys.stdin is None else sys.stdin.readline()
    if answer.strip().lower() == "y":
        return True
    print_removed((), 0)
    return False
