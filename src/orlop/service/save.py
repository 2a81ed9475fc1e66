"""``save``: images out of the store into an archive."""

from __future__ import annotations

import os
from contextlib import closing, contextmanager

from orlop.archive.save_report import SaveReport
from orlop.errors import ImageNotFound, InvalidInput, ReferenceNotFound, WriteFailed
from orlop.service.holding import held
from orlop.service.listing.lookup import check_platform, meant_instead
from orlop.service.saving import DIRECTORY, DOCKER, FORMATS, TAR, named, note_saved, require_names
from orlop.store.images import not_found
from orlop.streams.given import check_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence
    from typing import BinaryIO, Self

    from orlop.archive import saved
    from orlop.model.digest import ImageID
    from orlop.model.holdings import Holdings
    from orlop.model.names import ImageName
    from orlop.model.platform import Platform
    from orlop.model.progress import Progress
    from orlop.model.reference import Reference
    from orlop.service.saving import AskedPlatforms
    from orlop.store.root import Store


def save(
    store: Store,
    names: Sequence[ImageName],
    target: BinaryIO | str | os.PathLike[str],
    *,
    format: str = "docker",  # noqa: A002 - the word that users know
    platform: AskedPlatforms = None,
    compress: str | None = None,
    since: Sequence[ImageName] = (),
    without: Holdings | None = None,
    append: bool = False,
    progress: Progress | None = None,
) -> SaveReport:
    """See `orlop.service.ImageService.save`."""
    check_file(target, "the target of a save", "write")
    if append:
        had = _had(store, since, without, platform)
        if format == TAR and isinstance(target, (str, os.PathLike)):
            from orlop.service.save_oci import append_tar  # noqa: PLC0415 - most saves make no layout

            return append_tar(store, names, target, platform=platform, compress=compress, had=had, progress=progress)
        return _append(store, names, target, format=format, platform=platform, had=had, progress=progress)
    if format == DIRECTORY:
        from orlop.service.save_oci import save_directory  # noqa: PLC0415 - most saves make no layout

        had = _had(store, since, without, platform)
        return save_directory(store, names, target, platform=platform, compress=compress, had=had, progress=progress)
    # Closed here, while the store is open: the error of a failed write would keep the chunks, and so the lease, alive.
    with closing(
        save_chunks(
            store,
            names,
            format=format,
            platform=platform,
            compress=compress,
            since=since,
            without=without,
            progress=progress,
        )
    ) as chunks:
        told = Told(chunks)
        if not isinstance(target, (str, os.PathLike)):
            for chunk in told:
                _write_whole(target, chunk)
            return told.report
        from orlop.streams.output import Output  # noqa: PLC0415 - a directory is written otherwise

        # The first chunk is made before the target is touched: what cannot be saved leaves no trace.
        first = next(told)
        with Output(target) as output:
            output.write(first)
            for chunk in told:
                output.write(chunk)
            output.finish()
    return told.report


class Told:
    """The chunks of a save, and the ``report`` that it ends with."""

    def __init__(self, chunks: Generator[bytes, None, SaveReport]) -> None:
        self._chunks = chunks
        self.report = SaveReport()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        try:
            return next(self._chunks)
        except StopIteration as end:
            self.report = end.value or self.report
            raise


def _write_whole(target: BinaryIO, chunk: bytes) -> None:
    """Write all of a chunk to a stream, which may take less at once where it has no buffer."""
    rest = memoryview(chunk)
    while rest:
        written = target.write(rest)
        if not written:
            msg = "cannot write to the stream: it takes no more bytes; give one that blocks until it does"
            raise WriteFailed(msg)
        rest = rest[written:]


def save_chunks(
    store: Store,
    names: Sequence[ImageName],
    *,
    format: str = "docker",  # noqa: A002 - the word that users know
    platform: AskedPlatforms = None,
    compress: str | None = None,
    since: Sequence[ImageName] = (),
    without: Holdings | None = None,
    progress: Progress | None = None,
) -> Generator[bytes, None, SaveReport]:
    """See `orlop.service.ImageService.save_chunks`."""
    require_names(names)
    if format not in FORMATS:
        msg = f"the archive format {format!r} is not known; choose one of {', '.join(FORMATS)}"
        raise InvalidInput(msg)
    if format == TAR:
        from orlop.service.save_oci import layout_tar  # noqa: PLC0415 - most saves make no layout

        had = _had(store, since, without, platform)
        return (yield from layout_tar(store, names, platform=platform, compress=compress, had=had, progress=progress))
    if format == DIRECTORY:
        msg = f"the format {DIRECTORY!r} is a directory, not a stream of bytes; name a directory to save to, or {TAR!r}"
        raise InvalidInput(msg)
    if compress is not None:
        msg = f"archives of docker's formats hold layers uncompressed; save in the format {TAR!r} or {DIRECTORY!r}"
        raise InvalidInput(msg)
    had = _had(store, since, without, platform)
    if format == DOCKER:
        from orlop.service.save_containerd import containerd_tar  # noqa: PLC0415 - see its module: most come otherwise

        report = yield from containerd_tar(store, names, platform=platform, had=had, progress=progress)
        if report is not None:
            return report
    from orlop.archive.docker_save import layout  # noqa: PLC0415 - most saves in the formats of OCI need none

    writer = layout(format)
    with _items(store, names, platform) as items:
        written = writer(store, items, had)
        yield from written.chunks(progress)
    return SaveReport(left_out=written.left_out)


