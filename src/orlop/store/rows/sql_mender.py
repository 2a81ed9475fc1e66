"""Rows in a database that speaks SQL put right: the questions and changes that are the same in all of them.

Statements stand here once, with ``?`` for values, in what SQLite and PostgreSQL both understand. A backend runs them,
and says the few things for which the two have different words. What only one of them has to do, or what each does fast
in a way of its own, is in its mender.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from orlop.errors import InvalidInput
from orlop.model.digest import Digest
from orlop.store.rows.image_facts import image_facts
from orlop.store.rows.judging import LOST_NAMES, digest_of, is_name
from orlop.store.rows.mender import RowMender

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orlop.model.digest import DiffID, ImageID
    from orlop.store.rows.content import BlobRow, ManifestRow
    from orlop.store.rows.rows import ChainRow, DiffRow

_KEYS = (("chain", "id"), ("diff", "id"), ("blob", "digest"))
"""The tables of layers, and the column that names a row."""
_OF_IMAGE = (("image_metadata", "key, value"), ("image_labels", "labels"), ("image_manifest", "manifest"))
"""The tables that lead to an image, and their other columns."""
_TAGS = "SELECT name, suffix FROM {} WHERE {} = ? AND substr(suffix, 1, 1) = ':' AND substr(name, 1, 6) <> 'cache:'"
_TAGS_OF_IMAGES = """SELECT reference.name, reference.suffix FROM image_manifest AS came
    JOIN reference ON reference.image = came.image WHERE came.manifest = ? AND substr(reference.suffix, 1, 1) = ':'"""
_NAMED = (
    ("reference", "image", (_TAGS.format("reference", "image"),)),
    ("top", "digest", (_TAGS.format("top", "digest"), _TAGS_OF_IMAGES)),
)
"""The tables of names, the column that has what a name means, and what finds the tags of that."""


class SQLMender(RowMender):
    """A mender that runs statements."""

    _differs: ClassVar[str]
    """The operator by which two values, or a value and NULL, are not the same."""

    @abstractmethod
    def _change(self, statement: str, values: Sequence[object] = ()) -> int:
        """Run a statement, and return how many rows it changed."""

    @abstractmethod
    def _found(self, statement: str, values: Sequence[object] = ()) -> list[Any]:
        """Return the rows that a statement finds."""

    @abstractmethod
    def _no_digest(self, column: str) -> str:
        """Return the test that a column holds no digest."""

    @abstractmethod
    def _put_edges(self, digest: str, raw: bytes) -> None:
        """Record where a manifest leads, if nothing else does when it is written."""

    @abstractmethod
    def _loops(self) -> list[list[str]]:
        """Return each circle of images that are each other's parents."""

    @abstractmethod
    def _orphan(self, image: str) -> None:
        """Unlink an image from its parent, and record what follows for that."""

    @abstractmethod
    def _missing_parents(self) -> list[Any]:
        """Return the images whose parents are not there, in order, each with the bytes that name the parent."""

    # Rows under a wrong name.

    def forget_invalid_keys(self) -> list[tuple[str, str]]:
        """Remove rows of layers that no digest names; return their tables and names. Others are to be adopted."""
        found = [
            (table, key)
            for table, column in _KEYS
            for (key,) in self._found(f"SELECT {column} FROM {table} WHERE {self._no_digest(column)}")  # noqa: S608 - constants
        ]
        bad_id, bad_diff, bad_blob = map(self._no_digest, ("id", "diff", "blob"))
        bad = f"SELECT id FROM chain WHERE {bad_id} OR {bad_diff}"  # noqa: S608 - constants
        self._change(f"UPDATE chain SET parent = NULL WHERE parent IN ({bad}) OR {self._no_digest('parent')}")  # noqa: S608 - constants
        self._change(f"DELETE FROM chain WHERE id IN ({bad})")  # noqa: S608 - constants
        self._change(f"DELETE FROM diff_blob WHERE {bad_diff} OR {bad_blob}")  # noqa: S608 - constants
        self._change(f"DELETE FROM diff WHERE {bad_id}")  # noqa: S608 - constants
        self._change(f"DELETE FROM blob WHERE {self._no_digest('digest')}")  # noqa: S608 - constants
        return found

    def adopt_image(self, image: str) -> str | None:
        """Return an image whose config has another digest the ID that it should have, see `RowMender`."""
        rows = self._found("SELECT config FROM image WHERE id = ?", (image,))
        is_none = not Digest.unchecked(image).is_valid
        if not rows or (not is_none and self._is_known(image)):
            return None
        config = bytes(rows[0][0])
        right = digest_of(config)
        try:
            facts = image_facts(config)
        except InvalidInput:
            if is_none:
                self._change("DELETE FROM image WHERE id = ?", (image,))
            return "" if is_none else None
        there = self._found("SELECT 1 FROM image WHERE id = ?", (right,))
        if not is_none and (there or not self._is_known(right)):
            return None
        self._change(
            "INSERT INTO image (id, config, chain, created, created_ns) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (right, config, facts.chain, facts.created, facts.created_ns),
        )
        for table, columns in _OF_IMAGE:
            self._change(
                f"""INSERT INTO {table} (image, {columns}) SELECT ?, {columns} FROM {table} WHERE image = ?
                ON CONFLICT DO NOTHING""",  # noqa: S608 - constants
                (right, image),
            )
            self._change(f"DELETE FROM {table} WHERE image = ?", (image,))  # noqa: S608 - constants
        self._change("UPDATE reference SET image = ? WHERE image = ?", (right, image))
        self._change("DELETE FROM image WHERE id = ?", (image,))
        return right

    def _is_known(self, image: str) -> bool:
        found = self._found(
            """SELECT 1 FROM reference WHERE image = ?
            UNION ALL SELECT 1 FROM image_metadata WHERE image = ? OR value = ?
            UNION ALL SELECT 1 FROM image_manifest WHERE image = ? LIMIT 1""",
            (image, image, image.encode(), image),
        )
        return bool(found)

    def adopt_manifest(self, digest: str) -> str | None:
        """Return a manifest whose bytes have another digest the name that it should have, see `RowMender`."""
        rows = self._found("SELECT media_type, content FROM manifest WHERE digest = ?", (digest,))
        is_none = not Digest.unchecked(digest).is_valid
        if not rows or (self._came_with_an_image(digest) and not is_none):
            return None
        media_type, raw = rows[0][0], bytes(rows[0][1])
        right = digest_of(raw)
        if not is_none and not self._came_with_an_image(right):
            return None
        self._change("INSERT INTO manifest VALUES (?, ?, ?) ON CONFLICT DO NOTHING", (right, media_type, raw))
        self._put_edges(right, raw)
        self._change(
            """INSERT INTO image_manifest SELECT image, ? FROM image_manifest WHERE manifest = ?
            ON CONFLICT DO NOTHING""",
            (right, digest),
        )
        self._change("DELETE FROM image_manifest WHERE manifest = ?", (digest,))
        self._change("DELETE FROM manifest WHERE digest = ?", (digest,))
        return right

    def _came_with_an_image(self, manifest: str) -> bool:
        return bool(self._found("SELECT 1 FROM image_manifest WHERE manifest = ? LIMIT 1", (manifest,)))

    # What content says.

    def set_blob(self, row: BlobRow) -> None:
        """Record what a blob is."""
        self._change(
            """INSERT INTO blob VALUES (?, ?, ?)
            ON CONFLICT (digest) DO UPDATE SET size = excluded.size, compression = excluded.compression""",
            (str(row.digest), row.size, row.compression),
        )

    def set_diff(self, row: DiffRow) -> None:
        """Record what a layer holds."""
        self._change(
            """INSERT INTO diff VALUES (?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET size = excluded.size,
            content_size = excluded.content_size, entries = excluded.entries, partial = excluded.partial""",
            (str(row.diff_id), row.size, row.content_size, row.entries, row.partial),
        )

    def unlink(self, blob: Digest) -> None:
        """Record a blob as a form of no layer."""
        self._change("DELETE FROM diff_blob WHERE blob = ?", (str(blob),))

    def link(self, blob: Digest, diff_id: DiffID) -> None:
        """Record a blob as a form of a layer."""
        self._change("INSERT INTO diff_blob VALUES (?, ?) ON CONFLICT DO NOTHING", (str(diff_id), str(blob)))

    def forget_blob(self, digest: Digest) -> None:
        """Forget a blob as a form of its layer."""
        self.unlink(digest)
        self._change("DELETE FROM blob WHERE digest = ?", (str(digest),))

    def set_config(self, image: ImageID, config: bytes) -> None:
        """Put the right bytes in place of a damaged config."""
        self._change("UPDATE image SET config = ? WHERE id = ?", (config, str(image)))

    def correct(self, digest: str, damaged: bytes, right: bytes) -> bool:
        """Put the right bytes in place of damaged ones of a config or a manifest; return whether they were."""
        image = self._change("UPDATE image SET config = ? WHERE id = ? AND config = ?", (right, digest, damaged))
        manifest = self._change(
            "UPDATE manifest SET content = ? WHERE digest = ? AND content = ?", (right, digest, damaged)
        )
        if manifest > 0:
            self._put_edges(digest, right)
        return image + manifest > 0

    def set_manifest(self, row: ManifestRow) -> None:
        """Put the right bytes in place of a damaged or missing manifest."""
        self._change(
            """INSERT INTO manifest VALUES (?, ?, ?) ON CONFLICT (digest)
            DO UPDATE SET media_type = excluded.media_type, content = excluded.content""",
            (str(row.digest), row.media_type, row.raw),
        )
        self._put_edges(str(row.digest), row.raw)

    def manifest(self, digest: str) -> bytes | None:
        """Return the bytes that are kept of a manifest."""
        rows = self._found("SELECT content FROM manifest WHERE digest = ?", (digest,))
        return bytes(rows[0][0]) if rows else None

    def set_media_type(self, digest: str, media_type: str) -> None:
        """Record of what type a manifest is."""
        self._change("UPDATE manifest SET media_type = ? WHERE digest = ?", (media_type, digest))

    # What follows from other rows.

    def record_lost_names(self) -> list[tuple[str, str]]:
        """Name images again whose manifests or indexes names mean, see `RowMender`."""
        found: dict[tuple[str, str], tuple[str, int]] = {}
        for name, suffix, image, updated in self._found(
            f"SELECT name, suffix, image, updated FROM ({LOST_NAMES}) AS lost ORDER BY told DESC, position, image"  # noqa: S608 - constants
        ):
            if is_name(name, suffix):
                found.setdefault((name, suffix), (image, updated))
        for (name, suffix), (image, updated) in sorted(found.items()):
            self._change("INSERT INTO reference VALUES (?, ?, ?, ?)", (name, suffix, image, updated))
        return [(f"{name}{suffix}", image) for (name, suffix), (image, _) in sorted(found.items())]

    def set_image(self, image: ImageID, config: bytes) -> bool:
        """Record what follows from an image's config, see `RowMender`."""
        facts = image_facts(config)
        said = (facts.chain, facts.created, facts.created_ns)
        changed = self._change(
            f"""UPDATE image SET chain = ?, created = ?, created_ns = ? WHERE id = ?
            AND (chain {self._differs} ? OR created <> ? OR created_ns <> ?)""",  # noqa: S608 - an operator
            (*said, str(image), *said),
        )
        if facts.labels is None:
            changed += self._change("DELETE FROM image_labels WHERE image = ?", (str(image),))
        else:
            changed += self._change(
                """INSERT INTO image_labels VALUES (?, ?) ON CONFLICT (image)
                DO UPDATE SET labels = excluded.labels WHERE image_labels.labels <> excluded.labels""",
                (str(image), json.dumps(facts.labels)),
            )
        return changed > 0

    def set_chain(self, row: ChainRow) -> bool:
        """Record what a chain consists of; return whether something else, or nothing, was recorded."""
        parent = None if row.parent is None else str(row.parent)
        changed = self._change(
            f"""INSERT INTO chain VALUES (?, ?, ?, ?, ?, ?)
            ON CONFLICT (id) DO UPDATE SET parent = excluded.parent, diff = excluded.diff
            WHERE chain.parent {self._differs} excluded.parent OR chain.diff <> excluded.diff""",  # noqa: S608 - an operator
            (str(row.chain_id), parent, str(row.diff_id), row.size, row.depth, row.descriptor),
        )
        return changed > 0

    # What leads nowhere.

    def forget_missing_parents(self) -> list[tuple[str, str]]:
        """Unlink images from parents that are not there; return each with the parent that it had."""
        found = self._missing_parents()
        for image, _ in found:
            self._change("DELETE FROM image_metadata WHERE key = 'parent' AND image = ?", (image,))
        return [(image, named(value)) for image, value in found]

    def open_loops(self) -> list[tuple[str, str]]:
        """Unlink one image of each circle of parents, see `RowMender`."""
        opened: list[tuple[str, str]] = []
        for loop in self._loops():
            lowest = min(range(len(loop)), key=lambda number: (self._steps(loop[number]), number))
            self._orphan(loop[lowest])
            opened.append((loop[lowest], loop[(lowest + 1) % len(loop)]))
        return opened

    def _steps(self, image: str) -> int:
        from orlop.model.image import Image  # noqa: PLC0415 - few stores have circles

        rows = self._found("SELECT config FROM image WHERE id = ?", (image,))
        try:
            return len(Image.from_json(bytes(rows[0][0])).history) if rows else 0
        except InvalidInput:
            return 0

    def forget_name(self, text: str) -> str | None:
        """Forget a whole name that cannot be asked for if what it means has another one, see `RowMender`."""
        for table, meaning, others in _NAMED:
            for name, suffix, meant in self._found(
                f"SELECT name, suffix, {meaning} FROM {table} WHERE name || suffix = ?",  # noqa: S608 - constants
                (text,),
            ):
                # Two names may read the same without the limit between their parts.
                tags = [tag for question in others for tag in self._found(question, (meant,))]
                if is_name(name, suffix) or not any(is_name(*tag) for tag in tags):
                    continue
                self._change(f"DELETE FROM {table} WHERE name = ? AND suffix = ?", (name, suffix))  # noqa: S608 - constants
                return str(meant)
        return None


def named(value: bytes) -> str:
    """Return the image that the bytes of a metadata value name, which may be anything."""
    return value.decode("ascii", "replace")
