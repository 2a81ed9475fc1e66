"""A data root of another engine, found below a directory, and its images as a source of images."""

from __future__ import annotations

import os
import re
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final, Generic

from orlop.errors import (
    AmbiguousID,
    ContainerNotFound,
    DigestMismatch,
    IntegrityError,
    InvalidInput,
    InvalidRoot,
    LayerNotFound,
    LimitExceeded,
    RootDamaged,
)
from orlop.foreign.disk import Folder, go_on
from orlop.foreign.documents import text
from orlop.foreign.held import ForeignContainer
from orlop.foreign.names import words_of
from orlop.foreign.places import likely_paths, likely_places, links_on, searched_places
from orlop.intake.offer import Offer
from orlop.intake.source import Found
from orlop.intake.taking import L
from orlop.model.closing import Closing
from orlop.model.limits import DEFAULT_LIMITS, limits_or
from orlop.model.values import replace
from orlop.streams.given import path_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from orlop.foreign.held import ForeignImage, Held, LayerCopy
    from orlop.foreign.rebuilt import Path
    from orlop.intake.offer import OfferedLayer, OfferedManifest
    from orlop.intake.platforms import PlatformChoice
    from orlop.intake.taking import Taking
    from orlop.model.limits import Limits
    from orlop.model.progress import Progress

# In a data root of Docker: of an engine that leaves images to containerd, and of one that maps the IDs of users.
_NESTED: Final = re.compile("containerd|daemon|[0-9]{1,10}\\.[0-9]{1,10}").fullmatch
_NESTING: Final = 3
# What lies directly in a data root.
_PART: Final = re.compile(
    r"image|overlay2?|fuse-overlayfs|vfs|aufs|btrfs|(?:overlay|vfs|btrfs)-\w+|io\.containerd\..*"
).fullmatch
# Each is held open, and is looked into for each container without a name.
_MOST_SETTINGS: Final = 32
# Roots that are held open; a process may hold about a thousand files, and a disk may have a root for each user.
_MOST_OPEN: Final = 128
# How many are named at most.
_LINKS: Final = 10
_LAYER_LOST: Final = "its layer is lost: it may be one of those whose container is not known"
MOST_LAYERS: Final = 500
"""The layers that an image of a root may have unless a user asks for others: as many as Podman stacks."""


