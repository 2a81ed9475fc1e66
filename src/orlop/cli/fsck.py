"""``orlop fsck``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from orlop.cli import output
from orlop.cli.flags import Command

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orlop.cli.records import Records
    from orlop.cli.session import Session
    from orlop.service.stores import FsckReport, Problem

_FIELDS: Final = ("Root", "Quick", "State", "Found", "Repairs", "Problems")
_STATUS: Final = {"clean": 0, "repaired": 8, "damaged": 6}


@click.command(cls=Command, epilog="Example: orlop fsck --quick")
@click.option("--quick", is_flag=True, help="Compare rows and the sizes of files only, and read no content.")
@click.option("-q", "--quiet", is_flag=True, help="Draw no progress.")
@click.option("--format", "form", metavar="FORMAT", help="json, or a template such as {{.State}}.")
@click.pass_context
def fsck(context: click.Context, *, quick: bool, quiet: bool, form: str | None) -> None:
    """Look through the store for everything that is wrong.

    Every blob is read and compared with its digest, with the layer that it should hold and with that layer's table of
    contents; so are configs, manifests, names and all rows. Others may use the store meanwhile. The exit status is 6
    where something is damaged; notes are about what can be made again, or is left over.
    """
    session: Session = context.obj
    records = _records(form) if form else None
    from orlop.service.stores import fsck  # noqa: PLC0415 - help needs no store

    with output.progress(quiet=quiet) as progress:
        report = fsck(session.place(), quick=quick, progress=progress)
    if records is not None:
        records.print(_described(report))
    else:
        text = "".join(f"{line}\n" for line in _lines(report))
        output.write(output.harmless_text(text) if output.is_terminal() else text)
    context.exit(_STATUS[report.state])


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
    """Give problems as records."""
    return [{"Level": one.level, "Kind": one.kind, "Subject": one.subject, "Message": one.message} for one in problems]


def _records(form: str) -> Records:
    from orlop.cli.records import Records  # noqa: PLC0415 - mostly people read it

    return Records(form, _FIELDS)
