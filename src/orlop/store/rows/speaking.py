"""Attestations of images: children of an index that speak of another of its children.

BuildKit lists what attests an image beside it, under the index that names both. It names the image's manifest as its
subject; in the older form only an annotation of its descriptor in the index does. Such a manifest is of no use without
the image, and goes with it although the index still names it. Any other artifact stays as long as its index, and so
does an attestation that another index names, which does not name the image.
"""

from __future__ import annotations

from orlop.errors import InvalidManifest
from orlop.model.generic import Protocol
from orlop.model.manifest import Index
from orlop.store.rows.content import CHILD, SUBJECT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator
    from typing import Final

    from orlop.model.digest import Digest
    from orlop.store.rows.content import EdgeRow, ManifestRow

SPOKEN_OF: Final = "vnd.docker.reference.digest"
"""The annotation by which an index says of which other child one of its children speaks."""


class Leading(Protocol):
    """What is asked of rows."""

    def edges(self, parent: Digest) -> list[EdgeRow]:
        """Return where a manifest or an index leads."""

    def edges_to(self, child: Digest) -> list[EdgeRow]:
        """Return what leads to some content."""

    def manifest(self, digest: Digest) -> ManifestRow | None:
        """Return one manifest or index."""


def speaking_of(rows: Leading, gone: Collection[Digest], candidates: Iterable[Digest]) -> Iterator[Digest]:
    """Yield those of some manifests that speak of others beside which alone they stand.

    They have one of them as subject, or speak of it as their index says, and no index names them without one of them.

    Args:
        rows: where they lead, and what leads to them.
        gone: of what they may speak.
        candidates: manifests, of which none is an index.
    """
    said = _Said(rows)
    beside: dict[Digest, bool] = {}
    for one in candidates:
        subjects = [edge.child for edge in rows.edges(one) if edge.role == SUBJECT]
        parents = {edge.parent for edge in rows.edges_to(one) if edge.role == CHILD}
        for parent in parents - beside.keys():
            beside[parent] = any(edge.child in gone for edge in rows.edges(parent) if edge.role == CHILD)
        if not all(beside[parent] for parent in parents):
            continue
        if not subjects:
            subjects = [subject for parent in parents for subject in said.of(parent, one)]
        if any(subject in gone for subject in subjects):
            yield one


class _Said:
    """What indexes say of their children, each read once."""

    def __init__(self, rows: Leading) -> None:
        self._rows = rows
        self._read: dict[Digest, dict[Digest, list[Digest]]] = {}

    def of(self, index: Digest, child: Digest) -> list[Digest]:
        if index not in self._read:
            self._read[index] = said_by(index_of(self._rows, index))
        return self._read[index].get(child, [])


def index_of(rows: Leading, digest: Digest) -> Index | None:
    """Return an index as a value; nothing where it is not there, or cannot be read."""
    row = rows.manifest(digest)
    try:
        return None if row is None else Index.from_json(row.raw)
    except InvalidManifest:
        return None


def said_by(index: Index | None) -> dict[Digest, list[Digest]]:
    """Return of which others the children of an index speak, as it says."""
    found: dict[Digest, list[Digest]] = {}
    if index is not None:
        known = {str(child.digest): child.digest for child in index.manifests}
        for child in index.manifests:
            subject = known.get(child.annotations.get(SPOKEN_OF, ""))
            if subject is not None:
                found.setdefault(child.digest, []).append(subject)
    return found
