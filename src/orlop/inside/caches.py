"""Caches of package managers and other remains of a build that were left in an image: nothing that runs needs them.

A few kilobytes of them are in nearly every image, so those are counted only that are worth a word. What a later layer
removes is not seen, and is counted as hidden bytes anyway.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from orlop.model.tuples import NamedTuple
from orlop.streams.tar_entry import TYPE_FILE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from orlop.inside.node import Node

__all__ = ["Cache", "caches_in", "is_in_cache", "is_remains"]

_REMAINS: Final = {
    "cache": ("package-cache", "are a cache of a package manager, which nothing that runs needs"),
    "browsers": ("left-over", "are browsers that a library for tests has downloaded"),
    "git": ("left-over", "are the history of a Git repository"),
    "log": ("left-over", "are logs, of the build or of what ran in it"),
    "tmp": ("left-over", "are temporary files"),
    "logins": ("left-over", "have a place for every user ID up to the highest; useradd --no-log-init makes none"),
    "backup": ("left-over", "are earlier versions of databases that a package manager keeps"),
}
"""Of each kind the rule, and what to say of it."""
_FOUND: Final = re.compile(
    r"(?:(?P<browsers>/(?:[^/]++/)*?\.cache/(?:ms-playwright|puppeteer|Cypress))|(?P<log>/var/log)|(?P<tmp>(?:/var)?/tmp)|(?P<git>/(?:[^/]++/)*?\.git(?=/objects/))|(?P<cache>"
    r"/var/lib/apt/lists|/var/cache/(?:apt|apk|dnf|yum|libdnf5|zypp|pacman/pkg)|/usr/local/share/\.cache/yarn|/usr/local/(?:cargo/registry|bundle/cache)|"
    r"/(?:[^/]++/)*?(?:\.cache/(?:pip|uv|pypoetry|yarn|pnpm|go-build|composer|bazel|coursier|pre-commit)|\.npm/_cacache|\.m2/repository|"
    r"\.gradle/caches|\.cargo/registry|\.nuget/packages|\.ivy2/cache|"
    r"(?:(?:ana|mini)?conda[0-9]?|miniforge[0-9]?|mambaforge)/pkgs|go/pkg/mod/cache)))(?=/)"
)
_FILES: Final = re.compile(
    r"(?P<logins>/var/log/(?:lastlog|faillog|tallylog))\Z|(?P<backup>/var/(?:cache/debconf|lib/dpkg)/)[^/]+-old\Z"
)
"""Files that count for themselves, by their paths; most are passed over by their directories."""
_FOLDERS: Final = frozenset(("/var/log", "/var/cache/debconf", "/var/lib/dpkg"))
_WORTH_TELLING: Final = 1 << 20


class Cache(NamedTuple):
    """The bytes of a cache, or of other remains, at a path, that a layer has; ``layer`` is its number from 0.

    ``rule`` is the name of what it is reported as, and ``text`` says what the bytes are.
    """

    rule: str
    text: str
    path: str
    layer: int
    size: int


def caches_in(paths: Iterable[tuple[str, Node]]) -> Iterator[Cache]:
    """Yield the caches and remains among the paths of a view that have 1 MiB or more in a layer.

    A file that has a name elsewhere, such as one that uv or conda has linked into its place, takes no bytes here.
    """
    sizes: dict[tuple[str, str, int], int] = {}
    names: dict[Node, int] = {}
    folder, match = "", None
    for path, node in paths:
        if node.type != TYPE_FILE or not node.size:
            continue
        # Files of one directory come one after another.
        if (above := path.rpartition("/")[0]) != folder:
            folder, match = above, _FOUND.match(f"{above}/")
        found = (_FILES.match(path) if folder in _FOLDERS else None) or match
        if found is not None:
            if node.names > 1:
                names[node] = names.get(node, 0) + 1
                if names[node] < node.names:
                    continue
            place = found.lastgroup or "", found[found.lastgroup or 0], node.origin
            sizes[place] = sizes.get(place, 0) + node.size
    for (kind, path, layer), size in sizes.items():
        if size >= _WORTH_TELLING:
            yield Cache(*_REMAINS[kind], path, layer, size)


def is_remains(path: str) -> bool:
    """Return whether a file is in a cache or is another of these remains, whatever its size."""
    return _FOUND.match(path) is not None or _FILES.match(path) is not None


def is_in_cache(folder: str) -> bool:
    """Return whether a directory, given with a slash at its end, is a cache or another of these remains."""
    return _FOUND.match(folder) is not None
