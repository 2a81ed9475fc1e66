"""``save``: images out of the store into an archive."""

from __future__ import annotations

import os
from contextlib import closing, nullcontext, suppress
from functools import partial
from typing import TYPE_CHECKING, BinaryIO, Final

from orlop.archive.docker_save import layout
from orlop.archive.saved import SaveItem
from orlop.errors import ImageNotFound, InvalidInput, WriteFailed
from orlop.model.digest import Digest
from orlop.model.reference import Reference
from orlop.service.listing.lookup import check_platform, find_image, platform_of
from orlop.store.images import not_found
from orlop.store.references import unknown
from orlop.streams.given import check_file
from orlop.streams.output import Output

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from orlop.model.digest import ImageID
    from orlop.model.names import ImageName
    from orlop.model.platform import Platform
    from orlop.model.progress import Progress
    from orlop.store.leases import Hold
    from orlop.store.root import Store

_ALGORITHM: Final = "sha256"


def save(
    store: Store,
    names: Sequence[ImageName],
    target: BinaryIO | str | os.PathLike[str],
    *,
    format: str = "docker",  # noqa: A002 - the word that users know
    platform: Platform | str | None = None,
    progress: Progress | None = None,
) -> None:
    """See `orlop.service.ImageService.save`."""
    check_file(target, "the target of a save", "write")
    # Closed here, while the store is open: the error of a failed write would keep the chunks, and so the lease, alive.
    with closing(save_chunks(store, names, format=format, platform=platform, progress=progress)) as chunks:
        if not isinstance(target, (str, os.PathLike)):
            for chunk in chunks:
                _write_whole(target, chunk)
            return
        # The first chunk is made before the target is touched: what cannot be saved leaves no trace.
        first = next(chunks)
        with Output(target) as output:
            output.write(first)
            for chunk in chunks:
                output.write(chunk)
            output.finish()


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
    platform: Platform | str | None = None,
    progress: Progress | None = None,
) -> Generator[bytes]:
    """See `orlop.service.ImageService.save_chunks`."""
    if not names:
        msg = "no image was named; name at least one"
        raise InvalidInput(msg)
    writer = layout(format)
    wanted = _resolve(store, names, platform_of(platform))
    chains = [chain for image_id in wanted if (chain := store.images.get(image_id).rootfs.chain_id()) is not None]
    # Who reads from a store that cannot be written has nobody to be protected from.
    held = None if store.read_only else store.with_reserve(partial(store.leases.hold, chains))
    with held or nullcontext():
        items = [
            SaveItem(store.images.get(image_id), tuple(references), store.images.get_parent(image_id))
            for image_id, references in wanted.items()
        ]
        yield from writer(store, items).chunks(progress)
        if held is not None:
            store.with_reserve(partial(_note, store, items, held))


def _note(store: Store, items: Sequence[SaveItem], held: Hold) -> None:
    """Record that images were saved, and release in the same write what was relied on."""
    with store.metadata.write():
        for item in items:
            config = item.image.config
            store.events.image("save", item.image.id, labels=None if config is None else config.labels)
            # It may have been removed meanwhile: its layers were held, the image was not.
            with suppress(ImageNotFound):
                store.images.set_last_used(item.image.id)
        held.release()


def _resolve(store: Store, names: Sequence[ImageName], platform: Platform | None) -> dict[ImageID, list[Reference]]:
    """Return the images in order of first mention, each with its tags in order of request."""
    wanted: dict[ImageID, list[Reference]] = {}
    for name in names:
        for image_id, reference in _named(store, name):
            check_platform(store, name, image_id, platform)
            tags = wanted.setdefault(image_id, [])
            if reference is not None and reference not in tags:
                tags.append(reference)
    return wanted


def _named(store: Store, name: ImageName) -> list[tuple[ImageID, Reference | None]]:
    """Return what one name stands for: a bare one for all tags of its repository, an ID or a digest for no tag."""
    parsed = name.asked
    if isinstance(parsed, Digest):
        return [(find_image(store, name), None)]
    if parsed.familiar_name == _ALGORITHM:
        # What is written like an ID is the start of one.
        return [(find_image(store, name), None)]
    if parsed.digest is not None:
        try:
            image_id = find_image(store, name)
        except ImageNotFound:
            raise unknown(parsed) from None
        return [(image_id, None if parsed.tag is None else Reference(parsed.domain, parsed.path, parsed.tag))]
    if parsed.tag is not None:
        return [(store.references.get(parsed), parsed)]
    tagged = store.references.of_repository(parsed.name)
    if tagged:
        return [(image_id, reference if reference.tag else None) for reference, image_id in tagged]
    try:
        return [(store.images.search(name.text), None)]
    except ImageNotFound:
        raise not_found(name.text) from None