class ForeignRoot(Closing):
    """What engines left below a directory. Nothing is ever written there. Leaving the block closes it.

    ``held`` has what each engine keeps in each place. Safe to share between threads.
    """

    def __init__(self, path: str, limits: Limits = DEFAULT_LIMITS) -> None:
        self.path = path
        self.limits = _limits_of_root(limits)
        self._folders = [Folder.open(path)]
        # Where each of `held` is.
        self._homes: list[Folder] = []
        self._met: set[tuple[int, int]] = set()
        # Those of Podman, among which one may have what another one needs.
        self._podmans: list[Folder] = []
        # Directories with the settings of Docker's containers, whose files may be in another one, of containerd.
        self._settings: list[Folder] = []
        self._links: list[str] = []
        try:
            self.held: tuple[Held, ...] = tuple(self._read())
            self._name_containers()
            self._note_lost()
        except BaseException:
            self.close()
            raise

    def _read(self) -> Iterator[Held]:
        from orlop.foreign.docker_root import containers_of, is_older  # noqa: PLC0415 - rooms are read as they are met

        found = False
        for folder in self._places():
            is_known = self._is_known(folder)
            if not is_known and len(self._settings) < _MOST_SETTINGS and containers_of(folder):
                self._settings.append(folder.copy())
            held = () if is_known else tuple(_held_of(folder, self.limits, self._podmans))
            if held:
                found = True
                self._folders.append(folder)
                self._homes += [folder] * len(held)
                if len(self._folders) > _MOST_OPEN:
                    folder.park(self._folders[0])
                yield from held
            else:
                folder.close()
        if not found:
            if is_older(self._folders[0]):
                raise InvalidRoot(f"{self.path} was written by a Docker Engine before 1.10, which orlop cannot read")
            raise InvalidRoot(
                f"{self.path} is not a data root of Docker, Podman or containerd, nor a disk on which one was found;"
                f" name the directory itself, such as {_above(self.path) or '/mnt/var/lib/docker'}"
                + "".join(f"; {self._links[0]} is a link, which is not followed" for _ in self._links[:1])
            )

    def _name_containers(self) -> None:
        """Name the containers that have no name where they are, and add those that are nowhere."""
        from orlop.foreign.docker_root import containers_of, name_of_container  # noqa: PLC0415 - as they are met

        for held in self.held if self._settings else ():
            for number, container in enumerate(held.containers):
                for folder in () if container.name else self._settings:
                    name, image = name_of_container(folder, container.id, self.limits)
                    if name:
                        held.containers[number] = container._replace(name=name, image=image)
                        break
        known = {container.id for held in self.held for container in held.containers}
        for folder in self._settings:
            for lost in containers_of(folder):
                if lost not in known:
                    self._add_lost(folder, lost)

    def _add_lost(self, folder: Folder, container: str) -> None:
        """Add a container of Docker of which nothing but the settings is left, to what its driver has."""
        from orlop.foreign.docker_root import settings_of  # noqa: PLC0415 - as above

        settings = settings_of(folder, container, self.limits)
        places = {f"docker {text(settings.get('Driver'))}", "containerd moby"}
        held = next((held for held in self.held if held.place in places), self.held[0])
        name, image = text(settings.get("Name")).lstrip("/"), text(settings.get("Image"))
        held.containers.append(ForeignContainer(container, name, image, held.place, None, _LAYER_LOST))

    def _note_lost(self) -> None:
        """Note that there are no images, though there are containers that were made of one."""
        for held in () if self.images else self.held:
            count = sum(1 for container in held.containers if container.image)
            if count:
                held.notes.append(
                    f"no image is here, but there are containers of images ({count}): are these in another directory?"
                )
                held.is_damaged = True

    def _is_known(self, folder: Folder) -> bool:
        """Return whether a directory was met before, by another way."""
        state = os.fstat(folder.descriptor)
        identity = state.st_dev, state.st_ino
        if identity in self._met:
            return True
        self._met.add(identity)
        return False

    def _places(self) -> Iterator[Folder]:
        """Yield the directories that may be a data root, and those in them that may be one, too."""
        top = self._folders[0]
        paths = likely_paths(top, self.limits)
        for folder in likely_places(top, paths):
            yield from _with_nested(folder, _NESTING)
        self._links = links_on(top, paths)
        if len(self._folders) == 1 or self._links:
            yield from searched_places(top, _is_root)

    @property
    def images(self) -> tuple[ForeignImage, ...]:
        """All images, those that are damaged too."""
        return tuple(image for held in self.held for image in held.images)

    @property
    def containers(self) -> tuple[ForeignContainer, ...]:
        """All containers; their directories are told from this one on, whichever data root they are in."""
        return tuple(
            container._replace(files=self._below(folder, container.files), lower=self._below(folder, container.lower))
            for held, folder in zip(self.held, self._homes, strict=True)
            for container in held.containers
        )

    def _below(self, folder: Folder, path: Path | None) -> Path | None:
        """Return a path in a data root as one from this directory on."""
        return None if path is None else (*folder.names_below(self._folders[0]), *path)

    def changes(self, name: str) -> Iterator[bytes]:
        """Yield what a container has changed, as a layer: an uncompressed tar, see `orlop.foreign.changes`.

        Args:
            name: the name of the container, or the first digits of its ID.

        Raises:
            ContainerNotFound: there is none. AmbiguousID: there are several. RootDamaged: its files cannot be read, or
                its engine does not keep them apart.
        """
        from orlop.foreign.changes import changes_chunks  # noqa: PLC0415 - images have none

        folder, container = self._container(name)
        if container.files is None:
            raise RootDamaged(f"the changes of the container {name} cannot be copied: {container.problem}")
        with folder.below(*container.files) as files, ExitStack() as stack:
            lower = None if container.lower is None else stack.enter_context(folder.below(*container.lower))
            yield from changes_chunks(files, lower)

    def _container(self, name: str) -> tuple[Folder, ForeignContainer]:
        everyone = [
            (folder, one) for held, folder in zip(self.held, self._homes, strict=True) for one in held.containers
        ]
        found = [entry for entry in everyone if name in {entry[1].id, entry[1].name}] or [
            entry for entry in everyone if name and entry[1].id.startswith(name)
        ]
        if not found:
            msg = f"the root {self.path} holds no container {name}; orlop rescue --containers lists them"
            raise ContainerNotFound(msg)
        if len(found) > 1:
            msg = f"the root {self.path} holds several containers {name}; give more digits of an ID"
            raise AmbiguousID(msg)
        return found[0]

    @property
    def notes(self) -> tuple[str, ...]:
        """What there is to say of the directory as a whole."""
        links = [
            f"{link} is a link, which is not followed; if what it leads to is not listed, name that directory"
            for link in self._links[:_LINKS]
        ]
        left = len(self._links) - _LINKS
        return (*links, *([f"{left} more links are not followed"] if left > 0 else []))

    @property
    def places(self) -> tuple[str, ...]:
        """The directories that must not be written: all of the root, or of this machine's own disk the data roots."""
        if os.path.realpath(self.path) != "/":
            return (self.path,)
        return self.data_roots

    @property
    def data_roots(self) -> tuple[str, ...]:
        """The directories in which engines keep their data."""
        return tuple(folder.path for folder in self._folders[1:])

    @property
    def manifests(self) -> tuple[OfferedManifest, ...]:
        """All manifests and indexes that belong to images."""
        return tuple(manifest for held in self.held for manifest in held.manifests)

    def copies(self, layer: OfferedLayer) -> Iterator[LayerCopy]:
        """Yield the places where a layer may be had in the form that is offered, the likeliest first."""
        for held in self.held:
            yield from (one for one in held.copies.get(layer.diff_id, ()) if layer.digest in {None, one.digest})
        for held in self.held if layer.digest is None else ():
            unlisted = None if held.unlisted is None else held.unlisted(layer.diff_id)
            if unlisted is not None:
                yield unlisted

    def has(self, layer: OfferedLayer) -> bool:
        """Return whether there is any place where a layer may be had."""
        return next(self.copies(layer), None) is not None

    def taken(
        self, layer: OfferedLayer, taking: Taking[L], *, check: Callable[[], None] | None = None
    ) -> tuple[L, LayerCopy, int]:
        """Return a layer, the place where it is, and which of its attempts is right: every place is tried.

        Raises:
            DigestMismatch: it cannot be had; the sentence says why. LimitExceeded, StorageError.
        """
        reasons = []
        for copy in self.copies(layer):
            failed, limited = "", False
            for number, reader in enumerate(copy.attempts(taking.meter, check or go_on)):
                try:
                    taken = taking.layer(reader, label=layer.diff_id.short, check=check)
                except RootDamaged as error:
                    failed = failed or str(error)
                    continue
                except LimitExceeded as error:
                    failed, limited = str(error), True
                    break
                except (IntegrityError, InvalidInput) as error:
                    failed = failed or f"what its files give is not a layer: {error}"
                    continue
                if taken.diff.diff_id == layer.diff_id:
                    return taken, copy, number
            reasons.append((failed if limited else copy.reason) or failed or "its files are not those of this layer")
        why = reasons[0] if reasons else "it is nowhere in the root"
        raise DigestMismatch(f"the layer {layer.diff_id} cannot be rebuilt: {why}")

    def source(self, taking: Taking[L], images: tuple[ForeignImage, ...] | None = None) -> ForeignSource[L]:
        """Return images as a source; without ``images`` all whose configs are whole."""
        return ForeignSource(self, taking, self.images if images is None else images)

    def close(self) -> None:
        """Close all directories."""
        for folders in (self._folders, self._settings):
            while folders:
                folders.pop().close()


