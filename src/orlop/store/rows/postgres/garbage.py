"""What nothing in a store needs, as PostgreSQL tells it: however much is kept, only what goes comes from there."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from orlop.model.digest import ChainID, DiffID, Digest
from orlop.store.rows.postgres.passing import digests_of
from orlop.store.rows.postgres.tables import (
    FREED,
    HAS_LOST_IMAGES,
    HAS_LOST_TOPS,
    HOLDS_ALL,
    PLACED,
    STANDING,
    UNNAMED_BLOBS,
    UNNEEDED_CHAINS,
    UNNEEDED_CONTENTS,
    UNREACHED,
)
from orlop.store.rows.unneeded import Falling, Unneeded

if TYPE_CHECKING:
    from collections.abc import Collection

    from orlop.store.rows.postgres.passing import PassingRows


def unneeded_rows(rows: PassingRows, ended: Collection[str]) -> Unneeded:
    """Return what nothing needs but leases that have ended, see `Rows.unneeded`."""
    values: dict[str, list[str]] = {"ended": sorted(ended)}
    if rows.value(HOLDS_ALL, values) or rows.value(HAS_LOST_IMAGES):
        # All is held, or may belong to the image that a name has lost.
        return Unneeded()
    chains = tuple(digests_of(ChainID, rows.rows(UNNEEDED_CHAINS, values)))
    contents = tuple(digests_of(DiffID, rows.rows(UNNEEDED_CONTENTS, values)))
    if rows.value(HAS_LOST_TOPS):
        # A name has lost its manifest, and only that could tell what it led to.
        return Unneeded(chains, contents)
    manifests = tuple(digests_of(Digest, rows.rows(UNREACHED, values)))
    blobs = rows.rows(UNNAMED_BLOBS, {**values, "gone": list(map(str, manifests))})
    return Unneeded(chains, contents, manifests, tuple(digests_of(Digest, blobs)))


def falling_rows(rows: PassingRows, unneeded: Unneeded, ended: Collection[str]) -> Falling:
    """Return what goes with what nothing needs, see `Rows.falling`; asked once for each layer of the deepest stack."""
    counted = {"ended": sorted(ended)}
    chains: set[str] = set()
    lost: Counter[str] = Counter()
    places: Counter[str] = Counter()
    asked = sorted(map(str, unneeded.chains))
    while asked:
        below = set()
        for chain, parent, diff, above in rows.rows(STANDING, {**counted, "asked": asked}):
            if above > lost[chain]:
                continue
            chains.add(chain)
            places[diff] += 1
            if parent is not None:
                lost[parent] += 1
                below.add(parent)
        asked = sorted(below)
    placed = rows.rows(PLACED, {**counted, "asked": sorted({*places, *map(str, unneeded.contents)})})
    contents = sorted(diff for diff, number in placed if number == places[diff])
    gone = list(map(str, unneeded.manifests))
    freed = digests_of(Digest, rows.rows(FREED, {**counted, "contents": contents, "gone": gone}))
    return Falling(
        tuple(ChainID.unchecked(chain) for chain in sorted(chains)),
        tuple(DiffID.unchecked(diff) for diff in contents),
        tuple(sorted({*unneeded.blobs, *freed})),
    )
