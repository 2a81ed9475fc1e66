"""What a directory tells about its files together: archives beside what they were unpacked to, and byte code.

An archive is told only if what was in it is there: a directory of its name beside it, an installed package for one of
Debian, a library for a wheel. Archives in caches of package managers are told as such (`orlop.inside.caches`).

Python makes byte code by itself, and some images need it to start quickly. So how much there is of it is a fact. Byte
code in a ``__pycache__`` without a source beside it is never used. Outside, beside its source, is what Python 2 made;
without a source it is a module of its own, which nothing can make again, and is passed over.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from orlop.errors import PathNotFound
from orlop.inside.caches import Cache, is_in_cache
from orlop.inside.finding import AuditFinding
from orlop.streams.tar_entry import TYPE_FILE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orlop.inside.node import Node
    from orlop.inside.view import ImageFiles

__all__ = ["archives_in", "byte_code_in"]

_ARCHIVES: Final = ("tar", "tgz", "tbz", "tbz2", "txz", "tzst", "zip", "7z")
_COMPRESSIONS: Final = ("gz", "bz2", "xz", "zst", "lz4", "lzma", "Z")
_PACKAGES: Final = (".deb", ".whl")
_ARCHIVE: Final = re.compile(rf"(.+)\.(?:{'|'.join(_ARCHIVES)}|tar\.(?:{'|'.join(_COMPRESSIONS)}))\Z", re.DOTALL)
_LOOKED_AT: Final = (*(f".{ending}" for ending in (*_ARCHIVES, *_COMPRESSIONS)), *_PACKAGES)
_WHEEL: Final = re.compile(r"([^-]+-[^-]+)-.+\.whl\Z", re.DOTALL)
_DEBIAN: Final = re.compile(r"([a-z0-9][a-z0-9+.-]*+)_[^_/]++_([a-z0-9-]++)\.deb\Z")
_DPKG: Final = "/var/lib/dpkg/info"
_TEXT: Final = "are archives beside what was unpacked or installed from them"
_WORTH_TELLING: Final = 1 << 20
_SHIPPED: Final = re.compile(
    r"/usr/share/python-wheels/|/(?:[^/]++/)*?(?:ensurepip|site-packages|dist-packages|node_modules)/"
)
"""Where archives are that a package came with: those of pip that `venv` needs, data of tests."""
_BYTE_CODE: Final = "__pycache__"
_ENDINGS: Final = (".pyc", ".pyo")
_TAGS: Final = re.compile(r"(?:\.[^.]+)?(?:\.opt-[^.]+)?\.pyc\Z")
_SEPARATORS: Final = re.compile(r"[-_.]+")


def archives_in(files: ImageFiles) -> Iterator[Cache]:
    """Yield the archives of each directory and layer that have 1 MiB or more together, and were unpacked."""
    sizes: dict[tuple[str, int], list[tuple[str, int]]] = {}
    libraries: set[str] = set()
    found: list[tuple[str, str, Node]] = []
    for folder, children in _folders(files.node("/")):
        for name in children:
            if name.endswith(".dist-info"):
                libraries.add(_spelt(name[: -len(".dist-info")]))
            if name.endswith(_LOOKED_AT) and children[name].type == TYPE_FILE:
                match = _ARCHIVE.match(name)
                beside = children.get(match[1]) if match is not None else None
                if name.endswith(_PACKAGES) or (beside is not None and beside.children):
                    found.append((folder, name, children[name]))
    for folder, name, node in found:
        place = f"{folder}/"
        if is_in_cache(place) or _SHIPPED.match(place) or not _is_installed(files, name, libraries):
            continue
        sizes.setdefault((folder, node.origin), []).append((name, node.size))
    for (folder, layer), archives in sizes.items():
        size = sum(size for _, size in archives)
        path = f"{folder}/{archives[0][0]}" if len(archives) == 1 else folder or "/"
        if size >= _WORTH_TELLING:
            yield Cache("left-over", _TEXT, path, layer, size)


def _is_installed(files: ImageFiles, name: str, libraries: set[str]) -> bool:
    """Return whether what a package has is in the view; true for archives of other kinds, where that is known."""
    if match := _WHEEL.match(name):
        return _spelt(match[1]) in libraries
    if match := _DEBIAN.match(name):
        for listed in (f"{_DPKG}/{match[1]}.list", f"{_DPKG}/{match[1]}:{match[2]}.list"):
            try:
                files.node(listed)
            except PathNotFound:
                continue
            return True
    return not name.endswith(_PACKAGES)


def _spelt(library: str) -> str:
    """Return the one form of a name and version that has several spellings."""
    return _SEPARATORS.sub("-", library).lower()


def byte_code_in(files: ImageFiles) -> Iterator[AuditFinding]:
    """Yield how much byte code of Python there is, if it is 1 MiB or more; a file with several names counts once."""
    size = unused = 0
    counted: set[Node] = set()
    for _, children in _folders(files.node("/")):
        for node, is_used in _byte_code(children):
            if node.type != TYPE_FILE or node in counted:
                continue
            if node.names > 1:
                counted.add(node)
            size += node.size
            unused += 0 if is_used else node.size
    if size >= _WORTH_TELLING:
        more = f"; {unused:,} bytes of it have no source beside them, and are never used" if unused else ""
        text = f"{size:,} bytes are byte code of Python, which it can make itself{more}"
        yield AuditFinding("byte-code", "fact", "info", text, size=size)


def _byte_code(children: dict[str, Node]) -> Iterator[tuple[Node, bool]]:
    """Yield the byte code of a directory that Python can make itself, and whether it may be used."""
    made = children.get(_BYTE_CODE)
    for name, node in (made.children or {}).items() if made is not None else ():
        if name.endswith(".pyc"):
            yield node, f"{_TAGS.sub('', name)}.py" in children
    for name, node in children.items():
        if name.endswith(_ENDINGS) and f"{name[:-1]}" in children:
            yield node, True


def _folders(root: Node) -> Iterator[tuple[str, dict[str, Node]]]:
    """Yield the paths and children of all directories that have any; the path of the root is empty."""
    stack = [("", root)]
    while stack:
        path, node = stack.pop()
        if node.children:
            yield path, node.children
            stack += [(f"{path}/{name}", child) for name, child in node.children.items() if child.children]
