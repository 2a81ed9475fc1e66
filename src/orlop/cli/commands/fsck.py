"""``orlop fsck``."""

from __future__ import annotations

from orlop.cli.declared import WrongUsage, command, option
from orlop.cli.limits import archive_limit_option
from orlop.cli.show import output, terminal
from orlop.cli.show.problems import described, line_of
from orlop.cli.source import source_of
from orlop.cli.statuses import DAMAGED, FOUND, UNREADABLE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from orlop.cli.session import Session
    from orlop.cli.show.records import Records
    from orlop.service.stores import FsckReport

_FIELDS: Final = ("Root", "Quick", "State", "Found", "Repairs", "Problems")
_STATUS: Final = {"clean": 0, "repaired": FOUND, "damaged": DAMAGED, "unreadable": UNREADABLE}


@command(epilog="Examples: orlop fsck --quick; orlop fsck --repair --from images.tar")
@option("--quick", is_flag=True, help="Compare only rows and file sizes; do not read content.")
@option("--repair", is_flag=True, help="Repair what can be repaired and move bad blobs to quarantine.")
@option(
    "--from",
    "sources",
    metavar="FILE",
    multiple=True,
    help="Take missing or damaged content from this archive. May be repeated.",
)
@option("--empty-quarantine", is_flag=True, help="Delete what earlier repairs moved to quarantine.")
@archive_limit_option
@option("-q", "--quiet", is_flag=True, help="Do not show progress.")
@option("--format", "form", metavar="FORMAT", help="Print json, or a template such as {{.State}}.")
def fsck(
    session: Session,
    sources: tuple[str, ...],
    *,
    quick: bool,
    repair: bool,
    empty_quarantine: bool,
    quiet: bool,
    form: str | None,
) -> int:
    """Check everything in the store, and repair it with --repair.

    Reads every blob and compares it with its digest, its layer and that layer's table of contents. Checks configs,
    manifests, names and all rows as well. Other commands can use the store meanwhile.

    A repair moves bad blobs to the directory "quarantine" of the store, rebuilds what can be derived from other
    content, and takes missing content from the archives given with --from; "-" is standard input. It keeps all content
    that matches its digest and every valid name. An interrupted repair can be run again.

    Exits with 0 if nothing is damaged, 8 if everything was repaired, and 6 if damage remains. If nothing but content
    that the disk cannot read is in question, it exits with 7, and a repair leaves that content alone. Notes report
    leftovers and data that can be rebuilt.
    """
    records = _records(form) if form else None
    if sources and not repair:
        raise WrongUsage("archives are read in a repair only; add --repair, or omit --from")
    origins = [source_of(source, option="--from") for source in sources]
    from orlop.service.stores import fsck  # noqa: PLC0415 - help needs no store

    with output.progress(quiet=quiet) as progress:
        report = fsck(
            session.place(),
            quick=quick,
            repair=repair,
            sources=origins,
            empty_quarantine=empty_quarantine,
            allow_network=session.allow_network,
            allow_foreign=session.allow_foreign,
            limits=session.limits,
            progress=progress,
        )
    if records is not None:
        records.print(_described(report))
    else:
        text = "".join(f"{line}\n" for line in _lines(report))
        output.write(terminal.harmless_text(text) if output.is_terminal() else text)
    return _STATUS[report.state]


def _lines(report: FsckReport) -> list[str]:
    lines = [line_of("repaired", one.message) for one in report.repairs]
    lines += [line_of(one.level, one.message) for one in report.problems]
    unread = len(report.unread)
    count = len(report.damage) - unread
    counts = [f"{len(report.repairs)} repaired"] if report.repairs else []
    counts += [f"{count} damaged"] if count else []
    counts += [f"{unread} unreadable"] if unread else []
    lines.append(f"{report.root}: {', '.join([*counts, *([] if report.damage else ['nothing is damaged'])])}")
    return lines


def _described(report: FsckReport) -> dict[str, object]:
    return {
        "Root": report.root,
        "Quick": report.quick,
        "State": report.state,
        "Found": described(report.found),
        "Repairs": [{"Kind": one.kind, "Subject": one.subject, "Message": one.message} for one in report.repairs],
        "Problems": described(report.problems),
    }


def _records(form: str) -> Records:
    from orlop.cli.show.records import Records  # noqa: PLC0415 - mostly people read it

    return Records(form, _FIELDS)
