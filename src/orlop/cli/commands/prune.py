"""``orlop prune``: keep a store small."""

from __future__ import annotations

import click

from orlop.cli.commands.image_prune import ALL, DANGLING, confirmed, print_removed
from orlop.cli.declared import WrongUsage, command, filter_option, option
from orlop.cli.show import output, terminal
from orlop.errors import InvalidInput
from orlop.model.sizes import human_size, parse_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Final

    from orlop.cli.session import Session
    from orlop.cli.show.records import Records
    from orlop.service.space.prune import PruneReport
    from orlop.service.space.verdict import ImageVerdict, LayerVerdict

_FIELDS: Final = ("DryRun", "Untagged", "Deleted", "Reclaimed", "Freed", "Stored", "Left", "Images", "Layers")


def _read_size(text: str) -> int:
    """Read a size; what is not one is an error of usage."""
    try:
        return parse_size(text)
    except InvalidInput as error:
        raise WrongUsage(str(error)) from error


@command(epilog="Example: orlop prune --keep-last 3 --max-size 20GB --dry-run")
@option("-a", "--all", "everything", is_flag=True, help="Remove all images that are not pinned.")
@filter_option(help="Remove only images that match, such as until=240h.")
@option(
    "--keep-last",
    metavar="N",
    type=click.IntRange(min=1),
    help="Keep the tags of the N newest images of each repository, and remove the others.",
)
@option(
    "--max-size",
    metavar="SIZE",
    read=_read_size,
    help="Remove the least recently used images until the store is at most this large, such as 20GB.",
)
@option("-n", "--dry-run", is_flag=True, help="Show what would be removed and what stays, and why; remove nothing.")
@option("-f", "--force", is_flag=True, help="Do not ask for confirmation.")
@option(
    "--format", "form", metavar="FORMAT", help="Print json, or a template such as {{.Freed}}. Needs -f or --dry-run."
)
def prune(
    session: Session,
    *,
    everything: bool,
    filters: tuple[str, ...],
    keep_last: int | None,
    max_size: int | None,
    dry_run: bool,
    force: bool,
    form: str | None,
) -> None:
    """Remove dangling images, and others selected by options.

    An image is dangling if it has no tag, is not the parent of another image, and no index with a tag needs it. Pinned
    images always stay. The command removes everything it selected, or nothing if it fails. Freed space is counted in
    bytes on disk: stored layers and their tables of contents.

    Filters: until=TIME, label=NAME[=VALUE], label!=NAME[=VALUE]. TIME is an age (24h) or a date.
    """
    records = _records(form) if form else None
    if records is not None and not (force or dry_run):
        raise WrongUsage("--format does not ask for confirmation; give -f or --dry-run with it")
    if not force and not dry_run and not confirmed(_warning(keep_last, max_size, everything=everything)):
        return
    with session.open() as images:
        report = images.prune(all=everything, filters=filters, keep_last=keep_last, max_size=max_size, dry_run=dry_run)
    if records is not None:
        records.print(_described(report))
    elif dry_run:
        _print_plan(report)
    else:
        print_removed(report.lines, report.freed)


def _warning(keep_last: int | None, max_size: int | None, *, everything: bool) -> str:
    text = ALL.replace("without at least one container associated to them", "that are not pinned")
    if keep_last is not None:
        number = "newest image" if keep_last == 1 else f"{keep_last} newest images"
        text = f"{DANGLING[:-1]}, and of each repository all tags but those of the {number}."
    elif not everything:
        text = DANGLING
    if max_size is not None:
        text += f"\nThen it will remove images that were not used for longest, until {human_size(max_size)} are left."
    return text


def _print_plan(report: PruneReport) -> None:
    import time  # noqa: PLC0415 - only a dry run tells ages

    from orlop.cli.show.columns import align  # noqa: PLC0415 - as above

    clean = terminal.harmless if output.is_terminal() else str
    now = time.time()
    tables = (
        (("IMAGE", "NAMES", "SIZE", "LAST USED", "VERDICT", "WHY"), (_image_cells(one, now) for one in report.images)),
        (("LAYER", "SIZE", "STORED", "FREED", "VERDICT", "WHY"), map(_layer_cells, report.layers)),
    )
    for heading, rows in tables:
        lines = ["\t".join(map(clean, row)) + "\n" for row in rows]
        if lines:
            output.write(align("".join(["\t".join(heading) + "\n", *lines])) + "\n")
    output.write(
        f"{_share(report.images, 'image')} and {_share(report.layers, 'layer')} would go;"
        f" that frees {human_size(report.freed)} of {human_size(report.stored)}.\n"
    )


def _image_cells(image: ImageVerdict, now: float) -> Iterator[str]:
    from orlop.cli.show.units import human_age  # noqa: PLC0415 - only a dry run tells ages

    yield image.id.short
    yield ", ".join(name.familiar for name in image.references if name.tag) or "<none>"
    yield human_size(image.size)
    yield f"{human_age(max(0, now - image.last_used / 10**9))} ago"
    yield "goes" if image.goes else "stays"
    lost = ", ".join(name.familiar for name in image.untagged)
    yield image.why if image.goes or not lost else f"{image.why}, but loses {lost}"


def _layer_cells(layer: LayerVerdict) -> Iterator[str]:
    yield layer.chain_id.short
    yield human_size(layer.size)
    yield human_size(layer.stored)
    yield human_size(layer.freed)
    yield "goes" if layer.goes else "stays"
    yield layer.why


def _share(verdicts: Iterable[ImageVerdict | LayerVerdict], what: str) -> str:
    each = [verdict.goes for verdict in verdicts]
    return f"{sum(each)} of {len(each)} {what}{'' if len(each) == 1 else 's'}"


def _described(report: PruneReport) -> dict[str, object]:
    from orlop.model.timestamp import Timestamp  # noqa: PLC0415 - mostly people read it

    return {
        "DryRun": report.dry_run,
        "Untagged": list(report.untagged),
        "Deleted": list(report.deleted),
        "Reclaimed": report.reclaimed,
        "Freed": report.freed,
        "Stored": report.stored,
        "Left": report.left,
        "Images": [
            {
                "ID": str(image.id),
                "Names": [name.familiar for name in image.references],
                "Goes": image.goes,
                "Reason": image.reason,
                "Why": image.why,
                "Untagged": [name.familiar for name in image.untagged],
                "Size": image.size,
                "LastUsed": str(Timestamp.from_unix(*divmod(image.last_used, 10**9))),
            }
            for image in report.images
        ],
        "Layers": [
            {
                "ChainID": str(layer.chain_id),
                "DiffID": str(layer.diff_id),
                "Goes": layer.goes,
                "Reason": layer.reason,
                "Why": layer.why,
                "Size": layer.size,
                "Stored": layer.stored,
                "Freed": layer.freed,
            }
            for layer in report.layers
        ],
    }


def _records(form: str) -> Records:
    from orlop.cli.show.records import Records  # noqa: PLC0415 - most prunings have none

    return Records(form, _FIELDS)
