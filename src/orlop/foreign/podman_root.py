"""The storage of Podman, Buildah and CRI-O: containers-storage with the drivers overlay and vfs.

Theory of operation. For a driver D the lists ``D-images/images.json`` and ``D-layers/layers.json`` say what there is,
and everything they name lies beside them: ``D-images/ID`` holds the config and the manifests of an image, each under an
encoded name; ``D-layers/ID.tar-split.gz`` the tar-split of a layer; ``overlay/ID/diff`` or ``vfs/dir/ID`` its files.

The lists are written without being synced by older versions, so that an empty one is what a power loss leaves. Neither
is needed:

- Of a list that is damaged every entry that is whole is taken.
- Images that are not in what is left of ``images.json`` are found by their directories. Their names are lost then, but
  not they.
- Without ``layers.json``, or for a layer that it does not describe, the tar-splits themselves are taken: their digests
  are computed, once, as soon as a layer is needed that is not found otherwise.
- Where a layer is whole, but not the one that the list calls it, the list is wrong: then all of its layers are read.

A list of images for several platforms is an image of its own with a manifest, but without a config or layers. Its names
are given to those of its images that are in the root.

Layers are known by their diff ID alone: of several with the same one, any that verifies will do. An image may have its
layers in an additional store, another root of the same shape: what each has is offered to the images of all. With an
image store of its own, images and the files of layers are in that, and the tar-splits where containers are.
"""

from __future__ import annotations

import base64
import re
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple

from orlop.errors import LimitExceeded, OrlopError, RootDamaged
from orlop.foreign.documents import objects, parsed, salvaged_entries, text, texts
from orlop.foreign.held import ForeignContainer, ForeignImage, Held, diff_ids, said_size
from orlop.foreign.names import references
from orlop.foreign.rebuilt import UnpackedLayer
from orlop.foreign.unnamed import Unnamed
from orlop.foreign.unreadable import MOUNTED, is_filled, note_on, unreadable
from orlop.intake.offer import OfferedImage, OfferedLayer, platform_of, read_config
from orlop.intake.platforms import chosen
from orlop.model.digest import ImageID
from orlop.model.manifest import Index, parse_manifest

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Sequence

    from orlop.foreign.disk import Folder
    from orlop.foreign.rebuilt import Path
    from orlop.foreign.unreadable import UnreadableLayer
    from orlop.model.digest import DiffID
    from orlop.model.image import Image
    from orlop.model.limits import Limits
    from orlop.model.reference import Reference

_FILES: Final[dict[str, tuple[str | None, ...]]] = {
    "btrfs": ("btrfs", "subvolumes", None),
    "overlay": ("overlay", None, "diff"),
    "vfs": ("vfs", "dir", None),
}
_WHOLE: Final = frozenset({"btrfs", "vfs"})
_DRIVERS: Final = frozenset({*_FILES, "aufs", "btrfs", "devicemapper", "overlay2", "windows", "zfs"})
_SPLIT: Final = ".tar-split.gz"
_PLAIN: Final = re.compile(r"[.0-9a-z]+").fullmatch
_HEX: Final = re.compile("[0-9a-f]{64}").fullmatch
_VOLATILE: Final = "volatile-"
"""So begins the list of what is not to outlast a restart, which may be there after all."""
_MANIFEST: Final = "manifest-"


def drivers(root: Folder) -> list[str]:
    """Return the drivers that have images or layers in a root."""
    names = [name for name in root.names() if name.endswith(("-images", "-layers")) and root.is_directory(name)]
    return sorted({name.rpartition("-")[0] for name in names} & _DRIVERS)


def read_podman_root(root: Folder, limits: Limits, beside: Sequence[Folder] = ()) -> Iterator[Held]:
    """Yield what each driver of a root holds; what is damaged is noted, not raised.

    ``beside`` are other roots, known by the time that a layer is read, in which tar-splits may be.
    """
    for driver in drivers(root):
        yield _DriverRoot(root, driver, limits, beside).read()


class _Layer(NamedTuple):
    """A layer of the list: which one it is, what lies below it, and its size, as far as that is said."""

    id: str
    parent: str
    diff_id: str
    size: int | None
    is_incomplete: bool


class _List(NamedTuple):
    """A list of images: the ID and the names under which it is kept, and what it has."""

    id: str
    names: tuple[str, ...]
    document: Index


class _Given(NamedTuple):
    """The names that an image has by lists of images, and those of them that mean this image of the list."""

    names: dict[str, None]
    tags: dict[str, None]


