"""``orlop load``."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING, BinaryIO

import click

from orlop.cli import output
from orlop.cli.flags import Command

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from orlop.cli.session import Session
    from orlop.model.progress import Progress


@click.command(cls=Command, epilog="Examples: orlop load -i images.tar.gz; docker save alpine | orlop load")
@click.option("-i", "--input", "source", metavar="FILE", help="What to read, instead of the standard input.")
@click.option("-q", "--quiet", is_flag=True, help="Draw no progress.")
@click.pass_obj
def load(session: Session, source: str | None, *, quiet: bool) -> None:
    """Load the images of an archive.

    It is one that docker save or orlop save wrote, plain or compressed by gzip, bzip2, xz or zstd. All its images are
    loaded, or none. "-" is the standard input.
    """
    origin = _standard_input() if source in {None, "-"} else source
    with session.open() as images, _progress(quiet=quiet) as progress:
        report = images.load(origin, progress=progress)
    for line in report.messages():
        output.write(f"{output.harmless(line) if output.is_terminal() else line}\n")


def _standard_input() -> BinaryIO:
    if sys.stdin is None:
        msg = "the standard input is closed; name an archive with -i, or redirect one into the command"
        raise click.UsageError(msg)
    if sys.stdin.isatty():
        msg = "an archive does not come from a terminal; name a file with -i, or redirect one into the command"
        raise click.UsageError(msg)
    return sys.stdin.buffer


def _progress(*, quiet: bool) -> AbstractContextManager[Progress | None]:
    if quiet or sys.stderr is None or not sys.stderr.isatty():
        return nullcontext()
    from orlop.cli.progress import drawn  # noqa: PLC0415 - only for a terminal

    return drawn()
