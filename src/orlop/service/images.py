"""``images``: what a store holds, newest first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from orlop.model.reference import Reference, parse_any
from orlop.store.references import reference_of

if TYPE_CHECKING:
    from orlop.model.digest import ImageID
    from orlop.store.root import Store


@dataclass(frozen=True, slots=True)
class ImageSummary:
    """An image in a list.

    ``created`` is in seconds since 1970 (0001-01-01 is ``-62135596800``); ``size`` is the bytes of the files in all
    its layers, in the way that a daemon on overlay2 counts them; ``references`` are those that the question matched.
    """

    id: ImageID
    references: tuple[Reference, ...]
    created: int
    size: int
    parent: ImageID | None


def images(store: Store, name: str | None = None, *, all: bool = False) -> list[ImageSummary]:  # noqa: A002 - docker's word
    """See `orlop.service.ImageService.images`."""
    asked = None if name is None else parse_any(name)
    wanted = asked if isinstance(asked, Reference) else None
    with store.metadata.read() as rows:
        tagged: dict[ImageID, list[Reference]] = {}
        for named in rows.references(name=None if wanted is None else wanted.name):
            if wanted is None or wanted.is_name_only or named.suffix in _suffixes(wanted):
                tagged.setdefault(named.image, []).append(reference_of(named))
        by_id = name is not None and (wanted is None or not tagged)
        found = rows.image_rows(heads_only=not all and not by_id)
        if by_id:
            # A name that no image carries may be an ID, or the first digits of one.
            found = [row for row in found if name is not None and _starts_with(row.id, name)]
            tagged = {row.id: [reference_of(named) for named in rows.references(image=row.id)] for row in found}
        elif not all:
            # An image with a child is listed all the same when it has a name of its own.
            listed = {row.id for row in found}
            found += [row for image in tagged if image not in listed and (row := rows.image_row(image)) is not None]
            found.sort(key=lambda row: (row.created, row.id), reverse=True)
        summaries = []
        for row in found:
            if name is not None and row.id not in tagged:
                continue
            parent = store.images.get_parent(row.id)
            references = tuple(tagged.get(row.id, ()))
            summaries.append(ImageSummary(row.id, references, row.created[0], row.size, parent))
    return summaries


def _starts_with(image_id: ImageID, text: str) -> bool:
    digits = text.removeprefix("sha256:")
    return bool(digits) and image_id.hex.startswith(digits)


def _suffixes(reference: Reference) -> tuple[str, ...]:
    return tuple(
        suffix
        for suffix in (
            f":{reference.tag}" if reference.tag else "",
            f"@{reference.digest}" if reference.digest else "",
        )
        if suffix
    )
