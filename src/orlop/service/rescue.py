"""``rescue``: images out of what another engine left on a disk, one by one, so that one that is damaged harms no other.

An image is taken in a transaction of its own, under all its names. What is there already is not read again, so that a
rescue that was interrupted goes on where it was. For an archive images are taken into a store beside the target, which
goes when the archive is complete.
"""

from __future__ import annotations

import os
import shutil
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal

from orlop.errors import IntegrityError, InvalidInput, NotFound, StoreInUse
from orlop.foreign.root import open_root
from orlop.intake.commit import commit
from orlop.intake.offer import Offer
from orlop.intake.taking import measuring, storing
from orlop.model.limits import limits_or
from orlop.model.names import image_names
from orlop.service.rescue_names import GivenNames, saved_names, selected_images
from orlop.service.rescue_places import check_outside, check_store
from orlop.service.save import save
from orlop.store.images import in_circles
from orlop.store.local import local_store
from orlop.store.opening import open_store
from orlop.streams.directory import Directory
from orlop.streams.file_lock import FileLock
from orlop.streams.files import explaining, make_directories
from orlop.streams.output import Output

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from orlop.foreign.held import ForeignContainer, ForeignImage
    from orlop.foreign.root import ForeignRoot
    from orlop.intake.offer import OfferedLayer, OfferedManifest
    from orlop.model.digest import ImageID
    from orlop.model.limits import Limits
    from orlop.model.names import Name
    from orlop.model.progress import Progress
    from orlop.store.opening import Root
    from orlop.store.root import Store

State = Literal["complete", "whole", "rescued", "damaged"]
"""Of an image: nothing is missing; all of it was read and is right; it was taken; or something of it is lost."""

_DONE: Final = ".done"
_LOCK: Final = ".lock"
_DAMAGE: Final = (IntegrityError, InvalidInput, NotFound)


@dataclass(frozen=True, slots=True)
class RescuedImage:
    """An image of a root, and what became of it; ``problems`` say what is wrong with it, a sentence each."""

    image: ForeignImage
    state: State
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RescueReport:
    """What a root holds, and what became of it.

    ``places`` are what was found: engines with their storage. ``notes`` concern no single image. ``is_partial`` says
    that there may be images that are not found, since what an engine has listed them in is lost; the notes say where.
    """

    root: str
    places: tuple[str, ...]
    images: tuple[RescuedImage, ...]
    containers: tuple[ForeignContainer, ...]
    notes: tuple[str, ...]
    is_partial: bool = False

    @property
    def damaged(self) -> tuple[RescuedImage, ...]:
        """The images of which something is lost."""
        return tuple(image for image in self.images if image.state == "damaged")


def look(
    root: str | os.PathLike[str],
    names: Sequence[Name] = (),
    *,
    verify: bool = False,
    limits: Limits | None = None,
    progress: Progress | None = None,
) -> RescueReport:
    """Return what another engine left below a directory. Nothing is written.

    Args:
        root: a data root, or a disk that has one in its usual place.
        names: the images to look at; none for all.
        verify: read all layers, and compare them with their diff IDs. Else images are only ``complete``.
        limits: what the root may ask for.
        progress: called with events about layers, where they are read.

    Raises:
        InvalidRoot: there is no data root. ImageNotFound: it has no image of a name. StorageError: it cannot be read.
    """
    with opened_root(root, limits) as foreign:
        examination = _Examination(foreign, progress)
        wanted = selected_images(foreign, names)
        return _report(foreign, names, [examination.image(image, verify=verify) for image in wanted])


