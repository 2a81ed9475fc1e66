"""The rows of manifests, indexes, artifacts and opaque blobs in SQLite."""

from __future__ import annotations

from orlop.model import plain_json
from orlop.model.digest import Digest, ImageID
from orlop.store.rows.content import ELSEWHERE, LISTED
from orlop.store.rows.sqlite.doubts import NO_DOUBTS
from orlop.store.rows.sqlite.passing import PassingRows, digests_of
from orlop.store.rows.sqlite.tables import UNNEEDED_BLOB
from orlop.store.rows.values import blob_row, edge_row, manifest_row, text, top_row

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Iterator
    from typing import Final

    from orlop.store.rows.metadata import BlobRow, EdgeRow, ManifestRow, TopRow
    from orlop.store.rows.sqlite.doubts import Doubts

_NEAR: Final = """WITH RECURSIVE near (digest) AS (
    SELECT value FROM json_each(?)
    UNION SELECT edge.child FROM near JOIN edge ON edge.parent = near.digest AND edge.role = 'child'
    UNION SELECT edge.parent FROM near JOIN edge ON edge.child = near.digest AND edge.role = 'subject')"""
"""What may go where something goes: all that it leads to."""

_IS_MEANT: Final = "SELECT 1 FROM top WHERE digest = ? LIMIT 1"
_ALL_NEAR: Final = f"{_NEAR} SELECT digest FROM near"  # noqa: S608 - constants
_UNREACHED_NEAR: Final = f"""{_NEAR}, reached (digest) AS (
    SELECT digest FROM near WHERE digest IN (SELECT digest FROM top)
        OR digest IN (SELECT manifest FROM image_manifest) OR digest IN (SELECT digest FROM lease)
        OR EXISTS (SELECT 1 FROM edge WHERE child = near.digest AND role = 'child'
            AND parent NOT IN (SELECT digest FROM near))
        OR EXISTS (SELECT 1 FROM edge AS about WHERE about.parent = near.digest AND about.role = 'subject'
            AND about.child NOT IN (SELECT digest FROM near) AND (about.child IN (SELECT digest FROM manifest)
                OR about.child IN (SELECT digest FROM lease)
                OR EXISTS (SELECT 1 FROM edge WHERE edge.child = about.child AND edge.role = 'child')))
    UNION SELECT edge.child FROM reached JOIN edge ON edge.parent = reached.digest AND edge.role = 'child'
    UNION SELECT edge.parent FROM reached JOIN edge ON edge.child = reached.digest AND edge.role = 'subject')
    SELECT digest FROM manifest WHERE digest IN (SELECT digest FROM near)
    AND digest NOT IN (SELECT digest FROM reached) AND NOT EXISTS (SELECT 1 FROM lease WHERE digest = '*')"""  # noqa: S608 - constants

_IS_NAMED: Final = """(EXISTS (SELECT 1 FROM top WHERE top.digest = {0} AND top.suffix = '@' || {0}
        AND top.name NOT GLOB 'layout:*' AND top.name NOT GLOB 'cache:*')
    OR EXISTS (SELECT 1 FROM image_manifest AS came JOIN reference ON reference.image = came.image
        AND reference.suffix = '@' || {0} WHERE came.manifest = {0}))"""
"""Whether any repository names a manifest by its digest. It then belongs to those that do, and to no others."""

_TOGETHER: Final = """(NOT EXISTS (SELECT 1 FROM image_manifest WHERE manifest = edge.child)
    OR EXISTS (SELECT 1 FROM image_manifest AS one JOIN image_manifest AS other ON other.image = one.image
        WHERE one.manifest = edge.child AND other.manifest = edge.parent))"""
"""Whether a manifest of an image came with an index that names it, and was not only named by somebody."""

_UP: Final = f"""WITH RECURSIVE up (digest) AS (
    {{0}}
    UNION SELECT edge.parent FROM up JOIN edge ON edge.child = up.digest AND edge.role = 'child'
        WHERE NOT {_IS_NAMED.format("up.digest")} AND {_TOGETHER}
    UNION SELECT edge.child FROM up JOIN edge ON edge.parent = up.digest AND edge.role = 'subject'
        WHERE NOT {_IS_NAMED.format("up.digest")})
    SELECT CASE WHEN EXISTS (SELECT 1 FROM up JOIN top ON top.digest = up.digest AND top.name = ?1) THEN 1
        WHEN EXISTS (SELECT 1 FROM up JOIN reference ON reference.name = ?1 AND reference.suffix = '@' || up.digest)
        THEN 1 ELSE EXISTS (SELECT 1 FROM up CROSS JOIN image_manifest AS came ON came.manifest = up.digest
            CROSS JOIN reference ON reference.image = came.image AND reference.name = ?1
            WHERE NOT {_IS_NAMED.format("up.digest")}) END"""  # noqa: S608 - constants
