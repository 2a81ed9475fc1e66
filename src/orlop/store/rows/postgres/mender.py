"""Rows in PostgreSQL put right: what follows from content or from other rows, and rows that lead to nothing."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from orlop.model.digest import DiffID, Digest, ImageID
from orlop.store.rows.judging import chain_of
from orlop.store.rows.postgres.check import LINKS, LOST_LINKS, NO_DIGEST, NOWHERE, invalid_values, parent_loops
from orlop.store.rows.postgres.schema import TTL
from orlop.store.rows.postgres.shape import can_be_asked, can_be_mended, mending, shape_faults
from orlop.store.rows.postgres.tables import CHILDREN
from orlop.store.rows.sql_mender import SQLMender, named
from orlop.store.rows.values import MOST

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orlop.store.rows.postgres.rows import PostgresRows

_SUMS: Final = """WITH RECURSIVE sums (id, size, depth) AS (
        SELECT chain.id, diff.content_size::numeric, 1::bigint FROM chain JOIN diff ON diff.id = chain.diff
        WHERE chain.parent IS NULL
        UNION ALL SELECT chain.id, sums.size + diff.content_size, sums.depth + 1
        FROM sums JOIN chain ON chain.parent = sums.id JOIN diff ON diff.id = chain.diff)
    UPDATE chain SET size = least(sums.size, 9223372036854775807)::bigint, depth = sums.depth FROM sums
    WHERE chain.id = sums.id AND (chain.size <> sums.size OR chain.depth <> sums.depth) RETURNING chain.id"""
"""What is too much for a column follows from a layer that is wrong, too."""
_UNLEASED: Final = """NOT EXISTS (SELECT 1 FROM lease WHERE digest IN (id, '*'))"""
_MISSING_PARENTS: Final = """SELECT image, value FROM image_metadata AS one WHERE key = 'parent'
    AND NOT EXISTS (SELECT 1 FROM image WHERE convert_to(id, 'UTF8') = one.value) ORDER BY image"""

_EVENTS: Final = f"DELETE FROM event WHERE number NOT BETWEEN 1 AND {MOST} OR number::text = ANY(%(keys)s)"  # noqa: S608 - constants
_KEYED: Final = ("object", "upload", "doomed", "deleting")
_RIGHT: Final = {
    ("blob", "size"): "UPDATE blob SET size = 0 WHERE digest = ANY(%(keys)s)",
    ("diff", "size"): "UPDATE diff SET size = 0 WHERE id = ANY(%(keys)s)",
    ("diff", "content_size"): "UPDATE diff SET content_size = 0 WHERE id = ANY(%(keys)s)",
    ("diff", "entries"): "UPDATE diff SET entries = 0 WHERE id = ANY(%(keys)s)",
    ("chain", "size"): "UPDATE chain SET size = 0 WHERE id = ANY(%(keys)s)",
    ("chain", "depth"): "UPDATE chain SET depth = 1 WHERE id = ANY(%(keys)s)",
    ("chain", "descriptor"): "UPDATE chain SET descriptor = NULL WHERE id = ANY(%(keys)s)",
    ("edge", "position"): "DELETE FROM edge WHERE parent = ANY(%(keys)s)",
    ("edge", "size"): "DELETE FROM edge WHERE parent = ANY(%(keys)s)",
    ("event", "number"): _EVENTS,
    ("event", "attributes"): _EVENTS,
    ("reference", "image"): f"DELETE FROM reference WHERE {NO_DIGEST.format('image')}",  # noqa: S608 - constants
    ("top", "digest"): f"DELETE FROM top WHERE {NO_DIGEST.format('digest')}",  # noqa: S608 - constants
    ("doomed", "size"): "UPDATE doomed SET size = 0 WHERE key = ANY(%(keys)s)",
    # Which blob an object holds its bytes say, see `ObjectsRepair.sweep`.
    ("object", "name"): "DELETE FROM object WHERE key = ANY(%(keys)s)",
    **{(table, "key"): f"DELETE FROM {table} WHERE key = ANY(%(keys)s)" for table in _KEYED},  # noqa: S608 - constants
    ("store", "last_event"): f"""UPDATE store SET last_event = greatest(
        CASE WHEN last_event BETWEEN 0 AND {MOST} THEN last_event END, (SELECT max(number) FROM event), 0)""",  # noqa: S608 - a constant
    ("store", "ttl"): f"UPDATE store SET ttl = {TTL}",  # noqa: S608 - a constant
    ("store", "epoch"): f"""UPDATE store SET epoch = 1 + coalesce((SELECT max(stamp) FROM doomed
        WHERE stamp BETWEEN 0 AND {MOST}), 0)""",  # noqa: S608 - a constant
}
"""What takes the place of a value that its column cannot hold: one that other rows and bytes then contradict.