def rescue_into(
    store: Store,
    root: str | os.PathLike[str],
    names: Sequence[Name] = (),
    *,
    limits: Limits | None = None,
    progress: Progress | None = None,
) -> RescueReport:
    """Take images that another engine left below a directory into a store. May be repeated.

    Args:
        store: where to.
        root: as for `look`; nothing below it is written.
        names: the images to take, each under that name; none for all.
        limits: what the root may ask for, instead of the limits of the store.
        progress: called with events about layers.

    Returns:
        What became of each image. One that is damaged is not taken.

    Raises:
        InvalidRoot, ImageNotFound: as for `look`. InvalidInput: the store lies in the root. StorageError: the store
        cannot be written; what was taken before stays.
    """
    store.require_writable()
    with opened_root(root, limits_or(limits, store.limits)) as foreign:
        for directory in store.directories:
            check_outside(foreign, directory)
        store.blobs.sweep_ingests()
        examination = _Examination(foreign, progress)
        wanted = selected_images(foreign, names)
        names_given = GivenNames()
        found = []
        for image in wanted:
            own, problems = names_given.left_for(image)
            taken = _taken(store, foreign, own, examination, progress)
            if taken.state == "rescued":
                names_given.note(own)
                taken = replace(taken, problems=(*taken.problems, *problems))
            found.append(taken)
        circular = _link(store, wanted)
        return _report(foreign, names, [_without_parent(one) if one.image.id in circular else one for one in found])


def rescue_store(
    place: Root,
    root: str | os.PathLike[str],
    names: Sequence[Name] = (),
    *,
    allow_network: bool = False,
    allow_foreign: bool = False,
    temporary: str | None = None,
    limits: Limits | None = None,
    progress: Progress | None = None,
) -> RescueReport:
    """Take images into the store that a root names, see `rescue_into`; a directory is made where there is none.

    Args:
        place: the directory or the URL of the store.
        root: as for `look`.
        names: the images to take.
        allow_network: as for `orlop.open`.
        allow_foreign: as for `orlop.open`.
        temporary: where the user wants temporary files, which a store beyond this machine needs.
        limits: what the root may ask for.
        progress: called with events about layers.

    Raises:
        InvalidRoot, ImageNotFound, InvalidInput, StorageError: as for `rescue_into`.
    """
    with opened_root(root, limits) as foreign:
        check_store(foreign, place, temporary)
    with closing(open_store(place, allow_network=allow_network, allow_foreign=allow_foreign)) as store:
        return rescue_into(store, root, names, limits=limits, progress=progress)


def rescue_archive(
    target: str | os.PathLike[str],
    root: str | os.PathLike[str],
    names: Sequence[Name] = (),
    *,
    format: str = "docker",  # noqa: A002 - the word of `save`
    limits: Limits | None = None,
    progress: Progress | None = None,
) -> RescueReport:
    """Write images that another engine left below a directory into an archive, or a layout in a directory.

    Layers are kept beside the target, in ``.NAME.rescue``, until it is complete; a rescue that was interrupted finds
    them there.

    Args:
        target: the file or the directory. A file appears when it is complete.
        root: as for `look`; nothing below it is written.
        names: the images to take, each under that name; none for all.
        format: as for `orlop.ImageService.save`.
        limits: what the root may ask for.
        progress: called with events about layers.

    Raises:
        InvalidRoot, ImageNotFound: as for `look`. InvalidInput: the target lies in the root. StoreInUse: another
        rescue writes it. StorageError: it cannot be written.
    """
    path = os.path.abspath(os.fspath(target))
    scratch = os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.rescue")
    with opened_root(root, limits) as foreign:
        for place in (path, os.path.dirname(path), scratch):
            check_outside(foreign, place)
    with _alone(path, scratch + _LOCK):
        _remove(scratch + _DONE)
        with closing(local_store(scratch, create=True)) as store:
            report = rescue_into(store, root, names, limits=limits, progress=progress)
            saved = [name for image in report.images if image.state == "rescued" for name in saved_names(image.image)]
            if saved:
                save(store, image_names(dict.fromkeys(saved)), path, format=format, progress=progress)
        with explaining("remove", scratch):
            # A store that is half removed could not be opened by the next rescue.
            os.rename(scratch, scratch + _DONE)
        _remove(scratch + _DONE)
    return report


