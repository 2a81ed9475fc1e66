"""What goes in a write, and whether anything still needs it: asked once more before the write commits.

The tables are asked by their indexes: the server checks the links between them. A session can end these checks, and
many a wrong value is a link as well. So the configs, manifests and indexes are asked, too: they are hashed, and what an
intact one names is needed, whatever the rows between say. The server finds those that mention what goes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from orlop.store.rows.judging import chain_of
from orlop.store.rows.naming import ANYTHING, lowest_chains, named_by_config, named_by_manifest
from orlop.store.rows.postgres.mentions import WHICH_IMAGES, WHICH_MANIFESTS
from orlop.store.rows.values import damaged

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import NoReturn

    import psycopg

    from orlop.store.rows.going import Going

_LINKS: Final = (
    ("chains", "layer", "SELECT id FROM chain WHERE parent = ANY(%(gone)s) OR id = ANY(%(gone)s)"),
    ("chains", "layer", "SELECT chain FROM image WHERE chain = ANY(%(gone)s)"),
    ("contents", "content", "SELECT diff FROM chain WHERE diff = ANY(%(gone)s)"),
    ("contents", "content", "SELECT id FROM diff WHERE id = ANY(%(gone)s)"),
    ("leased", "layer", "SELECT digest FROM lease WHERE digest = ANY(%(gone)s) OR digest = '*'"),
    ("blobs", "blob", "SELECT blob FROM diff_blob WHERE blob = ANY(%(gone)s)"),
    ("blobs", "blob", "SELECT digest FROM blob WHERE digest = ANY(%(gone)s)"),
    ("blobs", "blob", "SELECT child FROM edge WHERE child = ANY(%(gone)s)"),
    ("manifests", "manifest", "SELECT manifest FROM image_manifest WHERE manifest = ANY(%(gone)s)"),
    ("manifests", "manifest", "SELECT digest FROM top WHERE digest = ANY(%(gone)s)"),
    ("manifests", "manifest", "SELECT digest FROM manifest WHERE digest = ANY(%(gone)s)"),
)
"""Questions whether a row leads to what goes."""
_CONFIGS: Final = "SELECT id, config FROM image WHERE id = ANY(%s)"
_MANIFESTS: Final = "SELECT digest, content FROM manifest WHERE digest = ANY(%s)"
_BATCH: Final = 64
"""Documents that are in memory at once."""


def require_unneeded(going: Going, connection: psycopg.Connection[tuple[Any, ...]], place: str) -> None:
    """Raise `DatabaseDamaged` where something still needs what goes, inside the transaction of a connection."""
    for kind, what, question in _LINKS:
        gone = sorted(getattr(going, kind))
        if not gone:
            continue
        found = connection.execute(f"{question} LIMIT 1".encode(), {"gone": gone}).fetchone()
        if found is not None:
            _refuse(place, what, found[0], "a row")
    _require_no_config(going, connection, place)
    _require_no_manifest(going, connection, place)


def _require_no_config(going: Going, connection: psycopg.Connection[tuple[Any, ...]], place: str) -> None:
    pairs = {(one, one) for one in going.contents} | _pairs(going, connection, place)
    for image, config in _mentioning(connection, WHICH_IMAGES, _CONFIGS, pairs):
        named = named_by_config(going, image, config)
        if named is not None:
            _refuse(place, "content" if named in going.contents else "layer", named, f"the image {image}")


def _require_no_manifest(going: Going, connection: psycopg.Connection[tuple[Any, ...]], place: str) -> None:
    pairs = {(one, one) for one in going.blobs | (going.manifests - going.taken)}
    for digest, content in _mentioning(connection, WHICH_MANIFESTS, _MANIFESTS, pairs):
        named = named_by_manifest(going, digest, content)
        if named is not None:
            _refuse(place, "blob" if named in going.blobs else "manifest", named, f"the manifest {digest}")


def _pairs(going: Going, connection: psycopg.Connection[tuple[Any, ...]], place: str) -> set[tuple[str, str]]:
    """Return of each layer that goes, and stands on none that does, its content and that of the layer below.

    Some contents, such as the empty one, are in very many images. Few have them on the same layer.
    """
    lowest = lowest_chains(going, place)
    below = sorted({parent for parent, _ in lowest.values() if parent is not None})
    statement = b"SELECT id, parent, diff FROM chain WHERE id = ANY(%s)"
    found = connection.execute(statement, (below,)).fetchall() if below else []
    contents = {chain: diff for chain, parent, diff in found if chain_of(parent, diff) == chain}
    return {(diff, diff if parent is None else contents.get(parent, diff)) for parent, diff in lowest.values()}


def _mentioning(
    connection: psycopg.Connection[tuple[Any, ...]], which: str, documents: str, pairs: Iterable[tuple[str, str]]
) -> Iterator[tuple[str, bytes]]:
    """Yield the documents that mention both of any of some pairs, or that may, with their digests."""
    asked = sorted(pairs)
    if not asked:
        return
    one, other = map(list, zip(*asked, (ANYTHING, ANYTHING), strict=True))
    found = [key for (key,) in connection.execute(which.encode(), (one, other)).fetchall()]
    for start in range(0, len(found), _BATCH):
        batch = connection.execute(documents.encode(), (found[start : start + _BATCH],))
        yield from ((key, bytes(document)) for key, document in batch.fetchall())


def _refuse(place: str, what: str, digest: str, who: str) -> NoReturn:
    raise damaged(place, f"the {what} {digest} was to go, but {who} needs it")
