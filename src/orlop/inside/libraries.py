"""Files of the libraries that package managers of languages have installed: Python's (pip, uv) and Node's (npm, yarn).

A package of Python lists its files in ``NAME-VERSION.dist-info/RECORD``, or of old in
``NAME.egg-info/installed-files.txt``. A package of Node owns the directory in ``node_modules`` that has its
``package.json``, without the packages in it. Names have the prefix that package URLs give them, since distributions
have packages of the same names. Those of Python are in the one form that all their spellings have (PEP 503).
"""

from __future__ import annotations

import csv
import io
import posixpath
import re
from typing import TYPE_CHECKING, Final

from orlop.streams.tar_entry import TYPE_FILE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orlop.inside.node import Node
    from orlop.inside.view import ImageFiles

__all__ = ["RECORD", "library_files", "lines_of", "package_of", "rows_of"]

RECORD: Final = ".dist-info/RECORD"
"""How the path of a list of a package of Python ends."""

_INSTALLED: Final = ".egg-info/installed-files.txt"
_LONGEST: Final = 1 << 16
_MODULES: Final = "/node_modules/"
_MANIFEST: Final = "/package.json"
_SEPARATORS: Final = re.compile(r"[-_.]+")


def library_files(files: ImageFiles, largest: int) -> Iterator[tuple[str, str]]:
    """Yield packages and paths that they own. Raises what reading the layers raises.

    Args:
        files: the view.
        largest: how many bytes of lists are read at most.
    """
    lists: list[tuple[str, Node]] = []
    homes: set[str] = set()
    for path, node in files.below():
        if node.type != TYPE_FILE:
            continue
        if path.endswith((RECORD, _INSTALLED)):
            if node.size <= largest:
                largest -= node.size
                lists.append((path, node))
        elif path.endswith(_MANIFEST) and _MODULES in path and path == (home := _home(path)) + _MANIFEST:
            homes.add(home)
    yield from _of_python(files, lists)
    # There are very many paths: they are walked once more rather than kept.
    for path, node in files.below() if homes else ():
        if node.type == TYPE_FILE and _MODULES in path and (home := _home(path)) in homes:
            yield f"npm/{home.rpartition(_MODULES)[2]}", path


def _home(path: str) -> str:
    """Return the directory of the package of Node that a path lies in, or nothing."""
    above, _, rest = path.rpartition(_MODULES)
    parts = rest.split("/")
    count = 2 if rest.startswith("@") else 1
    # Such as ``.bin``, which has links into packages, and files beside packages.
    if rest.startswith(".") or len(parts) <= count:
        return ""
    return above + _MODULES + "/".join(parts[:count])


def _of_python(files: ImageFiles, lists: list[tuple[str, Node]]) -> Iterator[tuple[str, str]]:
    lists.sort(key=lambda one: (one[1].origin, one[1].content.header_offset))
    with files.contents([node for _, node in lists]) as contents:
        for path, node in lists:
            lines = lines_of(b"".join(contents.chunks((node.origin, node.content))))
            folder = path.rpartition("/")[0]
            base, package = folder, package_of(path)
            if path.endswith(RECORD):
                base, lines = posixpath.dirname(folder), (row[0] for row in rows_of(lines))
            for one in lines:
                yield package, posixpath.normpath(posixpath.join(base, one))


def package_of(path: str) -> str:
    """Return the package of Python whose list is at a path."""
    folder = path.rpartition("/")[0].rpartition("/")[2]
    name = folder.removesuffix(".dist-info").removesuffix(".egg-info").partition("-")[0]
    return f"pypi/{_SEPARATORS.sub('-', name).lower()}"


def lines_of(text: bytes) -> Iterator[str]:
    """Yield the lines of a text, one at a time: a list of those of a hostile text would take very much memory.

    Those that are too long for a path are left out: in parts, they would take even more.
    """
    lines = (line.rstrip(b"\r\n") for line in io.BytesIO(text) if len(line) <= _LONGEST)
    return (line.decode("utf-8", "surrogateescape") for line in lines)


def rows_of(lines: Iterator[str]) -> Iterator[list[str]]:
    """Yield the rows of a table that have fields, as far as it can be read."""
    try:
        yield from filter(None, csv.reader(lines))
    except csv.Error:
        return
