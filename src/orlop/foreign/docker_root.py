"""A data root of Docker Engine 1.10 and later, where a graph driver keeps the layers.

Theory of operation. Three parts are told apart, and each is of use without the others:

- ``image/DRIVER/imagedb`` has the configs, under their own digest, and beside them what the engine knows of each, such
  as the parent. A config is whole, or it is not: its digest says so. ``repositories.json`` has the names; where it is
  cut off, those that are left are read.
- ``image/DRIVER/layerdb/sha256/CHAIN`` has for each stack of layers where the top one lies (``cache-id``) and its
  tar-split. The config's diff IDs give the chain IDs, so that nothing but these two is needed: ``diff``, ``parent`` and
  ``size`` only confirm.
- ``DRIVER/CACHE-ID`` has the files.

A layer may be had in several places: another chain may have the same layer on top, a chain that was being removed may
still be whole, and where a ``cache-id`` is lost or wrong, directories that no chain names are tried. The diff ID
decides.

Directories that an interrupted pull, load or build has left belong to no chain, and are reported as what they are.

Of a container three directories tell: its settings, its mount in the layer database, and its files, beside which lies
what it began with, under the same name and ``-init``. Without the mount nothing leads from its settings to its files:
each is listed by itself.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from orlop.errors import LimitExceeded, OrlopError, RootDamaged
from orlop.foreign.documents import parsed, salvaged_names, text, text_of
from orlop.foreign.held import ForeignContainer, ForeignImage, Held, diff_ids, said_size
from orlop.foreign.locks import is_locked
from orlop.foreign.names import references
from orlop.foreign.rebuilt import UnpackedLayer
from orlop.foreign.unreadable import MOUNTED, UnreadableLayer, is_filled, note_on, unreadable
from orlop.intake.offer import OfferedImage, OfferedLayer, platform_of, read_config
from orlop.model.digest import ImageID, chain_ids

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from orlop.foreign.disk import Folder
    from orlop.foreign.held import LayerCopy
    from orlop.foreign.rebuilt import Path
    from orlop.model.digest import ChainID, DiffID
    from orlop.model.image import Image
    from orlop.model.limits import Limits

# Where a driver keeps the files of an image's layer; None stands for the cache ID.
_FILES: Final[dict[str, tuple[str | None, ...]]] = {
    "aufs": ("aufs", "diff", None),
    "btrfs": ("btrfs", "subvolumes", None),
    "fuse-overlayfs": ("fuse-overlayfs", None, "diff"),
    "overlay": ("overlay", None, "root"),
    "overlay2": ("overlay2", None, "diff"),
    "vfs": ("vfs", "dir", None),
}
# Of these a container's own files are in another place.
_CHANGES: Final[dict[str, tuple[str | None, ...]]] = _FILES | {"overlay": ("overlay", None, "upper")}
_WHOLE: Final = frozenset({"btrfs", "vfs"})
"""With these a container's directory has all files, and what it began with is another one."""
_DATABASES: Final = ("imagedb", "layerdb")
_HEX: Final = re.compile("[0-9a-f]{64}").fullmatch
_INIT: Final = "-init"
"""So ends the name of what a container began with."""
_REMOVING: Final = re.compile("([0-9a-f]{64})-.*-removing").fullmatch
_GUESSES: Final = 64
# Of so many chains of one layer directories are guessed: what fits the tar-split of one fits that of the others.
_GUESSED: Final = 3
# How many left-overs are named at most.
_LEFT: Final = 20
_SIZE: Final = re.compile("[0-9]{1,18}").fullmatch


def is_docker_root(root: Folder) -> bool:
    """Return whether a directory is a data root with images of graph drivers."""
    return bool(_drivers(root))


def is_older(root: Folder) -> bool:
    """Return whether a directory is a data root of an engine before 1.10."""
    return root.is_directory("graph") and any(name.startswith("repositories-") for name in root.names())


def read_docker_root(root: Folder, limits: Limits) -> Iterator[Held]:
    """Yield what each graph driver of a data root holds; what is damaged is noted, not raised."""
    for driver in _drivers(root):
        yield _DriverRoot(root, driver, limits).read()


def _drivers(root: Folder) -> list[str]:
    """Return the drivers that have images: a daemon shows those of one, though others may lie beside it.

    Those whose images are all lost are among them: beside the settings of containers they have layers.
    """
    found: set[str] = set()
    images = root.there("image")
    if images is not None:
        with images:
            found.update(name for name, here in images.each(images.names()) if any(map(here.is_directory, _DATABASES)))
    if root.is_directory("containers"):
        found.update(driver for driver in _FILES if driver not in found and _has_layers(root, driver))
    return sorted(found)


