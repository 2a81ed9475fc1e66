"""``orlop load``."""

from __future__ import annotations

from orlop.cli.declared import command, option
from orlop.cli.limits import limit_option
from orlop.cli.show import output, terminal
from orlop.cli.source import platform_option, source_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Final

    from orlop.cli.session import Session
    from orlop.cli.show.records import Records
    from orlop.intake.report import LoadReport
    from orlop.model.platform import Platform

_FIELDS: Final = ("ID", "Names", "Digests", "Platform", "Parent", "New", "Moved", "Format")


@command(epilog="Examples: orlop load -i images.tar.gz; docker save alpine | orlop load")
@option("-i", "--input", "source", metavar="FILE", help="Read from this file instead of standard input.")
@platform_option("Load only images of this platform.")
@option("--only", metavar="NAME", multiple=True, help="Load only this image, under this name. May be repeated.")
@limit_option
@option("-q", "--quiet", is_flag=True, help="Do not show progress.")
@option("-v", "--verbose", is_flag=True, help="Report what was found, on standard error.")
@option("--format", "form", metavar="FORMAT", help="Print json, or a template such as {{.ID}}.")
def load(
    session: Session,
    source: str | None,
    *,
    platform: Platform | None,
    only: tuple[str, ...],
    quiet: bool,
    verbose: bool,
    form: str | None,
) -> None:
    """Load images from an archive.

    Reads archives that docker, podman, skopeo, buildah or orlop saved: Docker archives of any age, OCI layouts and
    skopeo directories, as a file or as an unpacked directory. Files may be compressed with gzip, bzip2, xz or zstd. "-"
    is standard input.

    Loads all images or none. With --format, prints one line per image.

    With --only, a bare name stands for all tags of its repository, and an ID for an image under all its names.
    """
    records = _records(form) if form else None
    origin = source_of(source, option="-i")
    with session.open() as images, output.progress(quiet=quiet) as progress:
        report = images.load(origin, platform=platform, only=only, progress=progress)
    for line in (*(report.found() if verbose else ()), *report.warnings()):
        output.complain(terminal.harmless(line))
    if records is not None:
        for record in _described(report):
            records.print(record)
        return
    for line in report.messages():
        output.write(f"{terminal.harmless(line) if output.is_terminal() else line}\n")


def _records(form: str) -> Records:
    from orlop.cli.show.records import Records  # noqa: PLC0415 - most loads have none

    return Records(form, _FIELDS)


def _described(report: LoadReport) -> Iterator[dict[str, object]]:
    moved = {move.reference: move.old_id for move in report.moved}
    for image in report.images:
        yield {
            "ID": str(image.id),
            "Names": [name.familiar for name in image.references],
            "Digests": [name.familiar for name in image.digests],
            "Platform": "" if image.platform is None else str(image.platform),
            "Parent": "" if image.parent is None else str(image.parent),
            "New": image.created,
            "Moved": [{"Name": name.familiar, "OldID": str(moved[name])} for name in image.references if name in moved],
            "Format": report.format,
        }
