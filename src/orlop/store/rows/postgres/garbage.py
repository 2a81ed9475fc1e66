"""What nothing in a store needs, as PostgreSQL tells it: however much is kept, only what goes comes from there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orlop.model.digest import ChainID, DiffID, Digest
from orlop.store.rows.postgres.passing import digests_of
from orlop.store.rows.postgres.tables import (
    HAS_LOST_TOPS,
    HOLDS_ALL,
    UNNAMED_BLOBS,
    UNNEEDED_CHAINS,
    UNNEEDED_CONTENTS,
    UNREACHED,
)
from orlop.store.rows.unneeded import Unneeded

if TYPE_CHECKING:
    from collections.abc import Collection

    from orlop.store.rows.postgres.passing import PassingRows


def unneeded_rows(rows: PassingRows, ended: Collection[str]) -> Unneeded:
    """Return what nothing needs but leases that have ended, see `Rows.unneeded`."""
    values: dict[str, list[str]] = {"ended": sorted(ended)}
    if rows.value(HOLDS_ALL, values):
        return Unneeded()
    chains = tuple(digests_of(ChainID, rows.rows(UNNEEDED_CHAINS, values)))
    contents = tuple(digests_of(DiffID, rows.rows(UNNEEDED_CONTENTS, values)))
    if rows.value(HAS_LOST_TOPS):
        # A name has lost its manifest, and only that could tell what it led to.
        return Unneeded(chains, contents)
    manifests = tuple(digests_of(Digest, rows.rows(UNREACHED, values)))
    blobs = rows.rows(UNNAMED_BLOBS, {**values, "gone": list(map(str, manifests))})
    return Unneeded(chains, contents, manifests, tuple(digests_of(Digest, blobs)))
