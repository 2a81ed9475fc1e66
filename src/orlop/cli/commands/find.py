"""``orlop find``."""

from __future__ import annotations

import time
from itertools import zip_longest

from orlop.cli.declared import WrongUsage, argument, command, option
from orlop.cli.inside import Complaints, image_and_paths, listed_at, look_options, looked_into, read_number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from orlop.cli.inside import Look
    from orlop.cli.session import Session
    from orlop.inside.find import Conditions


@command(epilog="Example: orlop find alpine /usr --type f --size +1M")
@option(
    "--name", "names", metavar="GLOB", multiple=True, help="Match names against a pattern, such as '*.so' or '[!a]*'."
)
@option(
    "--type",
    "types",
    metavar="TYPES",
    multiple=True,
    help="Match types, separated by commas: f (file), d (directory), l (symbolic link), c, b (devices), p (pipe).",
)
@option(
    "--size",
    "sizes",
    metavar="[+-]N[bkMGT]",
    multiple=True,
    help="Match sizes over (+), under (-) or exactly N bytes, blocks of 512 (b) or larger units, rounded up.",
)
@option(
    "--perm",
    "perms",
    metavar="[-/]MODE",
    multiple=True,
    help="Match modes, such as 4000 or u+s: all (-) or any (/) of these bits, or exactly these.",
)
@option(
    "--newer",
    metavar="TIME",
    multiple=True,
    help="Match files changed after a date such as 2026-11-24, within an age such as 24h, or after a file of the image,"
    " such as /etc/hosts.",
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
    names: tuple[str, ...],
    types: tuple[str, ...],
    sizes: tuple[str, ...],
    perms: tuple[str, ...],
    newer: tuple[str, ...],
    layer: int | None,
    null: bool,
    form: str | None,
    look: Look,
) -> int:
    """Find files of an image by name, type, size, mode or time.

    A file must match all conditions, which may be repeated. A PATH that does not exist is reported and makes the
    command exit with an error; the others are still searched. Layers in the store are not read. With --archive, IMAGE
    can be omitted if the archive holds one image, and PATH must begin with a slash.
    """
    name, paths = image_and_paths(words, look.archive)
    moments, examples = _moments(newer)
    conditions = _conditions(names=names, types=types, sizes=sizes, perms=perms, moments=moments, layer=layer)
    from orlop.cli.show import files as show  # noqa: PLC0415 - errors of usage show no files
    from orlop.inside.find import Conditions  # noqa: PLC0415 - as above
    from orlop.inside.view import select_layers  # noqa: PLC0415 - as above

    records = None
    if form:
        from orlop.cli.show.records import Records  # noqa: PLC0415 - mostly people read it

        records = Records(form, show.FIELDS)
    complaints = Complaints()
    with looked_into(session, name, look) as files:
        if layer is not None:
            select_layers(files.layers, layer=layer)  # which raises for one that the image does not have
        conditions += [Conditions(newer_ns=files[path].mtime_ns) for path in examples]
        tops = complaints.each(paths or ["/"], lambda path: listed_at(files, path))
        found = (
            info
            for top in tops
            for info in (files.info(*one) for one in files.below(top))
            if all(condition.fit(info) for condition in conditions)
        )
        if records is None:
            show.write_lines((info.path for info in found), "\0" if null else "\n")
        else:
            for info in found:
                records.print(show.record(info))
    return complaints.status


def _moments(texts: Sequence[str]) -> tuple[list[int], list[str]]:
    """Return the times that texts name, in nanoseconds since 1970, and those texts that are paths in the image."""
    if not texts:
        return [], []
    from orlop.service.listing.moments import parse_moment  # noqa: PLC0415 - only where it is asked for

    examples = [text for text in texts if text.startswith("/")]
    now = time.time_ns()
    try:
        # As find(1) takes them: with a space before the time of day, and seconds since 1970 after an @.
        return [
            parse_moment(text.removeprefix("@").replace(" ", "T", 1), now) for text in texts if text not in examples
        ], examples
    except (ValueError, OverflowError) as error:
        raise WrongUsage(str(error), "--newer") from error


def _conditions(
    *,
    names: Sequence[str],
    types: Sequence[str],
    sizes: Sequence[str],
    perms: Sequence[str],
    moments: Sequence[int],
    layer: int | None,
) -> list[Conditions]:
    """Return conditions all of which must hold."""
    from orlop.errors import InvalidFilter  # noqa: PLC0415 - as in `find`
    from orlop.inside.find import Conditions  # noqa: PLC0415 - as in `find`

    try:
        rows = [*zip_longest(names, types, sizes, perms, moments)] or [(None,) * 5]
        return [
            Conditions.parse(name=name, types=kinds, size=size, perm=perm, newer_ns=moment, layer=layer)
            for name, kinds, size, perm, moment in rows
        ]
    except InvalidFilter as error:
        raise WrongUsage(str(error)) from error