def _has_layers(root: Folder, driver: str) -> bool:
    """Return whether a driver has the files of a layer."""
    names = filter(_HEX, _layer_names(root, driver))
    return any(_is_there(root, _filled(_FILES[driver], name)) for name in names)


def _layer_names(root: Folder, driver: str) -> list[str]:
    """Return the names of the directories of layers, and of whatever lies beside them."""
    place = _FILES.get(driver)
    folder = None if place is None else root.there(*(part for part in place[: place.index(None)] if part))
    if folder is None:
        return []
    with folder:
        return [name for name in folder.names() if name != "l"]


class _Chain(NamedTuple):
    """An entry of the layer database: its directory, and what it says; empty where it does not."""

    name: str
    cache_id: str
    diff_id: str
    size: int | None


class _DriverRoot:
    """The images of one graph driver, under way."""

    def __init__(self, root: Folder, driver: str, limits: Limits) -> None:
        self._root = root
        self._driver = driver
        self._limits = limits
        self._held = Held(f"docker {driver}")
        self._chains: dict[str, _Chain] = {}
        self._by_diff: dict[str, list[_Chain]] = {}
        self._removing: dict[str, list[_Chain]] = {}
        self._orphans: list[str] = []
        # Whether all names of images could be read.
        self._is_listed = False

    def read(self) -> Held:
        held = self._held
        if self._driver not in _FILES:
            held.notes.append(note_on(self._driver))
        self._read_chains()
        names = self._names()
        # What the engine knows of an image goes before its config does.
        for hex_id in self._digests("metadata"):
            names.setdefault(f"sha256:{hex_id}", [])
        for hex_id in self._configs(names):
            held.images.append(self._image(hex_id, names.pop(f"sha256:{hex_id}", [])))
        for image_id, lost in names.items():
            problem = f"its config {image_id} is missing from the image database"
            held.images.append(ForeignImage(image_id, held.place, tuple(lost), problems=(problem,)))
        self._note_lost()
        # Images of another engine may have layers that those here have not.
        for diff_id in diff_ids(self._by_diff):
            if diff_id not in held.copies:
                there = (one for one in self._by_diff[str(diff_id)] if one.cache_id)
                held.offer(diff_id, (self._copy(one, one.cache_id) for one in there))
        held.containers += self._containers()
        self._note_leftovers()
        return held

    def _database(self, *names: str) -> Folder | None:
        return self._root.there("image", self._driver, *names)

    def _read_chains(self) -> None:
        folder = self._database("layerdb", "sha256")
        if folder is None:
            self._held.notes.append("its layer database is missing, so that no layer can be found")
            return
        with folder:
            for name in self._listed(folder):
                removing = _REMOVING(name)
                if not _HEX(name) and not removing:
                    continue
                if removing:
                    self._held.notes.append(f"the layer {removing[1]} was being removed; it is used if it is needed")
                here = folder.there(name)
                if here is None:
                    continue
                with here:
                    chain = _Chain(name, _said(here, "cache-id"), _said(here, "diff"), _number(_said(here, "size")))
                self._chains[name] = chain
                if removing:
                    self._removing.setdefault(removing[1], []).append(chain)
                self._by_diff.setdefault(chain.diff_id, []).append(chain)
        known = {chain.cache_id for chain in self._chains.values()}
        names = _layer_names(self._root, self._driver)
        self._orphans = [name for name in names if name not in known and not name.endswith(_INIT)]

    def _listed(self, folder: Folder) -> list[str]:
        """Return the names in a directory; it is noted where they cannot be had."""
        try:
            return folder.all_names()
        except RootDamaged as error:
            self._held.notes.append(str(error))
            return []

    def _names(self) -> dict[str, list[str]]:
        """Return the names of each image, by its ID."""
        found: dict[str, list[str]] = {}
        for name, image in self._listed_names():
            found.setdefault(image, []).append(name)
        return found

    def _listed_names(self) -> Iterator[tuple[str, str]]:
        folder = self._database()
        raw = b""
        try:
            if folder is None:
                return
            with folder:
                raw = folder.read("repositories.json", self._limits.documents_size)
            repositories = _repositories(raw, self._limits)
            self._is_listed = True
        except (RootDamaged, LimitExceeded) as error:
            salvaged = list(salvaged_names(raw))
            left = f"; {len(salvaged)} of its names are left" if salvaged else "; the names of its images are lost"
            self._held.notes.append(f"{error}{left}")
            yield from salvaged
            return
        for names in repositories.values():
            if isinstance(names, dict):
                yield from ((name, image) for name, image in names.items() if isinstance(image, str))

    def _digests(self, part: str) -> list[str]:
        """Return the digests that a part of the image database has; none where it cannot be listed."""
        folder = self._database("imagedb", part, "sha256")
        if folder is None:
            return []
        with folder:
            return [name for name in folder.names() if _HEX(name)]

    def _configs(self, known: Iterable[str]) -> list[str]:
        """Return the digests of all configs, or where they cannot be listed those that are known to be there."""
        folder = self._database("imagedb", "content", "sha256")
        if folder is None:
            self._held.notes.append("its image database is missing, and all images with it")
            self._held.is_damaged = True
            return []
        with folder:
            try:
                return [name for name in folder.all_names() if _HEX(name)]
            except RootDamaged as error:
                self._held.notes.append(f"{error}; only images that have a name are listed")
                self._held.is_damaged = True
                names = (image_id.removeprefix("sha256:") for image_id in known)
                return [name for name in names if _HEX(name) and folder.state(name) is not None]

    def _note_lost(self) -> None:
        """Note layers without images. A whole list without images explains them: a build cache has layers, too."""
        if self._held.images or not self._chains:
            return
        self._held.notes.append(
            f"no image is left that has one of the layers in its layer database ({len(self._chains)})"
        )
        if not self._is_listed:
            self._held.is_damaged = True

    def _image(self, hex_id: str, names: list[str]) -> ForeignImage:
        place, image_id = self._held.place, f"sha256:{hex_id}"
        try:
            image = self._config(hex_id)
        except OrlopError as error:
            return ForeignImage(image_id, place, tuple(names), problems=(str(error),))
        tags, digests, problems = references(names)
        diff_ids = image.rootfs.diff_ids
        chains = chain_ids(diff_ids)
        sizes = [self._place(diff_id, chain) for diff_id, chain in zip(diff_ids, chains, strict=True)]
        offered = OfferedImage(
            image,
            tuple(OfferedLayer(str(diff_id), diff_id) for diff_id in diff_ids),
            platform_of(image),
            tags,
            digests,
            self._parent(hex_id),
        )
        size = None if None in sizes else sum(size for size in sizes if size is not None)
        return ForeignImage(image_id, place, tuple(names), offered, said_size(size), tuple(problems))

    def _config(self, hex_id: str) -> Image:
        folder = self._root.below("image", self._driver, "imagedb", "content", "sha256")
        with folder:
            raw = folder.read(hex_id, self._limits.config_size)
        found = ImageID.of(raw)
        if found.hex != hex_id:
            raise RootDamaged(f"its config is damaged: it has the digest {found}")
        return read_config(raw, self._limits)

    def _parent(self, hex_id: str) -> ImageID | None:
        folder = self._database("imagedb", "metadata", "sha256", hex_id)
        if folder is None:
            return None
        with folder:
            try:
                return ImageID.parse(text_of(folder, "parent"))
            except OrlopError:
                return None

    def _place(self, diff_id: DiffID, chain_id: ChainID) -> int | None:
        """Note where a layer may be had, and return its size as the engine has it."""
        chain = self._chains.get(chain_id.hex)
        # The same layer may be in thousands of chains: those that have it on top are gone through once.
        others = () if diff_id in self._held.copies else self._by_diff.get(str(diff_id), ())
        self._held.offer(diff_id, self._candidates(chain_id, chain, others))
        return None if chain is None else chain.size

    def _candidates(self, chain_id: ChainID, chain: _Chain | None, others: Sequence[_Chain]) -> Iterator[LayerCopy]:
        found = [] if chain is None else [chain]
        found += [other for other in others if other != chain]
        found += self._removing.get(chain_id.hex, ())
        for one in found:
            if one.cache_id:
                yield self._copy(one, one.cache_id)
        if found and not found[0].cache_id:
            place = f"image/{self._driver}/layerdb/sha256/{found[0].name}/cache-id"
            yield UnreadableLayer(f"{place} is lost, and with it where its files are")
        for one in found[:_GUESSED] if self._driver in _FILES else ():
            if self._lacks_files(one.cache_id):
                yield from (self._copy(one, orphan, is_guess=True) for orphan in self._orphans[:_GUESSES])

    def _copy(self, chain: _Chain, cache_id: str, *, is_guess: bool = False) -> LayerCopy:
        split = ("image", self._driver, "layerdb", "sha256", chain.name, "tar-split.json.gz")
        files = _filled(_FILES.get(self._driver) or MOUNTED.get(self._driver), cache_id)
        if self._driver not in _FILES and not is_filled(self._root, files):
            return unreadable(self._driver, cache_id)
        return UnpackedLayer(self._root, split, files, is_guess)

    def _lacks_files(self, cache_id: str) -> bool:
        return not cache_id or not _is_there(self._root, _filled(_FILES.get(self._driver), cache_id))

    def _containers(self) -> Iterator[ForeignContainer]:
        mounts: set[str] = set()
        folder = self._database("layerdb", "mounts")
        if folder is not None:
            with folder:
                for name, here in folder.each(folder.names()):
                    mounts.add(mount := _said(here, "mount-id"))
                    yield self._container(name, mount, _said(here, "init-id"))
        # What has lost its mount.
        layers = dict.fromkeys(_layer_names(self._root, self._driver))
        for name in layers:
            own = name.removesuffix(_INIT)
            if own != name and own not in mounts and own in layers:
                yield self._container(own, own, name)

    def _container(self, container: str, mount: str, before: str) -> ForeignContainer:
        place = self._held.place
        name, image = name_of_container(self._root, container, self._limits)
        is_whole = self._driver in _WHOLE
        if not mount or (is_whole and not before) or self._driver not in _CHANGES:
            problem = f"what it has changed cannot be told apart with {self._driver}" if mount else "its layer is lost"
            return ForeignContainer(container, name, image, place, None, problem)
        files = _CHANGES[self._driver]
        lower = _filled(files, before) if is_whole else None
        return ForeignContainer(container, name, image, place, _filled(files, mount), lower=lower)

    def _note_leftovers(self) -> None:
        notes = self._held.notes
        folder = self._database("layerdb", "tmp")
        if folder is not None:
            with folder:
                count = len(folder.names())
            if count:
                notes.append(f"{count} unfinished layer{'s' * (count > 1)} of an interrupted pull, load or build")
        folder = self._root.there("tmp")
        if folder is not None:
            with folder:
                left = [name for name in folder.names() if name.startswith("docker-")]
            notes += [f"left in tmp: {name}" for name in left[:_LEFT]]
            if len(left) > _LEFT:
                notes.append(f"left in tmp: {len(left) - _LEFT} more")
        for name in ("volumes/metadata.db", "network/files/local-kv.db", "buildkit/cache.db"):
            if is_locked(self._root, tuple(name.split("/"))):
                notes.append(f"a daemon is using this root: {name} is locked; what it changes meanwhile may be missed")
                break


