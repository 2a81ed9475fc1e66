"""Where on a disk data roots are: the places that engines take by default, those in their settings, and a search.

Links are not followed, nor even read, since that would change when they were last read. Where one stands in the way,
its name is told, and what it leads to is found by the search.

Settings are a stranger's, too. What they name is looked for below the directory that the user gave, as `disk` does it.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from orlop.errors import LimitExceeded, RootDamaged
from orlop.foreign.documents import parsed, texts
from orlop.model import toml

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from orlop.foreign.disk import Folder
    from orlop.foreign.rebuilt import Path
    from orlop.model.limits import Limits

_PLACES: Final = (
    "var/lib/docker",
    "var/lib/containerd",
    "var/lib/containers/storage",
    "usr/lib/containers/storage",
    "var/lib/rancher/k3s/agent/containerd",
    "var/lib/rancher/rke2/agent/containerd",
    "var/lib/k0s/containerd",
    "var/snap/docker/common/var-lib-docker",
    "var/snap/microk8s/common/var/lib/containerd",
    "lib/docker",
    "lib/containerd",
    "lib/containers/storage",
    # The disks of Docker Desktop: of a virtual machine, and of two ages of WSL.
    "var/lib/desktop-containerd/daemon",
    "desktop-containerd/daemon",
    "data/docker",
    "version-pack-data/community/docker",
)
_HOMES: Final = (
    ".local/share/docker",
    ".local/share/containerd",
    ".local/share/containers/storage",
    ".rancher/k3s/agent/containerd",
)
# Settings, and what in them is the path of a root, or a list of such paths. A table is named before its key.
_SETTINGS: Final = (
    ("etc/docker/daemon.json", ("data-root", "graph")),
    ("var/snap/docker/current/config/daemon.json", ("data-root", "graph")),
    ("etc/containerd/config.toml", ("root",)),
    (
        "etc/containers/storage.conf",
        ("storage.graphroot", "storage.imagestore", "storage.options.additionalimagestores"),
    ),
)
_USER_SETTINGS: Final = (
    (".config/docker/daemon.json", ("data-root", "graph")),
    (".config/containers/storage.conf", _SETTINGS[-1][1]),
)
_LONGEST: Final = 1 << 20
# Of all settings together; those of a thousand users are smaller, and a hostile MiB takes a second to parse.
_ALL_SETTINGS: Final = 4 << 20
_USERS: Final = 1000
# A search ends where it would last: a disk has its roots near its top.
_DEEPEST: Final = 8
_MOST: Final = 5000
_NOT_SEARCHED: Final = frozenset({"proc", "sys", "dev", "diff", "merged", "snapshots"})


def likely_paths(top: Folder, limits: Limits) -> list[Path]:
    """Return the paths below a directory where data roots are by default, and by the settings that are there."""
    homes = tuple(_homes(top))
    places = [*_PLACES, *(home + place for home in homes for place in _HOMES)]
    settings = [*_SETTINGS, *((home + file, keys) for home in homes for file, keys in _USER_SETTINGS)]
    left = _ALL_SETTINGS
    for file, keys in settings:
        raw = _settings(top, file, min(left, _LONGEST))
        left -= len(raw)
        places += _configured(raw, file, keys, limits)
    # A list in settings may name one place very often.
    return list(dict.fromkeys(tuple(part for part in place.split("/") if part not in {"", "."}) for place in places))


def likely_places(top: Folder, paths: Sequence[Path]) -> Iterator[Folder]:
    """Yield a directory, those of some paths below it that are there, and what lies directly below it."""
    yield top.copy()
    for path in paths:
        folder = top.there(*path)
        if folder is not None:
            yield folder
    for name in top.names():
        if top.is_directory(name):
            folder = top.there(name)
            if folder is not None:
                yield folder


def links_on(top: Folder, paths: Sequence[Path]) -> list[str]:
    """Return the links that stand in the way of some paths below a directory, as paths.

    Those directly below it do not count: ``lib`` is one on every disk of a system.
    """
    found: dict[str, None] = {}
    for path in paths:
        for depth in range(1, len(path)):
            above = top.there(*path[:depth])
            if above is None:
                break
            with above:
                if above.is_link(path[depth]):
                    found[above.path_of(path[depth])] = None
                    break
    return list(found)


def searched_places(top: Folder, is_root: Callable[[Folder], bool]) -> Iterator[Folder]:
    """Yield the data roots that are found below a directory, wherever they are, those near its top first."""
    waiting: deque[tuple[str, ...]] = deque([()])
    left = _MOST
    while waiting:
        path = waiting.popleft()
        here = top.there(*path)
        if here is None:
            continue
        with here:
            if is_root(here):
                yield here.copy()
            elif len(path) < _DEEPEST and left:
                below = [name for name in here.names() if name not in _NOT_SEARCHED and here.is_directory(name)][:left]
                left -= len(below)
                waiting += ((*path, name) for name in below)


def _homes(top: Folder) -> Iterator[str]:
    """Yield where homes of users may be, each with a slash: the directory, and what lies in it and in its home."""
    yield ""
    for name in top.names()[:_USERS]:
        yield f"{name}/"
    users = top.there("home")
    if users is not None:
        with users:
            for name in users.names()[:_USERS]:
                yield f"home/{name}/"


def _settings(top: Folder, file: str, most: int) -> bytes:
    """Return what a file of settings has, or nothing where it is not there, or is longer than that."""
    *above, name = file.split("/")
    folder = top.there(*above) if most else None
    if folder is None:
        return b""
    with folder:
        try:
            return folder.read(name, most)
        except (RootDamaged, LimitExceeded):
            return b""


def _configured(raw: bytes, file: str, keys: tuple[str, ...], limits: Limits) -> Iterator[str]:
    """Yield the paths that settings have under some keys."""
    settings: object = None
    with suppress(RootDamaged, LimitExceeded, ValueError, RecursionError):
        if raw:
            settings = parsed(raw, file, limits) if file.endswith(".json") else toml.loads(raw.decode())
    for key in keys:
        found = settings
        for part in key.split("."):
            found = found.get(part) if isinstance(found, dict) else None
        yield from [found] if isinstance(found, str) else texts(found)