@contextmanager
def _alone(target: str, path: str) -> Iterator[None]:
    """Keep other rescues from a target for a block, by the lock of a file, which goes. Raises `StoreInUse`."""
    above, name = os.path.split(path)
    with explaining("write", target):
        make_directories(above)
        folder = Directory(above)
    with closing(folder):
        lock = FileLock(folder.at(name))
        with explaining("write", target):
            is_ours = lock.try_acquire()
        # Whoever has ended meanwhile has taken the file away.
        if not is_ours or not lock.is_current():
            lock.release()
            raise StoreInUse(f"another rescue writes {target}; wait until it ends, or name another target")
        try:
            yield
        finally:
            with explaining("remove", path), suppress(FileNotFoundError):
                os.unlink(path)
            lock.release()


def rescue_container(target: str | os.PathLike[str], root: str | os.PathLike[str], container: str) -> int:
    """Write what a container has changed into a file, as a layer: an uncompressed tar.

    Args:
        target: the file, which appears when it is complete; or a pipe.
        root: as for `look`; nothing below it is written.
        container: its name, or the first digits of its ID.

    Returns:
        How many bytes were written.

    Raises:
        InvalidRoot: there is no data root. ContainerNotFound, AmbiguousID: it has no container of that name, or
        several. InvalidInput: the target lies in the root. RootDamaged: what the container has changed cannot be read.
        StorageError: the target cannot be written.
    """
    with open_root(root) as foreign:
        check_outside(foreign, os.path.abspath(os.fspath(target)))
        with Output(target) as out:
            size = sum(map(out.write, foreign.changes(container)))
            out.finish()
    return size


def _remove(directory: str) -> None:
    with explaining("remove", directory), suppress(FileNotFoundError):
        shutil.rmtree(directory)


def opened_root(root: str | os.PathLike[str], limits: Limits | None) -> ForeignRoot:
    """Open a root with limits, or with those that there are by default. Raises what `orlop.foreign.open` raises."""
    return open_root(root) if limits is None else open_root(root, limits=limits)


def _report(foreign: ForeignRoot, names: Sequence[Name], images: Iterable[RescuedImage]) -> RescueReport:
    """Return the report on images, which are all unless there are names."""
    places = tuple(held.place for held in foreign.held)
    partial = is_partial(foreign, names)
    return RescueReport(foreign.path, places, tuple(images), foreign.containers, notes_on(foreign), partial)


def notes_on(foreign: ForeignRoot) -> tuple[str, ...]:
    """Return what concerns no single image of a root."""
    return (*foreign.notes, *(f"{held.place}: {note}" for held in foreign.held for note in held.notes))


def is_partial(foreign: ForeignRoot, names: Sequence[Name]) -> bool:
    """Return whether there may be images that are not found, where all are asked for."""
    return not names and any(held.is_damaged for held in foreign.held)


