"""``orlop load``."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING

import click

from orlop.cli import output
from orlop.cli.flags import Command
from orlop.cli.source import read_platform, source_of

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from orlop.cli.session import Session
    from orlop.model.platform import Platform
    from orlop.model.progress import Progress


@click.command(cls=Command, epilog="Examples: orlop load -i images.tar.gz; docker save alpine | orlop load")
@click.option("-i", "--input", "source", metavar="FILE", help="What to read, instead of the standard input.")
@click.option(
    "--platform", callback=read_platform, metavar="OS/ARCH", help="Load only the images of this platform, not all."
)
@click.option("-q", "--quiet", is_flag=True, help="Draw no progress.")
@click.option("-v", "--verbose", is_flag=True, help="Say what was found, on the standard error.")
@click.pass_obj
def load(session: Session, source: str | None, *, platform: Platform | None, quiet: bool, verbose: bool) -> None:
    """Load the images of an archive.

    It is one that docker, podman, skopeo, buildah or orlop saved: a Docker archive of any age, an OCI layout, or a
    directory of skopeo; as a file, plain or compressed by gzip, bzip2, xz or zstd, or unpacked in a directory. All its
    images are loaded, or none. "-" is the standard input.
    """
    origin = source_of(source, option="-i")
    with session.open() as images, _progress(quiet=quiet) as progress:
        report = images.load(origin, platform=platform, progress=progress)
    if verbose:
        for line in report.found():
            output.complain(line)
    for line in report.messages():
        output.write(f"{output.harmless(line) if output.is_terminal() else line}\n")


def _progress(*, quiet: bool) -> AbstractContextManager[Progress | None]:
    if quiet or sys.stderr is None or not sys.stderr.isatty():
        return nullcontext()
    from orlop.cli.progress import drawn  # noqa: PLC0415 - only for a terminal

    return drawn()
