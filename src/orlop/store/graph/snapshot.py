"""The rows of one moment that tell who needs what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from orlop.store.graph.documents import Documents
from orlop.store.graph.stacks import Stacks
from orlop.store.rows.rows import EVERYTHING, LOST_ROWS, PINNED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orlop.model.digest import DiffID, Digest, ImageID
    from orlop.store.rows.metadata import BlobRow, ImageRow, ReferenceRow, Rows


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The rows of one moment.

    ``forms`` has each stored form of a content with the number of that in ``diff_ids``; ``leases`` what each lease
    protects; ``opaque`` the blobs that are not layers.
    """

    images: tuple[ImageRow, ...]
    references: Mapping[ImageID, list[ReferenceRow]]
    pinned: frozenset[ImageID]
    stacks: Stacks
    diff_ids: tuple[DiffID, ...]
    forms: tuple[tuple[int, BlobRow], ...]
    opaque: tuple[BlobRow, ...]
    documents: Documents
    leases: Mapping[str, list[Digest]]


def take_snapshot(rows: Rows) -> Snapshot:
    """Read what tells who needs what: each kind of rows once."""
    references: dict[ImageID, list[ReferenceRow]] = {}
    for reference in rows.references():
        references.setdefault(reference.image, []).append(reference)
    diff_ids: list[DiffID] = []
    forms: list[tuple[int, BlobRow]] = []
    for diff_id, blob in rows.contents():
        if not diff_ids or diff_ids[-1] != diff_id:
            diff_ids.append(diff_id)
        if blob is not None:
            forms.append((len(diff_ids) - 1, blob))
    return Snapshot(
        images=tuple(rows.image_rows(listed_only=False)),
        references=references,
        pinned=frozenset(rows.metadata_of_all(PINNED)),
        stacks=Stacks(rows.chains()),
        diff_ids=tuple(diff_ids),
        forms=tuple(forms),
        opaque=tuple(rows.opaque_blobs()),
        documents=Documents(rows),
        leases=_leases(rows),
    )


def _leases(rows: Rows) -> Mapping[str, list[Digest]]:
    """Return what leases protect; a name that has lost what it means protects everything, as a repair does."""
    found = rows.protected()
    return {**found, LOST_ROWS: [EVERYTHING]} if rows.has_lost_meaning() else found
