"""Which manifest or index a name for an image means, where digests say which.

That of the tag itself comes first, where the rows have it; then, of the digests that name the image, the latest of the
same repository, then the latest of any. One image may have very many names, so what they share is read once.
"""

from __future__ import annotations

from orlop.model.digest import Digest
from orlop.model.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from orlop.archive.oci_layout import Asked
    from orlop.model.digest import ImageID
    from orlop.store.rows.metadata import Rows


class _Known(NamedTuple):
    """What the rows say of an image: the digests of what came with it, and the latest that names it, by repository.

    The one under no repository is the latest of all.
    """

    kept: frozenset[Digest]
    latest: dict[str, Digest]


class MeantManifests:
    """The manifests and indexes that names mean, as some rows say."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._known: dict[ImageID, _Known] = {}

    def digest(self, asked: Asked, image: ImageID) -> Digest | None:
        """Return the digest of the manifest or index that a name for an image means, where digests say which."""
        known = self._known_of(image)
        if asked.digest is not None and asked.digest in known.kept:
            return asked.digest
        if asked.reference is None:
            return None
        meant = self._rows.top(asked.reference.name, f":{asked.reference.tag}")
        if meant is not None and meant.digest in known.kept:
            return meant.digest
        return known.latest.get(asked.reference.name) or known.latest.get("")

    def _known_of(self, image: ImageID) -> _Known:
        if image not in self._known:
            kept = frozenset(self._rows.manifest_digests(image))
            latest: dict[str, Digest] = {}
            for row in sorted(self._rows.references(image=image), key=lambda row: -row.updated):
                digest = Digest.unchecked(row.suffix[1:]) if row.suffix.startswith("@") else None
                if digest is not None and digest in kept:
                    latest.setdefault(row.name, digest)
                    latest.setdefault("", digest)
            self._known[image] = _Known(kept, latest)
        return self._known[image]
