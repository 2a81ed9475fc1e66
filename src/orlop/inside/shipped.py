"""Files that are still as a package shipped them, by the digests that databases of packages have.

What is shipped is published, mostly: a key in it is one of a test or an example. So a secret in such a file is reported
as a minor one, and so is one in a test of a library. The databases are those of dpkg (also of distroless images), apk,
and Python's ``RECORD``; they are read only if there is a secret in some file at all.
"""

from __future__ import annotations

import hashlib
import posixpath
import re
from base64 import b64decode, urlsafe_b64decode
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from orlop.errors import PathNotFound
from orlop.inside.libraries import RECORD, lines_of, package_of, rows_of
from orlop.inside.packages import DISTROLESS, DPKG, LARGEST, apk_lines, lists_of
from orlop.streams.tar_entry import TYPE_FILE

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from orlop.inside.node import Node
    from orlop.inside.view import ImageFiles

__all__ = ["is_of_a_test", "shipped_files"]

_Claim = tuple[str, str, str, bytes]
"""A package, a path, the algorithm of a digest, and the digest that the file at the path had in the package."""

_LIBRARY: Final = re.compile(
    r"/usr/(?:local|lib)/go(?:-[0-9.]+)?/|/(?:[^/]++/)*?(?:node_modules|site-packages|dist-packages|gems|go/pkg/mod"
    r"|\.?cargo/registry|lib/(?:python[0-9.]+(?=/test/)|ruby))/"
)
_TEST: Final = re.compile(
    r"/(?:tests?|testdata|__tests__|specs?|fixtures|examples?)/|_test\.go\Z|\.(?:test|spec)\.[jt]sx?\Z"
)
_APK_DIGEST: Final = "Q1"
_RECORD_DIGEST: Final = "sha256="


def is_of_a_test(path: str) -> bool:
    """Return whether a file belongs to tests or examples of a library or a language, by its path.

    Those of Go, Node and Rust have no list of digests in an image.
    """
    library = _LIBRARY.match(path)
    return library is not None and _TEST.search(path, library.end() - 1) is not None


def shipped_files(files: ImageFiles, wanted: Mapping[str, Node]) -> dict[Node, str]:
    """Return which files are as a package shipped them, each with the package.

    Args:
        files: the view.
        wanted: the regular files that are asked for, by their paths.

    Raises what reading the layers raises.
    """
    nodes = {*wanted.values()}
    claims: dict[Node, dict[str, dict[bytes, str]]] = {}
    for package, path, algorithm, expected in _claims(files, {posixpath.basename(path) for path in wanted}):
        try:
            node = files.node(path, follow=False)
        except PathNotFound:
            continue
        if node in nodes:
            claims.setdefault(node, {}).setdefault(algorithm, {}).setdefault(expected, package)
    ordered = sorted(claims, key=lambda node: (node.origin, node.content.header_offset))
    shipped: dict[Node, str] = {}
    left = LARGEST
    with files.contents(ordered) as contents:
        for node in ordered:
            # Holes cost an image nothing, and reading them much; no package ships very large ones.
            if (size := node.size - node.content.stored_size) > 0 and (left := left - size) < 0:
                continue
            digests = {algorithm: hashlib.new(algorithm, usedforsecurity=False) for algorithm in claims[node]}
            for chunk in contents.chunks((node.origin, node.content)):
                for one in digests.values():
                    one.update(chunk)
            for algorithm, packages in claims[node].items():
                if (digest := digests[algorithm].digest()) in packages:
                    shipped.setdefault(node, packages[digest])
    return shipped


def _claims(files: ImageFiles, names: Collection[str]) -> Iterator[_Claim]:
    """Yield what databases say of files with some names, in whatever directory: links may lead there."""
    if not names:
        return
    yield from _of_dpkg(files, names)
    yield from _of_apk(files, names)
    yield from _of_python(files, names)


def _of_dpkg(files: ImageFiles, names: Collection[str]) -> Iterator[_Claim]:
    for folder in (DPKG, DISTROLESS):
        for package, lines in lists_of(files, folder, ".md5sums"):
            for line in lines:
                digest, _, path = line.partition("  ")
                if posixpath.basename(path) in names:
                    with suppress(ValueError):
                        yield package.partition(":")[0], f"/{path.removeprefix('./')}", "md5", bytes.fromhex(digest)


def _of_apk(files: ImageFiles, names: Collection[str]) -> Iterator[_Claim]:
    for package, path, kind, value in apk_lines(files):
        if kind == "Z" and value.startswith(_APK_DIGEST) and posixpath.basename(path) in names:
            with suppress(ValueError):
                yield package, path, "sha1", b64decode(value.removeprefix(_APK_DIGEST))


def _of_python(files: ImageFiles, names: Collection[str]) -> Iterator[_Claim]:
    lists = [(path, node) for path, node in files.below() if path.endswith(RECORD) and node.type == TYPE_FILE]
    lists.sort(key=lambda one: (one[1].origin, one[1].content.header_offset))
    left = LARGEST
    with files.contents([node for _, node in lists]) as contents:
        for path, node in lists:
            if (left := left - node.size) < 0:
                return
            base = posixpath.dirname(posixpath.dirname(path))
            lines = lines_of(b"".join(contents.chunks((node.origin, node.content))))
            for row in rows_of(lines):
                if posixpath.basename(row[0]) in names and row[1:] and row[1].startswith(_RECORD_DIGEST):
                    digest = row[1].removeprefix(_RECORD_DIGEST)
                    with suppress(ValueError):
                        listed = posixpath.normpath(posixpath.join(base, row[0]))
                        yield package_of(path), listed, "sha256", urlsafe_b64decode(digest + "=" * (-len(digest) % 4))