def containers_of(root: Folder) -> list[str]:
    """Return the IDs of the containers whose settings a data root has."""
    folder = root.there("containers")
    if folder is None:
        return []
    with folder:
        return [name for name in folder.names() if _HEX(name)]


def name_of_container(root: Folder, container: str, limits: Limits) -> tuple[str, str]:
    """Return the name and the image of a container, as its settings in a data root have them, or nothing."""
    settings = settings_of(root, container, limits)
    return text(settings.get("Name")).lstrip("/"), text(settings.get("Image"))


def settings_of(root: Folder, container: str, limits: Limits) -> dict[str, object]:
    """Return the settings of a container, or nothing where they cannot be read."""
    folder = root.there("containers", container)
    if folder is None:
        return {}
    with folder:
        try:
            document = parsed(folder.read("config.v2.json", limits.config_size), "config.v2.json", limits)
        except (RootDamaged, LimitExceeded):
            return {}
    return document if isinstance(document, dict) else {}


def _repositories(raw: bytes, limits: Limits) -> dict[str, object]:
    document = parsed(raw, "repositories.json", limits)
    repositories = document.get("Repositories") if isinstance(document, dict) else None
    if not isinstance(repositories, dict):
        raise RootDamaged("repositories.json is damaged: it has no list of repositories")
    return repositories


def _is_there(root: Folder, path: Path) -> bool:
    """Return whether a directory is there."""
    folder = root.there(*path)
    if folder is None:
        return False
    folder.close()
    return True


def _filled(place: tuple[str | None, ...] | None, cache_id: str) -> Path:
    return tuple(cache_id if part is None else part for part in place or ("", None))


def _said(folder: Folder, name: str) -> str:
    """Return a short text of a file, or nothing where it cannot be had."""
    try:
        return text_of(folder, name)
    except OrlopError:
        return ""


def _number(text: str) -> int | None:
    return int(text) if _SIZE(text) else None
