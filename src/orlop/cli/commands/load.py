"""``orlop load``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orlop.cli.declared import command, option
from orlop.cli.limits import limit_option
from orlop.cli.show import output
from orlop.cli.source import platform_option, source_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orlop.cli.session import Session
    from orlop.cli.show.records import Records
    from orlop.intake.report import LoadReport
    from orlop.model.platform import Platform

_FIELDS: Final = ("ID", "Names", "Digests", "Platform", "Parent", "New", "Moved", "Format")


@command(epilog="Examples: orlop load -i images.tar.gz; docker save alpine | orlop load")
@option("-i", "--input", "source", metavar="FILE", help="What to read, instead of the standard input.")
@platform_option("Load only the images of this platform, not all.")
@option(
    "--only", metavar="NAME", multiple=True, help="Load only this image, under this name. May be given several times."
)
@limit_option
@option("-q", "--quiet", is_flag=True, help="Draw no progress.")
@option("-v", "--verbose", is_flag=True, help="Say what was found, on the standard error.")
@option("--format", "form", metavar="FORMAT", help="json, or a template such as {{.ID}}.")
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
    """Load the images of an archive.

    It is one that docker, podman, skopeo, buildah or orlop saved: a Docker archive of any age, an OCI layout, or a
    directory of skopeo; as a file, plain or compressed by gzip, bzip2, xz or zstd, or unpacked in a directory. All its
    images are loaded, or none. "-" is the standard input. With a format there is a line for each image.

    With --only a bare name stands for all tags of its repository, and an ID for an image under all its names.
    """
    records = _records(form) if form else None
    origin = source_of(source, option="-i")
    with session.open() as images, output.progress(quiet=quiet) as progress:
        report = images.load(origin, platform=platform, only=only, progress=progress)
    if verbose:
        for line in report.found():
            output.complain(output.harmless(line))
    if records is not None:
        for record in _described(report):
            records.print(record)
        return
    for line in report.messages():
        output.write(f"{output.harmless(line) if output.is_terminal() else line}\n")


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
