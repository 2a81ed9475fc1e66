"""Files of images as commands print them: for people, and exactly, for programs."""

from __future__ import annotations

from orlop.cli.show import output, terminal
from orlop.cli.show.units import human_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Final

    from orlop.inside.info import FileInfo

FIELDS: Final = (
    *("Path", "PathBytes", "Type", "Mode", "UID", "GID", "Size", "ModTime", "Target", "TargetBytes", "Device"),
    *("Xattrs", "Links", "Layer"),
)
_TYPES: Final = {"file": "-", "dir": "d", "symlink": "l", "char": "c", "block": "b", "fifo": "p"}
_BITS: Final = "rwxrwxrwx"
_BATCH: Final = 1000


def write_lines(lines: Iterable[str], end: str = "\n") -> None:
    r"""Write lines that hold names; a terminal gets them harmless, anything else to the byte."""
    to_terminal = output.is_terminal()
    waiting: list[str] = []
    for line in lines:
        waiting.append(terminal.harmless(_readable(line)) if to_terminal else line)
        if len(waiting) == _BATCH:
            _write(waiting, end)
            waiting = []
    _write(waiting, end)


def _write(lines: list[str], end: str) -> None:
    if lines:
        output.write(f"{end.join(lines)}{end}".encode("utf-8", "surrogateescape"))


def _readable(text: str) -> str:
    """Return a text in which each byte that is not UTF-8 is U+FFFD."""
    return text if text.isascii() else text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def record(info: FileInfo) -> dict[str, object]:
    """Return what ``--format json`` prints of a file.

    A name that is not UTF-8 has U+FFFD in place of what is not; then ``PathBytes`` (``TargetBytes``) has its bytes in
    base64, else it is empty. Values of extended attributes are in base64.
    """
    path, path_bytes = exact(info.path)
    target, target_bytes = exact(info.target)
    return {
        "Path": path,
        "PathBytes": path_bytes,
        "Type": info.type,
        "Mode": f"{info.mode:04o}",
        "UID": info.uid,
        "GID": info.gid,
        "Size": info.size,
        "ModTime": time_of(info),
        "Target": target,
        "TargetBytes": target_bytes,
        "Device": "" if info.device is None else f"{info.device[0]}:{info.device[1]}",
        "Xattrs": {_readable(name): _base64(value) for name, value in sorted(info.xattrs.items())},
        "Links": info.links,
        "Layer": info.layer,
    }


def exact(text: str) -> tuple[str, str]:
    """Return a text as it may stand in JSON, and its bytes in base64 where that is not exact."""
    readable = _readable(text)
    return readable, "" if readable == text else _base64(text.encode("utf-8", "surrogateescape"))


def _base64(value: bytes) -> str:
    from base64 import b64encode  # noqa: PLC0415 - few names need it

    return b64encode(value).decode()


def time_of(info: FileInfo) -> str:
    """Return the time of a file, in UTC as RFC 3339; in seconds since 1970 where its year has not four digits."""
    from orlop.errors import InvalidTimestamp  # noqa: PLC0415 - as below
    from orlop.model.timestamp import Timestamp  # noqa: PLC0415 - plain lists have no times

    try:
        return str(Timestamp.from_unix(*info.mtime))
    except InvalidTimestamp:
        return f"{info.mtime[0]}.{info.mtime[1]:09}"


def mode_of(info: FileInfo) -> str:
    """Return the type and permissions as ls(1) prints them."""
    letters = [letter if info.mode >> (8 - place) & 1 else "-" for place, letter in enumerate(_BITS)]
    for bit, place, letter in ((0o4000, 2, "s"), (0o2000, 5, "s"), (0o1000, 8, "t")):
        if info.mode & bit:
            letters[place] = letter if letters[place] == "x" else letter.upper()
    return _TYPES.get(info.type, "?") + "".join(letters)


def size_of(info: FileInfo, *, human: bool) -> str:
    """Return the size, or the numbers of a device."""
    if info.device is not None:
        return f"{info.device[0]},{info.device[1]}"
    return human_size(info.size) if human else str(info.size)


def long_lines(infos: Iterable[tuple[str, FileInfo]], *, human: bool, layers: bool) -> list[str]:
    """Return the lines of a long list: each of a shown name and what is there, in columns."""
    rows = [
        (
            *([str(info.layer)] if layers else []),
            mode_of(info),
            str(info.links),
            str(info.uid),
            str(info.gid),
            size_of(info, human=human),
            time_of(info)[:19].replace("T", " "),
            f"{name} -> {info.target}" if info.type == "symlink" else name,
        )
        for name, info in infos
    ]
    if not rows:
        return []
    widths = [max(map(len, column)) for column in list(zip(*rows, strict=True))[:-1]]
    return [
        " ".join([*(cell.rjust(width) for cell, width in zip(row[:-1], widths, strict=True)), row[-1]]) for row in rows
    ]
