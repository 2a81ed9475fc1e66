"""What goes in a write, and whether a row still needs it.

Whether something is needed is asked of an index while rows are deleted, since that takes no time. But an index may
lie: an entry that is missing says "nobody", and one that leads to another row deletes that. What follows cannot be
undone, so the question is asked once more before the write commits, of the tables themselves. Each is read from its
beginning to its end, once for a write, however many things go in it:

- No row may lead to a layer, a content, a blob or a manifest that goes, nor may any of them still be there itself. That
  includes leases.
- Configs, manifests and indexes are read, too: they are hashed, so what an intact one names is needed, whatever the
  rows between say.
- Of the names and the children of an image that goes, the table and its index must say the same: whether the image may
  go was asked of the index.

A write in which nothing goes asks nothing.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final, NamedTuple

from orlop.store.rows.metadata import EVERYTHING
from orlop.store.rows.naming import lowest_chains, mentions_any, named_by_config, named_by_manifest
from orlop.store.rows.sqlite.tables import itself
from orlop.store.rows.values import damaged

if TYPE_CHECKING:
    import sqlite3
    from typing import NoReturn

    from orlop.store.rows.going import Going


_FILE: Final = "metadata.db"


class _Link(NamedTuple):
    """A column that leads to what goes: to a ``what`` of a ``kind``."""

    kind: str
    what: str
    table: str
    column: str


_LINKS: Final = (
    _Link("chains", "layer", "chain", "parent"),
    _Link("chains", "layer", "chain", "id"),
    _Link("contents", "content", "chain", "diff"),
    _Link("contents", "content", "diff_blob", "diff"),
    _Link("contents", "content", "diff", "id"),
    _Link("leased", "layer", "lease", "digest"),
    _Link("blobs", "blob", "diff_blob", "blob"),
    _Link("blobs", "blob", "blob", "digest"),
    _Link("manifests", "manifest", "image_manifest", "manifest"),
    _Link("manifests", "manifest", "manifest", "digest"),
    _Link("manifests", "manifest", "edge", "parent"),
    _Link("manifests", "manifest", "top", "digest"),
    _Link("blobs", "blob", "edge", "child"),
    _Link("images", "image", "image_metadata", "image"),
    _Link("images", "image", "image_labels", "image"),
    _Link("images", "image", "image_manifest", "image"),
)
_TWICE: Final = (
    (
        f"""SELECT name, suffix FROM {itself("reference")}
        WHERE +image IN (SELECT value FROM json_each(?)) ORDER BY 1, 2""",  # noqa: S608 - constants
        "SELECT name, suffix FROM reference WHERE image IN (SELECT value FROM json_each(?)) ORDER BY 1, 2",
    ),
    (
        f"""SELECT image FROM {itself("image_metadata")}
        WHERE +key = 'parent' AND CAST(value AS TEXT) IN (SELECT value FROM json_each(?)) ORDER BY 1""",  # noqa: S608 - constants
        """SELECT child.image FROM json_each(?) AS gone JOIN image_metadata AS child
        ON child.key = 'parent' AND child.value = CAST(gone.value AS BLOB) ORDER BY 1""",
    ),
)
"""Questions about images, of a table and of its index."""


def require_unneeded(going: Going, connection: sqlite3.Connection) -> None:
    """Raise `DatabaseDamaged` where a row still needs something that goes, inside the transaction of a connection."""
    for link in _LINKS:
        if gone := getattr(going, link.kind):
            _require_no_row(connection, link, gone)
    if going.images or going.chains or going.contents:
        _require_no_image(going, connection)
    _require_no_manifest(going, connection)
    if going.images:
        _require_true_indexes(going, connection)


def _require_no_image(going: Going, connection: sqlite3.Connection) -> None:
    """Read every image, at once for all that goes."""
    needs = going.contents | {diff for _, diff in lowest_chains(going, _FILE).values()}
    mentions = mentions_any(needs)
    columns = "id, chain, config" if going.chains or going.contents else "id, NULL, NULL"
    for image, chain, config in connection.execute(f"SELECT {columns} FROM {itself('image')}"):  # noqa: S608 - constants
        if image in going.images:
            _refuse("image", image, "its own row")
        if chain in going.chains:
            _refuse("layer", chain, f"the image {image}")
        # Most configs name nothing of it, which is seen without parsing them.
        if needs and mentions(config):
            named = named_by_config(going, image, config)
            if named is not None:
                _refuse("content" if named in going.contents else "layer", named, f"the image {image}")


def _require_no_manifest(going: Going, connection: sqlite3.Connection) -> None:
    """Read every manifest and index, at once for all that goes."""
    needs = going.blobs | (going.manifests - going.taken)
    if not needs:
        return
    mentions = mentions_any(needs)
    for digest, content in connection.execute(f"SELECT digest, content FROM {itself('manifest')}"):  # noqa: S608 - constants
        if mentions(content):
            named = named_by_manifest(going, digest, content)
            if named is not None:
                _refuse("blob" if named in going.blobs else "manifest", named, f"the manifest {digest}")


def _require_true_indexes(going: Going, connection: sqlite3.Connection) -> None:
    gone = json.dumps(sorted(going.images))
    for by_row, by_index in _TWICE:
        rows, entries = (connection.execute(question, (gone,)).fetchall() for question in (by_row, by_index))
        if rows != entries:
            _refuse("image", min(going.images), "".join((rows or entries)[0]))


def _require_no_row(connection: sqlite3.Connection, link: _Link, gone: set[str]) -> None:
    values = [*gone, str(EVERYTHING)] if link.table == "lease" else [*gone]
    # With the sign that keeps SQLite from searching the table's own order.
    found = connection.execute(
        f"""SELECT {link.column} FROM {itself(link.table)}
        WHERE +{link.column} IN (SELECT value FROM json_each(?))""",  # noqa: S608 - constants
        (json.dumps(values),),
    ).fetchone()
    if found is not None:
        _refuse(link.what, found[0], f"a row of the table {link.table}")


def _refuse(what: str, digest: str, who: str) -> NoReturn:
    raise damaged(_FILE, f"the {what} {digest} was to go, but {who} needs it")
