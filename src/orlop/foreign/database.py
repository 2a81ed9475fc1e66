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
# What nerdctl and Kubernetes call a container.
_CALLED: Final = (b"nerdctl/name", b"io.kubernetes.container.name")
_PARENT: Final = b"org.mobyproject.image.parent"
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
        with opened(root, DATABASE, limits) as bolt:
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
        with opened(root, DATABASE, limits) as bolt:
            for bucket in bolt.roots():
                for digest, labels in _labels_of_blobs(bucket):
                    children = _children(labels)
                    if any(children):
                        found.setdefault(digest, children)
    except RootDamaged:
        pass
    return found


class NamedContainer(NamedTuple):
    """A container of the database: its ID, its name and its image as the engine has them, and where its files are."""

    namespace: str
    id: str
    name: str
    image: str
    snapshotter: str
    snapshot: str


def containers(root: Folder, limits: Limits) -> tuple[NamedContainer, ...]:
    """Return the containers of all namespaces. Nothing is raised."""
    found: dict[tuple[str, str], NamedContainer] = {}
    try:
        with opened(root, DATABASE, limits) as bolt:
            for bucket in bolt.roots():
                for one in _containers(bucket):
                    found.setdefault((one.namespace, one.id), one)
    except RootDamaged:
        pass
    return tuple(found.values())


def _containers(root: Bucket) -> Iterator[NamedContainer]:
    spaces = root.bucket(b"v1")
    for space, kinds in () if spaces is None else spaces.buckets():
        all_of_them = kinds.bucket(b"containers")
        for name, container in () if all_of_them is None else all_of_them.buckets():
            values, labels = container.values(), container.bucket(b"labels")
            said = {} if labels is None else labels.values()
            called = next((said[label] for label in _CALLED if label in said), b"")
            places = (called, *(values.get(key, b"") for key in (b"image", b"snapshotter", b"snapshotKey")))
            yield NamedContainer(_text(space), _text(name), *map(_text, places))


def sizes(root: Folder, limits: Limits) -> dict[str, int]:
    """Return the sizes that the database has of blobs, by their digests. Nothing is raised."""
    found: dict[str, int] = {}
    try:
        with opened(root, DATABASE, limits) as bolt:
            for bucket in bolt.roots():
                for digest, blob in _blobs(bucket):
                    values = blob.values()
                    if b"size" in values:
                        found.setdefault(digest, zigzag(values[b"size"]))
    except RootDamaged:
        pass
    return found


def _labels_of_blobs(root: Bucket) -> Iterator[tuple[str, dict[bytes, bytes]]]:
    for digest, blob in _blobs(root):
        labels = blob.bucket(b"labels")
        if labels is not None:
            yield digest, labels.values()


def _blobs(root: Bucket) -> Iterator[tuple[str, Bucket]]:
    spaces = root.bucket(b"v1")
    for _, kinds in () if spaces is None else spaces.buckets():
        blobs = kinds.bucket(b"content", b"blob")
        for digest, blob in () if blobs is None else blobs.buckets():
            yield _text(digest), blob


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


@contextmanager
def opened(root: Folder, path: Path, limits: Limits, *, most: int | None = None) -> Iterator[Bolt]:
    """Open a database, of which so many keys are read at ``most``. Raises `RootDamaged`, within the block too."""
    most = limits.json_values_total if most is None else most
    with root.below(*path[:-1]) as folder:
        descriptor, size = folder.open_file(path[-1])
    try:
        with reading(path[-1]):
            yield Bolt(lambda offset, count: os.pread(descriptor, count, offset), size, path[-1], most=most)
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
    plain = unsigned(raw)
    return (plain >> 1) ^ -(plain & 1)


def unsigned(raw: bytes) -> int:
    """Return a number without a sign that Go wrote in its variable length."""
    return sum((byte & 0x7F) << 7 * place for place, byte in enumerate(raw[:10]))
