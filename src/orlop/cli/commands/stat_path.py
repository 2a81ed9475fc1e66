"""``orlop stat``."""

from __future__ import annotations

from orlop.cli.declared import WrongUsage, argument, command, option
from orlop.cli.inside import image_and_paths, look_options, looked_into

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Final

    from orlop.cli.inside import Look
    from orlop.cli.session import Session
    from orlop.inside.info import FileInfo, Version

_STEP: Final = 100


@command("stat", epilog="Example: orlop stat alpine /etc/os-release")
@option("--follow", is_flag=True, help="Follow PATH if it is a symbolic link.")
@option("--format", "form", metavar="FORMAT", help="Print json, or a template such as {{.Mode}}.")
@look_options()
@argument("words", metavar="IMAGE PATH", nargs=-1, complete="names")
def stat_path(
    session: Session,
    words: tuple[str, ...],
    *,
    follow: bool,
    form: str | None,
    look: Look,
) -> None:
    """Show a file's attributes, and what each layer did to it.

    For each layer that added, changed, replaced or removed the file, the output has the number of the layer and the
    build step that made it. With --archive, IMAGE can be omitted if the archive holds one image, and PATH must begin
    with a slash.
    """
    name, paths = image_and_paths(words, look.archive)
    if len(paths) != 1:
        raise WrongUsage(f"Got unexpected extra argument ({paths[1]})" if paths else "Missing argument 'PATH'.")
    from orlop.cli.show import files as show  # noqa: PLC0415 - errors of usage show no files

    records = None
    if form:
        from orlop.cli.show.records import Records  # noqa: PLC0415 - mostly people read it

        records = Records(form, (*show.FIELDS, "Versions"))
    with looked_into(session, name, look) as files:
        info = files.stat(paths[0], follow=follow)
        versions = files.trace(info.path)
    if records is not None:
        records.print(show.record(info) | {"Versions": [_record(one) for one in versions]})
        return
    show.write_lines(_lines(info, versions))


def _record(version: Version) -> dict[str, object]:
    info = version.info
    return {
        "Layer": version.layer.number,
        "DiffID": str(version.layer.diff_id),
        "CreatedBy": version.layer.created_by,
        "Action": version.action,
        "Type": "" if info is None else info.type,
        "Size": 0 if info is None else info.size,
    }


def _lines(info: FileInfo, versions: Sequence[Version]) -> list[str]:
    from orlop.cli.show import files as show  # noqa: PLC0415 - as above

    lines = [
        f"Path:   {info.path}",
        f"Type:   {info.type}",
        f"Mode:   {info.mode:04o} ({show.mode_of(info)})",
        f"Owner:  {info.uid}:{info.gid}",
        f"Size:   {info.size}",
        f"Time:   {show.time_of(info)}",
        f"Links:  {info.links}",
    ]
    if info.target:
        lines.append(f"Target: {info.target}")
    if info.device is not None:
        lines.append(f"Device: {info.device[0]}:{info.device[1]}")
    lines += [f"Xattr:  {name}=0x{value.hex()}" for name, value in sorted(info.xattrs.items())]
    for version in versions:
        size = f", {version.info.size} bytes" if version.info is not None and version.info.type == "file" else ""
        step = version.layer.created_by.replace("\n", " ").replace("\t", " ")
        shown = step if len(step) <= _STEP else f"{step[: _STEP - 1]}…"
        by = f" by: {shown}" if shown else ""
        lines.append(f"Layer {version.layer.number}: {version.action}{size}{by}")
    return lines
