"""Rows in SQLite put right: what follows from content or from other rows, and rows that lead to nothing."""

from __future__ import annotations

import json
from contextlib import nullcontext
from typing import TYPE_CHECKING, Final

from orlop.errors import InvalidInput, StoreDamaged
from orlop.model.digest import DiffID, Digest, ImageID
from orlop.store.rows.image_facts import image_facts
from orlop.store.rows.judging import chain_of, digest_of, is_name
from orlop.store.rows.mender import RowMender
from orlop.store.rows.sqlite.damage.check import KEYS, no_digest, parent_loops, row_problems
from orlop.store.rows.sqlite.shape import LAID_OUT, shape_faults
from orlop.store.rows.sqlite.tables import LOST_LINKS

if TYPE_CHECKING:
    import sqlite3

    from orlop.store.rows.metadata import BlobRow, ChainRow, DiffRow, ManifestRow

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


class SQLiteMender(RowMender):
    """A mender of the rows in SQLite; made by ``SQLiteMetadata.mender``."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._run = connection.execute
        self._connection = connection

    # What is not rows.

    def put_shape_right(self) -> list[tuple[str, str]]:
        """Remove triggers, views and indexes that are not of this version, and make those that are again.

        Returns what each repair is about, and a sentence.

        Raises:
            StoreDamaged: a table is not what it should be.
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
        lines = [line for (line,) in self._run("PRAGMA integrity_check")]
        if lines != ["ok"]:
            self._run("REINDEX")
            done.append(("metadata.db", f"all indexes were made again from their tables ({lines[0]})"))
        return done

    def has_damaged_rows(self) -> bool:
        """Return whether anything is wrong with rows that a repair of rows could only guess at."""
        found = row_problems(lambda: nullcontext(self._connection), verify=True)
        return any(not one.harmless and one.kind not in _DERIVED for one in found)

    # Rows under a wrong name.

    def forget_invalid_keys(self) -> list[tuple[str, str]]:
        """Remove rows of layers that no digest names; return their tables and names. Others are to be adopted."""
        found = [
            (table, key)
            for table in ("chain", "diff", "blob")
            for (key,) in self._run(f"SELECT {KEYS[table]} FROM {table} WHERE {no_digest(KEYS[table])}")  # noqa: S608 - constants
        ]
        bad = f"SELECT id FROM chain WHERE {no_digest('id')} OR {no_digest('diff')}"  # noqa: S608 - constants
        self._run(f"UPDATE chain SET parent = NULL WHERE parent IN ({bad}) OR {no_digest('parent')}")  # noqa: S608 - constants
        self._run(f"DELETE FROM chain WHERE id IN ({bad})")  # noqa: S608 - constants
        self._run(f"DELETE FROM diff_blob WHERE {no_digest('diff')} OR {no_digest('blob')}")  # noqa: S608 - constants
        self._run(f"DELETE FROM diff WHERE {no_digest('id')}")  # noqa: S608 - constants
        self._run(f"DELETE FROM blob WHERE {no_digest('digest')}")  # noqa: S608 - constants
        return found

    def adopt_image(self, image: str) -> str | None:
        """Return an image whose config has another digest the ID that it should have, and return that.

        That is done only if others know it by that ID, and not by the one that it has, or if that is none: else the
        config may be what is damaged. One that cannot be read and has no ID goes. Gives nothing where the row stays.
        """
        row = self._run("SELECT config, created, created_ns FROM image WHERE id = ?", (image,)).fetchone()
        is_none = not Digest.unchecked(image).is_valid
        if row is None or (not is_none and self._is_known(image)):
            return None
        right = digest_of(row[0])
        try:
            facts = image_facts(row[0])
        except InvalidInput:
            if is_none:
                self._run("DELETE FROM image WHERE id = ?", (image,))
            return "" if is_none else None
        there = self._run("SELECT 1 FROM image WHERE id = ?", (right,)).fetchone()
        if not is_none and (there or not self._is_known(right)):
            return None
        self._run(
            "INSERT INTO image (id, config, chain, created, created_ns) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (right, row[0], facts.chain, facts.created, facts.created_ns),
        )
        for table in ("image_metadata", "image_labels", "image_manifest"):
            self._run(f"UPDATE OR IGNORE {table} SET image = ? WHERE image = ?", (right, image))  # noqa: S608 - constants
        self._run("UPDATE reference SET image = ? WHERE image = ?", (right, image))
        self._run("DELETE FROM image WHERE id = ?", (image,))
        return right

    def _is_known(self, image: str) -> bool:
        found = self._run(
            """SELECT EXISTS (SELECT 1 FROM reference WHERE image = ?1)
            OR EXISTS (SELECT 1 FROM image_metadata WHERE image = ?1 OR value = CAST(?1 AS BLOB))
            OR EXISTS (SELECT 1 FROM image_manifest WHERE image = ?1)""",
            (image,),
        )
        return bool(found.fetchone()[0])

    def adopt_manifest(self, digest: str) -> str | None:
        """Return a manifest whose bytes have another digest the name that it should have, and return that.

        That is done only if no image came with it by the name that it has, or if that is not a digest.
        """
        row = self._run("SELECT media_type, content FROM manifest WHERE digest = ?", (digest,)).fetchone()
        linked = self._run("SELECT 1 FROM image_manifest WHERE manifest = ?", (digest,)).fetchone()
        is_none = not Digest.unchecked(digest).is_valid
        if row is None or (linked and not is_none):
            return None
        right = digest_of(row[1])
        if not is_none and not self._run("SELECT 1 FROM image_manifest WHERE manifest = ?", (right,)).fetchone():
            return None
        self._run("INSERT INTO manifest VALUES (?, ?, ?) ON CONFLICT DO NOTHING", (right, *row))
        self._run("UPDATE OR IGNORE image_manifest SET manifest = ? WHERE manifest = ?", (right, digest))
        self._run("DELETE FROM image_manifest WHERE manifest = ?", (digest,))
        self._run("DELETE FROM manifest WHERE digest = ?", (digest,))
        return right

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
        found += [(value.decode("ascii", "replace"),) for (_, value) in self._missing_parents()]
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

    def set_blob(self, row: BlobRow) -> None:
        """Record what a blob is."""
        self._run(
            """INSERT INTO blob VALUES (?, ?, ?)
            ON CONFLICT DO UPDATE SET size = excluded.size, compression = excluded.compression""",
            (str(row.digest), row.size, row.compression),
        )

    def set_diff(self, row: DiffRow) -> None:
        """Record what a layer holds."""
        self._run(
            """INSERT INTO diff VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET size = excluded.size,
            content_size = excluded.content_size, entries = excluded.entries, partial = excluded.partial""",
            (str(row.diff_id), row.size, row.content_size, row.entries, row.partial),
        )

    def unlink(self, blob: Digest) -> None:
        """Record a blob as a form of no layer."""
        self._run("DELETE FROM diff_blob WHERE blob = ?", (str(blob),))

    def link(self, blob: Digest, diff_id: DiffID) -> None:
        """Record a blob as a form of a layer."""
        self._run("INSERT INTO diff_blob VALUES (?, ?) ON CONFLICT DO NOTHING", (str(diff_id), str(blob)))

    def forget_blob(self, digest: Digest) -> None:
        """Forget a blob as a form of its layer."""
        self.unlink(digest)
        self._run("DELETE FROM blob WHERE digest = ?", (str(digest),))

    def set_config(self, image: ImageID, config: bytes) -> None:
        """Put the right bytes in place of a damaged config."""
        self._run("UPDATE image SET config = ? WHERE id = ?", (config, str(image)))

    def correct(self, digest: str, damaged: bytes, right: bytes) -> bool:
        """Replace the damaged bytes of a config or a manifest; return whether they were damaged."""
        image = self._run("UPDATE image SET config = ? WHERE id = ? AND config = ?", (right, digest, damaged))
        manifest = self._run(
            "UPDATE manifest SET content = ? WHERE digest = ? AND content = ?", (right, digest, damaged)
        )
        return image.rowcount + manifest.rowcount > 0

    def set_manifest(self, row: ManifestRow) -> None:
        """Put the right bytes in place of a damaged or missing manifest."""
        self._run(
            """INSERT INTO manifest VALUES (?, ?, ?)
            ON CONFLICT DO UPDATE SET media_type = excluded.media_type, content = excluded.content""",
            (str(row.digest), row.media_type, row.raw),
        )

    def manifest(self, digest: str) -> bytes | None:
        """Return the bytes that are kept of a manifest."""
        row = self._run("SELECT content FROM manifest WHERE digest = ?", (digest,)).fetchone()
        return None if row is None else bytes(row[0])

    def set_media_type(self, digest: str, media_type: str) -> None:
        """Record of what type a manifest is."""
        self._run("UPDATE manifest SET media_type = ? WHERE digest = ?", (media_type, digest))

    def set_edges(self, digest: str) -> None:
        """Record where a manifest leads, as its bytes say, and with which images it came, as their names say."""
        # The trigger does it.
        self._run("UPDATE manifest SET content = content WHERE digest = ?", (digest,))
        self._run(
            f"INSERT INTO image_manifest SELECT image, manifest FROM ({LOST_LINKS}) WHERE manifest = ?",  # noqa: S608 - constants
            (digest,),
        )

    # What follows from other rows.

    def set_image(self, image: ImageID, config: bytes) -> bool:
        """Record what follows from an image's config, and return whether something else was recorded.

        Raises:
            InvalidInput: this is not an image config.
        """
        facts = image_facts(config)
        changed = self._run(
            """UPDATE image SET chain = ?2, created = ?3, created_ns = ?4
            WHERE id = ?1 AND (chain IS NOT ?2 OR created <> ?3 OR created_ns <> ?4)""",
            (str(image), facts.chain, facts.created, facts.created_ns),
        ).rowcount
        if facts.labels is None:
            changed += self._run("DELETE FROM image_labels WHERE image = ?", (str(image),)).rowcount
        else:
            changed += self._run(
                """INSERT INTO image_labels VALUES (?, ?)
                ON CONFLICT DO UPDATE SET labels = excluded.labels WHERE labels <> excluded.labels""",
                (str(image), json.dumps(facts.labels)),
            ).rowcount
        return changed > 0

    def set_chain(self, row: ChainRow) -> bool:
        """Record what a chain consists of; return whether something else, or nothing, was recorded."""
        parent = None if row.parent is None else str(row.parent)
        changed = self._run(
            """INSERT INTO chain VALUES (?, ?, ?, ?, ?, ?)
            ON CONFLICT DO UPDATE SET parent = excluded.parent, diff = excluded.diff
            WHERE parent IS NOT excluded.parent OR diff <> excluded.diff""",
            (str(row.chain_id), parent, str(row.diff_id), row.size, row.depth, row.descriptor),
        )
        return changed.rowcount > 0

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

    def _missing_parents(self) -> list[tuple[str, bytes]]:
        return self._run(
            """SELECT image, value FROM image_metadata WHERE key = 'parent' AND image IN (SELECT id FROM image)
            AND value NOT IN (SELECT CAST(id AS BLOB) FROM image) ORDER BY image"""
        ).fetchall()

    def forget_missing_parents(self) -> list[tuple[str, str]]:
        """Unlink images from parents that are not there; return each with the parent that it had."""
        found = self._missing_parents()
        self._connection.executemany(
            "DELETE FROM image_metadata WHERE key = 'parent' AND image = ?", [(image,) for image, _ in found]
        )
        return [(image, value.decode("ascii", "replace")) for image, value in found]

    def open_loops(self) -> list[tuple[str, str]]:
        """Unlink one image of each circle of parents, and return it with the parent that it had.

        That is the one with the shortest history: it cannot have come from the others.
        """
        opened: list[tuple[str, str]] = []
        for loop in parent_loops(self._connection):
            lowest = min(range(len(loop)), key=lambda number: (self._steps(loop[number]), number))
            self._run("DELETE FROM image_metadata WHERE key = 'parent' AND image = ?", (loop[lowest],))
            opened.append((loop[lowest], loop[(lowest + 1) % len(loop)]))
        return opened

    def _steps(self, image: str) -> int:
        from orlop.model.image import Image  # noqa: PLC0415 - few stores have circles

        row = self._run("SELECT config FROM image WHERE id = ?", (image,)).fetchone()
        try:
            return 0 if row is None else len(Image.from_json(row[0]).history)
        except InvalidInput:
            return 0

    def forget_nowhere(self) -> list[tuple[str, int]]:
        """Remove links whose ends are not there, and return the tables that they were in with their number."""
        found: list[tuple[str, int]] = []
        for table, test in _LEADING_NOWHERE:
            count = self._run(f"DELETE FROM {table} WHERE {test}").rowcount  # noqa: S608 - constants
            if count:
                found.append((table, count))
        return found

    def forget_name(self, text: str) -> str | None:
        """Forget a whole name if its image has a tag that is not one of the invalid ones; return the image."""
        row = self._run("SELECT name, suffix, image FROM reference WHERE name || suffix = ?", (text,)).fetchone()
        if row is None:
            return None
        name, suffix, image = row
        others = self._run(
            "SELECT name, suffix FROM reference WHERE image = ? AND suffix LIKE ':%'", (image,)
        ).fetchall()
        if not any(is_name(*other) for other in others):
            return None
        self._run("DELETE FROM reference WHERE name = ? AND suffix = ?", (name, suffix))
        return str(image)