class _DriverRoot:
    """The images of one driver, under way."""

    def __init__(self, root: Folder, driver: str, limits: Limits, beside: Sequence[Folder]) -> None:
        self._root = root
        self._beside = beside
        self._driver = driver
        self._limits = limits
        self._held = Held(f"podman {driver}")
        self._layers: dict[str, _Layer] = {}
        self._by_diff: dict[str, list[_Layer]] = {}
        self._unnamed = Unnamed(limits, self._held.copies)
        # The IDs of what a list has that is not to outlast a restart.
        self._volatile: set[str] = set()
        self._lists: list[_List] = []
        # By the numbers of images; and how many names that are.
        self._given: dict[int, _Given] = {}
        self._named = 0
        # Whether the whole list of layers could be read, and that of images.
        self._knows_layers = False
        self._is_listed = False
        # Of each image; it may be another name than that of its config.
        self._folders: list[str] = []

    def read(self) -> Held:
        if self._driver not in _FILES:
            self._held.notes.append(note_on(self._driver))
        self._read_layers()
        self._held.images.extend(self._images())
        by_manifest = self._by_manifest() if self._lists else {}
        for images in self._lists:
            self._name(images, by_manifest)
        self._take_names()
        self._find_unnamed({str(diff_id) for diff_id in self._held.copies})
        # Images of another store may have them, too.
        self._held.unlisted = self._unnamed.layer
        self._note_lost()
        self._note_artifacts()
        # Images in another store may have them.
        for diff_id in diff_ids(self._by_diff):
            self._place(diff_id)
        self._held.containers.extend(self._containers())
        return self._held

    def _list(self, kind: str, name: str) -> tuple[list[dict[str, object]], bool]:
        """Return what is left of a list, and whether that is all of it."""
        raw = b""
        try:
            with self._root.below(f"{self._driver}-{kind}") as folder:
                raw = folder.read(name, self._limits.documents_size)
            return _entries(parsed(raw, name, self._limits), name), True
        except LimitExceeded as error:
            self._held.notes.append(str(error))
        except RootDamaged as error:
            left = list(salvaged_entries(raw))
            if raw or (name == f"{kind}.json" and self._has_any(kind)):
                self._held.notes.append(f"{error}; {len(left)} of its entries are whole" if left else str(error))
            return left, False
        return [], False

    def _both_lists(self, kind: str) -> tuple[list[dict[str, object]], bool]:
        """Return what is left of a list, and of the one of what is volatile; and whether the former is whole."""
        volatile = self._list(kind, f"{_VOLATILE}{kind}.json")[0]
        self._volatile = {text(entry.get("id")) for entry in volatile}
        listed, is_whole = self._list(kind, f"{kind}.json")
        return listed + volatile, is_whole

    def _has_any(self, kind: str) -> bool:
        """Return whether anything lies beside a list that is in no other: until there is, none is written."""
        folder = self._root.there(f"{self._driver}-{kind}")
        if folder is None:
            return kind != "containers"
        with folder:
            names = [name for name in folder.names() if not name.endswith(".lock") and not name.startswith(_VOLATILE)]
        return any(name.partition(".")[0] not in self._volatile for name in names)

    def _read_layers(self) -> None:
        listed, self._knows_layers = self._both_lists("layers")
        for entry in listed:
            layer = _layer(entry)
            self._layers.setdefault(layer.id, layer)
            if layer.is_incomplete:
                self._held.notes.append(
                    f"the layer {layer.id} was being made or removed: what it was to be is not known"
                )
        for layer in self._layers.values():
            self._by_diff.setdefault(layer.diff_id, []).append(layer)

    def _find_unnamed(self, wanted: Container[str]) -> None:
        """Note the layers without a digest in a list, and those whose digest no image has: it may be damaged."""
        known = {layer.id for layer in self._layers.values() if layer.diff_id in wanted}
        folder = self._root.there(f"{self._driver}-layers")
        if folder is not None:
            with folder:
                splits = [name.removesuffix(_SPLIT) for name in folder.names() if name.endswith(_SPLIT)]
            # With an image store of its own they are beside the containers.
            lost = [] if self._knows_layers else self._directories()
            self._unnamed.copies += [self._copy(one) for one in dict.fromkeys(splits + lost) if one not in known]

    def _directories(self) -> list[str]:
        """Return the names of the directories in which files of layers are."""
        place = _FILES.get(self._driver, (None,))
        folder = self._root.there(*(part for part in place[: place.index(None)] if part))
        if folder is None:
            return []
        with folder:
            return [name for name in folder.names() if _HEX(name)]

    def _copy(self, layer: str) -> UnpackedLayer | UnreadableLayer:
        place = _FILES.get(self._driver) or MOUNTED.get(self._driver, ("", None))
        files = tuple(layer if part is None else part for part in place)
        if self._driver not in _FILES and not is_filled(self._root, files):
            return unreadable(self._driver, layer)
        return UnpackedLayer(self._root, (f"{self._driver}-layers", f"{layer}{_SPLIT}"), files, beside=self._beside)

    def _images(self) -> Iterator[ForeignImage]:
        listed, self._is_listed = self._list("images", "images.json")
        folder = None if self._is_listed else self._root.there(f"{self._driver}-images")
        if folder is not None:
            known = {entry.get("id") for entry in listed}
            found: list[str] = []
            with folder:
                try:
                    found = [name for name in folder.all_names() if _HEX(name) and folder.is_directory(name)]
                except RootDamaged as error:
                    self._held.notes.append(str(error))
                    self._held.is_damaged = True
            lost = [name for name in found if name not in known]
            if lost or (not listed and self._has_any("images")):
                whose = "the names of other" if listed else "the names of its"
                self._held.notes.append(f"{whose} images are lost; {len(lost)} are found by their directories")
            listed += [{"id": name} for name in lost]
        # A list may name one image, whose config may be large, any number of times.
        named: dict[str, dict[str, None]] = {}
        for entry in listed:
            named.setdefault(text(entry.get("id")), {}).update(dict.fromkeys(texts(entry.get("names"))))
        for image_id, names in named.items():
            image = self._image(image_id, tuple(names))
            if image is not None:
                self._folders.append(image_id)
                yield image

    def _image(self, image_id: str, names: tuple[str, ...]) -> ForeignImage | None:
        """Return an image, or nothing where it is a list of images, which is noted."""
        place, shown = self._held.place, f"sha256:{image_id}"
        try:
            image = self._document(image_id)
        except OrlopError as error:
            return ForeignImage(shown, place, names, problems=(str(error),))
        if isinstance(image, Index):
            self._lists.append(_List(shown, names, image))
            return None
        tags, digests, problems = references(names)
        sizes = [self._place(diff_id) for diff_id in image.rootfs.diff_ids]
        layers = tuple(OfferedLayer(str(diff_id), diff_id) for diff_id in image.rootfs.diff_ids)
        offered = OfferedImage(image, layers, platform_of(image), tags, digests)
        size = None if None in sizes else sum(size for size in sizes if size is not None)
        return ForeignImage(str(image.id), place, names, offered, said_size(size), tuple(problems))

    def _document(self, image_id: str) -> Image | Index:
        """Return an image's config, the one of its ID or the one that its manifest names; or the list that it is."""
        with self._root.below(f"{self._driver}-images", image_id) as folder:
            key = f"sha256:{image_id}"
            if folder.state(_encoded(key)) is None:
                raw = folder.read(_encoded("manifest"), self._limits.manifest_size)
                manifest = parse_manifest(raw)
                if isinstance(manifest, Index):
                    return manifest
                key = str(manifest.config.digest)
            raw = folder.read(_encoded(key), self._limits.config_size)
        found = ImageID.of(raw)
        if str(found) != key:
            raise RootDamaged(f"its config is damaged: it has the digest {found}")
        return read_config(raw, self._limits)

    def _by_manifest(self) -> dict[str, list[int]]:
        """Return which images have a manifest, by its digest: their numbers."""
        found: dict[str, list[int]] = {}
        for number, (folder, image) in enumerate(zip(self._folders, self._held.images, strict=True)):
            for digest in () if image.offered is None else self._manifests_of(folder):
                found.setdefault(digest, []).append(number)
        return found

    def _name(self, images: _List, by_manifest: dict[str, list[int]]) -> None:
        """Name the images of a list by its names; each tag means one of them, as everywhere."""
        wanted = {str(child.digest) for child in images.document.manifests}
        numbers = sorted({number for digest in wanted for number in by_manifest.get(digest, ())})
        offers = ((number, self._held.images[number].offered) for number in numbers)
        found = [(number, offered) for number, offered in offers if offered is not None]
        if not found:
            called = ", ".join(images.names) or images.id
            self._held.notes.append(f"{called} is a list of {len(wanted)} images, none of which is in this root")
            return
        count, most = len(found) * len(images.names), self._limits.json_values_total
        self._named += count
        if self._named > most:
            if self._named - count <= most:
                self._held.notes.append(f"lists of images lead to more than {most} names; the other names are left out")
            return
        tagged = chosen(None).first([offered.platform for _, offered in found])
        for place, (number, _) in enumerate(found):
            given = self._given.setdefault(number, _Given({}, {}))
            given.names.update(dict.fromkeys(images.names))
            if place == tagged:
                given.tags.update(dict.fromkeys(images.names))

    def _take_names(self) -> None:
        """Name images by all that lists have given them."""
        for number, (names, own) in self._given.items():
            image = self._held.images[number]
            if image.offered is not None:
                _, _, problems = references(names)
                tags, digests, _ = references(own)
                self._held.images[number] = replace(
                    image,
                    names=tuple(dict.fromkeys((*image.names, *names))),
                    offered=_with_names(image.offered, tags, digests),
                    problems=(*image.problems, *problems),
                )

    def _manifests_of(self, name: str) -> Iterator[str]:
        """Yield the digests of the manifests in the directory of an image, by the names of their files."""
        folder = self._root.there(f"{self._driver}-images", name)
        if folder is not None:
            with folder:
                keys = [_decoded(name) for name in folder.names()]
            yield from (key.removeprefix(_MANIFEST) for key in keys if key.startswith(_MANIFEST))

    def _note_lost(self) -> None:
        """Note layers without images. A whole list without images explains them: they may never have been whole."""
        count = sum(1 for layer in self._layers.values() if layer.diff_id)
        if self._held.images or not count:
            return
        self._held.notes.append(f"no image is left that has one of the layers in layers.json ({count})")
        if not self._is_listed:
            self._held.is_damaged = True

    def _note_artifacts(self) -> None:
        """Note what Podman keeps beside images: it has a layout of its own, which is not one of an engine."""
        folder = self._root.there("artifacts")
        if folder is None:
            return
        with folder:
            try:
                raw = folder.read("index.json", self._limits.manifest_size)
                index = parsed(raw, "index.json", self._limits)
                count = len(objects(index.get("manifests"))) if isinstance(index, dict) else 0
            except OrlopError:
                return
        if count:
            what = "an artifact lies" if count == 1 else f"{count} artifacts lie"
            self._held.notes.append(
                f"{what} in an OCI layout of its own; copy from there with orlop copy oci:{folder.path}"
            )

    def _place(self, diff_id: DiffID) -> int | None:
        """Note where a layer may be had, and return its size as the list has it."""
        layers = self._by_diff.get(str(diff_id), [])
        if diff_id not in self._held.copies:
            self._held.offer(diff_id, (self._copy(layer.id) for layer in layers))
        return layers[0].size if layers else None

    def _containers(self) -> Iterator[ForeignContainer]:
        listed, is_whole = self._both_lists("containers")
        for entry in listed:
            names = texts(entry.get("names"))
            name, image = names[0] if names else "", text(entry.get("image"))
            yield self._container(text(entry.get("id")), text(entry.get("layer")), name, image)
        if not is_whole:
            known = {text(entry.get("layer")) for entry in listed}
            yield from (self._container(layer, layer) for layer in self._writable() if layer not in known)

    def _container(self, container: str, top: str, name: str = "", image: str = "") -> ForeignContainer:
        layer = self._layers.get(top)
        below = "" if layer is None else layer.parent
        files = lower = None
        problem = f"what it has changed cannot be told apart with {self._driver}"
        if self._driver == "overlay" or (self._driver in _WHOLE and below):
            files, problem = self._files_of(top), ""
            lower = self._files_of(below) if self._driver in _WHOLE else None
        return ForeignContainer(container, name, image, self._held.place, files, problem, lower)

    def _writable(self) -> list[str]:
        """Return the layers that only a container can have: nothing lies above them, and nothing says what they are."""
        split = {
            copy.split[-1].removesuffix(_SPLIT) for copy in self._unnamed.copies if isinstance(copy, UnpackedLayer)
        }
        taken = split.union(layer.parent for layer in self._layers.values())
        layers = self._layers.values()
        return [one.id for one in layers if not (one.diff_id or one.is_incomplete or one.id in taken) and one.id]

    def _files_of(self, layer: str) -> Path:
        return tuple(layer if part is None else part for part in _FILES[self._driver])


