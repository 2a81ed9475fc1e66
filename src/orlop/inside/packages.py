"""Bytes by package, as the databases in an image say which package a file belongs to.

They are those of dpkg, apk and rpm, then those of libraries (`orlop.inside.libraries`), then programs that say
themselves what they were built from (`orlop.inside.programs`). Only regular files that the image shows count, with the
sizes that they have there. A file that several packages claim, as with dpkg's diversions, or a library that comes with
the distribution, counts for the first of them. Of rpm, Berkeley databases are not read.
"""

from __future__ import annotations

from itertools import chain, islice
from typing import TYPE_CHECKING, Final

from orlop.errors import PathNotFound, WrongFileType
from orlop.inside.libraries import library_files, lines_of
from orlop.streams.tar_entry import TYPE_FILE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from orlop.inside.node import Node
    from orlop.inside.view import ImageFiles

__all__ = ["DISTROLESS", "DPKG", "LARGEST", "apk_lines", "lists_of", "package_sizes"]

DPKG: Final = "/var/lib/dpkg/info"
"""Where dpkg has lists of the files of packages, and of their digests."""
DISTROLESS: Final = "/var/lib/dpkg/status.d"
"""Where images without dpkg have them."""

_APK: Final = ("/lib/apk/db/installed", "/usr/lib/apk/db/installed")
_RPM: Final = ("/var/lib/rpm", "/usr/lib/sysimage/rpm", "/usr/share/rpm")
LARGEST: Final = 64 << 20
"""The most bytes of databases that are read: those of dpkg and apk have a few MiB, rpm's up to about 50."""

_MOST: Final = 2_000_000
"""How many paths of packages are looked up: more than a distribution has, and no more than one can wait for."""

_MD5: Final = 32  # digits


def package_sizes(files: ImageFiles, programs: Mapping[tuple[int, int], str] | None = None) -> dict[str, int]:
    """Return the bytes of the files of each package, largest first; nothing if there is no database.

    Args:
        files: the view.
        programs: what programs were built from, by the numbers of their layers and the offsets of their headers there.
            To know that, all layers must be read; so this is left to callers that do it anyway.

    Raises what reading the layers raises.
    """
    sizes: dict[str, int] = {}
    counted: set[Node] = set()
    for package, path in chain(islice(_claims(files), _MOST), _of_programs(files, programs or {})):
        try:
            node = files.node(path, follow=False)
        except PathNotFound:
            continue
        sizes.setdefault(package, 0)
        if node.type == TYPE_FILE and node not in counted:
            counted.add(node)
            sizes[package] += node.size
    return dict(sorted(sizes.items(), key=lambda one: (-one[1], one[0])))


def _claims(files: ImageFiles) -> Iterator[tuple[str, str]]:
    yield from _of_dpkg(files)
    yield from _of_distroless(files)
    yield from _of_apk(files)
    yield from _of_rpm(files)
    yield from library_files(files, LARGEST)


def _of_dpkg(files: ImageFiles) -> Iterator[tuple[str, str]]:
    """Yield packages and paths of ``*.list`` files, which have a path on each line."""
    for name, lines in lists_of(files, DPKG, ".list"):
        package = name.partition(":")[0]
        yield from ((package, line) for line in lines if line.startswith("/"))


def _of_distroless(files: ImageFiles) -> Iterator[tuple[str, str]]:
    """Yield the same of images that have no dpkg: lines of ``*.md5sums`` with a digest and a path without a slash."""
    for package, lines in lists_of(files, DISTROLESS, ".md5sums"):
        for line in lines:
            digest, _, path = line.partition("  ")
            if len(digest) == _MD5 and path:
                yield package, f"/{path.removeprefix('./')}"


def lists_of(files: ImageFiles, folder: str, ending: str) -> Iterator[tuple[str, Iterator[str]]]:
    """Yield the lines of the files of a folder that end so, by their names; nothing if they are too large."""
    try:
        lists = [one for one in files.listdir(folder) if one.path.endswith(ending) and one.type == "file"]
    except PathNotFound:
        return
    if sum(one.size for one in lists) > LARGEST:
        return
    nodes = [files.node(one.path) for one in lists]
    with files.contents(nodes) as contents:
        for info, node in zip(lists, nodes, strict=True):
            text = b"".join(contents.chunks((node.origin, node.content)))
            yield info.path.rpartition("/")[2].removesuffix(ending), lines_of(text)


def _of_apk(files: ImageFiles) -> Iterator[tuple[str, str]]:
    """Yield packages and paths of the database of apk."""
    return ((package, path) for package, path, kind, _ in apk_lines(files) if kind == "R")


def apk_lines(files: ImageFiles) -> Iterator[tuple[str, str, str, str]]:
    """Yield lines of apk's database that are about a file: its package and path, and kind and value of the line.

    Lines are ``P:`` package, ``F:`` directory, ``R:`` file in it, and then what is known of the file.
    """
    database = next((path for path in _APK if _is_readable(files, path)), None)
    if database is None:
        return
    package = folder = path = ""
    for line in lines_of(files.read(database)):
        kind, _, value = line.partition(":")
        if kind == "P":
            package, folder, path = value, "", ""
        elif kind == "F":
            folder, path = value, ""
        elif kind == "R":
            path = f"/{folder}/{value}"
        if package and path:
            yield package, path, kind, value


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


def _of_programs(files: ImageFiles, programs: Mapping[tuple[int, int], str]) -> Iterator[tuple[str, str]]:
    for path, node in files.below() if programs else ():
        module = programs.get((node.origin, node.content.header_offset)) if node.type == TYPE_FILE else None
        if module is not None:
            yield f"golang/{module}", path


def _is_readable(files: ImageFiles, path: str) -> bool:
    """Return whether a regular file is there that is not too large."""
    try:
        return files.file(path).size <= LARGEST
    except (PathNotFound, WrongFileType):
        return False
