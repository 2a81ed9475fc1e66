"""``orlop diff``."""

from __future__ import annotations

from contextlib import ExitStack

from orlop.cli.declared import WrongUsage, argument, command, option
from orlop.cli.inside import Look, looked_into, read_number
from orlop.cli.limits import archive_limit_option
from orlop.cli.source import DataRoot, platform_option, root_option
from orlop.cli.statuses import FOUND

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from typing import Any, Final

    from orlop.cli.session import Session
    from orlop.inside.difference import Change, Difference
    from orlop.inside.view import ImageFiles
    from orlop.model.platform import Platform

_LETTERS: Final = {"added": "A", "removed": "D", "changed": "M"}
_FIELDS: Final = ("Path", "PathBytes", "Change", "Facts", "Before", "After")
_TEXT: Final = 1 << 20
_IDLE: Final = {
    "--stat": ("--format",),
    "--config": ("--content", "--ignore"),
    "--cause": ("--content", "--ignore", "--format"),
}
"""Of each output the options that change nothing about it."""


@command(epilog="Example: orlop diff --ignore time app:1.0 app:1.1")
@option("--stat", is_flag=True, help="Print only the number of paths and bytes added, removed and changed.")
@option("--config", is_flag=True, help="Compare configs and histories instead of files.")
@option("--content", is_flag=True, help="Also compare content of files of equal size, and print text changes.")
@option("--cause", is_flag=True, help="Print only the first reason why the images are not identical.")
@option(
    "--ignore", metavar="FACTS", help="Ignore attributes: type, mode, owner, size, time, target, xattrs, content, …"
)
@option("--format", "form", metavar="FORMAT", help="Print json, or a template such as {{.Path}}.")
@option("--resolve-links", is_flag=True, help="Compare the images as umoci unpacks them; see `orlop ls --help`.")
@platform_option("Compare the images for this platform; fail if there is none.")
@root_option
@archive_limit_option
@argument("old", metavar="A", complete="names")
@argument("new", metavar="B", complete="names")
def diff(
    session: Session,
    old: str,
    new: str,
    *,
    root_of: str | None,
    stat: bool,
    config: bool,
    content: bool,
    cause: bool,
    ignore: str | None,
    form: str | None,
    resolve_links: bool,
    platform: Platform | None,
) -> int:
    """Compare the files of two images.

    A and B are images, or archives if they begin with "/", "./" or "../". NAME#N means the layers of an image up to
    layer N. Layers in the store are read only with --content and --cause. Without --content, files of equal size are
    compared by attributes, and a warning shows how many could differ in content.

    Exits with 8 if there is a difference, else with 0.
    """
    if sum((stat, config, cause)) > 1:
        raise WrongUsage("--stat, --config and --cause are different outputs; give only one")
    _check_together(
        {"--stat": stat, "--config": config, "--cause": cause},
        {"--content": content, "--ignore": ignore is not None, "--format": bool(form)},
    )
    ignored = _ignored(ignore)
    records = _records(form, config=config) if form else None
    from orlop.inside.difference import compare  # noqa: PLC0415 - errors of usage compare nothing

    with ExitStack() as stack:
        look = Look(None if root_of is None else DataRoot(root_of), platform, resolve_links)
        old_side, new_side = (stack.enter_context(_side(session, word, look)) for word in (old, new))
        if cause:
            return _print_cause(old_side, new_side)
        if config:
            return _print_config(old_side, new_side, records)
        found = compare(old_side, new_side, ignore=ignored, contents=content)
        if records is not None:
            for change in found.changes:
                records.print(_record(change))
        elif stat:
            _print_stat(found)
        else:
            from orlop.cli.show import files as show  # noqa: PLC0415 - as in `_records`

            show.write_lines(_lines(old_side, new_side, found, texts=content))
    if found.uncertain:
        from orlop.cli.show import output  # noqa: PLC0415 - as in `_records`

        count = "1 file" if found.uncertain == 1 else f"{found.uncertain} files"
        were = "was" if found.uncertain == 1 else "were"
        output.complain(
            f"{count} of equal size in different layers {were} not compared; --content compares what is in them"
        )
    return FOUND if found.changes else 0


def _check_together(outputs: dict[str, bool], others: dict[str, bool]) -> None:
    """Raise `WrongUsage` where an option would do nothing beside what is to be printed."""
    for output in filter(outputs.__getitem__, outputs):
        for other in filter(others.__getitem__, others):
            if other in _IDLE[output]:
                raise WrongUsage(f"{other} does nothing with {output}; leave one out", other)


def _ignored(text: str | None) -> frozenset[str]:
    if text is None:
        return frozenset()
    from orlop.errors import InvalidFilter  # noqa: PLC0415 - only where the option is given
    from orlop.inside.difference import read_ignored  # noqa: PLC0415 - as above

    try:
        return read_ignored(text)
    except InvalidFilter as error:
        raise WrongUsage(str(error), "--ignore") from error


