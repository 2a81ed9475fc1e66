"""The rows in SQLite: every statement."""

from __future__ import annotations

from orlop.model import plain_json
from orlop.model.digest import ChainID, DiffID, Digest, ImageID
from orlop.store.rows.metadata import EVERYTHING
from orlop.store.rows.sqlite.content import SQLiteContentRows
from orlop.store.rows.sqlite.doubts import NO_DOUBTS
from orlop.store.rows.sqlite.passing import digests_of
from orlop.store.rows.sqlite.tables import CHILDREN, LOST_IMAGES, LOST_MEANING, UNNEEDED_BLOB
from orlop.store.rows.values import (
    blob_row,
    chain_row,
    content,
    diff_row,
    image_row,
    labels,
    reference_row,
    text,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from orlop.store.rows.metadata import BlobRow, ChainRow, DiffRow, ImageRow, ReferenceRow
    from orlop.store.rows.sqlite.doubts import Doubts


_BATCH = 500
"""How many values one statement takes."""
_IMAGE_ROW = """SELECT image.id, image.chain, image.created, image.created_ns, coalesce(chain.size, 0), parent.value
    FROM image LEFT JOIN chain ON chain.id = image.chain
    LEFT JOIN image_metadata AS parent ON parent.image = image.id AND parent.key = 'parent'"""
_CHAIN_ROW = "SELECT id, parent, diff, size, depth, descriptor FROM chain"
_NEWEST_FIRST = " ORDER BY image.created DESC, image.created_ns DESC, image.id"
_NAMED_PARENTS = f"image.id IN (SELECT image FROM reference WHERE EXISTS ({CHILDREN.format('reference.image')}))"  # noqa: S608 - constants


class SQLiteRows(SQLiteContentRows):
    """The rows inside one transaction of one connection."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        *,
        writable: bool = False,
        doubts: Doubts = NO_DOUBTS,
        has_lost: Callable[[], bool] = lambda: False,
    ) -> None:
        super().__init__(connection, doubts=doubts, has_lost=has_lost)
        self.writable = writable

    # Images and their metadata.

    def image_ids(self) -> Iterator[ImageID]:
        """Yield the IDs of all images."""
        return iter(digests_of(ImageID, self._run("SELECT id FROM image ORDER BY id")))

    def image_ids_with_prefix(self, prefix: str, limit: int | None) -> list[ImageID]:
        """Return at most ``limit`` IDs that start with ``prefix``."""
        found = self._run(
            "SELECT id FROM image WHERE id >= ? AND id < ? ORDER BY id LIMIT ?",
            (prefix, f"{prefix}\x7f", -1 if limit is None else limit),
        )
        return digests_of(ImageID, found)

    def config(self, image: Digest) -> bytes | None:
        """Return the exact config."""
        found = self._value("SELECT config FROM image WHERE id = ?", str(image))
        return None if found is None else content("image", found)

    def image_rows(self, *, listed_only: bool) -> Iterator[ImageRow]:
        """Yield all images, or those that are listed, newest first."""
        if not listed_only:
            return self._listed(self._run(_IMAGE_ROW + _NEWEST_FIRST).fetchall())
        found = self._run(f"{_IMAGE_ROW} WHERE image.head{_NEWEST_FIRST}").fetchall()
        if others := self._run(f"{_IMAGE_ROW} WHERE {_NAMED_PARENTS}").fetchall():
            found = sorted((*found, *others), key=lambda row: (-row[2], -row[3], row[0]))
        return self._listed(found)

    def _listed(self, found: Sequence[Sequence[object]]) -> Iterator[ImageRow]:
        if self._doubts:
            self._doubts.require_list(map(image_row, found))
        return map(image_row, found)

    def image_row(self, image: Digest) -> ImageRow | None:
        """Return one image's row."""
        found = self._run(f"{_IMAGE_ROW} WHERE image.id = ?", (str(image),)).fetchone()
        row = None if found is None else image_row(found)
        if row is not None:
            self._doubts.require_image(row)
        return row

    def labels(self, images: Sequence[Digest], *, most: int | None = None) -> dict[ImageID, Mapping[str, str]]:
        """Return the labels of some images, without those whose config has none, or more than so many bytes."""
        self._doubts.require_labels(images)
        found: dict[ImageID, Mapping[str, str]] = {}
        for start in range(0, len(images), _BATCH):
            batch = [str(image) for image in images[start : start + _BATCH]]
            marks = ", ".join("?" * len(batch))
            short = "" if most is None else f" AND length(labels) <= {most:d}"
            rows = self._run(f"SELECT image, labels FROM image_labels WHERE image IN ({marks}){short}", batch)  # noqa: S608 - marks
            found |= {ImageID.unchecked(text("image_labels", image)): labels(kept) for image, kept in rows}
        return found

    def heads(self) -> Iterator[ImageID]:
        """Yield the images that are nobody's parent."""
        self._doubts.require_list(())
        return iter(digests_of(ImageID, self._run("SELECT id FROM image WHERE head")))

    def has_lost_images(self) -> bool:
        """Return whether a name means an image that is not there."""
        return bool(self._value(f"SELECT {LOST_IMAGES}"))

    def has_lost_meaning(self) -> bool:
        """Return whether a name means an image or a manifest that is not there."""
        return bool(self._value(LOST_MEANING))

    def children(self, image: Digest) -> list[ImageID]:
        """Return the images whose parent this is."""
        found = self._run(
            "SELECT image FROM image_metadata WHERE key = 'parent' AND value = ? ORDER BY image", (str(image).encode(),)
        )
        return digests_of(ImageID, found)

    def has_children(self, image: Digest) -> bool:
        """Return whether this is any image's parent."""
        return bool(self._value(f"SELECT EXISTS ({CHILDREN.format('?')})", str(image)))

    def metadata(self, image: Digest, key: str) -> bytes | None:
        """Return one value of an image's metadata."""
        found = self._value("SELECT value FROM image_metadata WHERE image = ? AND key = ?", str(image), key)
        return None if found is None else content("image_metadata", found)

    def metadata_of_all(self, key: str) -> dict[ImageID, bytes]:
        """Return the values that images have under one key."""
        found = self._run("SELECT image, value FROM image_metadata WHERE key = ?", (key,))
        return {
            ImageID.unchecked(text("image_metadata", image)): content("image_metadata", value) for image, value in found
        }

    def put_image(
        self,
        image: Digest,
        config: bytes,
        *,
        chain_id: ChainID | None,
        created: tuple[int, int],
        labels: Mapping[str, str] | None = None,
    ) -> None:
        """Keep a config with what lists tell of it; one that is there already stays, unless it is damaged."""
        self._run(
            """INSERT INTO image (id, config, chain, created, created_ns) VALUES (?, ?, ?, ?, ?)
            ON CONFLICT DO UPDATE SET config = excluded.config WHERE config <> excluded.config AND id = excluded.id""",
            (str(image), config, _text(chain_id), *created),
        )
        self._came(images=image)
        if labels is not None:
            self._run(
                "INSERT INTO image_labels VALUES (?, ?) ON CONFLICT DO NOTHING", (str(image), plain_json.dumps(labels))
            )

    def delete_image(self, image: Digest) -> bool:
        """Forget a config with its metadata and its links to manifests."""
        came = self._run("SELECT manifest FROM image_manifest WHERE image = ?", (str(image),)).fetchall()
        gone = self._run("DELETE FROM image WHERE id = ?", (str(image),)).rowcount > 0
        if gone:
            self._going().images.add(str(image))
        self.delete_image_manifests(str(image), [text("image_manifest", manifest) for (manifest,) in came])
        return gone

    def set_metadata(self, image: Digest, key: str, value: bytes) -> None:
        """Set one value of an image's metadata."""
        self._run(
            "INSERT INTO image_metadata VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET value = excluded.value",
            (str(image), key, value),
        )

    def delete_metadata(self, image: Digest, key: str) -> bool:
        """Delete one value of an image's metadata."""
        statement = "DELETE FROM image_metadata WHERE image = ? AND key = ?"
        return self._run(statement, (str(image), key)).rowcount > 0

    # References.

    def reference(self, name: str, suffix: str) -> ReferenceRow | None:
        """Return what a name points to."""
        self._doubts.require_name(name, suffix)
        row = self._run("SELECT * FROM reference WHERE name = ? AND suffix = ?", (name, suffix)).fetchone()
        return None if row is None else reference_row(row)

    def references(
        self, image: Digest | None = None, name: str | None = None, *, most: int | None = None
    ) -> list[ReferenceRow]:
        """Return all references, or those of an image or of a repository, sorted."""
        tests: list[str] = []
        values: list[str | int] = []
        if image is not None:
            tests.append("image = ?")
            values.append(str(image))
        if name is not None:
            tests.append("name = ?")
            values.append(name)
        where = f" WHERE {' AND '.join(tests)}" if tests else ""
        # A negative limit lets all through.
        values.append(-1 if most is None else most)
        found = self._run(f"SELECT * FROM reference{where} ORDER BY name, suffix LIMIT ?", values)  # noqa: S608 - constants
        return [reference_row(row) for row in found]

    def put_reference(self, row: ReferenceRow) -> None:
        """Point a name to an image."""
        before = self.reference(row.name, row.suffix)
        if before is None or before.image != row.image:
            self.delete_top(row.name, row.suffix)
        self._run(
            """INSERT INTO reference VALUES (?, ?, ?, ?)
            ON CONFLICT DO UPDATE SET image = excluded.image, updated = excluded.updated""",
            (row.name, row.suffix, str(row.image), row.updated),
        )

    def delete_references(self, names: Iterable[tuple[str, str]]) -> int:
        """Forget names, and what they mean."""
        going = list(names)
        self.delete_tops(going)
        return sum(self._run("DELETE FROM reference WHERE name = ? AND suffix = ?", one).rowcount for one in going)

    # Layers.

    def chain(self, chain_id: ChainID) -> ChainRow | None:
        """Return one layer in its place."""
        return next(iter(self._chains(f"{_CHAIN_ROW} WHERE id = ?", str(chain_id))), None)

    def chains(self) -> list[ChainRow]:
        """Return every layer in its place."""
        return self._chains(f"{_CHAIN_ROW} ORDER BY id")

    def _chains(self, statement: str, *values: str) -> list[ChainRow]:
        rows = [chain_row(row) for row in self._run(statement, values)]
        self._doubts.require_chains(rows)
        return rows

    def diff(self, diff_id: DiffID) -> DiffRow | None:
        """Return what is known of a layer's content."""
        row = self._run("SELECT * FROM diff WHERE id = ?", (str(diff_id),)).fetchone()
        return None if row is None else diff_row(row)

    def blobs_of(self, diff_id: DiffID) -> list[BlobRow]:
        """Return the stored forms of a layer's content, plain ones first."""
        found = self._run(
            """SELECT blob.digest, blob.size, blob.compression FROM diff_blob JOIN blob ON blob.digest = diff_blob.blob
            WHERE diff_blob.diff = ? ORDER BY blob.compression <> 'none', blob.size, blob.digest""",
            (str(diff_id),),
        )
        return [blob_row(row) for row in found]

    def blob(self, digest: Digest) -> BlobRow | None:
        """Return what is known of stored bytes."""
        row = self._run("SELECT * FROM blob WHERE digest = ?", (str(digest),)).fetchone()
        return None if row is None else blob_row(row)

    def blobs(self) -> list[BlobRow]:
        """Return what is known of all stored bytes."""
        return [blob_row(row) for row in self._run("SELECT * FROM blob ORDER BY digest")]

    def diffs_of(self, blob: Digest) -> list[DiffID]:
        """Return the layers' contents of which a blob is recorded as a stored form."""
        found = self._run("SELECT diff FROM diff_blob WHERE blob = ? ORDER BY diff", (str(blob),))
        return digests_of(DiffID, found)

    def contents(self) -> list[tuple[DiffID, BlobRow | None]]:
        """Return every layer's content, once with each stored form of it."""
        self._doubts.require_contents()
        found = self._run(
            """SELECT diff.id, blob.digest, blob.size, blob.compression FROM diff
            LEFT JOIN diff_blob ON diff_blob.diff = diff.id LEFT JOIN blob ON blob.digest = diff_blob.blob
            ORDER BY diff.id, blob.digest"""
        )
        return [
            (DiffID.unchecked(text("diff", diff)), None if form[0] is None else blob_row(form)) for diff, *form in found
        ]

    def diff_ids(self) -> list[DiffID]:
        """Return all layers' contents."""
        return digests_of(DiffID, self._run("SELECT id FROM diff ORDER BY id"))

    def put_diff(self, row: DiffRow, blob: BlobRow) -> None:
        """Keep a layer's content and one stored form of it; what is there already stays."""
        self._came(contents=row.diff_id, blobs=blob.digest)
        self._run(
            "INSERT INTO diff VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (str(row.diff_id), row.size, row.content_size, row.entries, row.partial),
        )
        self._run(
            "INSERT INTO blob VALUES (?, ?, ?) ON CONFLICT DO NOTHING", (str(blob.digest), blob.size, blob.compression)
        )
        self._run("INSERT INTO diff_blob VALUES (?, ?) ON CONFLICT DO NOTHING", (str(row.diff_id), str(blob.digest)))

    def put_chain(self, row: ChainRow) -> None:
        """Keep a layer in its place; one that is there already stays."""
        self._came(chains=row.chain_id)
        self._run(
            "INSERT INTO chain VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (str(row.chain_id), _text(row.parent), str(row.diff_id), row.size, row.depth, row.descriptor),
        )

    def _drop_chain(self, chain_id: ChainID) -> ChainRow | None:
        row = self.chain(chain_id)
        if row is None or self._chain_is_needed(chain_id) or self._may_be_of_lost():
            return None
        self._run("DELETE FROM chain WHERE id = ?", (str(chain_id),))
        return row

    def _chain_is_needed(self, chain_id: ChainID) -> bool:
        found = self._run(
            """SELECT EXISTS (SELECT 1 FROM image WHERE chain = ?1) OR EXISTS (SELECT 1 FROM chain WHERE parent = ?1)
            OR EXISTS (SELECT 1 FROM lease WHERE digest IN (?1, ?2))""",
            (str(chain_id), str(EVERYTHING)),
        )
        return bool(found.fetchone()[0])

    def prune_diff(self, diff_id: DiffID) -> list[Digest] | None:
        """Drop a layer's content if no chain and no lease needs it."""
        needed = self._run(
            """SELECT EXISTS (SELECT 1 FROM chain WHERE diff = ?1)
            OR EXISTS (SELECT 1 FROM lease WHERE digest IN (?1, ?2))""",
            (str(diff_id), str(EVERYTHING)),
        )
        if needed.fetchone()[0] or self._may_be_of_lost():
            return None
        blobs = [row.digest for row in self.blobs_of(diff_id)]
        if self._run("DELETE FROM diff WHERE id = ?", (str(diff_id),)).rowcount == 0:
            return None
        unneeded = f"DELETE FROM blob WHERE digest = ?1 AND {UNNEEDED_BLOB}"  # noqa: S608 - constants
        freed = [blob for blob in blobs if self._run(unneeded, (str(blob),)).rowcount > 0]
        self.will_go(blobs=freed, contents=[diff_id])
        self._going().leased.add(str(diff_id))
        return freed

    def standing(self, chains: Iterable[ChainID]) -> Iterable[ChainID]:
        """Return those of some layers in their place on which an image stands."""
        statement = "SELECT value FROM json_each(?) WHERE EXISTS (SELECT 1 FROM image WHERE chain = value)"
        return digests_of(
            ChainID, self._run(statement, (plain_json.dumps([str(chain) for chain in chains]),)).fetchall()
        )

    def loose_of(self, digests: Iterable[Digest] | None) -> list[Digest]:
        """Return those layers and contents that only leases keep."""
        if digests is None:
            found = self._run(
                """SELECT id FROM chain WHERE NOT EXISTS (SELECT 1 FROM image WHERE image.chain = chain.id)
                AND NOT EXISTS (SELECT 1 FROM chain AS above WHERE above.parent = chain.id)
                UNION ALL SELECT id FROM diff WHERE NOT EXISTS (SELECT 1 FROM chain WHERE chain.diff = diff.id)"""
            )
            return digests_of(Digest, found.fetchall())
        loose = """SELECT 1 FROM chain WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM image WHERE chain = ?1)
            AND NOT EXISTS (SELECT 1 FROM chain AS above WHERE above.parent = ?1)
            UNION ALL SELECT 1 FROM diff WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM chain WHERE diff = ?1)"""
        return [digest for digest in digests if self._run(loose, (str(digest),)).fetchone() is not None]

    def counts(self) -> Mapping[str, int]:
        """Return how many rows there are of each kind."""
        self._doubts.require_none()
        found = self._run(
            """SELECT (SELECT count(*) FROM image), (SELECT count(*) FROM reference), (SELECT count(*) FROM chain),
            (SELECT count(*) FROM diff), (SELECT count(*) FROM blob), (SELECT count(*) FROM manifest),
            (SELECT coalesce(sum(size), 0) FROM blob)"""
        )
        kinds = ("images", "names", "chains", "layers", "blobs", "manifests", "blob_bytes")
        return dict(zip(kinds, found.fetchone(), strict=True))


def _text(digest: Digest | None) -> str | None:
    return None if digest is None else str(digest)
