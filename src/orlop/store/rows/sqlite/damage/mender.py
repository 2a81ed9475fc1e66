"""Rows in SQLite put right: what follows from content or from other rows, and rows that lead to nothing."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Final

from orlop.errors import StoreDamaged
from orlop.model.digest import DiffID, Digest, ImageID
from orlop.store.rows.judging import chain_of
from orlop.store.rows.sql_mender import SQLMender, named
from orlop.store.rows.sqlite.damage.budget import bounded
from orlop.store.rows.sqlite.damage.check import has_lost_rows, integrity_faults, no_digest, parent_loops, row_problems
from orlop.store.rows.sqlite.shape import LAID_OUT, shape_faults
from orlop.store.rows.sqlite.tables import LOST_LINKS
from orlop.streams.interruption import interruptible

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence


_SUMS: Final = """WITH RECURSIVE sums (id, size, depth) AS (
        SELECT chain.id, diff.content_size, 1 FROM chain JOIN diff ON diff.id = chain.diff WHERE chain.parent IS NULL
        UNION ALL SELECT chain.id, sums.size + diff.content_size, sums.depth + 1
        FROM sums JOIN chain ON chain.parent = sums.id JOIN diff ON diff.id = chain.diff)
    SELECT sums.size, sums.depth, sums.id FROM sums JOIN chain ON chain.id = sums.id
    WHERE chain.size <> sums.size OR chain.depth <> sums.depth ORDER BY sums.id"""
_IS_HEAD: Final = """NOT EXISTS (
    SELECT 1 FROM image_metadata AS child WHERE child.key = 'parent' AND child.value = CAST(image.id AS BLOB))"""
_DERIVED: Final = frozenset(("edges-wrong", "head-wrong", "manifest-wrong"))
_LEADING_NOWHERE: Final = (
    ("image_metadata", "image NOT IN (SELECT id FROM image)"),
    ("image_labels", "image NOT IN (SELECT id FROM image)"),
    ("image_manifest", "image NOT IN (SELECT id FROM image) OR manifest NOT IN (SELECT digest FROM manifest)"),
    ("edge", "parent NOT IN (SELECT digest FROM manifest)"),
    ("diff_blob", "diff NOT IN (SELECT id FROM diff) OR blob NOT IN (SELECT digest FROM blob)"),
)
_TWICE: Final = (
    ("reference", "reference_image", "TRUE"),
    ("top", "top_digest", "TRUE"),
    ("image_metadata", "image_pinned", "key = 'pinned'"),
    ("image_metadata", "image_children", "key = 'parent'"),
    ("image_manifest", "image_manifest_manifest", "TRUE"),
    ("diff_blob", "diff_blob_blob", "TRUE"),
)
"""Tables whose rows an index has as a whole, the index, and which rows these are."""


class SQLiteMender(SQLMender):
    """A mender of the rows in SQLite; made by ``SQLiteMetadata.mender``."""

    _differs = "IS NOT"

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._run = connection.execute
        self._connection = connection

    def _change(self, statement: str, values: Sequence[object] = ()) -> int:
        return self._run(statement, values).rowcount

    def _found(self, statement: str, values: Sequence[object] = ()) -> list[Any]:
        return self._run(statement, values).fetchall()

    def _no_digest(self, column: str) -> str:
        return no_digest(column)

    def _put_edges(self, digest: str, raw: bytes) -> None:
        """Do nothing: a trigger does it."""

    def _loops(self) -> list[list[str]]:
        return parent_loops(self._connection)

    def _orphan(self, image: str) -> None:
        self._run("DELETE FROM image_metadata WHERE key = 'parent' AND image = ?", (image,))

    # What is not rows.

    def put_shape_right(self) -> list[tuple[str, str]]:
        """Remove triggers, views and indexes that are not of this version, and make those that are again.

        Returns what each repair is about, and a sentence.

        Raises:
            StoreDamaged: a table is not what it should be, or an index has more rows than it: they would be lost.
        """
        (version,) = self._run("PRAGMA user_version").fetchone()
        done: list[tuple[str, str]] = []
        for what, kind, name in shape_faults(self._connection):
            if kind == "table":
                msg = f"the table {name} is {what}"
                raise StoreDamaged(msg)
            if what != "missing":
                quoted = name.replace('"', '""')
                self._run(f'DROP {kind.upper()} "{quoted}"')
            if what != "foreign":
                self._run(LAID_OUT[version][kind, name].decode())
            word = {"missing": "was made again", "changed": "was made again", "foreign": "was removed"}[what]
            done.append((name, f"the {kind} {name!r} {word}"))
        with interruptible(self._connection):
            faults = integrity_faults(self._connection)
        if faults:
            with bounded(self._connection):
                self._require_no_lost_rows()
                self._run("REINDEX")
            done.append(("metadata.db", f"all indexes were made again from their tables ({faults[0]})"))
        return done

    def _require_no_lost_rows(self) -> None:
        for table, index, rows in _TWICE:
            if has_lost_rows(self._connection, table, index, rows):
                msg = f"the table {table} has lost rows that its index has"
                raise StoreDamaged(msg)

    def has_damaged_rows(self) -> bool:
        """Return whether anything is wrong with rows that a repair of rows could only guess at."""
        with interruptible(self._connection):
            found = row_problems(lambda: nullcontext(self._connection), verify=True)
            return any(not one.harmless and one.kind not in _DERIVED for one in found)

    # Rows under a wrong name.

    def forget_loose_ends(self) -> list[tuple[str, str]]:
        """Remove what nothing refers to: chains that are not what they are called, and layers without bytes."""
        chains = [
            chain
            for chain, parent, diff in self._run(
                """SELECT id, parent, diff FROM chain WHERE id NOT IN (SELECT chain FROM image WHERE chain IS NOT NULL)
                AND id NOT IN (SELECT parent FROM chain WHERE parent IS NOT NULL)
                AND id NOT IN (SELECT digest FROM lease) AND NOT EXISTS (SELECT 1 FROM lease WHERE digest = '*')"""
            ).fetchall()
            if chain != chain_of(parent, diff)
        ]
        self._connection.executemany("DELETE FROM chain WHERE id = ?", [(chain,) for chain in chains])
        diffs = self._run(
            """DELETE FROM diff WHERE id NOT IN (SELECT diff FROM chain) AND id NOT IN (SELECT diff FROM diff_blob)
            AND id NOT IN (SELECT digest FROM lease) AND NOT EXISTS (SELECT 1 FROM lease WHERE digest = '*')
            RETURNING id"""
        ).fetchall()
        return [*(("chain-wrong", chain) for chain in chains), *(("content-missing", diff) for (diff,) in diffs)]

    # What is missing.

    def unlinked_blobs(self) -> list[Digest]:
        """Return the blobs that belong to no known layer, and those that a link names and no row does."""
        found = self._run(
            """SELECT digest FROM blob WHERE digest NOT IN
                (SELECT blob FROM diff_blob WHERE diff IN (SELECT id FROM diff))
            UNION SELECT blob FROM diff_blob WHERE blob NOT IN (SELECT digest FROM blob) ORDER BY 1"""
        )
        return [digest for (text,) in found if (digest := Digest.unchecked(text)).is_valid]

    def bare_diffs(self) -> list[DiffID]:
        """Return the layers that something needs and of which there is no row, or no blob."""
        found = self._run(
            """SELECT diff FROM chain WHERE diff NOT IN (SELECT id FROM diff)
            UNION SELECT diff FROM diff_blob WHERE diff NOT IN (SELECT id FROM diff)
            UNION SELECT id FROM diff WHERE id NOT IN
                (SELECT diff FROM diff_blob WHERE blob IN (SELECT digest FROM blob)) ORDER BY 1"""
        )
        return [diff_id for (text,) in found if (diff_id := DiffID.unchecked(text)).is_valid]

    def missing_images(self) -> list[ImageID]:
        """Return the images that names or children lead to and that are not there."""
        found = self._run("SELECT image FROM reference WHERE image NOT IN (SELECT id FROM image)").fetchall()
        found += [(named(value),) for (_, value) in self._missing_parents()]
        ids = {ImageID.unchecked(text) for (text,) in found}
        return sorted(image for image in ids if image.is_valid)

    def missing_manifests(self) -> list[Digest]:
        """Return the manifests that images came with and that are not there."""
        found = self._run("SELECT manifest FROM image_manifest WHERE manifest NOT IN (SELECT digest FROM manifest)")
        return sorted({digest for (text,) in found if (digest := Digest.unchecked(text)).is_valid})

    def is_named(self, digest: Digest) -> bool:
        """Return whether a manifest names some content."""
        found = self._run("SELECT 1 FROM manifest WHERE instr(content, CAST(? AS BLOB)) LIMIT 1", (digest.hex,))
        return found.fetchone() is not None

    # What content says.

    def set_edges(self, digest: str) -> None:
        """Record where a manifest leads, as its bytes say, and with which images it came, as their names say."""
        # The trigger does it.
        self._run("UPDATE manifest SET content = content WHERE digest = ?", (digest,))
        self._run(
            f"INSERT INTO image_manifest SELECT image, manifest FROM ({LOST_LINKS}) WHERE manifest = ?",  # noqa: S608 - constants
            (digest,),
        )

    # What follows from other rows.

    def add_up_chains(self) -> list[str]:
        """Add up the sizes of all chains again, and return those whose size or depth was another."""
        found = self._run(_SUMS).fetchall()
        self._connection.executemany("UPDATE chain SET size = ?, depth = ? WHERE id = ?", found)
        return [chain for _, _, chain in found]

    def mark_heads(self) -> list[str]:
        """Record which images have no children, and return those of which something else was recorded."""
        found = self._run(f"SELECT id FROM image WHERE head <> {_IS_HEAD} ORDER BY id").fetchall()  # noqa: S608 - constants
        self._connection.executemany(f"UPDATE image SET head = {_IS_HEAD} WHERE id = ?", found)  # noqa: S608 - constants
        return [image for (image,) in found]

    # What leads nowhere.

    def _missing_parents(self) -> list[Any]:
        return self._run(
            """SELECT image, value FROM image_metadata WHERE key = 'parent' AND image IN (SELECT id FROM image)
            AND value NOT IN (SELECT CAST(id AS BLOB) FROM image) ORDER BY image"""
        ).fetchall()

    def forget_nowhere(self) -> list[tuple[str, int]]:
        """Remove links whose ends are not there, and return the tables that they were in with their number."""
        found: list[tuple[str, int]] = []
        for table, test in _LEADING_NOWHERE:
            count = self._run(f"DELETE FROM {table} WHERE {test}").rowcount  # noqa: S608 - constants
            if count:
                found.append((table, count))
        return found
