"""The rows of manifests, indexes, artifacts and opaque blobs in PostgreSQL."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from orlop.model.digest import Digest, ImageID
from orlop.store.rows.edges import edges_of
from orlop.store.rows.naming import require_known_subject
from orlop.store.rows.postgres.passing import PassingRows, columns_of, digests_of
from orlop.store.rows.postgres.tables import (
    ALL_NEAR,
    HAS_NAMES,
    HOLDS_BLOB,
    HOLDS_BLOB_NEAR,
    HOLDS_MANIFEST,
    IS_ELSEWHERE,
    IS_NAMED,
    NAMED_MANIFESTS,
    NAMES_ELSEWHERE,
    REPOSITORIES,
    TAGS,
    UNNEEDED_BLOB,
    UNREACHED_NEAR,
)
from orlop.store.rows.values import blob_row, edge_row, manifest_row, top_row

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import psycopg

    from orlop.store.rows.content import BlobRow, EdgeRow, ManifestRow, TopRow


_EDGE = "SELECT parent, role, position, child, media_type, size FROM edge"
_TOP = "SELECT name, suffix, digest, updated FROM top"
_IS_MEANT = "SELECT EXISTS (SELECT 1 FROM top WHERE digest = %s)"
_REFERRING = """SELECT digest, content, ARRAY(
    SELECT child FROM edge WHERE edge.parent = manifest.digest AND role = 'subject')
    FROM manifest WHERE digest = ANY(%s)"""
_BATCH = 64
"""Documents that are in memory at once."""
_DELETE_TOPS = """WITH gone AS (DELETE FROM top USING unnest(%s::text[], %s::text[]) AS one (name, suffix)
        WHERE top.name = one.name AND top.suffix = one.suffix RETURNING digest),
    each AS (SELECT digest, count(*) AS names FROM gone GROUP BY digest)
    SELECT digest, names, names < (SELECT count(*) FROM (
        SELECT 1 FROM top WHERE top.digest = each.digest LIMIT each.names + 1) AS had) FROM each"""
"""Returns whether another name means the same. What a statement itself deletes is there for whatever it asks."""


class PostgresContentRows(PassingRows):
    """Content inside one transaction of one connection."""

    def __init__(self, connection: psycopg.Connection[tuple[Any, ...]], place: str) -> None:
        super().__init__(connection, place)
        self._freed: set[str] = set()
        self._blob_row = partial(blob_row, place=place)

    def manifests(self, image: Digest) -> list[ManifestRow]:
        """Return the manifests and indexes that came with an image."""
        return self._manifests(
            """SELECT digest, media_type, content FROM image_manifest JOIN manifest ON digest = manifest
            WHERE image = %s ORDER BY digest""",
            image,
        )

    def manifest_digests(self, image: Digest | None = None) -> list[Digest]:
        """Return the digests of the manifests and indexes that came with an image, or of all."""
        if image is None:
            return digests_of(Digest, self.rows("SELECT digest FROM manifest ORDER BY digest"))
        statement = "SELECT manifest FROM image_manifest WHERE image = %s ORDER BY manifest"
        return digests_of(Digest, self.rows(statement, (str(image),)))

    def manifest(self, digest: Digest) -> ManifestRow | None:
        """Return one manifest or index."""
        found = self._manifests("SELECT digest, media_type, content FROM manifest WHERE digest = %s", digest)
        return next(iter(found), None)

    def _manifests(self, statement: str, digest: Digest) -> list[ManifestRow]:
        return [manifest_row(row, self.place) for row in self.rows(statement, (str(digest),))]

    def images_of(self, manifest: Digest) -> list[Digest]:
        """Return the images that a manifest or index came with."""
        statement = "SELECT image FROM image_manifest WHERE manifest = %s ORDER BY image"
        return digests_of(Digest, self.rows(statement, (str(manifest),)))

    def edges(self, parent: Digest) -> list[EdgeRow]:
        """Return where a manifest or an index leads."""
        return self._edges(f"{_EDGE} WHERE parent = %s ORDER BY role, position", parent)

    def edges_to(self, child: Digest) -> list[EdgeRow]:
        """Return the edges that lead to some content."""
        return self._edges(f"{_EDGE} WHERE child = %s ORDER BY parent, role, position", child)

    def referring(self, subject: Digest, *, after: str, most: int) -> list[Digest]:
        """Return the manifests and indexes with this subject, as far as they are asked for."""
        found = self.rows(
            """SELECT DISTINCT parent FROM edge WHERE child = %s AND role = 'subject' AND parent > %s
            ORDER BY parent LIMIT %s""",
            (str(subject), after, most),
        )
        return [Digest.unchecked(parent) for (parent,) in found]

    def _edges(self, statement: str, digest: Digest) -> list[EdgeRow]:
        return [edge_row(row, self.place) for row in self.rows(statement, (str(digest),))]

    def all_edges(self) -> Iterator[EdgeRow]:
        """Yield where all manifests and indexes lead."""
        return map(partial(edge_row, place=self.place), self.each(_EDGE))

    def came(self) -> Iterator[tuple[ImageID, Digest]]:
        """Yield each image with each manifest or index that came with it."""
        found = self.each("SELECT image, manifest FROM image_manifest")
        return ((ImageID.unchecked(image), Digest.unchecked(manifest)) for image, manifest in found)

    def top(self, name: str, suffix: str) -> TopRow | None:
        """Return what a name means."""
        return next(iter(self._tops(f"{_TOP} WHERE name = %s AND suffix = %s", (name, suffix))), None)

    def tops(self, digest: Digest | None = None) -> list[TopRow]:
        """Return what all names mean, or those that mean one manifest or index."""
        if digest is None:
            return self._tops(f"{_TOP} ORDER BY name, suffix")
        return self._tops(f"{_TOP} WHERE digest = %s ORDER BY name, suffix", (str(digest),))

    def _tops(self, statement: str, values: Sequence[str] | None = None) -> list[TopRow]:
        return [top_row(row, self.place) for row in self.rows(statement, values)]

    def repositories(self, domain: str, *, after: str = "", most: int | None = None) -> list[str]:
        """Return the names of the repositories of a registry."""
        # The character behind a slash is a zero.
        values = {"after": max(f"{domain}/", after), "end": f"{domain}0", "most": most}
        return [name for (name,) in self.rows(REPOSITORIES, values)]

    def tags(self, name: str, *, after: str = "", most: int | None = None) -> list[str]:
        """Return the tags in a repository."""
        values = {"name": name, "after": f":{after}", "most": most}
        return [suffix[1:] for (suffix,) in self.rows(TAGS, values)]

    def has_names(self, name: str) -> bool:
        """Return whether anything in a repository has a name."""
        return bool(self.value(HAS_NAMES, {"name": name}))

    def holds_manifest(self, name: str, digest: Digest) -> bool:
        """Return whether a manifest or an index belongs to a repository."""
        return bool(self.value(HOLDS_MANIFEST, {"name": name, "digest": str(digest)}))

    def named_manifests(self, name: str, digests: Iterable[Digest]) -> dict[Digest, bool]:
        """Return which of some manifests a repository has a name for."""
        found = self.rows(NAMED_MANIFESTS, {"name": name, "digests": list(map(str, digests))})
        return {Digest.unchecked(one): bool(is_here) for one, is_here in found}

    def names_elsewhere(self, name: str, digest: Digest) -> bool:
        """Return whether a manifest of a repository names content that all manifests say is elsewhere."""
        values = {"name": name, "digest": str(digest)}
        return all(self.value(question, values) for question in (IS_ELSEWHERE, NAMES_ELSEWHERE))

    def holds_blob(self, name: str, digest: Digest) -> bool:
        """Return whether a manifest that belongs to a repository names some content, and must have had it."""
        # Most have a name there, which is found sooner than all that name the content.
        values = {"name": name, "digest": str(digest)}
        return any(self.value(question, values) for question in (HOLDS_BLOB_NEAR, HOLDS_BLOB))

    def opaque_blobs(self) -> list[BlobRow]:
        """Return the stored bytes that are not the content of a layer."""
        found = self.rows(
            """SELECT digest, size, compression FROM blob
            WHERE NOT EXISTS (SELECT 1 FROM diff_blob WHERE diff_blob.blob = blob.digest) ORDER BY digest"""
        )
        return [self._blob_row(row) for row in found]

    # Changes.

    def put_manifest(self, row: ManifestRow, images: Iterable[Digest]) -> None:
        """Keep a manifest or index, record where it leads, and link it to images."""
        self._came(manifests=row.digest)
        changed = self.value(
            """INSERT INTO manifest VALUES (%s, %s, %s)
            ON CONFLICT (digest) DO UPDATE SET content = excluded.content WHERE manifest.content <> excluded.content
            RETURNING digest""",
            (str(row.digest), row.media_type, row.raw),
        )
        if changed is not None:
            self.put_edges(row.digest, row.raw)
        if texts := sorted(set(map(str, images))):
            self.later(
                "INSERT INTO image_manifest SELECT unnest(%s::text[]), %s ON CONFLICT DO NOTHING",
                (texts, str(row.digest)),
            )

    def put_edges(self, digest: Digest, raw: bytes) -> None:
        """Record where a manifest leads, as its bytes say, in place of what was recorded."""
        self.later("DELETE FROM edge WHERE parent = %s", (str(digest),))
        edges = edges_of(digest, raw)
        if edges:
            _, roles, positions, children, types, sizes = (list(column) for column in zip(*edges, strict=True))
            self.later(
                """INSERT INTO edge SELECT %s, * FROM
                unnest(%s::text[], %s::int[], %s::text[], %s::text[], %s::bigint[])""",
                (str(digest), roles, positions, list(map(str, children)), types, sizes),
            )

    def put_blob(self, row: BlobRow) -> None:
        """Keep the row of opaque bytes."""
        self._came(blobs=row.digest)
        self.put_layer_row("blob", str(row.digest), row.size, row.compression)

    def put_top(self, row: TopRow) -> None:
        """Record the manifest or index that a name means."""
        before = self.top(row.name, row.suffix)
        self.run(
            """INSERT INTO top VALUES (%s, %s, %s, %s)
            ON CONFLICT (name, suffix) DO UPDATE SET digest = excluded.digest, updated = excluded.updated
            WHERE top.digest <> excluded.digest""",
            (row.name, row.suffix, str(row.digest), row.updated),
        )
        if before is not None and before.digest != row.digest and not self.value(_IS_MEANT, (str(before.digest),)):
            self._prune_near([str(before.digest)])

    def touch_top(self, name: str, suffix: str, updated: int) -> None:
        """Record that a name still means what it does."""
        self.later("UPDATE top SET updated = %s WHERE name = %s AND suffix = %s", (updated, name, suffix))

    def delete_tops(self, names: Iterable[tuple[str, str]]) -> int:
        """Forget what names mean, and all that nothing else reaches."""
        columns = columns_of(names)
        gone = self.rows(_DELETE_TOPS, columns) if columns[0] else ()
        # What another name means stays, with all that is near it: a manifest may have very many tags and referrers.
        self._prune_near(digest for digest, _, is_meant in gone if not is_meant)
        return sum(count for _, count, _ in gone)

    def delete_image_manifests(self, image: str, came: Sequence[str]) -> None:
        """Forget what came with an image that was deleted: its own manifests, and what nothing else reaches."""
        linked = self.rows("SELECT manifest FROM image_manifest WHERE manifest = ANY(%s)", (list(came),))
        left = sorted(set(came) - {manifest for (manifest,) in linked})
        if not left:
            return
        mine = self.rows(
            """SELECT DISTINCT parent FROM edge WHERE parent = ANY(%s) AND role = 'config' AND child = %s
            AND NOT EXISTS (SELECT 1 FROM lease WHERE digest = parent)""",
            (left, image),
        )
        near = self.rows(ALL_NEAR, {"starts": left})
        own = [one for (one,) in mine]
        taken = [*own, *self._speaking_of(own, left)]
        self._delete_manifests(taken)
        self._going().taken.update(taken)
        self._prune_near([one for (one,) in near])

    def _speaking_of(self, mine: Sequence[str], left: Sequence[str]) -> list[str]:
        """Return what came with an image alone, and only attests it."""
        from orlop.store.rows.speaking import speaking_of  # noqa: PLC0415 - only removals look at attestations

        others = sorted(set(left) - set(mine)) if mine else []
        if not others:
            return []
        free = self.rows(
            """SELECT one FROM unnest(%s::text[]) AS one
            WHERE NOT EXISTS (SELECT 1 FROM edge WHERE parent = one AND role = 'child')
            AND NOT EXISTS (SELECT 1 FROM lease WHERE digest = one)
            AND NOT EXISTS (SELECT 1 FROM top WHERE digest = one)""",
            (others,),
        )
        candidates = [Digest.unchecked(one) for (one,) in free]
        return list(map(str, speaking_of(self, set(map(Digest.unchecked, mine)), candidates)))

    def _prune_near(self, digests: Iterable[str]) -> None:
        """Forget those of these manifests, and of all below them and about them, that nothing reaches any more."""
        if starts := sorted(set(digests)):
            self._forget_unreached(starts)

    def _forget_unreached(self, starts: Sequence[str]) -> list[str]:
        """Forget those of some manifests, and of all near them, that nothing reaches, and return them."""
        found = sorted(digest for (digest,) in self.rows(UNREACHED_NEAR, {"starts": starts}))
        for start in range(0, len(found), _BATCH):
            for digest, content, subjects in self.rows(_REFERRING, (found[start : start + _BATCH],)):
                require_known_subject(digest, bytes(content), subjects, self.place)
        self._delete_manifests(found)
        return found

    def _delete_manifests(self, digests: Sequence[str]) -> None:
        if not digests:
            return
        gone = (sorted(digests),)
        below = self.rows("SELECT child FROM edge WHERE parent = ANY(%s) AND role <> 'subject'", gone)
        self._freed.update(child for (child,) in below)
        # A name whose image is gone may still mean it.
        self.run("DELETE FROM top WHERE digest = ANY(%s)", gone)
        deleted = self.rows("DELETE FROM manifest WHERE digest = ANY(%s) RETURNING digest", gone)
        self._going().manifests.update(digest for (digest,) in deleted)

    def drop_manifest(self, digest: Digest) -> bool:
        """Forget a manifest or an index that no name, index or lease needs."""
        one = {"digest": str(digest)}
        needed = self.value(
            f"""SELECT EXISTS (SELECT 1 FROM top WHERE digest = %(digest)s) OR {IS_NAMED.format("%(digest)s")}
            OR EXISTS (SELECT 1 FROM edge WHERE child = %(digest)s AND role = 'child')
            OR EXISTS (SELECT 1 FROM lease WHERE digest IN (%(digest)s, '*'))""",  # noqa: S608 - constants
            one,
        )
        if needed or self.manifest(digest) is None:
            return False
        near = self.rows(ALL_NEAR, {"starts": [str(digest)]})
        self.run("DELETE FROM image_manifest WHERE manifest = %(digest)s", one)
        self._delete_manifests([str(digest)])
        self._prune_near([each for (each,) in near])
        return True

    def forget_manifests(self, digests: Iterable[Digest]) -> list[Digest]:
        """Forget manifests and indexes, and what they lead to, that nothing reaches."""
        return [Digest.unchecked(one) for one in self._forget_unreached(sorted(set(map(str, digests))))]

    def forget_blobs(self, digests: Iterable[Digest]) -> list[Digest]:
        """Forget stored bytes that nothing needs."""
        return self._forget_blobs(sorted(set(map(str, digests))))

    def prune_freed(self) -> list[Digest]:
        """Forget the stored bytes that nothing needs and that a manifest named which went in this write."""
        freed, self._freed = sorted(self._freed), set()
        return self._forget_blobs(freed)

    def _forget_blobs(self, digests: Sequence[str]) -> list[Digest]:
        """Forget those of some stored bytes that nothing needs."""
        if not digests:
            return []
        statement = f"DELETE FROM blob WHERE digest = ANY(%s) AND {UNNEEDED_BLOB} RETURNING digest"  # noqa: S608 - constants
        return self._blobs_gone(self.rows(statement, (list(digests),)))

    def _blobs_gone(self, found: list[tuple[Any, ...]]) -> list[Digest]:
        gone = sorted(digests_of(Digest, found))
        if gone:
            self._going().blobs.update(map(str, gone))
        return gone
