"""The rows in PostgreSQL: images, names and layers.

Whether an image has children is recorded with it (``head``), as lists ask for it; whoever changes a parent records it.
"""

from __future__ import annotations

import json
from functools import partial
from heapq import merge
from typing import TYPE_CHECKING, Any

from orlop.model.digest import ChainID, DiffID, Digest, ImageID
from orlop.store.rows.metadata import parent_of
from orlop.store.rows.postgres.content import PostgresContentRows
from orlop.store.rows.postgres.lost_marks import HAS_MARKS
from orlop.store.rows.postgres.passing import columns_of, digests_of, sorted_texts
from orlop.store.rows.postgres.tables import CHILDREN, HAS_LOST_IMAGES, HAS_LOST_TOPS, STATE
from orlop.store.rows.values import chain_row, diff_row, image_row, labels, reference_row

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    import psycopg

    from orlop.store.rows.metadata import BlobRow, ChainRow, DiffRow, ImageRow, ReferenceRow
    from orlop.store.rows.unneeded import Falling, Unneeded

_PARENT = "parent"
_IMAGE_ROW = """SELECT image.id, image.chain, image.created, image.created_ns, coalesce(chain.size, 0), parent.value
    FROM image LEFT JOIN chain ON chain.id = image.chain
    LEFT JOIN image_metadata AS parent ON parent.image = image.id AND parent.key = 'parent'"""
_CHAIN_ROW = "SELECT id, parent, diff, size, depth, descriptor FROM chain"
_REFERENCE_ROW = "SELECT name, suffix, image, updated FROM reference"
_NEWEST_FIRST = " ORDER BY image.created DESC, image.created_ns DESC, image.id"
_NAMED_PARENTS = f"image.id IN (SELECT image FROM reference WHERE EXISTS ({CHILDREN.format('reference.image')}))"  # noqa: S608 - constants