def _entries(document: object, name: str) -> list[dict[str, object]]:
    """Return the entries of a list, of which nothing is an empty one. Raises `RootDamaged`."""
    if document is not None and not isinstance(document, list):
        raise RootDamaged(f"{name} is damaged: it is not a list")
    return objects(document)


def _layer(entry: dict[str, object]) -> _Layer:
    flags = entry.get("flags")
    size = entry.get("diff-size")
    return _Layer(
        text(entry.get("id")),
        text(entry.get("parent")),
        text(entry.get("diff-digest")),
        said_size(size) if isinstance(size, int) else None,
        isinstance(flags, dict) and flags.get("incomplete") is True,
    )


def _with_names(image: OfferedImage, tags: Iterable[Reference], digests: Iterable[Reference]) -> OfferedImage:
    return replace(
        image,
        references=tuple(dict.fromkeys((*image.references, *tags))),
        digests=tuple(dict.fromkeys((*image.digests, *digests))),
    )


def _decoded(name: str) -> str:
    """Return the big data item that a file has."""
    if not name.startswith("="):
        return name
    with suppress(ValueError):
        return base64.b64decode(name[1:]).decode()
    return ""


def _encoded(name: str) -> str:
    """Return the name of the file of a big data item."""
    return name if _PLAIN(name) else "=" + base64.b64encode(name.encode()).decode()