def open_root(path: str | os.PathLike[str], *, limits: Limits = DEFAULT_LIMITS) -> ForeignRoot:
    """Open the data roots of other engines below a directory, and read everything except layers.

    Args:
        path: a data root, a disk that has data roots in their usual places, or a directory that contains some.
        limits: the limits on what a data root may contain; by default an image may have `MOST_LAYERS` layers.

    Raises:
        WrongType: it is not a path. InvalidRoot: it is not a data root. StorageError: the directory cannot be read.
    """
    return ForeignRoot(path_text(path, "a data root"), limits_or(limits, DEFAULT_LIMITS))


def _limits_of_root(limits: Limits) -> Limits:
    """Return limits with room for all layers that an engine has kept, unless other ones are asked for."""
    return replace(limits, layers=MOST_LAYERS) if limits.layers == DEFAULT_LIMITS.layers else limits


def _above(path: str) -> str:
    """Return the directory of which a path names a part, if that is the name of one; nothing is looked at."""
    parts = os.path.abspath(path).split("/")
    place = next((place for place, part in enumerate(parts) if _PART(part)), 0)
    return "/".join(parts[:place])


def _with_nested(folder: Folder, depth: int) -> Iterator[Folder]:
    """Yield a directory, and those in it that may be a data root of their own."""
    with folder:
        yield folder.copy()
        for name in filter(_NESTED, folder.names()) if depth else ():
            nested = folder.there(name)
            if nested is not None:
                yield from _with_nested(nested, depth - 1)


