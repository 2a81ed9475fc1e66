"""``orlop find``."""

from __future__ import annotations

import time

from orlop.cli.declared import WrongUsage, argument, command, option
from orlop.cli.inside import image_and_paths, look_options, looked_into, read_number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from orlop.cli.inside import Look
    from orlop.cli.session import Session
    from orlop.inside.find import Conditions


@command(epilog="Example: orlop find alpine /usr --type f --size +1M")
@option("--name", "pattern", metavar="GLOB", help="Match names against a pattern, such as '*.so'.")
@option(
    "--type",
    "types",
    metavar="TYPES",
    help="Match types, separated by commas: f (file), d (directory), l (symbolic link), c, b (devices), p (pipe).",
)
@option("--size", metavar="[+-]N[kMGT]", help="Match sizes over (+), under (-) or exactly N units, rounded up.")
@option("--perm", metavar="[-/]MODE", help="Match octal modes: all (-) or any (/) of these bits, or exactly these.")
@option(
    "--newer", metavar="TIME", help="Match files changed after a date such as 2026-11-24, or within an age such as 24h."
)
@option(
    "--layer",
    read=read_number,
    metavar="N",
    help="Match paths whose last version is in layer N; 1 is the lowest.",
)
@option("-0", "--null", is_flag=True, help="End each path with NUL instead of a newline.")
@option("--format", "form", metavar="FORMAT", help="Print json, or a template such as {{.Path}}.")
@look_options()
@argument("words", metavar="IMAGE [PATH]...", nargs=-1, complete="names")
def find(
    session: Session,
    words: tuple[str, ...],
    *,
    pattern: str | None,
    types: str | None,
    size: str | None,
    perm: str | None,
    newer: str | None,
    layer: int | None,
    null: bool,
    form: str | None,
    look: Look,
) -> None:
    """Find files of an image by name, type, size, mode or time.

    A file must match all conditions. Layers in the store are not read. With --archive, IMAGE can be omitted if the
    archive holds one image, and PATH must begin with a slash.
    """
    name, paths = image_and_paths(words, look.archive)
    conditions = _conditions(newer, name=pattern, types=types, size=size, perm=perm, layer=layer)
    from orlop.cli.show import files as show  # noqa: PLC0415 - errors of usage show no files
    from orlop.inside.view import select_layers  # noqa: PLC0415 - as above

    records = None
    if form:
        from orlop.cli.show.records import Records  # noqa: PLC0415 - mostly people read it

        records = Records(form, show.FIELDS)
    with looked_into(session, name, look) as files:
        if layer is not None:
            select_layers(files.layers, layer=layer)  # which raises for one that the image does not have
        found = (info for path in paths or ["/"] for info in files.walk(path) if conditions.fit(info))
        if records is None:
            show.write_lines((info.path for info in found), "\0" if null else "\n")
            return
        for info in found:
            records.print(show.record(info))


def _conditions(newer: str | None, **words: Any) -> Conditions:
    from orlop.errors import InvalidFilter  # noqa: PLC0415 - as in `find`
    from orlop.inside.find import Conditions  # noqa: PLC0415 - as in `find`

    newer_ns = None
    try:
        if newer is not None:
            from orlop.service.listing.moments import parse_moment  # noqa: PLC0415 - only where it is asked for

            newer_ns = parse_moment(newer, time.time_ns())
        return Conditions.parse(newer_ns=newer_ns, **words)
    except (InvalidFilter, ValueError, OverflowError) as error:
        raise WrongUsage(str(error)) from error
