"""``orlop fsck``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orlop.cli.declared import WrongUsage, command, option
from orlop.cli.limits import archive_limit_option
from orlop.cli.show import output, terminal
from orlop.cli.source import source_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orlop.cli.session import Session
    from orlop.cli.show.records import Records
    from orlop.service.stores import FsckReport, Problem

_FIELDS: Final = ("Root", "Quick", "State", "Found", "Repairs", "Problems")
_STATUS: Final = {"clean": 0, "repaired": 8, "damaged": 6}


@command(epilog="Examples: orlop fsck --quick; orlop fsck --repair --from images.tar")
@option("--quick", is_flag=True, help="Compare rows and the sizes of files only, and read no content.")
@option("--repair", is_flag=True, help="Put right what can be put right, and set aside what is bad.")
@option(
    "--from",
    "sources",
    metavar="FILE",
    multiple=True,
    help="An archive to take missing or damaged content from; may be given several times.",
)
@option("--empty-quarantine", is_flag=True, help="Remove for good what earlier repairs have set aside.")
@archive_limit_option
@option("-q", "--quiet", is_flag=True, help="Draw no progress.")
@option("--format", "form", metavar="FORMAT", help="json, or a template such as {{.State}}.")
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
    """Look through the store for everything that is wrong, and repair it if that is asked for.

    Every blob is read and compared with its digest, with the layer that it should hold and with that layer's table of
    contents; so are configs, manifests, names and all rows. Others may use the store meanwhile.

    A repair moves bad blobs into the store's directory "quarantine", makes again what follows from other content, and
    takes what is missing from archives, which are those that orlop load reads; "-" is the standard input. It touches
    nothing that is what its digest says, keeps all names that can be asked for, and may be interrupted and run again.

    The exit status is 0 where nothing is damaged, 8 where that is so after a repair, and 6 where something is damaged.
    Notes are about what can be made again, or is left over.
    """
    records = _records(form) if form else None
    if sources and not repair:
        raise WrongUsage("archives are read in a repair only; add --repair, or leave --from out")
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
    lines = [f"repaired: {one.message}" for one in report.repairs]
    lines += [f"{one.level}: {one.message}" for one in report.problems]
    count = len(report.damage)
    repaired = f"{len(report.repairs)} repaired, " if report.repairs else ""
    lines.append(f"{report.root}: {repaired}{f'{count} damaged' if count else 'nothing is damaged'}")
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


def described(problems: Iterable[Problem]) -> list[dict[str, str]]:
    """Return problems as records."""
    return [{"Level": one.level, "Kind": one.kind, "Subject": one.subject, "Message": one.message} for one in problems]


def _records(form: str) -> Records:
    from orlop.cli.show.records import Records  # noqa: PLC0415 - mostly people read it

    return Records(form, _FIELDS)
