"""What can be had of images that are damaged: configs, layers that are whole, and single files of the others."""

from __future__ import annotations

import os
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from orlop.errors import IntegrityError, InvalidInput, NotFound, RootDamaged
from orlop.foreign.changes import changes_chunks
from orlop.foreign.images import RootLayer
from orlop.foreign.rebuilt import UnpackedLayer
from orlop.foreign.survivors import Lost, surviving_chunks
from orlop.service.rescue import damaged_images, is_partial, notes_on, opened_root
from orlop.service.rescue_names import selected_images
from orlop.service.rescue_places import check_outside
from orlop.streams.files import explaining, make_directories
from orlop.streams.meter import Meter
from orlop.streams.output import Output

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from orlop.foreign.held import ForeignImage
    from orlop.foreign.root import ForeignRoot
    from orlop.intake.offer import OfferedLayer
    from orlop.model.limits import Limits
    from orlop.model.names import Name
    from orlop.model.progress import Progress

_DAMAGE: Final = (IntegrityError, InvalidInput, NotFound)


@dataclass(frozen=True, slots=True)
class PartsOfImage:
    """What was written of an image: its directory, its files in that, and a sentence for each thing that is lost."""

    image: ForeignImage
    directory: str
    files: tuple[str, ...]
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PartsReport:
    """The images that were taken apart, and of the root what an `orlop.service.rescue.RescueReport` has of it."""

    images: tuple[PartsOfImage, ...]
    notes: tuple[str, ...]
    is_partial: bool

    @property
    def damaged(self) -> tuple[PartsOfImage, ...]:
        """The images of which something is lost."""
        return tuple(image for image in self.images if image.problems)


def rescue_parts(
    target: str | os.PathLike[str],
    root: str | os.PathLike[str],
    names: Sequence[Name] = (),
    *,
    limits: Limits | None = None,
    progress: Progress | None = None,
) -> PartsReport:
    """Write what can be had of images that another engine left below a directory, a directory for each image.

    A directory is named by the digits of the image ID. In it are ``config.json``, and for each layer ``NUMBER.tar``, if
    the layer is whole. Of a layer that is not, ``NUMBER.partial.tar`` has the files whose content is as it was, with
    headers made anew. Where the list of its files is lost, too, ``NUMBER.unverified.tar`` has whatever is in its
    directory, as it is. Layer 1 is the lowest.

    Args:
        target: the directory, which is made where there is none. Files in it are replaced when they are complete.
        root: as for `orlop.service.rescue.look`; nothing below it is written.
        names: the images; none for those that are damaged.
        limits: what the root may ask for.
        progress: called with events about layers.

    Raises:
        InvalidRoot, ImageNotFound: as for `look`. InvalidInput: the target lies in the root. StorageError: it cannot
        be written.
    """
    top = os.path.abspath(os.fspath(target))
    with opened_root(root, limits) as foreign:
        check_outside(foreign, top)
        wanted = selected_images(foreign, names) if names else damaged_images(foreign, progress)
        images = tuple(_parts(foreign, image, top, progress) for image in wanted)
        return PartsReport(images, notes_on(foreign), is_partial(foreign, names))


def _parts(foreign: ForeignRoot, image: ForeignImage, top: str, progress: Progress | None) -> PartsOfImage:
    directory = os.path.join(top, image.id.rpartition(":")[2])
    files: list[str] = []
    problems = list(image.problems)
    if image.offered is not None:
        # What is there already may be a link that leads into the root.
        check_outside(foreign, directory)
        with explaining("write", directory):
            make_directories(directory)
        files.append("config.json")
        _write(directory, "config.json", [image.offered.image.raw_json])
        for number, layer in enumerate(image.offered.layers, 1):
            name, problem = _layer(foreign, layer, directory, str(number), progress)
            files += [name] if name else []
            problems += [f"layer {number} of {len(image.offered.layers)}: {problem}"] if problem else []
    return PartsOfImage(image, directory, tuple(files), tuple(problems))


def _layer(
    foreign: ForeignRoot, layer: OfferedLayer, directory: str, number: str, progress: Progress | None
) -> tuple[str, str]:
    """Write what can be had of a layer; return the name of the file, and what is wrong, or nothing."""
    try:
        with closing(RootLayer(foreign, layer, progress).chunks()) as chunks:
            return _write(directory, f"{number}.tar", chunks), ""
    except _DAMAGE as error:
        problem = str(error)
    unpacked = [copy for copy in foreign.copies(layer) if isinstance(copy, UnpackedLayer) and not copy.is_guess]
    for copy in unpacked:
        try:
            return _partial(foreign, copy, directory, number)
        except _DAMAGE:
            continue
    for copy in unpacked:
        try:
            with copy.root.below(*copy.files) as folder, closing(changes_chunks(folder)) as chunks:
                name = _write(directory, f"{number}.unverified.tar", chunks)
        except _DAMAGE:
            continue
        return name, f"{problem}; whatever lies in its directory is in {name}, and nothing tells whether it is right"
    return "", problem


def _partial(foreign: ForeignRoot, copy: UnpackedLayer, directory: str, number: str) -> tuple[str, str]:
    """Write the files of a layer that are as they were. Raises `RootDamaged` where there is not one."""
    lost = Lost()
    name = f"{number}.partial.tar"
    with closing(surviving_chunks(copy, Meter(foreign.limits), lost)) as chunks:
        _write(directory, name, _something(chunks, lost))
    shown = ", ".join(lost.names[:3]) + (", …" if lost.count > 3 else "")
    parts = [f"{lost.count} of its files are lost: {shown}"] if lost.count else []
    parts += [f"it is cut off: {lost.cut}"] if lost.cut else []
    return name, f"{'; '.join(parts) or 'its headers are not those that it had'}; the other files are in {name}"


def _something(chunks: Iterable[bytes], lost: Lost) -> Iterator[bytes]:
    """Yield the bytes of a tar; raise `RootDamaged` at its end where it has no member and was cut off."""
    is_empty = True
    for chunk in chunks:
        is_empty = is_empty and not chunk.strip(b"\0")
        yield chunk
    if is_empty and lost.cut:
        raise RootDamaged(lost.cut)


def _write(directory: str, file: str, chunks: Iterable[bytes]) -> str:
    with Output(os.path.join(directory, file)) as out:
        for chunk in chunks:
            out.write(chunk)
        out.finish()
    return file