"""Whether a repository has any of some manifests, or what these belong to.

Neither is what would do asked in vain, as with OR, nor whether a manifest is named for each of its tags.
"""

_HOLDS_MANIFEST: Final = _UP.format("SELECT digest FROM manifest WHERE digest = ?2")
_NAMED_MANIFESTS: Final = f"""SELECT one, is_here FROM (
    SELECT value AS one, EXISTS (SELECT 1 FROM top WHERE top.digest = value AND top.name = ?1)
        OR EXISTS (SELECT 1 FROM reference WHERE name = ?1 AND suffix = '@' || value) AS is_here FROM json_each(?2))
    WHERE is_here OR {_IS_NAMED.format("one")}"""  # noqa: S608 - constants
_NAMES_BLOB: Final = f"""edge.child = ?2 AND (edge.role IN ('config', 'layer')
    OR edge.role = 'child' AND edge.media_type IN ({", ".join(f"'{kind}'" for kind in LISTED)}))"""
_ELSEWHERE: Final = " OR ".join(f"substr(edge.media_type, 1, {len(kind)}) = '{kind}'" for kind in ELSEWHERE)
_HAS_BLOB: Final = f"{_NAMES_BLOB} AND NOT ({_ELSEWHERE})"
"""Whether a manifest names some content that it must have had, for it was not said to be elsewhere."""
_HOLDS_BLOB_NEAR: Final = f"""SELECT EXISTS (SELECT 1 FROM top JOIN edge
        ON edge.parent = top.digest AND {_HAS_BLOB} WHERE top.name = ?1)
    OR EXISTS (SELECT 1 FROM reference JOIN edge
        ON edge.parent = substr(reference.suffix, 2) AND {_HAS_BLOB}
        WHERE reference.name = ?1 AND reference.suffix GLOB '@*')"""  # noqa: S608 - constants
_HOLDS_BLOB: Final = _UP.format(f"SELECT edge.parent FROM edge WHERE {_HAS_BLOB}")  # noqa: S608 - constants
_IS_ELSEWHERE: Final = f"""SELECT EXISTS (SELECT 1 FROM edge WHERE {_NAMES_BLOB})
    AND NOT EXISTS (SELECT 1 FROM edge WHERE {_HAS_BLOB})"""  # noqa: S608 - constants
_NAMES_ELSEWHERE: Final = _UP.format(f"SELECT edge.parent FROM edge WHERE {_NAMES_BLOB}")  # noqa: S608 - constants

# Each part ends by itself, so that a page does not read all that is behind it.
_REPOSITORIES: Final = """SELECT name FROM (
    SELECT name FROM (SELECT DISTINCT name FROM reference WHERE name > ?1 AND name < ?2 ORDER BY name LIMIT ?3)
    UNION SELECT name FROM (SELECT DISTINCT name FROM top WHERE name > ?1 AND name < ?2 ORDER BY name LIMIT ?3)
    ) ORDER BY name LIMIT ?3"""
_TAGS: Final = """WITH one AS (
        SELECT suffix FROM reference WHERE name = ?1 AND suffix > ?2 AND suffix < ';' ORDER BY suffix LIMIT ?3),
    other AS (SELECT suffix FROM top WHERE name = ?1 AND suffix > ?2 AND suffix < ';' ORDER BY suffix LIMIT ?3)
    SELECT suffix FROM (SELECT suffix FROM one UNION SELECT suffix FROM other) ORDER BY suffix LIMIT ?3"""

_HAS_NAMES: Final = """SELECT EXISTS (SELECT 1 FROM reference WHERE name = ?1)
    OR EXISTS (SELECT 1 FROM top WHERE name = ?1)"""


