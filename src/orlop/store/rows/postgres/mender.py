"""Rows in PostgreSQL put right: what follows from content or from other rows, and rows that lead to nothing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from orlop.errors import InvalidInput
from orlop.model.digest import DiffID, Digest, ImageID
from orlop.store.rows.image_facts import image_facts
from orlop.store.rows.judging import chain_of, digest_of, is_name
from orlop.store.rows.mender import RowMender
from orlop.store.rows.postgres.check import KEYS, LOST_LINKS, NO_DIGEST, parent_loops
from orlop.store.rows.postgres.tables import CHILDREN

if TYPE_CHECKING:
    from orlop.store.rows.metadata import BlobRow, ChainRow, DiffRow, ManifestRow
    from orlop.store.rows.postgres.rows import PostgresRows

_SUMS: Final = """WITH RECURSIVE sums (id, size, depth) AS (
        SELECT chain.id, diff.content_size, 1::bigint FROM chain JOIN diff ON diff.id = chain.diff
        WHERE chain.parent IS NULL
        UNION ALL SELECT chain.id, sums.size + diff.content_size, sums.depth + 1
        FROM sums JOIN chain ON chain.parent = sums.id JOIN diff ON diff.id = chain.diff)
    UPDATE chain SET size = sums.size, depth = sums.depth FROM sums WHERE chain.id = sums.id
    AND (chain.size <> sums.size OR chain.depth <> sums.depth) RETURNING chain.id"""
_OF_IMAGE: Final = (("image_metadata", "key, value"), ("image_labels", "labels"), ("image_manifest", "manifest"))
"""The tables that lead to an image, and their other columns."""
_UNLEASED: Final = """NOT EXISTS (SELECT 1 FROM lease WHERE digest IN (id, '*'))"""
_MISSING_PARENTS: Final = """SELECT image, value FROM image_metadata AS one WHERE key = 'parent'
    AND NOT EXISTS (SELECT 1 FROM image WHERE convert_to(id, 'UTF8') = one.value) ORDER BY image"""


class PostgresMender(RowMender):
    """A mender of the rows in PostgreSQL; made by ``PostgresMetadata.mender``."""

    def __init__(self, rows: PostgresRows) -> None:
        self._rows = rows
        self._run = rows.run

    # Rows under a wrong name.

    def forget_invalid_keys(self) -> list[tuple[str, str]]:
        """Remove rows of layers that no digest names; return their tables and names. Others are to be adopted."""
        found = [
            (table, key)
            for table in ("chain", "diff", "blob")
            for (key,) in self._rows.rows(f"SELECT {KEYS[table]} FROM {table} WHERE {NO_DIGEST.format(KEYS[table])}")  # noqa: S608 - constants
        ]
        bad_id, bad_diff, bad_blob = (NO_DIGEST.format(column) for column in ("id", "diff", "blob"))
        bad = f"SELECT id FROM chain WHERE {bad_id} OR {bad_diff}"  # noqa: S608 - constants
        self._run(f"UPDATE chain SET parent = NULL WHERE parent IN ({bad})")  # noqa: S608 - constants
        self._run(f"DELETE FROM chain WHERE id IN ({bad})")  # noqa: S608 - constants
        self._run(f"DELETE FROM diff_blob WHERE {bad_diff} OR {bad_blob}")  # noqa: S608 - constants
        self._run(f"DELETE FROM diff WHERE {bad_id}")  # noqa: S608 - constants
        self._run(f"DELETE FROM blob WHERE {NO_DIGEST.format('digest')}")  # noqa: S608 - constants
        return found

    def adopt_image(self, image: str) -> str | None:
        """Return an image whose config has another digest the ID that it should have, see `RowMender`."""
        row = self._rows.row("SELECT config FROM image WHERE id = %s", (image,))
        is_none = not Digest.unchecked(image).is_valid
        if row is None or (not is_none and self._is_known(image)):
            return None
        config = bytes(row[0])
        right = digest_of(config)
        try:
            facts = image_facts(config)
        except InvalidInput:
            if is_none:
                self._run("DELETE FROM image WHERE id = %s", (image,))
            return "" if is_none else None
        there = self._rows.row("SELECT 1 FROM image WHERE id = %s", (right,))
        if not is_none and (there or not self._is_known(right)):
            return None
        self._run(
            "INSERT INTO image (id, config, chain, created, created_ns) VALUES (%s, %s, %s, %s, %s)"
            " ON CONFLICT DO NOTHING",
            (right, config, facts.chain, facts.created, facts.created_ns),
        )
        for table, columns in _OF_IMAGE:
            self._run(
                f"""INSERT INTO {table} (image, {columns}) SELECT %s, {columns} FROM {table} WHERE image = %s
                ON CONFLICT DO NOTHING""",  # noqa: S608 - constants
                (right, image),
            )
        self._run("UPDATE reference SET image = %s WHERE image = %s", (right, image))
        self._run("DELETE FROM image WHERE id = %s", (image,))
        return right

    def _is_known(self, image: str) -> bool:
        return bool(
            self._rows.value(
                """SELECT EXISTS (SELECT 1 FROM reference WHERE image = %(id)s)
                OR EXISTS (SELECT 1 FROM image_metadata WHERE image = %(id)s OR value = convert_to(%(id)s, 'UTF8'))
                OR EXISTS (SELECT 1 FROM image_manifest WHERE image = %(id)s)""",
                {"id": image},
            )
        )

    def adopt_manifest(self, digest: str) -> str | None:
        """Return a manifest whose bytes have another digest the name that it should have, see `RowMender`."""
        row = self._rows.row("SELECT media_type, content FROM manifest WHERE digest = %s", (digest,))
        linked = self._rows.row("SELECT 1 FROM image_manifest WHERE manifest = %s LIMIT 1", (digest,))
        is_none = not Digest.unchecked(digest).is_valid
        if row is None or (linked and not is_none):
            return None
        raw = bytes(row[1])
        right = digest_of(raw)
        known = self._rows.row("SELECT 1 FROM image_manifest WHERE manifest = %s LIMIT 1", (right,))
        if not is_none and not known:
            return None
        self._run("INSERT INTO manifest VALUES (%s, %s, %s) ON CONFLICT DO NOTHING", (right, row[0], raw))
        self._rows.put_edges(Digest.unchecked(right), raw)
        self._run(
            """INSERT INTO image_manifest SELECT image, %s FROM image_manifest WHERE manifest = %s
            ON CONFLICT DO NOTHING""",
            (right, digest),
        )
        self._run("DELETE FROM image_manifest WHERE manifest = %s", (digest,))
        self._run("DELETE FROM manifest WHERE digest = %s", (digest,))
        return right

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
        """Return the blobs that belong to no known layer."""
        found = self._rows.rows(
            """SELECT digest FROM blob WHERE NOT EXISTS (SELECT 1 FROM diff_blob WHERE diff_blob.blob = digest)
            ORDER BY 1"""
        )
        return [digest for (text,) in found if (digest := Digest.unchecked(text)).is_valid]

    def bare_diffs(self) -> list[DiffID]:
        """Return the layers of which there is no blob. The server has a row of each that something needs."""
        found = self._rows.rows(
            "SELECT id FROM diff WHERE NOT EXISTS (SELECT 1 FROM diff_blob WHERE diff_blob.diff = id) ORDER BY 1"
        )
        return [diff_id for (text,) in found if (diff_id := DiffID.unchecked(text)).is_valid]

    def missing_images(self) -> list[ImageID]:
        """Return the images that names or children lead to and that are not there."""
        found = self._rows.rows(
            "SELECT DISTINCT image FROM reference WHERE NOT EXISTS (SELECT 1 FROM image WHERE id = reference.image)"
        )
        ids = {ImageID.unchecked(text) for (text,) in found}
        ids |= {ImageID.unchecked(_text(value)) for _, value in self._rows.rows(_MISSING_PARENTS)}
        return sorted(image for image in ids if image.is_valid)

    def missing_manifests(self) -> list[Digest]:
        """Return nothing: the server has each manifest that an image came with."""
        return []

    def is_named(self, digest: Digest) -> bool:
        """Return whether a manifest names some content."""
        statement = "SELECT 1 FROM manifest WHERE position(convert_to(%s, 'UTF8') IN content) > 0 LIMIT 1"
        return self._rows.row(statement, (digest.hex,)) is not None

    # What content says.

    def set_blob(self, row: BlobRow) -> None:
        """Record what a blob is."""
        self._run(
            """INSERT INTO blob VALUES (%s, %s, %s)
            ON CONFLICT (digest) DO UPDATE SET size = excluded.size, compression = excluded.compression""",
            (str(row.digest), row.size, row.compression),
        )

    def set_diff(self, row: DiffRow) -> None:
        """Record what a layer holds."""
        self._run(
            """INSERT INTO diff VALUES (%s, %s, %s, %s, %s) ON CONFLICT (id) DO UPDATE SET size = excluded.size,
            content_size = excluded.content_size, entries = excluded.entries, partial = excluded.partial""",
            (str(row.diff_id), row.size, row.content_size, row.entries, row.partial),
        )

    def unlink(self, blob: Digest) -> None:
        """Record a blob as a form of no layer."""
        self._run("DELETE FROM diff_blob WHERE blob = %s", (str(blob),))

    def link(self, blob: Digest, diff_id: DiffID) -> None:
        """Record a blob as a form of a layer."""
        self._run("INSERT INTO diff_blob VALUES (%s, %s) ON CONFLICT DO NOTHING", (str(diff_id), str(blob)))

    def forget_blob(self, digest: Digest) -> None:
        """Forget a blob as a form of its layer."""
        self.unlink(digest)
        self._run("DELETE FROM blob WHERE digest = %s", (str(digest),))

    def set_config(self, image: ImageID, config: bytes) -> None:
        """Put the right bytes in place of a damaged config."""
        self._run("UPDATE image SET config = %s WHERE id = %s", (config, str(image)))

    def correct(self, digest: str, damaged: bytes, right: bytes) -> bool:
        """Put the right bytes in place of damaged ones of a config or a manifest; return whether they were."""
        image = self._run("UPDATE image SET config = %s WHERE id = %s AND config = %s", (right, digest, damaged))
        manifest = self._run(
            "UPDATE manifest SET content = %s WHERE digest = %s AND content = %s", (right, digest, damaged)
        )
        if manifest.rowcount > 0:
            self._rows.put_edges(Digest.unchecked(digest), right)
        return image.rowcount + manifest.rowcount > 0

    def set_manifest(self, row: ManifestRow) -> None:
        """Put the right bytes in place of a damaged or missing manifest."""
        self._run(
            """INSERT INTO manifest VALUES (%s, %s, %s) ON CONFLICT (digest)
            DO UPDATE SET media_type = excluded.media_type, content = excluded.content""",
            (str(row.digest), row.media_type, row.raw),
        )
        self._rows.put_edges(row.digest, row.raw)

    def manifest(self, digest: str) -> bytes | None:
        """Return the bytes that are kept of a manifest."""
        found = self._rows.value("SELECT content FROM manifest WHERE digest = %s", (digest,))
        return None if found is None else bytes(found)

    def set_media_type(self, digest: str, media_type: str) -> None:
        """Record of what type a manifest is."""
        self._run("UPDATE manifest SET media_type = %s WHERE digest = %s", (media_type, digest))

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

    def set_image(self, image: ImageID, config: bytes) -> bool:
        """Record what follows from an image's config, see `RowMender`."""
        facts = image_facts(config)
        changed = self._run(
            """UPDATE image SET chain = %(chain)s, created = %(s)s, created_ns = %(ns)s WHERE id = %(id)s
            AND (chain IS DISTINCT FROM %(chain)s OR created <> %(s)s OR created_ns <> %(ns)s)""",
            {"id": str(image), "chain": facts.chain, "s": facts.created, "ns": facts.created_ns},
        ).rowcount
        if facts.labels is None:
            changed += self._run("DELETE FROM image_labels WHERE image = %s", (str(image),)).rowcount
        else:
            changed += self._run(
                """INSERT INTO image_labels VALUES (%s, %s) ON CONFLICT (image)
                DO UPDATE SET labels = excluded.labels WHERE image_labels.labels <> excluded.labels""",
                (str(image), json.dumps(facts.labels)),
            ).rowcount
        return changed > 0

    def set_chain(self, row: ChainRow) -> bool:
        """Record what a chain consists of; return whether something else, or nothing, was recorded."""
        parent = None if row.parent is None else str(row.parent)
        changed = self._run(
            """INSERT INTO chain VALUES (%s, %s, %s, %s, %s, %s)
            ON CONFLICT (id) DO UPDATE SET parent = excluded.parent, diff = excluded.diff
            WHERE chain.parent IS DISTINCT FROM excluded.parent OR chain.diff <> excluded.diff""",
            (str(row.chain_id), parent, str(row.diff_id), row.size, row.depth, row.descriptor),
        )
        return changed.rowcount > 0

    def add_up_chains(self) -> list[str]:
        """Add up the sizes of all chains again, and return those whose size or depth was another."""
        return sorted(chain for (chain,) in self._rows.rows(_SUMS))

    def mark_heads(self) -> list[str]:
        """Record which images have no children, and return those of which something else was recorded."""
        has = f"EXISTS ({CHILDREN.format('image.id')})"
        found = self._rows.rows(f"UPDATE image SET head = NOT {has} WHERE head = {has} RETURNING id")  # noqa: S608 - constants
        return sorted(image for (image,) in found)

    # What leads nowhere.

    def forget_missing_parents(self) -> list[tuple[str, str]]:
        """Unlink images from parents that are not there; return each with the parent that it had."""
        found = self._rows.rows(_MISSING_PARENTS)
        images = [image for image, _ in found]
        self._run("DELETE FROM image_metadata WHERE key = 'parent' AND image = ANY(%s)", (images,))
        return [(image, _text(value)) for image, value in found]

    def open_loops(self) -> list[tuple[str, str]]:
        """Unlink one image of each circle of parents, see `RowMender`."""
        opened: list[tuple[str, str]] = []
        for loop in parent_loops(self._rows):
            lowest = min(range(len(loop)), key=lambda number: (self._steps(loop[number]), number))
            self._rows.delete_metadata(ImageID.unchecked(loop[lowest]), "parent")
            opened.append((loop[lowest], loop[(lowest + 1) % len(loop)]))
        return opened

    def _steps(self, image: str) -> int:
        from orlop.model.image import Image  # noqa: PLC0415 - few stores have circles

        config = self._rows.config(ImageID.unchecked(image))
        try:
            return 0 if config is None else len(Image.from_json(config).history)
        except InvalidInput:
            return 0

    def forget_nowhere(self) -> list[tuple[str, int]]:
        """Return nothing: the server lets no link lead to nothing."""
        return []

    def forget_name(self, text: str) -> str | None:
        """Forget a whole name if its image has a tag that is not one of the invalid ones; return the image."""
        row = self._rows.row("SELECT name, suffix, image FROM reference WHERE name || suffix = %s", (text,))
        if row is None:
            return None
        name, suffix, image = row
        others = self._rows.rows(
            "SELECT name, suffix FROM reference WHERE image = %s AND left(suffix, 1) = ':'", (image,)
        )
        if not any(is_name(*other) for other in others):
            return None
        self._run("DELETE FROM reference WHERE name = %s AND suffix = %s", (name, suffix))
        return str(image)


def _text(value: object) -> str:
    assert isinstance(value, bytes)
    return value.decode("ascii", "replace")
