"""``orlop grep``."""

from __future__ import annotations

from collections import deque
from itertools import groupby

from orlop.cli.declared import WrongUsage, argument, command, option
from orlop.cli.inside import Complaints, image_and_paths, look_options, looked_into
from orlop.cli.statuses import NO_MATCH

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from orlop.cli.inside import Look
    from orlop.cli.session import Session
    from orlop.inside.grep import FileMatch


@command(epilog="Example: orlop grep -n 'PermitRootLogin +yes' app:1.0 /etc")
@option("-i", "--ignore-case", is_flag=True, help="Ignore the case of ASCII letters.")
@option("-w", "--word", is_flag=True, help="Match whole words only.")
@option("-v", "--invert", is_flag=True, help="Print the lines that do not match.")
@option("-F", "--fixed", is_flag=True, help="Take PATTERN as plain text.")
@option("-E", "--extended", is_flag=True, help="Take PATTERN as an extended regular expression; the default.")
@option("-n", "--line-number", is_flag=True, help="Print the number of each line.")
@option("-l", "--list", "list_only", is_flag=True, help="Print only the paths of files that match.")
@option("-L", "--lacking", is_flag=True, help="Print only the paths of files that do not match.")
@option("-c", "--count", is_flag=True, help="Print the number of lines that match, for each file that has any.")
@option(
    "--layers",
    "hidden",
    is_flag=True,
    help="Search all layers, also for files that later layers overwrite or"
    " remove, and print the number of the layer before each path.",
)
@option("-q", "--quiet", is_flag=True, help="Print nothing, and stop at the first match; for the exit status.")
@option(
    "--include",
    metavar="GLOB",
    multiple=True,
    help="Search only files with such names, such as '*.conf'. May be repeated.",
)
@option("--max-size", metavar="SIZE", help="Skip files that are larger than SIZE, such as 10MB.")
@option("--verify", is_flag=True, help="Read whole layers, and fail if one does not match its digest.")
@option("--format", "form", metavar="FORMAT", help="Print json, or a template such as {{.Path}}.")
@look_options(layers=True)
@argument("words", metavar="PATTERN IMAGE [PATH]...", nargs=-1, complete="names")
def grep(
    session: Session,
    words: tuple[str, ...],
    *,
    ignore_case: bool,
    word: bool,
    invert: bool,
    fixed: bool,
    extended: bool,
    line_number: bool,
    list_only: bool,
    lacking: bool,
    count: bool,
    hidden: bool,
    quiet: bool,
    include: tuple[str, ...],
    max_size: str | None,
    verify: bool,
    form: str | None,
    look: Look,
) -> int:
    """Print lines of files of an image that match a pattern.

    Each layer is read once at most, so files appear in the order of the layers. For a binary file, only the fact that
    it matches is printed. Matching takes linear time: back references are not supported. With --archive, IMAGE can be
    omitted if the archive holds one image, and PATH must begin with a slash.

    A PATH that does not exist is reported and makes the command exit with an error; the others are still searched.
    Otherwise exits with 1 if nothing matches.
    """
    if not words:
        raise WrongUsage("Missing argument 'PATTERN'.")
    if extended and fixed:
        raise WrongUsage("a pattern is either plain text or a regular expression", "--fixed")
    if list_only + lacking + count > 1:
        raise WrongUsage("give only one of --list, --lacking and --count", "--count")
    if quiet and (list_only or lacking or count or form):
        raise WrongUsage("--quiet prints nothing; leave it out, or what is to be printed", "--quiet")
    name, paths = image_and_paths(words[1:], look.archive)
    from orlop.errors import InvalidInput  # noqa: PLC0415 - few errors of usage need it
    from orlop.inside.grep import Search  # noqa: PLC0415 - only this command searches
    from orlop.inside.grep import grep as found_in  # noqa: PLC0415 - as above
    from orlop.model.pattern import Pattern  # noqa: PLC0415 - as above

    try:
        search = Search(words[0], fixed=fixed, ignore_case=ignore_case, word=word, invert=invert)
        most = None
        for pattern in include:
            Pattern.parse_glob(pattern)
        if max_size is not None:
            from orlop.model.sizes import parse_size  # noqa: PLC0415 - only where it is asked for

            most = parse_size(max_size)
    except InvalidInput as error:
        raise WrongUsage(str(error)) from error
    shown = _printed(form, list_only=list_only or lacking, count=count, numbers=line_number, layers=hidden)
    with looked_into(session, name, look) as files:
        complaints = Complaints()
        found = found_in(
            files,
            search,
            # A path that no container sees may be in a layer.
            paths or ["/"] if hidden else list(complaints.each(paths or ["/"], files.real_path)),
            hidden=hidden,
            include=include,
            max_size=most,
            once=list_only or quiet,
            every=count,
            lacking=lacking,
            verify=verify,
        )
        matched = False
        for match, number in _counted(found) if count else ((one, 1) for one in found):
            matched = True
            if quiet:
                break
            shown(match, number)
    if matched and quiet:
        return 0
    return complaints.status or (0 if matched else NO_MATCH)


def _counted(found: Iterable[FileMatch]) -> Iterable[tuple[FileMatch, int]]:
    """Yield the last match of each file, and how many there are."""
    for _, matches in groupby(found, key=lambda one: (one.layer, one.path)):
        every = deque(enumerate(matches, 1), maxlen=1)
        number, last = every[0]
        yield last, number


def _printed(
    form: str | None, *, list_only: bool, count: bool, numbers: bool, layers: bool
) -> Callable[[FileMatch, int], None]:
    """Return what prints a match, of which there are so many."""
    from orlop.cli.show import files as show  # noqa: PLC0415 - errors of usage show nothing

    if form:
        from orlop.cli.show.records import Records  # noqa: PLC0415 - mostly people read it

        records = Records(form, ("Path", "PathBytes", "Layer", "Line", "Text", "TextBytes", "Binary", "Count"))
        whole = not (list_only or count)
        return lambda match, number: records.print(_record(match, number, whole=whole))

    def line(match: FileMatch, number: int) -> str:
        path = f"{match.layer}:{match.path}" if layers else match.path
        if list_only:
            return path
        if count:
            return f"{path}:{number}"
        if match.binary:
            return f"Binary file {path} matches"
        where = f"{path}:{match.line}" if numbers else path
        return f"{where}:{match.text.decode('utf-8', 'surrogateescape')}"

    return lambda match, number: show.write_lines((line(match, number),))


def _record(match: FileMatch, number: int, *, whole: bool) -> dict[str, Any]:
    from orlop.cli.show.files import exact  # noqa: PLC0415 - as above

    path, path_bytes = exact(match.path)
    text, text_bytes = exact(match.text.decode("utf-8", "surrogateescape")) if whole else ("", "")
    return {
        "Path": path,
        "PathBytes": path_bytes,
        "Layer": match.layer,
        "Line": match.line if whole else 0,
        "Text": text,
        "TextBytes": text_bytes,
        "Binary": match.binary,
        "Count": number,
    }