class SQLiteContentRows(PassingRows):
    """Content inside one transaction of one connection."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        *,
        doubts: Doubts = NO_DOUBTS,
        has_lost: Callable[[], bool] = lambda: False,
    ) -> None:
        super().__init__(connection)
        self._doubts = doubts
        self._has_lost = has_lost
        self._is_held_for_lost: bool | None = None
        self._freed: set[str] = set()

    def manifests(self, image: Digest) -> list[ManifestRow]:
        """Return the manifests and indexes that came with an image."""
        return self._manifests(
            """SELECT manifest.* FROM image_manifest JOIN manifest ON manifest.digest = image_manifest.manifest
            WHERE image_manifest.image = ? ORDER BY manifest.digest""",
            image,
        )

    def manifest_digests(self, image: Digest | None = None) -> list[Digest]:
        """Return the digests of the manifests and indexes that came with an image, or of all."""
        if image is None:
            found = self._run("SELECT digest FROM manifest ORDER BY digest")
        else:
            found = self._run("SELECT manifest FROM image_manifest WHERE image = ? ORDER BY manifest", (str(image),))
        return digests_of(Digest, found)

    def manifest(self, digest: Digest) -> ManifestRow | None:
        """Return one manifest or index."""
        return next(iter(self._manifests("SELECT * FROM manifest WHERE digest = ?", digest)), None)

    def _manifests(self, statement: str, digest: Digest) -> list[ManifestRow]:
        rows = [manifest_row(row) for row in self._run(statement, (str(digest),))]
        self._doubts.require_manifests(rows)
        return rows

    def images_of(self, manifest: Digest) -> list[Digest]:
        """Return the images that a manifest or index came with."""
        statement = "SELECT image FROM image_manifest WHERE manifest = ? ORDER BY image"
        return digests_of(Digest, self._run(statement, (str(manifest),)))

    def edges(self, parent: Digest) -> list[EdgeRow]:
        """Return where a manifest or an index leads."""
        return self._edges("SELECT * FROM edge WHERE parent = ? ORDER BY role, position", parent)

    def edges_to(self, child: Digest) -> list[EdgeRow]:
        """Return the edges that lead to some content."""
        return self._edges("SELECT * FROM edge WHERE child = ? ORDER BY parent, role, position", child)

    def referring(self, subject: Digest, *, after: str, most: int) -> list[Digest]:
        """Return the manifests and indexes with this subject, as far as they are asked for."""
        found = self._run(
            """SELECT DISTINCT parent FROM edge WHERE child = ? AND role = 'subject' AND parent > ?
            ORDER BY parent LIMIT ?""",
            (str(subject), after, most),
        )
        return [Digest.unchecked(text("edge", parent)) for (parent,) in found]

    def _edges(self, statement: str, digest: Digest) -> list[EdgeRow]:
        return [edge_row(row) for row in self._run(statement, (str(digest),))]

    def all_edges(self) -> Iterator[EdgeRow]:
        """Yield where all manifests and indexes lead."""
        self._doubts.require_edges()
        return map(edge_row, self._run("SELECT * FROM edge").fetchall())

    def came(self) -> Iterator[tuple[ImageID, Digest]]:
        """Yield each image with each manifest or index that came with it."""
        for image, manifest in self._run("SELECT image, manifest FROM image_manifest").fetchall():
            yield ImageID.unchecked(text("image_manifest", image)), Digest.unchecked(text("image_manifest", manifest))

    def top(self, name: str, suffix: str) -> TopRow | None:
        """Return what a name means."""
        row = self._run("SELECT * FROM top WHERE name = ? AND suffix = ?", (name, suffix)).fetchone()
        return None if row is None else top_row(row)

    def tops(self, digest: Digest | None = None) -> list[TopRow]:
        """Return what all names mean, or those that mean one manifest or index."""
        where, values = ("", ()) if digest is None else (" WHERE digest = ?", (str(digest),))
        found = self._run(f"SELECT * FROM top{where} ORDER BY name, suffix", values)  # noqa: S608 - constants
        return [top_row(row) for row in found]

    def repositories(self, domain: str, *, after: str = "", most: int | None = None) -> list[str]:
        """Return the names of the repositories of a registry."""
        # The character behind a slash is a zero.
        values = (max(f"{domain}/", after), f"{domain}0", -1 if most is None else most)
        return [text("reference", name) for (name,) in self._run(_REPOSITORIES, values)]

    def tags(self, name: str, *, after: str = "", most: int | None = None) -> list[str]:
        """Return the tags in a repository."""
        found = self._run(_TAGS, (name, f":{after}", -1 if most is None else most))
        return [text("reference", suffix)[1:] for (suffix,) in found]

    def has_names(self, name: str) -> bool:
        """Return whether anything in a repository has a name."""
        return bool(self._value(_HAS_NAMES, name))

    def holds_manifest(self, name: str, digest: Digest) -> bool:
        """Return whether a manifest or an index belongs to a repository."""
        return bool(self._value(_HOLDS_MANIFEST, name, str(digest)))

    def named_manifests(self, name: str, digests: Iterable[Digest]) -> dict[Digest, bool]:
        """Return which of some manifests a repository has a name for."""
        found = self._run(_NAMED_MANIFESTS, (name, plain_json.dumps(list(map(str, digests)))))
        return {Digest.unchecked(text("manifest", one)): bool(is_here) for one, is_here in found}

    def names_elsewhere(self, name: str, digest: Digest) -> bool:
        """Return whether a manifest of a repository names content that all manifests say is elsewhere."""
        return all(self._value(question, name, str(digest)) for question in (_IS_ELSEWHERE, _NAMES_ELSEWHERE))

    def holds_blob(self, name: str, digest: Digest) -> bool:
        """Return whether a manifest that belongs to a repository names some content, and must have had it."""
        # Most have a name there, which is found sooner than all that name the content.
        return any(self._value(question, name, str(digest)) for question in (_HOLDS_BLOB_NEAR, _HOLDS_BLOB))

    def opaque_blobs(self) -> list[BlobRow]:
        """Return the stored bytes that are not the content of a layer."""
        found = self._run("SELECT * FROM blob WHERE digest NOT IN (SELECT blob FROM diff_blob) ORDER BY digest")
        return [blob_row(row) for row in found]

    # Changes.

    def put_manifest(self, row: ManifestRow, images: Iterable[Digest]) -> None:
        """Keep a manifest or index and link it to images."""
        self._came(manifests=row.digest)
        self._run(
            """INSERT INTO manifest VALUES (?, ?, ?)
            ON CONFLICT DO UPDATE SET content = excluded.content
            WHERE content <> excluded.content AND digest = excluded.digest""",
            (str(row.digest), row.media_type, row.raw),
        )
        for image in images:
            self._run("INSERT INTO image_manifest VALUES (?, ?) ON CONFLICT DO NOTHING", (str(image), str(row.digest)))

    def put_blob(self, row: BlobRow) -> None:
        """Keep the row of opaque bytes."""
        self._came(blobs=row.digest)
        values = (str(row.digest), row.size, row.compression)
        self._run("INSERT INTO blob VALUES (?, ?, ?) ON CONFLICT DO NOTHING", values)

    def put_top(self, row: TopRow) -> None:
        """Record the manifest or index that a name means."""
        before = self.top(row.name, row.suffix)
        self._run(
            """INSERT INTO top VALUES (?, ?, ?, ?)
            ON CONFLICT DO UPDATE SET digest = excluded.digest, updated = excluded.updated
            WHERE digest <> excluded.digest""",
            (row.name, row.suffix, str(row.digest), row.updated),
        )
        if before is not None and before.digest != row.digest:
            self._prune_unmeant([str(before.digest)])

    def touch_top(self, name: str, suffix: str, updated: int) -> None:
        """Record that a name still means what it does."""
        self._run("UPDATE top SET updated = ? WHERE name = ? AND suffix = ?", (updated, name, suffix))

    def delete_tops(self, names: Iterable[tuple[str, str]]) -> int:
        """Forget what names mean, and all that nothing else reaches."""
        statement = "DELETE FROM top WHERE name = ? AND suffix = ? RETURNING digest"
        gone = [text("top", digest) for one in names for (digest,) in self._run(statement, one).fetchall()]
        self._prune_unmeant(dict.fromkeys(gone))
        return len(gone)

    def delete_image_manifests(self, image: str, came: Iterable[str]) -> None:
        """Forget what came with an image that was deleted: its own manifests, and what nothing else reaches."""
        left = [
            one for one in came if not self._run("SELECT 1 FROM image_manifest WHERE manifest = ?", (one,)).fetchone()
        ]
        own = """SELECT parent FROM edge WHERE parent = ? AND role = 'config' AND child = ?
            AND parent NOT IN (SELECT digest FROM lease)"""
        mine = [one for one in left if self._run(own, (one, image)).fetchone()]
        near = digests_of(Digest, self._run(_ALL_NEAR, (plain_json.dumps(left),)).fetchall())
        taken = [*mine, *self._speaking_of(mine, left)]
        self._delete_manifests(taken)
        self._going().taken.update(taken)
        self._prune_near(map(str, near))

    def _speaking_of(self, mine: Iterable[str], left: Iterable[str]) -> list[str]:
        """Return what came with an image alone, and only attests it."""
        from orlop.store.rows.speaking import speaking_of  # noqa: PLC0415 - only removals look at attestations

        free = """SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM edge WHERE parent = ?1 AND role = 'child')
            AND NOT EXISTS (SELECT 1 FROM lease WHERE digest = ?1)
            AND NOT EXISTS (SELECT 1 FROM top WHERE digest = ?1)"""
        gone = set(map(Digest.unchecked, mine))
        others = [one for one in map(Digest.unchecked, left) if one not in gone]
        candidates = [one for one in others if gone and self._run(free, (str(one),)).fetchone()]
        return list(map(str, speaking_of(self, gone, candidates)))

    def _prune_unmeant(self, digests: Iterable[str]) -> None:
        """Do what `_prune_near` does where a name no longer means these manifests.

        What another one means stays, with all that is near it: a manifest may have very many names and referrers.
        """
        self._prune_near(one for one in digests if not self._run(_IS_MEANT, (one,)).fetchone())

    def _prune_near(self, digests: Iterable[str]) -> None:
        """Forget those of these manifests, and of all below them and about them, that nothing reaches any more."""
        if starts := sorted(set(digests)):
            found = self._run(_UNREACHED_NEAR, (plain_json.dumps(starts),)).fetchall()
            if found and not self._may_be_of_lost():
                self._forget_unreached([text("manifest", digest) for (digest,) in found])

    def _forget_unreached(self, digests: list[str]) -> None:
        from orlop.store.rows.naming import require_known_subject  # noqa: PLC0415 - few commands remove anything

        for digest in digests:
            found = self._run("SELECT content FROM manifest WHERE digest = ?", (digest,)).fetchone()
            subjects = self._run("SELECT child FROM edge WHERE parent = ? AND role = 'subject'", (digest,)).fetchall()
            require_known_subject(digest, found[0], [subject for (subject,) in subjects], "metadata.db")
        self._delete_manifests(digests)

    def _may_be_of_lost(self) -> bool:
        """Return whether what nothing needs may belong to what a name means that has lost its row.

        That is asked once in a write, before the first thing goes: of all names, as the write reads all rows anyway
        before it commits what goes.
        """
        if self._is_held_for_lost is None:
            self._is_held_for_lost = self._has_lost()
        return self._is_held_for_lost

    def _delete_manifests(self, digests: Iterable[str]) -> None:
        for digest in digests:
            below = self._run("SELECT child FROM edge WHERE parent = ? AND role <> 'subject'", (digest,)).fetchall()
            self._freed.update(text("edge", child) for (child,) in below)
            # A name whose image is gone may still mean it.
            self._run("DELETE FROM top WHERE digest = ?", (digest,))
            if self._run("DELETE FROM manifest WHERE digest = ?", (digest,)).rowcount:
                self._going().manifests.add(digest)

    def drop_manifest(self, digest: Digest) -> bool:
        """Forget a manifest or an index that no name, index or lease needs."""
        needed = self._value(
            f"""SELECT EXISTS (SELECT 1 FROM top WHERE digest = ?1) OR {_IS_NAMED.format("?1")}
            OR EXISTS (SELECT 1 FROM edge WHERE child = ?1 AND role = 'child')
            OR EXISTS (SELECT 1 FROM lease WHERE digest IN (?1, '*'))""",  # noqa: S608 - constants
            str(digest),
        )
        if needed or self.manifest(digest) is None:
            return False
        near = digests_of(Digest, self._run(_ALL_NEAR, (plain_json.dumps([str(digest)]),)).fetchall())
        self._run("DELETE FROM image_manifest WHERE manifest = ?", (str(digest),))
        self._delete_manifests([str(digest)])
        self._prune_near(map(str, near))
        return True

    def forget_manifests(self, digests: Iterable[Digest]) -> list[Digest]:
        """Forget manifests and indexes, and what they lead to, that nothing reaches."""
        found = self._run(_UNREACHED_NEAR, (plain_json.dumps(sorted(map(str, digests))),)).fetchall()
        gone = sorted(digests_of(Digest, found))
        self._forget_unreached([str(digest) for digest in gone])
        return gone

    def forget_blobs(self, digests: Iterable[Digest]) -> list[Digest]:
        """Forget stored bytes that nothing needs."""
        return self._forget_blobs(map(str, digests))

    def prune_freed(self) -> list[Digest]:
        """Forget the stored bytes that nothing needs and that a manifest named which went in this write."""
        freed, self._freed = sorted(self._freed), set()
        return self._forget_blobs(freed)

    def _forget_blobs(self, digests: Iterable[str]) -> list[Digest]:
        statement = f"SELECT digest FROM blob WHERE digest = ? AND {UNNEEDED_BLOB}"  # noqa: S608 - constants
        gone = digests_of(Digest, [row for one in digests for row in self._run(statement, (one,)).fetchall()])
        if not gone or self._may_be_of_lost():
            return []
        for digest in gone:
            self._run("DELETE FROM blob WHERE digest = ?", (str(digest),))
        self._going().blobs.update(map(str, gone))
        self._going().leased.update(map(str, gone))
        return sorted(gone)
