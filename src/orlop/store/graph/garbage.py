"""What nothing in a store needs, told from its rows: what a collection takes and a check reports."""

from __future__ import annotations

from collections import Counter

from orlop.store.graph.documents import Documents
from orlop.store.rows.rows import EVERYTHING
from orlop.store.rows.unneeded import Falling, Unneeded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

    from orlop.model.digest import ChainID, DiffID, Digest
    from orlop.store.rows.metadata import Rows


def unneeded(rows: Rows, *, ended: Collection[str] = ()) -> Unneeded:
    """Return what no name, image, document or lease needs.

    A database that can tell it by itself does (`Rows.unneeded`); from another one all rows come into memory.

    Args:
        rows: of one moment.
        ended: the leases that do not count; every other one does, whether its owner lives or not.
    """
    told = rows.unneeded(ended)
    if told is not None:
        return told
    held = {str(digest) for name, digests in rows.protected().items() if name not in ended for digest in digests}
    if str(EVERYTHING) in held or rows.has_lost_images():
        # All is held, or may belong to the image that a name has lost.
        return Unneeded()
    chains, contents = _layers(rows, held)
    manifests, blobs = _content(rows, held)
    return Unneeded(chains, contents, manifests, blobs)


def falling(rows: Rows, garbage: Unneeded, *, ended: Collection[str] = ()) -> Falling:
    """Return what goes with what nothing needs. Takes what `unneeded` does, and what that gave."""
    told = rows.falling(garbage, ended)
    if told is not None:
        return told
    held = {str(digest) for name, digests in rows.protected().items() if name not in ended for digest in digests}
    kept = {row.chain_id: row for row in rows.chains()}
    needed = {*rows.standing(kept), *(chain for chain in kept if str(chain) in held)}
    above = Counter(row.parent for row in kept.values())
    gone = []
    candidates = set(garbage.contents)
    waiting = list(garbage.chains)
    while waiting:
        row = kept.pop(waiting.pop())
        gone.append(row.chain_id)
        candidates.add(row.diff_id)
        parent = row.parent
        above[parent] -= 1
        if parent is not None and above[parent] == 0 and parent not in needed:
            waiting.append(parent)
    inside = {row.diff_id for row in kept.values()}
    forms = rows.contents()
    contents = {one for one in candidates if one not in inside and str(one) not in held}
    manifests = set(garbage.manifests)
    named = {edge.child for edge in rows.all_edges() if edge.parent not in manifests}
    stays = {blob.digest for one, blob in forms if blob is not None and one not in contents} | named
    blobs = {blob.digest for one, blob in forms if blob is not None and one in contents} - stays
    freed = {one for one in blobs if str(one) not in held}
    return Falling(tuple(sorted(gone)), tuple(sorted(contents)), tuple(sorted({*garbage.blobs, *freed})))


def _layers(rows: Rows, held: set[str]) -> tuple[tuple[ChainID, ...], tuple[DiffID, ...]]:
    chains = rows.chains()
    # Their digits are hashed once; digests are hashed again and again.
    below = {row.parent.hex for row in chains if row.parent is not None}
    uppermost = [row.chain_id for row in chains if row.chain_id.hex not in below and str(row.chain_id) not in held]
    needed = {chain.hex for chain in rows.standing(uppermost)}
    inside = {row.diff_id.hex for row in chains}
    return (
        tuple(chain for chain in uppermost if chain.hex not in needed),
        tuple(one for one in rows.diff_ids() if one.hex not in inside and str(one) not in held),
    )


def _content(rows: Rows, held: set[str]) -> tuple[tuple[Digest, ...], tuple[Digest, ...]]:
    documents = Documents(rows)
    if any(str(top.digest) not in documents.digests for top in documents.tops):
        # A name has lost its manifest, and only that could tell what it led to.
        return (), ()
    roots = {str(top.digest) for top in documents.tops}.union(held, *documents.came.values())
    reached = documents.reached(roots)
    stays = [one for one in documents.digests if one in reached]
    named = {content for one in stays for content in (*documents.named(one), *documents.subjects(one))} | held
    return (
        tuple(digest for text, digest in documents.digests.items() if text not in reached),
        tuple(blob.digest for blob in rows.opaque_blobs() if str(blob.digest) not in named),
    )
