"""Rows in SQLite put right: what follows from content or from other rows, and rows that lead to nothing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from orlop.model.digest import DiffID, Digest, ImageID
from orlop.store.image_facts import image_facts
from orlop.store.metadata_sqlite_check import is_name, parent_loops

if TYPE_CHECKING:
    import sqlite3

    from orlop.store.metadata import BlobRow, ChainRow, DiffRow, ManifestRow

_SUMS: Final = """WITH RECURSIVE sums (id, size, depth) AS (
        SELECT chain.id, diff.content_size, 1 FROM chain JOIN diff ON diff.id = chain.diff WHERE chain.parent IS NULL
        UNION ALL SELECT chain.id, sums.size + diff.content_size, sums.depth + 1
        FROM sums JOIN chain ON chain.parent = sums.id JOIN diff ON diff.id = chain.diff)
    SELECT sums.size, sums.depth, sums.id FROM sums JOIN chain ON chain.id = sums.id
    WHERE chain.size <> sums.size OR chain.depth <> sums.depth ORDER BY sums.id"""
_WRONG_HEADS: Final = """SELECT id FROM image WHERE head = EXISTS (
    SELECT 1 FROM image_metadata AS child WHERE child.key = 'parent' AND child.value = CAST(image.id AS BLOB))
    ORDER BY id"""
_LEADING_NOWHERE: Final = (
    ("image_metadata", "image NOT IN (SELECT id FROM image)"),
    ("image_labels", "image NOT IN (SELECT id FROM image)"),
    ("image_manifest", "image NOT IN (SELECT id FROM image) OR manifest NOT IN (SELECT digest FROM manifest)"),
    ("diff_blob", "diff NOT IN (SELECT id FROM diff) OR blob NOT IN (SELECT digest FROM blob)"),
)


class RowMender:
    """Questions and changes that only a repair has, inside a read or a write; made by ``SQLiteMetadata.mender``."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._run = connection.execute
        self._connection = connection

    # What is missing.

    def unlinked_blobs(self) -> list[Digest]:
        """Give the blobs that are no known layer's, and those of which a link tells but no row."""
        found = self._run(
            """SELECT digest FROM blob WHERE digest NOT IN
                (SELECT blob FROM diff_blob WHERE diff IN (SELECT id FROM diff))
            UNION SELECT blob FROM diff_blob WHERE blob NOT IN (SELECT digest FROM blob) ORDER BY 1"""
        )
        return [Digest.unchecked(text) for (text,) in found]

    def bare_diffs(self) -> list[DiffID]:
        """Give the layers that something needs and of which there is no row, or no blob."""
        found = self._run(
            """SELECT diff FROM chain WHERE diff NOT IN (SELECT id FROM diff)
            UNION SELECT diff FROM diff_blob WHERE diff NOT IN (SELECT id FROM diff)
            UNION SELECT id FROM diff WHERE id NOT IN
                (SELECT diff FROM diff_blob WHERE blob IN (SELECT digest FROM blob)) ORDER BY 1"""
        )
        return [DiffID.unchecked(text) for (text,) in found]

    def missing_images(self) -> list[ImageID]:
        """Give the images that names or children lead to and that are not there."""
        found = self._run("SELECT image FROM reference WHERE image NOT IN (SELECT id FROM image)").fetchall()
        found += [(value.decode("ascii", "replace"),) for (_, value) in self._missing_parents()]
        ids = {ImageID.unchecked(text) for (text,) in found}
        return sorted(image for image in ids if image.is_valid)

    def missing_manifests(self) -> list[Digest]:
        """Give the manifests that images came with and that are not there."""
        found = self._run("SELECT manifest FROM image_manifest WHERE manifest NOT IN (SELECT digest FROM manifest)")
        return sorted({Digest.unchecked(text) for (text,) in found})

    def is_named(self, digest: Digest) -> bool:
        """Say whether a manifest names some content."""
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

    def set_manifest(self, row: ManifestRow) -> None:
        """Put the right bytes in place of a damaged or missing manifest."""
        self._run(
            """INSERT INTO manifest VALUES (?, ?, ?)
            ON CONFLICT DO UPDATE SET media_type = excluded.media_type, content = excluded.content""",
            (str(row.digest), row.media_type, row.raw),
        )

    def manifest(self, digest: str) -> bytes | None:
        """Give the bytes that are kept of a manifest."""
        row = self._run("SELECT content FROM manifest WHERE digest = ?", (digest,)).fetchone()
        return None if row is None else bytes(row[0])

    def set_media_type(self, digest: str, media_type: str) -> None:
        """Record of what type a manifest is."""
        self._run("UPDATE manifest SET media_type = ? WHERE digest = ?", (media_type, digest))

    # What follows from other rows.

    def set_image(self, image: ImageID, config: bytes) -> bool:
        """Record what follows from an image's config, and say whether something else was recorded.

        Raises:
            InvalidInput: this is no image config.
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
        """Record what a chain consists of; say whether something else, or nothing, was recorded."""
        parent = None if row.parent is None else str(row.parent)
        changed = self._run(
            """INSERT INTO chain VALUES (?, ?, ?, ?, ?, ?)
            ON CONFLICT DO UPDATE SET parent = excluded.parent, diff = excluded.diff
            WHERE parent IS NOT excluded.parent OR diff <> excluded.diff""",
            (str(row.chain_id), parent, str(row.diff_id), row.size, row.depth, row.descriptor),
        )
        return changed.rowcount > 0

    def add_up_chains(self) -> list[str]:
        """Add up the sizes of all chains again, and give those whose size or depth was another."""
        found = self._run(_SUMS).fetchall()
        self._connection.executemany("UPDATE chain SET size = ?, depth = ? WHERE id = ?", found)
        return [chain for _, _, chain in found]

    def mark_heads(self) -> list[str]:
        """Record which images have no children, and give those of which something else was recorded."""
        found = [image for (image,) in self._run(_WRONG_HEADS)]
        self._connection.executemany("UPDATE image SET head = NOT head WHERE id = ?", [(image,) for image in found])
        return found

    # What leads nowhere.

    def _missing_parents(self) -> list[tuple[str, bytes]]:
        return self._run(
            """SELECT image, value FROM image_metadata WHERE key = 'parent' AND image IN (SELECT id FROM image)
            AND value NOT IN (SELECT CAST(id AS BLOB) FROM image) ORDER BY image"""
        ).fetchall()

    def forget_missing_parents(self) -> list[tuple[str, str]]:
        """Let images whose parent is not there have none; give each with the parent that it had."""
        found = self._missing_parents()
        self._connection.executemany(
            "DELETE FROM image_metadata WHERE key = 'parent' AND image = ?", [(image,) for image, _ in found]
        )
        return [(image, value.decode("ascii", "replace")) for image, value in found]

    def open_loops(self) -> list[tuple[str, str]]:
        """Let one image of each circle of parents have none, and give it with the parent that it had.

        That is the one with the shortest history: it cannot have come from the others.
        """
        opened: list[tuple[str, str]] = []
        for loop in parent_loops(self._connection):
            lowest = min(range(len(loop)), key=lambda number: (self._steps(loop[number]), number))
            self._run("DELETE FROM image_metadata WHERE key = 'parent' AND image = ?", (loop[lowest],))
            opened.append((loop[lowest], loop[(lowest + 1) % len(loop)]))
        return opened

    def _steps(self, image: str) -> int:
        from orlop.errors import InvalidInput  # noqa: PLC0415 - few stores have circles
        from orlop.model.image import Image  # noqa: PLC0415 - as above

        row = self._run("SELECT config FROM image WHERE id = ?", (image,)).fetchone()
        try:
            return 0 if row is None else len(Image.from_json(row[0]).history)
        except InvalidInput:
            return 0

    def forget_nowhere(self) -> list[tuple[str, int]]:
        """Remove links whose ends are not there, and give the tables that they were in with their number."""
        found: list[tuple[str, int]] = []
        for table, test in _LEADING_NOWHERE:
            count = self._run(f"DELETE FROM {table} WHERE {test}").rowcount  # noqa: S608 - constants
            if count:
                found.append((table, count))
        return found

    def forget_name(self, text: str) -> str | None:
        """Forget a name, given as a whole, if its image has a tag that is none of the invalid ones; give the image."""
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