Edges follow from their manifests. What nothing tells again goes.
"""


class PostgresMender(SQLMender):
    """A mender of the rows in PostgreSQL; made by ``PostgresMetadata.mender``."""

    _differs = "IS DISTINCT FROM"

    def __init__(self, rows: PostgresRows) -> None:
        self._rows = rows
        self._run = rows.run

    def _change(self, statement: str, values: Sequence[object] = ()) -> int:
        return self._run(statement.replace("?", "%s"), values).rowcount

    def _found(self, statement: str, values: Sequence[object] = ()) -> list[Any]:
        return self._rows.rows(statement.replace("?", "%s"), values)

    def _no_digest(self, column: str) -> str:
        return NO_DIGEST.format(column)

    def _put_edges(self, digest: str, raw: bytes) -> None:
        self._rows.put_edges(Digest.unchecked(digest), raw)

    def _loops(self) -> list[list[str]]:
        return parent_loops(self._rows)

    def _orphan(self, image: str) -> None:
        self._rows.delete_metadata(ImageID.unchecked(image), "parent")

    def _missing_parents(self) -> list[Any]:
        return self._rows.rows(_MISSING_PARENTS)

    # The schema, and values that no column can hold.

    def put_shape_right(self) -> list[tuple[str, str]]:
        """Put tables, links, indexes and triggers right, as far as statements can, see `RowMender`."""
        faults = shape_faults(self._rows)
        if not can_be_mended(faults):
            return []
        for statement in mending(faults):
            self._run(statement.as_string(self._rows.connection))
        left = {one[:4] for one in shape_faults(self._rows)} if faults else set()
        return [(one.subject, one.message) for one in faults if one[:4] not in left]

    def put_values_right(self) -> list[tuple[str, str]]:
        """Put something else in place of what columns cannot hold, see `RowMender`."""
        found = list(invalid_values(self._rows)) if can_be_asked(shape_faults(self._rows)) else []
        for column in sorted({(one.table, one.column) for one in found}):
            keys = [one.key for one in found if (one.table, one.column) == column]
            self._run(_RIGHT[column], {"keys": keys})
        for parent in sorted({one.key for one in found if one.table == "edge"}):
            self.set_edges(parent)
        return [(one.table, one.key) for one in found]

    # Rows under a wrong name.

    def forget_loose_ends(self) -> list[tuple[str, str]]:
        """Remove what nothing refers to: chains that are not what they are called, and layers without bytes."""
        loose = self._rows.rows(
            f"""SELECT id, parent, diff FROM chain WHERE NOT EXISTS (SELECT 1 FROM image WHERE image.chain = chain.id)
            AND NOT EXISTS (SELECT 1 FROM chain AS above WHERE above.parent = chain.id) AND {_UNLEASED}"""  # noqa: S608 - constants
        )
        chains = [chain for chain, parent, diff in loose if chain != chain_of(parent, diff)]
        self._run("DELETE FROM chain WHERE id = ANY(%s)", (chains,))
        diffs = self._rows.rows(
            f"""DELETE FROM diff WHERE NOT EXISTS (SELECT 1 FROM chain WHERE chain.diff = diff.id)
            AND NOT EXISTS (SELECT 1 FROM diff_blob WHERE diff_blob.diff = diff.id) AND {_UNLEASED} RETURNING id"""  # noqa: S608 - constants
        )
        return [*(("chain-wrong", chain) for chain in chains), *(("content-missing", diff) for (diff,) in diffs)]

    # What is missing.

    def unlinked_blobs(self) -> list[Digest]:
        """Return the blobs that belong to no known layer, and those that a link names and no row does."""
        found = self._rows.rows(
            """SELECT digest FROM blob WHERE NOT EXISTS (SELECT 1 FROM diff_blob JOIN diff ON diff.id = diff_blob.diff
                WHERE diff_blob.blob = digest)
            UNION SELECT blob FROM diff_blob WHERE NOT EXISTS (SELECT 1 FROM blob WHERE digest = diff_blob.blob)
            ORDER BY 1"""
        )
        return [digest for (text,) in found if (digest := Digest.unchecked(text)).is_valid]

    def bare_diffs(self) -> list[DiffID]:
        """Return the layers that are needed but have no row or no blob."""
        found = self._rows.rows(
            """SELECT diff FROM chain WHERE NOT EXISTS (SELECT 1 FROM diff WHERE id = chain.diff)
            UNION SELECT diff FROM diff_blob WHERE NOT EXISTS (SELECT 1 FROM diff WHERE id = diff_blob.diff)
            UNION SELECT id FROM diff WHERE NOT EXISTS (SELECT 1 FROM diff_blob JOIN blob ON digest = diff_blob.blob
                WHERE diff_blob.diff = diff.id) ORDER BY 1"""
        )
        return [diff_id for (text,) in found if (diff_id := DiffID.unchecked(text)).is_valid]

    def missing_images(self) -> list[ImageID]:
        """Return the images that names or children lead to and that are not there."""
        found = self._rows.rows(
            "SELECT DISTINCT image FROM reference WHERE NOT EXISTS (SELECT 1 FROM image WHERE id = reference.image)"
        )
        ids = {ImageID.unchecked(text) for (text,) in found}
        ids |= {ImageID.unchecked(named(value)) for _, value in self._missing_parents()}
        return sorted(image for image in ids if image.is_valid)

    def missing_manifests(self) -> list[Digest]:
        """Return the manifests that images came with and that are not there."""
        found = self._rows.rows(
            """SELECT DISTINCT manifest FROM image_manifest
            WHERE NOT EXISTS (SELECT 1 FROM manifest WHERE digest = image_manifest.manifest)"""
        )
        return sorted({digest for (text,) in found if (digest := Digest.unchecked(text)).is_valid})

    def is_named(self, digest: Digest) -> bool:
        """Return whether a manifest names some content."""
        statement = "SELECT 1 FROM manifest WHERE position(convert_to(%s, 'UTF8') IN content) > 0 LIMIT 1"
        return self._rows.row(statement, (digest.hex,)) is not None

    # What content says.

    def set_edges(self, digest: str) -> None:
        """Record where a manifest leads, as its bytes say, and with which images it came, as their names say."""
        raw = self.manifest(digest)
        if raw is not None:
            self._rows.put_edges(Digest.unchecked(digest), raw)
            self._run(
                f"INSERT INTO image_manifest SELECT image, manifest FROM ({LOST_LINKS}) AS lost WHERE manifest = %s",  # noqa: S608 - constants
                (digest,),
            )

    # What follows from other rows.

    def add_up_chains(self) -> list[str]:
        """Add up the sizes of all chains again, and return those whose size or depth was another."""
        return sorted(chain for (chain,) in self._rows.rows(_SUMS))

    def mark_heads(self) -> list[str]:
        """Record which images have no children, and return those of which something else was recorded."""
        has = f"EXISTS ({CHILDREN.format('image.id')})"
        found = self._rows.rows(f"UPDATE image SET head = NOT {has} WHERE head = {has} RETURNING id")  # noqa: S608 - constants
        return sorted(image for (image,) in found)

    # What leads nowhere.

    def forget_nowhere(self) -> list[tuple[str, int]]:
        """Remove links whose ends are not there, and return the tables that they were in with their number."""
        gone: Counter[str] = Counter()
        for table, *link in LINKS:
            # What a layer in its place leads to is made again, or the layer is needed as it is.
            if table != "chain":
                gone[table] += self._run(f"DELETE {NOWHERE.format(table, *link)}").rowcount
        return [(table, count) for table, count in sorted(gone.items()) if count]
