"""References: the names of images. A name points to one image, an image may have many names."""

from __future__ import annotations

from orlop.errors import InvalidReference, ReferenceNotFound, WrongType
from orlop.model.digest import Digest, ImageID, check_digest
from orlop.model.given import check_text, given_list, shown
from orlop.model.reference import Reference
from orlop.store.rows.metadata import ReferenceRow

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from orlop.store.rows.metadata import Metadata


class ReferenceStore:
    """The names in a store. Each call is atomic; inside ``metadata.write()`` several are.

    Args:
        metadata: the rows. now: the time in nanoseconds since 1970, kept as the time of tagging.
    """

    def __init__(self, metadata: Metadata, now: Callable[[], int]) -> None:
        self._metadata = metadata
        self._now = now

    def set(self, reference: Reference, image: ImageID) -> ImageID | None:
        """Point a name with a tag or digest to an image, and return the other image it pointed to before, if any.

        Whether there is such an image is not checked; a name without one holds all that nothing else needs.

        Raises:
            WrongType: these are not a reference and an image ID. InvalidReference: the name has neither tag nor digest,
                or could be taken for an ID.
        """
        _check_reference(reference)
        if not isinstance(image, ImageID):
            raise WrongType(f"a name is given to an ImageID, not to {shown(image)}")
        if reference.is_id_like:
            msg = f"{reference.familiar!r} cannot be a name: it could be taken for an image ID"
            raise InvalidReference(msg)
        suffix = suffix_of(reference)
        with self._metadata.write() as rows:
            before = rows.reference(reference.name, suffix)
            if before is not None and before.image == image:
                return None
            rows.put_reference(ReferenceRow(reference.name, suffix, image, self._now()))
        return None if before is None else before.image

    def get(self, reference: Reference) -> ImageID:
        """Return the image that a name with a tag or digest points to.

        Raises:
            ReferenceNotFound: it points to none. InvalidReference: it has neither tag nor digest.
        """
        suffix = suffix_of(reference)
        with self._metadata.read() as rows:
            found = rows.reference(reference.name, suffix)
        if found is None:
            raise unknown(reference)
        return found.image

    def delete(self, reference: Reference) -> None:
        """Forget a name.

        Raises:
            ReferenceNotFound: it points to no image. InvalidReference: it has neither tag nor digest.
        """
        self.delete_all([reference])

    def delete_all(self, references: Sequence[Reference]) -> None:
        """Forget different names at once. Raises what `delete` raises, and forgets none then."""
        references = given_list(references, "references")
        suffixes = [suffix_of(one) for one in references]
        names = [(one.name, suffix) for one, suffix in zip(references, suffixes, strict=True)]
        with self._metadata.write() as rows:
            if len(names) != rows.delete_references(names):
                # The changes of an outer write are its own to undo.
                raise unknown(references[0])

    def of_image(self, image: ImageID) -> tuple[Reference, ...]:
        """Return an image's names, sorted."""
        check_digest(image, "an image in a store is named by an ImageID")
        with self._metadata.read() as rows:
            return tuple(reference_of(row) for row in rows.references(image=image))

    def of_repository(self, name: str) -> tuple[tuple[Reference, ImageID], ...]:
        """Return the names in a repository (its canonical name) with their images, sorted."""
        check_text(name, "the name of a repository")
        if not name.isprintable():
            return ()
        with self._metadata.read() as rows:
            return tuple((reference_of(row), row.image) for row in rows.references(name=name))


def reference_of(row: ReferenceRow) -> Reference:
    """Return the reference that a row stands for."""
    domain, _, path = row.name.partition("/")
    if row.suffix.startswith("@"):
        return Reference(domain, path, None, Digest.unchecked(row.suffix[1:]))
    return Reference(domain, path, row.suffix[1:], None)


def _check_reference(reference: object) -> None:
    if not isinstance(reference, Reference):
        raise WrongType(f"a name in a store is a Reference, not {shown(reference)}")


def suffix_of(reference: Reference) -> str:
    """Return the suffix of the row that stands for a name. Raises `InvalidReference` for one that has none."""
    _check_reference(reference)
    # With both, the digest says which image is meant, and the tag is dropped, as daemons do.
    if reference.digest is not None:
        return f"@{reference.digest}"
    if reference.tag is not None:
        return f":{reference.tag}"
    msg = f"{reference.familiar!r} has neither tag nor digest; add one"
    raise InvalidReference(msg)


def unknown(reference: Reference) -> ReferenceNotFound:
    """Make the error for a name that no image carries, in Docker's words."""
    return ReferenceNotFound(f"reference does not exist: {reference.familiar}")
