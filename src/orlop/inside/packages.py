"""Bytes by package, as the databases of dpkg, apk and rpm in an image say which package a file belongs to.

Only regular files that the image shows count, with the sizes that they have there. A file that several packages claim,
as with dpkg's diversions, counts for the first of them. Of rpm, Berkeley databases are not read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orlop.errors import PathNotFound, WrongFileType
from orlop.streams.tar_header import TYPE_FILE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orlop.inside.node import Node
    from orlop.inside.view import ImageFiles

__all__ = ["package_sizes"]

_DPKG: Final = "/var/lib/dpkg/info"
_DISTROLESS: Final = "/var/lib/dpkg/status.d"
_APK: Final = ("/lib/apk/db/installed", "/usr/lib/apk/db/installed")
_RPM: Final = ("/var/lib/rpm", "/usr/lib/sysimage/rpm", "/usr/share/rpm")
_LARGEST: Final = 64 << 20
"""The most bytes of databases that are read: those of dpkg and apk have a few MiB, rpm's up to about 50."""

_MD5: Final = 32  # digits


def package_sizes(files: ImageFiles) -> dict[str, int]:
    """Return the bytes of the files of each package, largest first; nothing if there is no database.

    Raises what reading the layers raises.
    """
    sizes: dict[str, int] = {}
    counted: set[Node] = set()
    for package, path in (*_of_dpkg(files), *_of_distroless(files), *_of_apk(files), *_of_rpm(files)):
        try:
            node = files.node(path, follow=False)
        except PathNotFound:
            continue
        sizes.setdefault(package, 0)
        if node.type == TYPE_FILE and node not in counted:
            counted.add(node)
            sizes[package] += node.size
    return dict(sorted(sizes.items(), key=lambda one: (-one[1], one[0])))


def _of_dpkg(files: ImageFiles) -> Iterator[tuple[str, str]]:
    """Yield packages and paths of ``*.list`` files, which have a path on each line."""
    for name, lines in _lists(files, _DPKG, ".list"):
        package = name.partition(":")[0]
        yield from ((package, line) for line in lines if line.startswith("/"))


def _of_distroless(files: ImageFiles) -> Iterator[tuple[str, str]]:
    """Yield the same of images that have no dpkg: lines of ``*.md5sums`` with a digest and a path without a slash."""
    for package, lines in _lists(files, _DISTROLESS, ".md5sums"):
        for line in lines:
            digest, _, path = line.partition("  ")
            if len(digest) == _MD5 and path:
                yield package, f"/{path.removeprefix('./')}"


def _lists(files: ImageFiles, folder: str, ending: str) -> Iterator[tuple[str, list[str]]]:
    """Yield the lines of the files of a folder that end so, by their names; nothing if they are too large."""
    try:
        lists = [one for one in files.listdir(folder) if one.path.endswith(ending) and one.type == "file"]
    except PathNotFound:
        return
    if sum(one.size for one in lists) > _LARGEST:
        return
    nodes = [files.node(one.path) for one in lists]
    with files.contents(nodes) as contents:
        for info, node in zip(lists, nodes, strict=True):
            text = b"".join(contents.chunks((node.origin, node.content)))
            yield info.path.rpartition("/")[2].removesuffix(ending), _lines(text)


def _of_apk(files: ImageFiles) -> Iterator[tuple[str, str]]:
    """Yield packages and paths of the database of apk: lines of ``P:`` package, ``F:`` directory and ``R:`` file."""
    database = next((path for path in _APK if _is_readable(files, path)), None)
    if database is None:
        return
    package = folder = ""
    for line in _lines(files.read(database)):
        kind, _, value = line.partition(":")
        if kind == "P":
            package, folder = value, ""
        elif kind == "F":
            folder = value
        elif kind == "R" and package:
            yield package, f"/{folder}/{value}"


def _of_rpm(files: ImageFiles) -> Iterator[tuple[str, str]]:
    """Yield packages and paths of the first database of rpm. Raises nothing where one is damaged."""
    for folder in _RPM:
        for name in ("rpmdb.sqlite", "Packages.db"):
            if not _is_readable(files, f"{folder}/{name}"):
                continue
            from orlop.inside.rpm import ndb_headers, package_files, sqlite_headers  # noqa: PLC0415 - few images have one

            headers = sqlite_headers if name == "rpmdb.sqlite" else ndb_headers
            for header in headers(files.read(f"{folder}/{name}")):
                yield from package_files(header)
            return


def _is_readable(files: ImageFiles, path: str) -> bool:
    """Return whether a regular file is there that is not too large."""
    try:
        return files.file(path).size <= _LARGEST
    except (PathNotFound, WrongFileType):
        return False


def _lines(text: bytes) -> list[str]:
    return text.decode("utf-8", "surrogateescape").split("\n")
