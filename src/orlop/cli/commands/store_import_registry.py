"""``orlop store import-registry``."""

from __future__ import annotations

from orlop.cli.declared import argument, command, option
from orlop.cli.limits import archive_limit_option
from orlop.cli.show import output, terminal
from orlop.cli.statuses import DAMAGED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Final

    from orlop.cli.session import Session
    from orlop.service.import_registry import ImportedManifest, RegistryImport

_FIELDS: Final = ("Repository", "Digest", "Tags", "State", "Problems")


@command("import-registry", epilog="Example: orlop store import-registry --host registry.example.com /var/lib/registry")
@option("--host", metavar="HOST", required=True, help="Name images HOST/REPOSITORY:TAG.")
@option("--untagged", is_flag=True, help="Also import manifests without a tag.")
@option(
    "--link",
    is_flag=True,
    help="Hard-link files that belong to you, where the file system cannot clone them; they become read-only.",
)
@archive_limit_option
@option("-q", "--quiet", is_flag=True, help="Do not show progress.")
@option("--format", "form", metavar="FORMAT", help="Print json, or a template such as {{.Digest}}.")
@argument("root", metavar="DIR")
def import_registry(
    session: Session, root: str, *, host: str, untagged: bool, link: bool, quiet: bool, form: str | None
) -> int:
    """Import what a registry keeps in a directory.

    DIR is the root directory of distribution's file system driver (registry:2, Debian's docker-registry), such as
    /var/lib/registry. Tagged images, indexes and artifacts keep their digests, which are verified; what refers to them
    comes along. Uploads under way are skipped. What is damaged is reported, and the rest is imported. Files are cloned
    where the file system can do that, and copied elsewhere.

    Nothing in DIR is changed, except the mode of files with --link. To resume an interrupted import, or to take what
    was pushed since, run the command again.

    Exits with 6 if something is damaged, else with 0.
    """
    records = None
    if form:
        from orlop.cli.show.records import Records  # noqa: PLC0415 - mostly people read it

        records = Records(form, _FIELDS)
    with session.open() as images, output.progress(quiet=quiet) as progress:
        report = images.import_registry(
            root, host=host, untagged=untagged, link=link, progress=progress, limits=session.limits
        )
    if records is not None:
        for one in report.manifests:
            records.print(_described(one))
    else:
        # A name from the directory must not pass itself off as another line.
        text = "".join(line.replace("\n", " ") + "\n" for line in _lines(report))
        output.write(terminal.harmless_text(text) if output.is_terminal() else text)
    for note in report.notes:
        output.complain(terminal.harmless(f"note: {note}"))
    for upload in report.uploads:
        output.complain(terminal.harmless(f"note: {upload} is an upload under way; it is skipped"))
    return DAMAGED if report.damaged else 0


def _lines(report: RegistryImport) -> Iterator[str]:
    counts = {"imported": 0, "known": 0, "damaged": 0}
    for one in report.manifests:
        counts[one.state] += 1
        tags = ", ".join(name.tag or "" for name in one.names) or "<none>"
        yield f"{one.state:<9} {one.digest.short}  {one.repository.name}: {tags}"
        for problem in one.problems:
            yield f"          {problem}"
    counted = ", ".join(f"{count} {state}" for state, count in counts.items())
    yield f"{report.root}: {report.repositories} repositor{'y' if report.repositories == 1 else 'ies'}: {counted}"


def _described(one: ImportedManifest) -> dict[str, object]:
    return {
        "Repository": one.repository.name,
        "Digest": str(one.digest),
        "Tags": [name.tag for name in one.names],
        "State": one.state,
        "Problems": list(one.problems),
    }
