"""The databases of containerd: images of each namespace, and the sizes of snapshots."""

from __future__ import annotations

import os
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, NamedTuple

from orlop.errors import OrlopError, RootDamaged
from orlop.foreign.bolt import Bolt
from orlop.foreign.disk import close, reading
from orlop.model.descriptor import Descriptor
from orlop.model.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orlop.foreign.bolt import Bucket
    from orlop.foreign.disk import Folder
    from orlop.foreign.rebuilt import Path
    from orlop.model.limits import Limits

DATABASE: Final[Path] = ("io.containerd.metadata.v1.bolt", "meta.db")
_SNAPSHOTS: Final[Path] = ("io.containerd.snapshotter.v1.overlayfs", "metadata.db")
_PARENT: Final = b"org.mobyproject.image.parent"
_DEEPEST: Final = 1000
# What a blob leads to is noted beside it, so that none of that is thrown away. The kinds of children have letters, or
# they are numbered through: those of a manifest with the config first, and those of an index.
_LEADS: Final = re.compile(
    rb"containerd\.io/gc\.ref\.content\.(?:(config)|([lm])\.([0-9]{1,6})|([0-9]{1,6}))"
).fullmatch


class NamedTarget(NamedTuple):
    """An image of the database: its name, which may be empty, what it leads to, and the target of its parent."""

    namespace: str
    name: str
    target: Descriptor
    parent: str = ""


class Named(NamedTuple):
    """The images of a database, and what is wrong with it, in a sentence; nothing where it is whole."""

    images: tuple[NamedTarget, ...]
    damage: str


def named(root: Folder, limits: Limits) -> Named:
    """Return the images of all namespaces. Nothing is raised."""
    images: dict[tuple[str, str], NamedTarget] = {}
    try:
        with _opened(root, DATABASE, limits) as bolt:
            for bucket in bolt.roots():
                for image in _images(bucket):
                    images.setdefault((image.namespace, image.name), image)
    except RootDamaged as error:
        return Named(tuple(images.values()), f"{error}; images are found by their manifests, and their names are lost")
    damage = f"{DATABASE[-1]} is damaged: {'; '.join(bolt.damage[:3])}; some names may be lost" if bolt.damage else ""
    return Named(tuple(images.values()), damage)


class Children(NamedTuple):
    """The digests that a manifest or an index leads to, as the database has them; the config may be empty.

    Where the kinds are not told apart, all are among the manifests, too.
    """

    config: str
    layers: tuple[str, ...]
    manifests: tuple[str, ...]


def children(root: Folder, limits: Limits) -> dict[str, Children]:
    """Return what each blob leads to, by its digest, of those that lead to any. Nothing is raised."""
    found: dict[str, Children] = {}
    try:
        with _opened(root, DATABASE, limits) as bolt:
            for bucket in bolt.roots():
                for digest, labels in _labels_of_blobs(bucket):
                    children = _children(labels)
                    if any(children):
                        found.setdefault(digest, children)
    except RootDamaged:
        pass
    return found


def _labels_of_blobs(root: Bucket) -> Iterator[tuple[str, dict[bytes, bytes]]]:
    spaces = root.bucket(b"v1")
    for _, kinds in () if spaces is None else spaces.buckets():
        blobs = kinds.bucket(b"content", b"blob")
        for digest, blob in () if blobs is None else blobs.buckets():
            labels = blob.bucket(b"labels")
            if labels is not None:
                yield _text(digest), labels.values()


def _children(labels: dict[bytes, bytes]) -> Children:
    config = ""
    numbered: dict[str, dict[int, str]] = {"l": {}, "m": {}}
    for label, value in labels.items():
        lead = _LEADS(label)
        if lead is None:
            continue
        named, kind, number, plain = lead.groups()
        if named or plain == b"0":
            config = _text(value)
        else:
            numbered[(kind or b"l").decode()][int(number or plain)] = _text(value)
        if plain:
            numbered["m"][int(plain)] = _text(value)
    layers, manifests = (tuple(value for _, value in sorted(found.items())) for found in numbered.values())
    return Children(config, layers, manifests)


class SnapshotSizes:
    """How many bytes snapshots take on disk, by the chain ID on top; what cannot be read is not known."""

    def __init__(self, root: Folder, limits: Limits) -> None:
        self._sizes: dict[bytes, tuple[int, bytes]] = {}
        self._keys: dict[tuple[str, str], bytes] = {}
        try:
            with _opened(root, _SNAPSHOTS, limits) as bolt:
                for bucket in bolt.roots():
                    self._read(bucket)
        except RootDamaged:
            return

    def _read(self, root: Bucket) -> None:
        snapshots = root.bucket(b"v1", b"snapshots")
        for key, snapshot in () if snapshots is None else snapshots.buckets():
            values = snapshot.values()
            self._sizes[key] = zigzag(values.get(b"size", b"")), values.get(b"parent", b"")
            namespace, _, rest = key.decode("utf-8", "replace").partition("/")
            self._keys[namespace, rest.partition("/")[2]] = key

    def total(self, namespace: str, chain_id: str) -> int | None:
        """Return the size of a snapshot and all below it, or nothing where one is not known."""
        key = self._keys.get((namespace, chain_id))
        total = 0
        for _ in range(_DEEPEST):
            if key is None or key not in self._sizes:
                return None
            size, key = self._sizes[key]
            total += size
            if not key:
                return total
        return None


@contextmanager
def _opened(root: Folder, path: Path, limits: Limits) -> Iterator[Bolt]:
    """Open a database. Raises `RootDamaged`, within the block too."""
    with root.below(*path[:-1]) as folder:
        descriptor, size = folder.open_file(path[-1])
    try:
        with reading(path[-1]):
            yield Bolt(
                lambda offset, count: os.pread(descriptor, count, offset), size, path[-1], most=limits.json_values_total
            )
    finally:
        close(descriptor)


def _images(root: Bucket) -> Iterator[NamedTarget]:
    spaces = root.bucket(b"v1")
    for space, kinds in () if spaces is None else spaces.buckets():
        images = kinds.bucket(b"images")
        for name, image in () if images is None else images.buckets():
            parts = dict(image.buckets())
            described = _descriptor(parts[b"target"].values()) if b"target" in parts else None
            labels = parts[b"labels"].values() if b"labels" in parts else {}
            if described is not None:
                yield NamedTarget(_text(space), _text(name), described, _text(labels.get(_PARENT, b"")))


def _descriptor(values: dict[bytes, bytes]) -> Descriptor | None:
    try:
        digest = Digest.parse(_text(values.get(b"digest", b"")))
    except OrlopError:
        return None
    return Descriptor(_text(values.get(b"mediatype", b"")), digest, zigzag(values.get(b"size", b"")))


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")


def zigzag(raw: bytes) -> int:
    """Return a signed number that Go wrote in its variable length."""
    number = sum((byte & 0x7F) << 7 * place for place, byte in enumerate(raw[:10]))
    return (number >> 1) ^ -(number & 1)
