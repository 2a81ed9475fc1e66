"""``orlop history``."""

from __future__ import annotations

import time

from orlop.cli.declared import WrongUsage, argument, command, option
from orlop.cli.show.field import Field
from orlop.cli.show.listing import Template, parse_format, table
from orlop.cli.show.units import ZERO_TIME, human_age, human_size, rfc3339
from orlop.cli.source import archive_option, are_remote, authfile_option, opened, platform_option
from orlop.model.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from orlop.cli.session import Session
    from orlop.model.platform import Platform
    from orlop.service.listing.history import HistoryEntry

_CREATED_BY_COLUMNS: Final = 45


class _Row(NamedTuple):
    """One line of the list."""

    entry: HistoryEntry
    now: float
    whole: bool
    human: bool


def _id(row: _Row) -> str:
    if row.entry.id is None:
        return "<missing>"
    return str(row.entry.id) if row.whole else row.entry.id.short


def _created(row: _Row) -> int:
    return ZERO_TIME if row.entry.created is None else row.entry.created.unix


def _created_at(row: _Row) -> str:
    return rfc3339(_created(row))


def _age(row: _Row) -> str:
    if not row.human:
        return _created_at(row)
    created = _created(row)
    return "N/A" if created <= 0 else f"{human_age(row.now - created)} ago"


def _created_by(row: _Row) -> str:
    text = row.entry.created_by.replace("\t", " ")
    if row.whole:
        return text
    from orlop.cli.show.columns import ellipsis  # noqa: PLC0415 - lists of IDs need none

    return ellipsis(text, _CREATED_BY_COLUMNS)


def _size(row: _Row) -> str:
    return human_size(row.entry.size) if row.human else str(row.entry.size)


_FIELDS: Final[dict[str, Field[_Row]]] = {
    "Comment": Field("COMMENT", lambda row: row.entry.comment),
    "CreatedAt": Field("CREATED AT", _created_at),
    "CreatedBy": Field("CREATED BY", _created_by),
    "CreatedSince": Field("CREATED", _age),
    "ID": Field("IMAGE", _id),
    "Size": Field("SIZE", _size),
}


@command(epilog="Example: orlop history --no-trunc user/app:1.0")
@option(
    "-H/ ",
    "--human/--no-human",
    default=True,
    help="Print ages and rounded sizes (the default), or exact times and bytes.",
)
@option("-q", "--quiet", is_flag=True, help="Print only image IDs.")
@option("--no-trunc", is_flag=True, help="Do not shorten IDs and commands.")
@option("--format", "form", metavar="FORMAT", help="Print a table, json, or a template such as {{.CreatedBy}}.")
@platform_option("Show only an image of this platform; fail if there is none.")
@archive_option
@authfile_option
@argument("name", metavar="NAME", required=False, complete="names")
def history(
    session: Session,
    name: str | None,
    *,
    platform: Platform | None,
    archive: str | None,
    authfile: str | None,
    human: bool,
    quiet: bool,
    no_trunc: bool,
    form: str | None,
) -> None:
    """Show the steps that made an image, newest first.

    With --archive, NAME may be omitted if the archive holds one image. docker://NAME looks into a registry, without
    pulling layers; sizes are then those of the compressed layers.
    """
    times = _FIELDS["CreatedSince" if human else "CreatedAt"]
    template = table(_FIELDS["ID"], times, _FIELDS["CreatedBy"], _FIELDS["Size"], _FIELDS["Comment"])
    if quiet:
        template = Template((_FIELDS["ID"],), table=False)
    chosen = parse_format(form, _FIELDS, template) if form else template
    if name is not None and are_remote([name], archive):
        from orlop.cli.remote import looking  # noqa: PLC0415 - most looks are into a store

        with looking(session, authfile, platform) as look_at:
            entries = look_at(name)[0].history
    elif archive is not None:
        with opened(session, archive, platform) as looked_into:
            entries = looked_into.history(name)
    elif name is not None:
        with session.open() as images:
            entries = images.history(name, platform=platform)
    else:
        raise WrongUsage("Missing argument 'NAME'.")
    now = time.time()
    chosen.print(_Row(entry, now, no_trunc, human) for entry in entries)