def _is_root(folder: Folder) -> bool:
    from orlop.foreign.containerd_root import is_containerd_root  # noqa: PLC0415 - rooms are read as they are met
    from orlop.foreign.docker_root import is_docker_root  # noqa: PLC0415 - as above
    from orlop.foreign.podman_root import drivers  # noqa: PLC0415 - as above

    return is_docker_root(folder) or bool(drivers(folder)) or is_containerd_root(folder)


def _held_of(folder: Folder, limits: Limits, podmans: list[Folder]) -> Iterator[Held]:
    from orlop.foreign.docker_root import is_docker_root, read_docker_root  # noqa: PLC0415 - as they are met

    if is_docker_root(folder):
        yield from read_docker_root(folder, limits)
    from orlop.foreign.podman_root import drivers, read_podman_root  # noqa: PLC0415 - as above

    if drivers(folder):
        podmans.append(folder)
        yield from read_podman_root(folder, limits, podmans)
    from orlop.foreign.containerd_root import is_containerd_root, read_containerd_root  # noqa: PLC0415 - as above

    if is_containerd_root(folder):
        yield from read_containerd_root(folder, limits)


class ForeignSource(Generic[L]):
    """Some images of a root, an `orlop.intake.source.ImageSource`."""

    parallel = True
    remote = False

    def __init__(self, root: ForeignRoot, taking: Taking[L], images: tuple[ForeignImage, ...]) -> None:
        self._root = root
        self._taking = taking
        self._images = images
        self.words = words_of(f"the root {root.path}", "layer")

    @property
    def limits(self) -> Limits:
        """What it may ask for."""
        return self._taking.limits

    @property
    def progress(self) -> Progress | None:
        """Told of every layer's bytes."""
        return self._taking.progress

    def offer(self, choice: PlatformChoice) -> Offer:
        """Return the images whose configs are whole. Raises `InvalidRoot`, `PlatformNotFound`."""
        images = {image.offered.image.id: image.offered for image in self._images if image.offered is not None}
        if not images:
            raise InvalidRoot(f"{self.words.name} holds no image whose config is whole")
        manifests = tuple(one for one in self._root.manifests if all(owner in images for owner in one.images))
        return Offer(tuple(images.values()), manifests, "a data root").only(choice, self.words)

    def find(self, layer: OfferedLayer) -> Found | None:
        """Return that a layer may be had, if there is any place for it."""
        return Found(str(layer.digest or layer.diff_id)) if self._root.has(layer) else None

    def missing(self, layer: OfferedLayer) -> LayerNotFound:
        """Return the error for a layer that is nowhere."""
        return LayerNotFound(f"{self.words.name} has no layer {layer.diff_id}: its entry in the layer database is lost")

    def layer(self, layer: OfferedLayer, *, check: Callable[[], None] | None = None) -> L:
        """Return a layer, rebuilt: every place where it may be had is tried.

        Raises:
            DigestMismatch: it cannot be had; the sentence says why. LimitExceeded, StorageError.
        """
        return self._root.taken(layer, self._taking, check=check)[0]