class PostgresRows(PostgresContentRows):
    """The rows inside one transaction of one connection."""

    def __init__(self, connection: psycopg.Connection[tuple[Any, ...]], place: str, *, writable: bool = False) -> None:
        super().__init__(connection, place)
        self.writable = writable
        self.sending.is_bounded = writable
        self.pinned = writable
        """Whether what these rows name stays as long as they are looked at."""
        self._image_row = partial(image_row, place=place)

    # Images and their metadata.

    def image_ids(self) -> Iterator[ImageID]:
        """Yield the IDs of all images."""
        return (ImageID.unchecked(one) for (one,) in self.each("SELECT id FROM image ORDER BY id"))

    def image_ids_with_prefix(self, prefix: str, limit: int | None) -> list[ImageID]:
        """Return at most ``limit`` IDs that start with ``prefix``."""
        statement = "SELECT id FROM image WHERE id >= %s AND id < %s ORDER BY id LIMIT %s"
        return digests_of(ImageID, self.rows(statement, (prefix, f"{prefix}\x7f", limit)))

    def config(self, image: Digest) -> bytes | None:
        """Return the exact config."""
        found = self.value("SELECT config FROM image WHERE id = %s", (str(image),))
        return None if found is None else bytes(found)

    def image_rows(self, *, listed_only: bool) -> Iterator[ImageRow]:
        """Yield all images, or those that are listed, newest first."""
        if not listed_only:
            return map(self._image_row, self.each(_IMAGE_ROW + _NEWEST_FIRST))
        heads = self.each(f"{_IMAGE_ROW} WHERE image.head{_NEWEST_FIRST}")
        others = self.rows(f"{_IMAGE_ROW} WHERE {_NAMED_PARENTS}{_NEWEST_FIRST}")
        found = merge(heads, others, key=lambda row: (-row[2], -row[3], row[0])) if others else heads
        return map(self._image_row, found)

    def image_row(self, image: Digest) -> ImageRow | None:
        """Return one image's row."""
        found = self.row(f"{_IMAGE_ROW} WHERE image.id = %s", (str(image),))
        return None if found is None else self._image_row(found)

    def labels(self, images: Sequence[Digest], *, most: int | None = None) -> dict[ImageID, Mapping[str, str]]:
        """Return the labels of some images, without those whose config has none, or more than so many bytes."""
        found = self.rows(
            """SELECT image, labels FROM image_labels WHERE image = ANY(%(images)s)
            AND (%(most)s::bigint IS NULL OR length(labels) <= %(most)s)""",
            {"images": [str(image) for image in images], "most": most},
        )
        return {ImageID.unchecked(image): labels(kept, self.place) for image, kept in found}

    def heads(self) -> Iterator[ImageID]:
        """Yield the images that are nobody's parent."""
        return (ImageID.unchecked(one) for (one,) in self.each("SELECT id FROM image WHERE head"))

    def has_lost_images(self) -> bool:
        """Return whether a name means an image that is not there."""
        return bool(self.value(HAS_LOST_IMAGES))

    def has_lost_meaning(self) -> bool:
        """Return whether a name means an image or a manifest that is not there."""
        return self.has_lost_images() or bool(self.value(HAS_LOST_TOPS))

    def children(self, image: Digest) -> list[ImageID]:
        """Return the images whose parent this is."""
        found = self.rows(
            """SELECT image FROM image_metadata
            WHERE key = 'parent' AND length(value) < 256 AND value = %s ORDER BY image""",
            (str(image).encode(),),
        )
        return digests_of(ImageID, found)

    def has_children(self, image: Digest) -> bool:
        """Return whether this is any image's parent."""
        return bool(self.value(f"SELECT EXISTS ({CHILDREN.format('%s')})", (str(image),)))

    def metadata(self, image: Digest, key: str) -> bytes | None:
        """Return one value of an image's metadata."""
        found = self.value("SELECT value FROM image_metadata WHERE image = %s AND key = %s", (str(image), key))
        return None if found is None else bytes(found)

    def metadata_of_all(self, key: str) -> dict[ImageID, bytes]:
        """Return the values that images have under one key."""
        found = self.rows("SELECT image, value FROM image_metadata WHERE key = %s", (key,))
        return {ImageID.unchecked(image): bytes(value) for image, value in found}

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
        self.later(
            f"""INSERT INTO image (id, config, chain, created, created_ns, head)
            VALUES (%s, %s, %s, %s, %s, NOT EXISTS ({CHILDREN.format("%s")}))
            ON CONFLICT (id) DO UPDATE SET config = excluded.config WHERE image.config <> excluded.config""",  # noqa: S608 - constants
            (str(image), config, _text(chain_id), *created, str(image)),
        )
        self._came(images=image)
        if labels is not None:
            self.later(
                "INSERT INTO image_labels VALUES (%s, %s) ON CONFLICT DO NOTHING",
                (str(image), json.dumps(dict(labels))),
            )

    def delete_image(self, image: Digest) -> bool:
        """Forget a config with its metadata and its links to manifests."""
        came = self.rows("SELECT manifest FROM image_manifest WHERE image = %s", (str(image),))
        parent = self.metadata(image, _PARENT)
        gone = self.run("DELETE FROM image WHERE id = %s", (str(image),)).rowcount > 0
        self._mark_head(parent)
        if gone:
            self._going().images.add(str(image))
        self.delete_image_manifests(str(image), [manifest for (manifest,) in came])
        return gone

    def set_metadata(self, image: Digest, key: str, value: bytes) -> None:
        """Set one value of an image's metadata."""
        before = self.metadata(image, key) if key == _PARENT else None
        self.later(
            """INSERT INTO image_metadata VALUES (%s, %s, %s)
            ON CONFLICT (image, key) DO UPDATE SET value = excluded.value""",
            (str(image), key, value),
        )
        if key == _PARENT:
            self._mark_head(before, value)

    def delete_metadata(self, image: Digest, key: str) -> bool:
        """Delete one value of an image's metadata."""
        statement = "DELETE FROM image_metadata WHERE image = %s AND key = %s RETURNING value"
        found = self.row(statement, (str(image), key))
        if found is not None and key == _PARENT:
            self._mark_head(bytes(found[0]))
        return found is not None

    def _mark_head(self, *parents: bytes | None) -> None:
        """Record whether the images that these values of metadata name have children."""
        images = sorted({str(image) for value in parents if (image := parent_of(value)) is not None})
        if images:
            has = f"EXISTS ({CHILDREN.format('image.id')})"
            self.later(f"UPDATE image SET head = NOT {has} WHERE id = ANY(%s) AND head = {has}", (images,))  # noqa: S608 - constants

    # References.

    def reference(self, name: str, suffix: str) -> ReferenceRow | None:
        """Return what a name points to."""
        row = self.row(f"{_REFERENCE_ROW} WHERE name = %s AND suffix = %s", (name, suffix))
        return None if row is None else reference_row(row, self.place)

    def references_in(self, name: str, suffixes: Iterable[str]) -> list[ReferenceRow]:
        """Return what some tags and digests of a repository point to."""
        found = self.rows(
            f"{_REFERENCE_ROW} WHERE name = %s AND suffix = ANY(%s) ORDER BY suffix", (name, sorted(set(suffixes)))
        )
        return [reference_row(row, self.place) for row in found]

    def references(
        self, image: Digest | None = None, name: str | None = None, *, most: int | None = None
    ) -> list[ReferenceRow]:
        """Return all references, or those of an image or of a repository, sorted."""
        tests = ["image = %(image)s"] if image is not None else []
        if name is not None:
            tests.append("name = %(name)s")
        where = f" WHERE {' AND '.join(tests)}" if tests else ""
        limit = "" if most is None else " LIMIT %(most)s"
        values = {"image": str(image), "name": name, "most": most}
        found = self.rows(f"{_REFERENCE_ROW}{where} ORDER BY name, suffix{limit}", values)
        return [reference_row(row, self.place) for row in found]

    def put_reference(self, row: ReferenceRow) -> None:
        """Point a name to an image."""
        gone = self.rows(
            """DELETE FROM top WHERE name = %(name)s AND suffix = %(suffix)s AND NOT EXISTS (
                SELECT 1 FROM reference WHERE name = %(name)s AND suffix = %(suffix)s AND image = %(image)s)
            RETURNING digest""",
            {"name": row.name, "suffix": row.suffix, "image": str(row.image)},
        )
        self._prune_near([digest for (digest,) in gone])
        self.later(
            """INSERT INTO reference VALUES (%s, %s, %s, %s)
            ON CONFLICT (name, suffix) DO UPDATE SET image = excluded.image, updated = excluded.updated""",
            (row.name, row.suffix, str(row.image), row.updated),
        )

    def delete_references(self, names: Iterable[tuple[str, str]]) -> int:
        """Forget names, and what they mean."""
        going = list(names)
        self.delete_tops(going)
        return self.run(
            """DELETE FROM reference USING unnest(%s::text[], %s::text[]) AS one (name, suffix)
            WHERE reference.name = one.name AND reference.suffix = one.suffix""",
            columns_of(going),
        ).rowcount

    # Layers.

    def chain(self, chain_id: ChainID) -> ChainRow | None:
        """Return one layer in its place."""
        row = self.row(f"{_CHAIN_ROW} WHERE id = %s", (str(chain_id),))
        return None if row is None else chain_row(row, self.place)

    def chains(self) -> list[ChainRow]:
        """Return every layer in its place."""
        return [chain_row(row, self.place) for row in self.rows(f"{_CHAIN_ROW} ORDER BY id")]

    def diff(self, diff_id: DiffID) -> DiffRow | None:
        """Return what is known of a layer's content."""
        row = self.row("SELECT id, size, content_size, entries, partial FROM diff WHERE id = %s", (str(diff_id),))
        return None if row is None else diff_row(row, self.place)

    def blobs_of(self, diff_id: DiffID) -> list[BlobRow]:
        """Return the stored forms of a layer's content, plain ones first."""
        found = self.rows(
            """SELECT blob.digest, blob.size, blob.compression FROM diff_blob JOIN blob ON blob.digest = diff_blob.blob
            WHERE diff_blob.diff = %s ORDER BY blob.compression <> 'none', blob.size, blob.digest""",
            (str(diff_id),),
        )
        return [self._blob_row(row) for row in found]

    def blob(self, digest: Digest) -> BlobRow | None:
        """Return what is known of stored bytes."""
        row = self.row("SELECT digest, size, compression FROM blob WHERE digest = %s", (str(digest),))
        return None if row is None else self._blob_row(row)

    def blobs(self) -> list[BlobRow]:
        """Return what is known of all stored bytes."""
        return [self._blob_row(row) for row in self.rows("SELECT digest, size, compression FROM blob ORDER BY digest")]

    def diffs_of(self, blob: Digest) -> list[DiffID]:
        """Return the layers' contents of which a blob is recorded as a stored form."""
        return digests_of(DiffID, self.rows("SELECT diff FROM diff_blob WHERE blob = %s ORDER BY diff", (str(blob),)))

    def contents(self) -> list[tuple[DiffID, BlobRow | None]]:
        """Return every layer's content, once with each stored form of it."""
        found = self.rows(
            """SELECT diff.id, blob.digest, blob.size, blob.compression FROM diff
            LEFT JOIN diff_blob ON diff_blob.diff = diff.id LEFT JOIN blob ON blob.digest = diff_blob.blob
            ORDER BY diff.id, blob.digest"""
        )
        return [(DiffID.unchecked(diff), None if form[0] is None else self._blob_row(form)) for diff, *form in found]

    def diff_ids(self) -> list[DiffID]:
        """Return all layers' contents."""
        return digests_of(DiffID, self.rows("SELECT id FROM diff ORDER BY id"))

    def put_diff(self, row: DiffRow, blob: BlobRow) -> None:
        """Keep a layer's content and one stored form of it; what is there already stays."""
        self._came(contents=row.diff_id, blobs=blob.digest)
        self.put_layer_row("diff", str(row.diff_id), row.size, row.content_size, row.entries, row.partial)
        self.put_blob(blob)
        self.put_layer_row("diff_blob", str(row.diff_id), str(blob.digest))

    def put_chain(self, row: ChainRow) -> None:
        """Keep a layer in its place; one that is there already stays."""
        self._came(chains=row.chain_id)
        parent = _text(row.parent)
        self.put_layer_row("chain", str(row.chain_id), parent, str(row.diff_id), row.size, row.depth, row.descriptor)

    def _drop_chain(self, chain_id: ChainID) -> ChainRow | None:
        row = self.chain(chain_id)
        if row is None or self._chain_is_needed(chain_id):
            return None
        self.run("DELETE FROM chain WHERE id = %s", (str(chain_id),))
        return row

    def _chain_is_needed(self, chain_id: ChainID) -> bool:
        return bool(
            self.value(
                f"""SELECT EXISTS (SELECT 1 FROM image WHERE chain = %(id)s)
                OR EXISTS (SELECT 1 FROM chain WHERE parent = %(id)s)
                OR EXISTS (SELECT 1 FROM lease WHERE digest IN (%(id)s, '*')) OR {HAS_MARKS}""",  # noqa: S608 - constants
                {"id": str(chain_id)},
            )
        )

    def prune_diff(self, diff_id: DiffID) -> list[Digest] | None:
        """Drop a layer's content if no chain and no lease needs it."""
        needed = self.value(
            f"""SELECT EXISTS (SELECT 1 FROM chain WHERE diff = %(id)s)
            OR EXISTS (SELECT 1 FROM lease WHERE digest IN (%(id)s, '*')) OR {HAS_MARKS}""",  # noqa: S608 - constants
            {"id": str(diff_id)},
        )
        if needed:
            return None
        blobs = [str(row.digest) for row in self.blobs_of(diff_id)]
        if self.run("DELETE FROM diff WHERE id = %s", (str(diff_id),)).rowcount == 0:
            return None
        gone = set(self._forget_blobs(blobs))
        freed = [blob for blob in map(Digest.unchecked, blobs) if blob in gone]
        self.will_go(contents=[diff_id])
        self._going().leased.add(str(diff_id))
        return freed

    def standing(self, chains: Iterable[ChainID]) -> Iterable[ChainID]:
        """Return those of some layers in their place on which an image stands."""
        found = self.rows("SELECT DISTINCT chain FROM image WHERE chain = ANY(%s)", (sorted_texts(chains),))
        return digests_of(ChainID, found)

    def loose_of(self, digests: Iterable[Digest] | None) -> list[Digest]:
        """Return those layers and contents that only leases keep."""
        asked = None if digests is None else list(digests)
        which = "true" if asked is None else "{}.id = ANY(%(ids)s)"
        loose = self.rows(
            f"""SELECT id FROM chain WHERE {which.format("chain")}
                AND NOT EXISTS (SELECT 1 FROM image WHERE image.chain = chain.id)
                AND NOT EXISTS (SELECT 1 FROM chain AS above WHERE above.parent = chain.id)
            UNION ALL SELECT id FROM diff WHERE {which.format("diff")}
                AND NOT EXISTS (SELECT 1 FROM chain WHERE chain.diff = diff.id)""",  # noqa: S608 - constants
            {"ids": sorted_texts(asked or ())},
        )
        if asked is None:
            return digests_of(Digest, loose)
        texts = {text for (text,) in loose}
        return [digest for digest in asked if str(digest) in texts]

    def unneeded(self, ended: Collection[str]) -> Unneeded:
        """Return what nothing needs but leases that have ended."""
        from orlop.store.rows.postgres.garbage import unneeded_rows  # noqa: PLC0415 - few commands look for all of it

        return unneeded_rows(self, ended)

    def falling(self, unneeded: Unneeded, ended: Collection[str]) -> Falling:
        """Return what goes with what nothing needs."""
        from orlop.store.rows.postgres.garbage import falling_rows  # noqa: PLC0415 - only a dry run asks

        return falling_rows(self, unneeded, ended)

    def state(self) -> str:
        """Return a text that is another one where images, names or content are others."""
        return str(self.value(STATE))

    def counts(self) -> Mapping[str, int]:
        """Return how many rows there are of each kind."""
        found = self.row(
            """SELECT (SELECT count(*) FROM image), (SELECT count(*) FROM reference), (SELECT count(*) FROM chain),
            (SELECT count(*) FROM diff), (SELECT count(*) FROM blob), (SELECT count(*) FROM manifest),
            (SELECT coalesce(sum(size), 0) FROM blob)"""
        )
        kinds = ("images", "names", "chains", "layers", "blobs", "manifests", "blob_bytes")
        return dict(zip(kinds, map(int, found or ()), strict=True))


def _text(digest: Digest | None) -> str | None:
    return None if digest is None else str(digest)