def _records(form: str, *, config: bool) -> Any:
    from orlop.cli.show.records import Records  # noqa: PLC0415 - mostly people read it

    return Records(form, ("Key", "Before", "After") if config else _FIELDS)


def _side(session: Session, word: str, look: Look) -> AbstractContextManager[ImageFiles]:
    """Open what one word names: an archive, or an image of the store or of a data root."""
    name, mark, number = word.partition("#")
    look = look._replace(up_to=read_number(number) if mark else None)
    if name.startswith(("/", "./", "../")):
        return looked_into(session, None, look._replace(archive=name))
    return looked_into(session, name, look)


def _record(change: Change) -> dict[str, object]:
    from orlop.cli.show import files as show  # noqa: PLC0415 - as in `_records`

    path, path_bytes = show.exact(change.path)
    return {
        "Path": path,
        "PathBytes": path_bytes,
        "Change": change.kind,
        "Facts": list(change.facts),
        "Before": {} if change.before is None else show.record(change.before),
        "After": {} if change.after is None else show.record(change.after),
    }


def _lines(old: ImageFiles, new: ImageFiles, found: Difference, *, texts: bool) -> Iterator[str]:
    for change in found.changes:
        line = f"{_LETTERS[change.kind]} {change.path}{_told(change)}"
        if texts:
            from orlop.inside.lines import escaped  # noqa: PLC0415 - only where it is asked for

            # Among changes of texts, a name of several lines could pass for another change.
            line = escaped(line)
        yield line
        if texts and change.kind == "changed" and {"content", "size"} & set(change.facts):
            yield from _text_lines(old, new, change)


def _told(change: Change) -> str:
    """Return what changed of a path, in brackets."""
    from orlop.cli.show import files as show  # noqa: PLC0415 - as in `_records`

    before, after = change.before, change.after
    if before is None or after is None:
        return ""
    values = {
        "type": (before.type, after.type),
        "mode": (f"{before.mode:04o}", f"{after.mode:04o}"),
        "owner": (f"{before.uid}:{before.gid}", f"{after.uid}:{after.gid}"),
        "size": (str(before.size), str(after.size)),
        "time": (show.time_of(before), show.time_of(after)),
        "target": (before.target, after.target),
    }
    told = [f"{fact} {values[fact][0]} -> {values[fact][1]}" if fact in values else fact for fact in change.facts]
    return f" ({', '.join(told)})"


def _text_lines(old: ImageFiles, new: ImageFiles, change: Change) -> Iterator[str]:
    """Yield what changed in a file, where both are texts that are not too long."""
    from orlop.inside.lines import unified  # noqa: PLC0415 - only where it is asked for

    assert change.before is not None
    assert change.after is not None
    if change.after.type != "file" or max(change.before.size, change.after.size) > _TEXT:
        return
    texts = []
    for files in (old, new):
        data = files.read(change.path)
        if b"\0" in data:
            return
        texts.append(data)
    for line in unified(texts[0], texts[1], f"a{change.path}", f"b{change.path}"):
        yield line.decode("utf-8", "surrogateescape")


def _print_stat(found: Difference) -> None:
    from orlop.cli.show import output  # noqa: PLC0415 - as in `_records`
    from orlop.cli.show.units import human_size  # noqa: PLC0415 - as above

    for kind in _LETTERS:
        some = [one for one in found.changes if one.kind == kind]
        before = sum(one.before.size for one in some if one.before is not None)
        after = sum(one.after.size for one in some if one.after is not None)
        shown = {"added": human_size(after), "removed": human_size(before)}
        output.write(f"{kind}: {len(some)} paths, {shown.get(kind, f'{human_size(before)} -> {human_size(after)}')}\n")


def _print_cause(old: ImageFiles, new: ImageFiles) -> int:
    from orlop.cli.show import files as show  # noqa: PLC0415 - as in `_records`
    from orlop.inside.cause import first_cause  # noqa: PLC0415 - only where it is asked for

    found = first_cause(old, new)
    show.write_lines([f"{found.kind}: {found.text}"])
    return 0 if found.kind == "none" else FOUND


def _print_config(old: ImageFiles, new: ImageFiles, records: Any) -> int:
    import json  # noqa: PLC0415 - only where it is asked for

    from orlop.cli.show import files as show  # noqa: PLC0415 - as in `_records`
    from orlop.inside.cause import config_changes  # noqa: PLC0415 - as above

    changes = config_changes(old, new)
    if records is None:
        show.write_lines(
            f"{key}: {json.dumps(before, ensure_ascii=False)} -> {json.dumps(after, ensure_ascii=False)}"
            for key, before, after in changes
        )
    else:
        for key, before, after in changes:
            records.print({"Key": key, "Before": json.dumps(before), "After": json.dumps(after)})
    return FOUND if changes else 0
