"""``orlop df``, which is ``orlop system df`` too."""

from __future__ import annotations

import time

from orlop.cli.declared import command, option
from orlop.cli.show import output
from orlop.cli.show.field import Field
from orlop.cli.show.listing import parse_format, table
from orlop.cli.show.units import ZERO_TIME, go_time, human_age, human_size
from orlop.model.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Final

    from orlop.cli.session import Session
    from orlop.cli.show.records import Records
    from orlop.service.space.df import DiskUsage, ImageDiskUsage

_NONE: Final = "<none>"
_DIGITS: Final = 4
_TYPES: Final = {
    "blob": "Layers",
    "toc": "Tables of contents",
    "database": "Database",
    "unfinished": "Unfinished",
    "trash": "Trash",
    "quarantine": "Quarantine",
    "other": "Other",
}
_ALL: Final = "All files"


class _Row(NamedTuple):
    """One line of the summary: things of one type, of which ``garbage`` and ``dangling`` bytes would come free."""

    type: str
    total: int
    active: int
    size: int
    garbage: int
    dangling: int


class _ImageRow(NamedTuple):
    """One line of the list of images: one of them, and the time of the question."""

    usage: ImageDiskUsage
    now: float


def _size(size: int) -> str:
    return human_size(size, _DIGITS)


def _reclaimable(row: _Row) -> str:
    size = row.garbage + row.dangling
    return f"{_size(size)} ({size * 100 // row.size}%)" if row.size > 0 else _size(size)


_FIELDS: Final[dict[str, Field[_Row]]] = {
    "Type": Field("TYPE", lambda row: row.type),
    "TotalCount": Field("TOTAL", lambda row: str(row.total)),
    "Active": Field("ACTIVE", lambda row: str(row.active)),
    "Size": Field("SIZE", lambda row: _size(row.size)),
    "Reclaimable": Field("RECLAIMABLE", _reclaimable),
    "Garbage": Field("GARBAGE", lambda row: _size(row.garbage)),
    "Dangling": Field("DANGLING", lambda row: _size(row.dangling)),
}
_SUMMARY: Final = [_FIELDS[name] for name in ("Type", "TotalCount", "Active", "Size", "Reclaimable")]


def _named(row: _ImageRow) -> tuple[str, str]:
    """Return an image's repository and tag: the first one, as docker does here."""
    names = row.usage.summary.repo_tags or row.usage.summary.references
    return (names[0].familiar_name, names[0].tag or _NONE) if names else (_NONE, _NONE)


def _age(row: _ImageRow) -> str:
    created = row.usage.summary.created
    return "" if created == ZERO_TIME else f"{human_age(row.now - created)} ago"


_IMAGE_FIELDS: Final[dict[str, Field[_ImageRow]]] = {
    "Repository": Field("REPOSITORY", lambda row: _named(row)[0]),
    "Tag": Field("TAG", lambda row: _named(row)[1]),
    "ID": Field("IMAGE ID", lambda row: row.usage.summary.id.short),
    "CreatedSince": Field("CREATED", lambda row: _age(row) or "N/A"),
    "Size": Field("SIZE", lambda row: human_size(row.usage.summary.size)),
    "SharedSize": Field("SHARED SIZE", lambda row: _size(row.usage.shared_size)),
    "UniqueSize": Field("UNIQUE SIZE", lambda row: _size(row.usage.unique_size)),
    "Freed": Field("FREED", lambda row: _size(row.usage.freed)),
}


