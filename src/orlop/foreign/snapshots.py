"""containerd's snapshots: their sizes, and the containers whose files are in them.

Each snapshotter has a ``metadata.db`` of its own. A snapshot has a key, ``NAMESPACE/NUMBER/NAME``, the key of its
parent, and the number of its directory. That of an image's layer has the chain ID as its name. A container has an
active one, named as ``meta.db`` says. Docker keeps a container there only while it runs, but names the snapshot by its
ID; with a graph driver its containers have no snapshot. Where ``meta.db`` is damaged, whatever is active may be one.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from orlop.errors import RootDamaged
from orlop.foreign.database import NamedContainer, containers, opened, unsigned, zigzag
from orlop.foreign.held import ForeignContainer, said_size
from orlop.foreign.unreadable import is_filled

if TYPE_CHECKING:
    from collections.abc import Container, Iterator

    from orlop.foreign.bolt import Bucket
    from orlop.foreign.disk import Folder
    from orlop.foreign.rebuilt import Path
    from orlop.model.limits import Limits

_SNAPSHOTTER: Final = "io.containerd.snapshotter.v1."
_DATABASE: Final = "metadata.db"
_ACTIVE: Final = b"\x02"
_DEEPEST: Final = 1000
_HEX: Final = re.compile("[0-9a-f]{64}").fullmatch
_UNPACKING: Final = re.compile("extract-").match
_NUMBER: Final = re.compile(rb"[0-9]{1,20}").fullmatch
# Below the directory of a snapshot; the second kind has all files there, those of its parent, too.
_FILES: Final[dict[str, Path]] = {
    "erofs": ("fs",),
    "fuse-overlayfs": ("fs",),
    "native": (),
    "overlayfs": ("fs",),
    "stargz": ("fs",),
}
# Below the directory of a snapshotter, where it keeps snapshots in one of their own.
_NESTED: Final[dict[str, Path]] = {"stargz": ("snapshotter",)}
_WHOLE: Final = frozenset({"native"})
# With these the size of a snapshot has those of all below it in it.
_CUMULATIVE: Final = frozenset({"blockfile"})


class _Snapshot(NamedTuple):
    """A snapshot: the snapshotter that has it, the number of its directory, the key of its parent, its size."""

    snapshotter: str
    number: int
    parent: bytes
    size: int
    is_active: bool


class Snapshots:
    """The snapshots of all snapshotters of a root; what cannot be read is not known."""

    def __init__(self, root: Folder, limits: Limits) -> None:
        self._root = root
        self._limits = limits
        # Of any database that is damaged, and of none, it is not known which snapshots there are.
        self._is_whole = False
        self._left = limits.json_values_total
        self._found: dict[tuple[str, bytes], _Snapshot] = {}
        # By the namespace and the name: of each snapshotter the newest. One of old may await its removal.
        self._keys: dict[tuple[str, str], dict[str, bytes]] = {}
        self._totals: dict[tuple[str, bytes], int | None] = {}
        names = [name for name in root.names() if name.startswith(_SNAPSHOTTER)]
        there = [self._read(name) for name in names if self._is_used(name)]
        self._is_whole = bool(there) and all(there)

    def _is_used(self, snapshotter: str) -> bool:
        """Return whether a snapshotter has a database, or should have one: containerd makes the folders of all."""
        place = _place_of(snapshotter)
        folder = self._root.there(*place)
        if folder is None:
            return False
        with folder:
            return folder.state(_DATABASE) is not None or is_filled(self._root, (*place, "snapshots"))

    def _read(self, snapshotter: str) -> bool:
        """Read the snapshots of one snapshotter, and return whether these are all."""
        try:
            with opened(self._root, (*_place_of(snapshotter), _DATABASE), self._limits, most=self._left) as bolt:
                for bucket in bolt.roots():
                    self._read_all(snapshotter.removeprefix(_SNAPSHOTTER), bucket)
                self._left = max(0, self._left - bolt.count)
                return not bolt.damage
        except RootDamaged:
            return False

    def _read_all(self, snapshotter: str, root: Bucket) -> None:
        snapshots = root.bucket(b"v1", b"snapshots")
        for key, snapshot in () if snapshots is None else snapshots.buckets():
            values = snapshot.values()
            place = snapshotter, key
            if place in self._found:
                continue
            self._found[place] = _Snapshot(
                snapshotter,
                unsigned(values.get(b"id", b"")),
                values.get(b"parent", b""),
                zigzag(values.get(b"size", b"")),
                values.get(b"kind") == _ACTIVE,
            )
            namespace, _, rest = key.decode("utf-8", "replace").partition("/")
            newest = self._keys.setdefault((namespace, rest.partition("/")[2]), {})
            if snapshotter not in newest or _age(newest[snapshotter]) < _age(key):
                newest[snapshotter] = key

    def total(self, namespace: str, chain_id: str) -> int | None:
        """Return the size of a snapshot and all below it: 0 where there is none, nothing where that is not known."""
        places = self._keys.get((namespace, chain_id), {}).items()
        totals = (self._total(place) for place in places)
        return next((total for total in totals if total is not None), 0 if self._is_whole and not places else None)

    def _total(self, place: tuple[str, bytes]) -> int | None:
        if place not in self._totals:
            self._totals[place] = self._sum(*place)
        return self._totals[place]

    def _sum(self, snapshotter: str, key: bytes) -> int | None:
        total: int | None = 0
        for _ in range(_DEEPEST):
            snapshot = self._found.get((snapshotter, key))
            if snapshot is None or total is None or said_size(snapshot.size) is None:
                return None
            total = said_size(total + snapshot.size)
            if not snapshot.parent or snapshotter in _CUMULATIVE:
                return total
            key = snapshot.parent
        return None

    def containers(self, *, is_damaged: bool = False) -> dict[str, list[ForeignContainer]]:
        """Return the containers of each namespace; with ``is_damaged`` there are some that ``meta.db`` has lost."""
        found: dict[str, dict[str, ForeignContainer]] = {}
        listed = [*containers(self._root, self._limits)]
        known = {(one.namespace, one.snapshot) for one in listed}
        for one in (*listed, *self._unlisted(known if is_damaged else None)):
            if one.snapshot:
                found.setdefault(one.namespace, {}).setdefault(one.id, self._container(one))
        return {namespace: [*known.values()] for namespace, known in found.items()}

    def _unlisted(self, known: Container[tuple[str, str]] | None) -> Iterator[NamedContainer]:
        """Yield the containers of Docker, of which the database has those alone that ran.

        With those that are ``known``, yield whatever else may be one: all but what was being unpacked.
        """
        for (namespace, name), places in self._keys.items():
            is_other = known is not None and (namespace, name) not in known and not _UNPACKING(name)
            if _HEX(name) or is_other:
                for place in places.items():
                    if self._found[place].is_active:
                        yield NamedContainer(namespace, name, "", "", place[0], name)

    def _container(self, one: NamedContainer) -> ForeignContainer:
        files = lower = None
        problem = f"its snapshot {one.snapshot} of the snapshotter {one.snapshotter} is not known"
        key = self._keys.get((one.namespace, one.snapshot), {}).get(one.snapshotter)
        snapshot = None if key is None else self._found[one.snapshotter, key]
        if one.snapshotter not in _FILES:
            problem = f"what it has changed cannot be read with the snapshotter {one.snapshotter}"
        elif snapshot is not None:
            files, problem = _files_of(snapshot), ""
            parent = self._found.get((one.snapshotter, snapshot.parent))
            if one.snapshotter in _WHOLE:
                lower = None if parent is None else _files_of(parent)
            if one.snapshotter in _WHOLE and lower is None:
                files, problem = None, "what it began with is not known"
        place = f"containerd {one.namespace}"
        return ForeignContainer(one.id, one.name, one.image, place, files, problem, lower)


def _age(key: bytes) -> int:
    """Return the number in the key of a snapshot: they are counted up."""
    number = key.split(b"/", 2)[1:2]
    return int(number[0]) if number and _NUMBER(number[0]) else -1


def _place_of(directory: str) -> Path:
    """Return where the snapshotter of a directory has its database."""
    return directory, *_NESTED.get(directory.removeprefix(_SNAPSHOTTER), ())


def _files_of(snapshot: _Snapshot) -> Path:
    place = _place_of(_SNAPSHOTTER + snapshot.snapshotter)
    return *place, "snapshots", str(snapshot.number), *_FILES[snapshot.snapshotter]
