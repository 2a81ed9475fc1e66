"""Caches of package managers that were left in an image: nothing that runs needs them.

A few kilobytes of them are in nearly every image, so those are counted only that are worth a word. What a later layer
removes is not seen, and is counted as hidden bytes anyway.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from orlop.model.tuples import NamedTuple
from orlop.streams.tar_header import TYPE_FILE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from orlop.inside.node import Node

__all__ = ["Cache", "caches_in"]

_CACHE: Final = re.compile(
    r"(?:/var/lib/apt/lists|/var/cache/(?:apt|apk|dnf|yum|libdnf5|zypp|pacman/pkg)|/usr/local/share/\.cache/yarn|"
    r"/(?:[^/]++/)*?(?:\.cache/(?:pip|uv|pypoetry|yarn|pnpm|go-build|composer|bazel)|\.npm/_cacache|\.m2/repository|"
    r"\.gradle/caches|\.cargo/registry|\.nuget/packages|go/pkg/mod/cache))(?=/)"
)
_WORTH_TELLING: Final = 1 << 20


class Cache(NamedTuple):
    """The bytes of a cache, at a path, that a layer has; ``layer`` is its number from 0."""

    path: str
    layer: int
    size: int


def caches_in(paths: Iterable[tuple[str, Node]]) -> Iterator[Cache]:
    """Yield the caches among the paths of a view that have 1 MiB or more in a layer."""
    sizes: dict[tuple[str, int], int] = {}
    counted: set[Node] = set()
    folder, match = "", None
    for path, node in paths:
        if node.type != TYPE_FILE or not node.size or node in counted:
            continue
        # Files of one directory come one after another.
        if (above := path.rpartition("/")[0]) != folder:
            folder, match = above, _CACHE.match(f"{above}/")
        if match is not None:
            if node.names > 1:
                counted.add(node)
            place = match[0], node.origin
            sizes[place] = sizes.get(place, 0) + node.size
    for (path, layer), size in sizes.items():
        if size >= _WORTH_TELLING:
            yield Cache(path, layer, size)