@command(epilog="Example: orlop df -v")
@option("-v", "--verbose", is_flag=True, help="Show every image and every kind of file.")
@option("--format", "form", metavar="FORMAT", help="Print a table, json, or a template such as {{.Type}}: {{.Size}}.")
def df(session: Session, *, verbose: bool, form: str | None) -> None:
    """Show disk usage and how much of it can be reclaimed.

    The first row counts images and the files in their layers, as docker does. An image is active if it has a tag, is
    pinned, or is the parent of an active image. The other rows count every file of the store by its length.

    RECLAIMABLE is what `orlop gc` would free (garbage) plus what `orlop image prune` would free (dangling). With -v,
    FREED is what removing that one image would free.
    """
    default = form is None or form.strip() == "table"
    records = _records(form) if verbose and form is not None and not default else None
    chosen = parse_format(form, _FIELDS, table(*_SUMMARY)) if form is not None and not verbose else table(*_SUMMARY)
    with session.open() as images:
        usage = images.df()
    if records is not None:
        records.print(_described(usage))
    elif verbose:
        output.write("Images space usage:\n\n")
        now = time.time()
        table(*_IMAGE_FIELDS.values()).print(_ImageRow(image, now) for image in usage.images)
        output.write("\nFiles space usage:\n\n")
        table(*_SUMMARY).print(_files(usage, by_compression=True))
    else:
        chosen.print([_images(usage), *_files(usage)])
    if default:
        _advise(usage)


def _images(usage: DiskUsage) -> _Row:
    active = sum(not image.dangling for image in usage.images)
    return _Row("Images", len(usage.images), active, usage.layers.image_size, 0, usage.layers.dangling)


def _files(usage: DiskUsage, *, by_compression: bool = False) -> list[_Row]:
    rows: dict[str, _Row] = {}
    for one in usage.files:
        name = _TYPES[one.kind]
        if by_compression and one.compression is not None:
            name += f" ({'plain' if one.compression == 'none' else one.compression})"
        row = _Row(name, one.total, one.active, one.size, one.garbage, one.dangling)
        rows[name] = _sum(name, [rows[name], row]) if name in rows else row
    return [*rows.values(), _sum(_ALL, rows.values())]


def _sum(name: str, rows: Iterable[_Row]) -> _Row:
    counts = [row[1:] for row in rows]
    return _Row(name, *map(sum, zip(*counts, strict=True)))


def _advise(usage: DiskUsage) -> None:
    """Print which commands free how much."""
    commands = (("orlop gc", usage.garbage), ("orlop image prune", usage.dangling))
    advice = [f"`{command}` frees {_size(size)}" for command, size in commands if size]
    if advice:
        output.write(f"\n{', '.join(advice)}\n")


def _described(usage: DiskUsage) -> dict[str, object]:
    """Return everything: docker's fields of images as texts, all others as numbers of things or bytes."""
    layers = usage.layers
    return {
        "Root": usage.root,
        "Images": [_described_image(image) for image in usage.images],
        "Intermediate": usage.intermediate,
        "Layers": {
            "Total": layers.total,
            "Active": layers.active,
            "Size": layers.size,
            "ImageSize": layers.image_size,
            "Shared": layers.shared,
            "Unique": layers.unique,
            "Dangling": layers.dangling,
        },
        "Files": [
            {
                "Kind": one.kind,
                "Compression": one.compression or "",
                "Total": one.total,
                "Active": one.active,
                "Size": one.size,
                "Garbage": one.garbage,
                "Dangling": one.dangling,
            }
            for one in usage.files
        ],
        "Size": usage.size,
        "Garbage": usage.garbage,
        "Dangling": usage.dangling,
    }


def _described_image(image: ImageDiskUsage) -> dict[str, object]:
    row = _ImageRow(image, time.time())
    repository, tag = _named(row)
    return {
        "Containers": "0",
        "CreatedAt": go_time(image.summary.created),
        "CreatedSince": _age(row),
        "Digest": "",
        "ID": str(image.summary.id),
        "Repository": repository,
        "SharedSize": _size(image.shared_size),
        "Size": human_size(image.summary.size),
        "Tag": tag,
        "UniqueSize": _size(image.unique_size),
        "VirtualSize": _size(image.summary.size),
        "Names": [reference.familiar for reference in image.summary.references],
        "Bytes": image.summary.size,
        "SharedBytes": image.shared_size,
        "UniqueBytes": image.unique_size,
        "FreedBytes": image.freed,
        "Dangling": image.dangling,
        "Pinned": image.pinned,
    }


_KEYS: Final = ("Root", "Images", "Intermediate", "Layers", "Files", "Size", "Garbage", "Dangling")


def _records(form: str) -> Records:
    from orlop.cli.show.records import Records  # noqa: PLC0415 - mostly people read it

    return Records(form, _KEYS)