class _Examination:
    """What is known of the layers of a root; each is looked at once."""

    def __init__(self, foreign: ForeignRoot, progress: Progress | None) -> None:
        self._foreign = foreign
        self._progress = progress
        self._told: dict[OfferedLayer, str] = {}
        self._read: dict[OfferedLayer, str] = {}
        self._manifests: dict[ImageID, list[OfferedManifest]] | None = None

    def manifests(self, image: ImageID) -> Sequence[OfferedManifest]:
        """Return the manifests and indexes that belong to an image."""
        if self._manifests is None:
            self._manifests = {}
            for manifest in self._foreign.manifests:
                for owner in manifest.images:
                    self._manifests.setdefault(owner, []).append(manifest)
        return self._manifests.get(image, ())

    def image(self, image: ForeignImage, *, verify: bool) -> RescuedImage:
        """Return an image, and what is wrong with it."""
        if image.offered is None:
            return RescuedImage(image, "damaged", image.problems)
        layers = image.offered.layers
        problems = list(image.problems)
        for number, layer in enumerate(layers, 1):
            problem = self._verified(layer) if verify else self._seen(layer)
            if problem:
                problems.append(f"layer {number} of {len(layers)}: {problem}")
        is_damaged = len(problems) > len(image.problems)
        return RescuedImage(image, "damaged" if is_damaged else "whole" if verify else "complete", tuple(problems))

    def _seen(self, layer: OfferedLayer) -> str:
        if layer not in self._told:
            first = ""
            for problem in (copy.problem() for copy in self._foreign.copies(layer)):
                first = first or problem
                if not problem:
                    self._told[layer] = ""
                    break
            else:
                self._told[layer] = first or _nowhere(layer)
        return self._told[layer]

    def is_damaged(self, image: ForeignImage) -> bool:
        """Return whether a layer of an image was read before, and cannot be had."""
        return image.offered is not None and any(self._read.get(layer) for layer in image.offered.layers)

    def _verified(self, layer: OfferedLayer) -> str:
        if layer not in self._read:
            self._read[layer] = self._verify(layer)
        return self._read[layer]

    def _verify(self, layer: OfferedLayer) -> str:
        if not self._foreign.has(layer):
            return _nowhere(layer)
        with measuring(self._foreign.limits, self._progress) as taking:
            try:
                self._foreign.source(taking).layer(layer)
            except _DAMAGE as error:
                return str(error)
        return ""


def _nowhere(layer: OfferedLayer) -> str:
    return f"the layer {layer.diff_id} is nowhere in the root"


def _taken(
    store: Store,
    foreign: ForeignRoot,
    image: ForeignImage,
    examination: _Examination,
    progress: Progress | None,
) -> RescuedImage:
    """Take one image into a store, or find out what is wrong with it."""
    if image.offered is None or examination.is_damaged(image):
        # Many images may have the layer that is lost.
        return examination.image(image, verify=True)
    image_id = image.offered.image.id
    # An index belongs to the images of other platforms, too, which may not be in the store, and may never be.
    owned = (replace(one, images=(image_id,)) for one in examination.manifests(image_id))
    offer = Offer((image.offered,), tuple(owned), image.place)
    try:
        with storing(store, limits=foreign.limits, progress=progress) as taking:
            moved = commit(store, foreign.source(taking, (image,)), offer).moved
    except _DAMAGE as error:
        found = examination.image(image, verify=True)
        return found if found.state == "damaged" else RescuedImage(image, "damaged", (*found.problems, str(error)))
    took = (f"its name {one.reference.familiar} was that of the image {one.old_id} in the store" for one in moved)
    return RescuedImage(image, "rescued", (*image.problems, *took))


def _link(store: Store, images: Iterable[ForeignImage]) -> set[str]:
    """Set the parents of images that are in the store with them; return the IDs of those that would descend from it."""
    parents: dict[ImageID, ImageID] = {
        image.offered.image.id: image.offered.parent
        for image in images
        if image.offered is not None and image.offered.parent is not None
    }
    circular: set[str] = set()
    if not parents:
        return circular
    with store.metadata.write() as rows:
        there = {one: rows.image_row(one) is not None for one in {*parents, *parents.values()}}
        links = {child: parent for child, parent in parents.items() if there[child] and there[parent]}
        # Without its new parent an image has the one that the store knows.
        while circle := in_circles(links, store.images.get_parent):
            circular.update(map(str, circle))
            links = {child: parent for child, parent in links.items() if str(child) not in circular}
        store.images.set_parents(links)
    return circular


def _without_parent(taken: RescuedImage) -> RescuedImage:
    return replace(taken, problems=(*taken.problems, "its parent is left out, as that would descend from it"))


def damaged_images(foreign: ForeignRoot, progress: Progress | None) -> list[ForeignImage]:
    """Return the images of which something is lost; all layers are read for that."""
    examination = _Examination(foreign, progress)
    return [one for one in foreign.images if examination.image(one, verify=True).state == "damaged"]
