"""Where on a disk data roots are: the places that engines take by default, those in their settings, and a search.

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
    from collections.abc import Callable, Iterator

    from orlop.foreign.disk import Folder
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
_USERS: Final = 1000
# A search ends where it would last: a disk has its roots near its top.
_DEEPEST: Final = 8
_MOST: Final = 5000
_NOT_SEARCHED: Final = frozenset({"proc", "sys", "dev", "diff", "merged", "snapshots"})


def likely_places(top: Folder, limits: Limits) -> Iterator[Folder]:
    """Yield a directory, the places below it where data roots are, and what lies directly below it."""
    yield top.copy()
    homes = tuple(_homes(top))
    places = [*_PLACES, *(home + place for home in homes for place in _HOMES)]
    settings = [*_SETTINGS, *((home + file, keys) for home in homes for file, keys in _USER_SETTINGS)]
    for file, keys in settings:
        places += _configured(top, file, keys, limits)
    # A list in settings may name one place very often.
    for parts in dict.fromkeys(tuple(part for part in place.split("/") if part not in {"", "."}) for place in places):
        folder = top.there(*parts)
        if folder is not None:
            yield folder
    for name in top.names():
        if top.is_directory(name):
            folder = top.there(name)
            if folder is not None:
                yield folder


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


def _configured(top: Folder, file: str, keys: tuple[str, ...], limits: Limits) -> Iterator[str]:
    """Yield the paths that a file of settings has under some keys."""
    *above, name = file.split("/")
    folder = top.there(*above)
    if folder is None:
        return
    settings: object = None
    with folder, suppress(RootDamaged, LimitExceeded, ValueError, RecursionError):
        raw = folder.read(name, _LONGEST)
        settings = parsed(raw, name, limits) if name.endswith(".json") else toml.loads(raw.decode())
    for key in keys:
        found = settings
        for part in key.split("."):
            found = found.get(part) if isinstance(found, dict) else None
        yield from [found] if isinstance(found, str) else texts(found)
