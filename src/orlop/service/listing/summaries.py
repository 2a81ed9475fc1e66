"""What a store holds, newest first."""

from __future__ import annotations

from orlop.model.reference import Reference
from orlop.model.values import dataclass
from orlop.store.references import reference_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from orlop.model.digest import ImageID
    from orlop.model.names import ImageName
    from orlop.store.root import Store
    from orlop.store.rows.metadata import ImageRow, ReferenceRow, Rows


@dataclass(frozen=True, slots=True)
class ImageSummary:
    """An image in a list.

    ``created`` is in seconds since 1970 (0001-01-01 is ``-62135596800``); ``size`` is the bytes of the files in all
    its layers, in the way that a daemon on overlay2 counts them; ``references`` are those that the question matched,
    tags as well as digests.
    """

    id: ImageID
    references: tuple[Reference, ...]
    created: int
    size: int
    parent: ImageID | None
    nanosecond: int = 0
    """What ``created`` leaves out."""

    @property
    def repo_tags(self) -> tuple[Reference, ...]:
        """The references that are tags."""
        return tuple(reference for reference in self.references if reference.tag is not None)

    @property
    def repo_digests(self) -> tuple[Reference, ...]:
        """The references by digest: what the manifest or index is called that the image came with."""
        return tuple(reference for reference in self.references if reference.digest is not None)


def list_images(store: Store, name: ImageName | None, *, all: bool) -> Iterator[ImageSummary]:  # noqa: A002 - docker's word
    """Yield the images that a name stands for, or all."""
    wanted = name.asked if name is not None and isinstance(name.asked, Reference) else None
    with store.metadata.read() as rows:
        named = rows.references(name=None if wanted is None else wanted.name)
        if wanted is not None and not wanted.is_name_only:
            suffixes = _suffixes(wanted)
            carriers = {row.image for row in named if row.suffix in suffixes}
            # With a tag come the digests that its image has in the same repository.
            named = [
                row for row in named if row.image in carriers and (row.suffix in suffixes or row.suffix.startswith("@"))
            ]
        found: Iterable[ImageRow]
        if name is not None and (wanted is None or not named):
            # A name that no image carries may be an ID, or the first digits of one.
            found = _of_prefix(rows, name)
            named = [one for row in found for one in rows.references(image=row.id)]
        elif name is not None:
            found = _newest_first(
                row for image in {one.image for one in named} if (row := rows.image_row(image)) is not None
            )
        else:
            # Whoever is shown them may be slow, and the view lasts no longer than its block.
            found = list(rows.image_rows(listed_only=not all))
    references: dict[ImageID, list[ReferenceRow]] = {}
    for one in named:
        references.setdefault(one.image, []).append(one)
    return (
        ImageSummary(
            row.id,
            tuple(map(reference_of, references.get(row.id, ()))),
            row.created[0],
            row.size,
            row.parent,
            row.created[1],
        )
        for row in found
    )


def _of_prefix(rows: Rows, name: ImageName) -> list[ImageRow]:
    digits = name.digits
    found = rows.image_ids_with_prefix(f"sha256:{digits}", None) if digits else []
    # A short word that is not a name must not list other images; `sha256:` in front asks for IDs.
    if len(found) > 1 and digits == name.text:
        return []
    return _newest_first(row for image in found if (row := rows.image_row(image)) is not None)


def _newest_first(rows: Iterable[ImageRow]) -> list[ImageRow]:
    return sorted(sorted(rows, key=lambda row: row.id), key=lambda row: row.created, reverse=True)


def _suffixes(reference: Reference) -> tuple[str, ...]:
    return tuple(
        suffix
        for suffix in (
            f":{reference.tag}" if reference.tag else "",
            f"@{reference.digest}" if reference.digest else "",
        )
        if suffix
    )