def _append(
    store: Store,
    names: Sequence[ImageName],
    target: BinaryIO | str | os.PathLike[str],
    *,
    format: str,  # noqa: A002 - as above
    platform: AskedPlatforms,
    had: Holdings | None,
    progress: Progress | None,
) -> SaveReport:
    """Add images to an archive that is there."""
    from orlop.archive.docker_save import LAYOUTS, layout  # noqa: PLC0415 - see `save_chunks`
    from orlop.service.save_append import appending  # noqa: PLC0415 - most saves make a new archive

    require_names(names)
    if format not in LAYOUTS or not isinstance(target, (str, os.PathLike)):
        msg = f"images are added to archives by their path, in docker's formats or {TAR!r}; {DIRECTORY!r} adds anyway"
        raise InvalidInput(msg)
    with appending(target, format, store.limits) as (form, add):
        if form == DOCKER:
            from orlop.service.save_containerd import containerd_append  # noqa: PLC0415 - as above

            report = containerd_append(store, names, lambda content: add(content, progress), platform=platform, had=had)
            if report is not None:
                return report
        with _items(store, names, platform) as items:
            written = layout(form)(store, items, had)
            add(written, progress)
    return SaveReport(left_out=written.left_out)


@contextmanager
def _items(store: Store, names: Sequence[ImageName], platform: AskedPlatforms) -> Iterator[list[saved.SaveItem]]:
    """Return, for a block that writes them, the images that names stand for, and note at its end that it did."""
    from orlop.archive import saved  # noqa: PLC0415 - see `save_chunks`

    wanted = _resolve(store, names, _one_platform(platform))
    images = [store.images.get(image_id) for image_id in wanted]
    with held(store, images) as hold:
        items = [
            saved.SaveItem(store.images.get(image_id), tuple(references), store.images.get_parent(image_id))
            for image_id, references in wanted.items()
        ]
        yield items
        note_saved(store, [item.image for item in items], hold)


def _had(
    store: Store, since: Sequence[ImageName], without: Holdings | None, platform: AskedPlatforms
) -> Holdings | None:
    """Return which layers whoever reads a save has; nothing where that is not known."""
    if without is not None:
        from orlop.model.holdings import check_holdings  # noqa: PLC0415 - most saves leave nothing out

        check_holdings(without)
    if not since:
        return without
    from orlop.service.have import had_with  # noqa: PLC0415 - most saves leave nothing out

    found = had_with(store, since, platform)
    return found if without is None else found | without


def _one_platform(platform: AskedPlatforms) -> Platform | None:
    """Return the one platform that was asked for. Raises `InvalidInput` where there are several."""
    from orlop.archive.oci_platforms import Platforms  # noqa: PLC0415 - see `save_chunks`

    asked = Platforms.of(platform)
    if asked.are_several:
        msg = (
            f"an archive of plain layers has one platform of each image; name one, or save to a new file in the format"
            f" {DOCKER!r} or {TAR!r}"
        )
        raise InvalidInput(msg)
    return asked.asked[0] if asked.is_one else None


def _named_images(store: Store, name: ImageName) -> list[tuple[ImageID, Reference | None]]:
    """Return what a name stands for; an error for what is not an image says what that is, and what keeps it."""
    try:
        return named(store, name)
    except (ImageNotFound, ReferenceNotFound) as error:
        what = meant_instead(store, name)
        if not what:
            raise
        formats = f"in the formats {DOCKER!r}, {TAR!r} and {DIRECTORY!r}"
        raise ImageNotFound(f"{not_found(name.shown)}; {what}, {formats}") from error


def _resolve(
    store: Store, names: Sequence[ImageName], platform: Platform | None
) -> dict[ImageID, dict[Reference, None]]:
    """Return the images in order of first mention, each with its tags in order of request."""
    wanted: dict[ImageID, dict[Reference, None]] = {}
    for name in names:
        for image_id, reference in _named_images(store, name):
            check_platform(store, name, image_id, platform)
            tags = wanted.setdefault(image_id, {})
            if reference is not None:
                tags[reference] = None
    return wanted
