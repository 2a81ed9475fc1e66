"""The tables of the rows in SQLite, as the current version lays them out."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final


SCHEMA_VERSION: Final = 3
"""Kept in ``user_version``; a store of a higher one is left alone."""

CHILDREN: Final = "SELECT 1 FROM image_metadata AS child WHERE child.key = 'parent' AND child.value = CAST({} AS BLOB)"
"""Asks whether the image that a column names has children.

The value is kept as the bytes that the daemon's file would hold: the parent's ID as text.
"""

_SET_HEAD: Final = f"UPDATE image SET head = NOT head WHERE id = {{0}} AND head = EXISTS ({CHILDREN.format('id')});"  # noqa: S608 - constants

REACHED: Final = """WITH RECURSIVE reached (digest) AS (
    SELECT digest FROM top UNION SELECT manifest FROM image_manifest UNION SELECT digest FROM lease
    UNION SELECT edge.child FROM reached JOIN edge ON edge.parent = reached.digest AND edge.role = 'child'
    UNION SELECT edge.parent FROM reached JOIN edge ON edge.child = reached.digest AND edge.role = 'subject')"""
"""The manifests and indexes that something reaches, and other digests among them, in one pass over the rows."""

UNREACHED: Final = f"""{REACHED} SELECT digest FROM manifest WHERE digest NOT IN (SELECT digest FROM reached)
    AND NOT EXISTS (SELECT 1 FROM lease WHERE digest = '*') ORDER BY digest"""  # noqa: S608 - constants

LOST_TOPS: Final = "EXISTS (SELECT 1 FROM top WHERE digest NOT IN (SELECT digest FROM manifest))"
"""Whether a name has lost the manifest that it means: only that could tell what it led to."""

LOST_IMAGES: Final = "EXISTS (SELECT 1 FROM reference WHERE image NOT IN (SELECT id FROM image))"
"""Whether a name has lost the image that it means: only that could tell which layers it had."""

LOST_MEANING: Final = f"SELECT {LOST_IMAGES} OR {LOST_TOPS}"
"""Asks whether a name has lost what it means, of every name there is."""

UNNEEDED_BLOB: Final = """NOT EXISTS (SELECT 1 FROM diff_blob WHERE diff_blob.blob = blob.digest)
    AND NOT EXISTS (SELECT 1 FROM edge WHERE edge.child = blob.digest)
    AND NOT EXISTS (SELECT 1 FROM lease WHERE lease.digest IN (blob.digest, '*'))"""
"""Whether nothing needs a blob."""

LOST_LINKS: Final = """SELECT DISTINCT edge.child AS image, edge.parent AS manifest
    FROM edge JOIN reference ON reference.image = edge.child
    LEFT JOIN top ON top.name = reference.name AND top.suffix = reference.suffix
    WHERE edge.role = 'config' AND edge.child IN (SELECT id FROM image)
    AND (edge.parent IN (substr(reference.suffix, 2), top.digest) OR EXISTS (SELECT 1 FROM edge AS up
        WHERE up.child = edge.parent AND up.role = 'child' AND up.parent IN (substr(reference.suffix, 2), top.digest)))
    AND NOT EXISTS (SELECT 1 FROM image_manifest AS came
        WHERE came.image = edge.child AND came.manifest = edge.parent)"""
"""Images and manifests of them that their names mean, alone or in an index, and with which they are not recorded."""

MISFITS: Final = """SELECT blob.digest FROM diff_blob JOIN blob ON blob.digest = diff_blob.blob
    WHERE (blob.compression <> 'none' AND blob.digest = diff_blob.diff)
    OR (blob.compression = 'none' AND blob.digest <> diff_blob.diff AND substr(blob.digest, 1, 7) = 'sha256:')
    ORDER BY 1"""
"""Blobs that cannot be the layer they are recorded as: a plain form has the layer's own digest, no other form has."""

EDGES: Final = """SELECT parent, role, position, min(child), min(media_type), min(size) FROM (
        SELECT document.digest AS parent,
            CASE replace(lower(member.key), char(383), 's')
                WHEN 'manifests' THEN 'child' WHEN 'config' THEN 'config'
                WHEN 'subject' THEN 'subject' ELSE 'layer' END AS role, item.key AS position,
            coalesce(json_extract(item.value, '$.digest'),
                (SELECT value FROM json_each(item.value)
                    WHERE replace(lower(key), char(383), 's') = 'digest')) AS child,
            coalesce(json_extract(item.value, '$.mediaType'),
                (SELECT value FROM json_each(item.value)
                    WHERE replace(lower(key), char(383), 's') = 'mediatype'), '') AS media_type,
            coalesce(json_extract(item.value, '$.size'),
                (SELECT value FROM json_each(item.value)
                    WHERE replace(lower(key), char(383), 's') = 'size'), 0) AS size
        FROM (SELECT {0} AS digest, CAST({1} AS TEXT) AS content) AS document,
            json_each(CASE WHEN json_valid(document.content) THEN document.content ELSE '[]' END) AS member,
            json_each(CASE member.type WHEN 'array' THEN member.value
                WHEN 'object' THEN '[' || member.value || ']' ELSE '[]' END) AS item
        WHERE replace(lower(member.key), char(383), 's')
            IN ('manifests', 'config', 'layers', 'blobs', 'subject') AND item.type = 'object')
    WHERE typeof(child) = 'text' AND length(child) < 256 AND instr(child || media_type, char(0)) = 0
        AND typeof(media_type) = 'text' AND typeof(size) = 'integer' AND size >= 0
    GROUP BY parent, role, position"""
"""What a manifest or an index names: its digest and its bytes stand for the two places.

A key counts in either case, as readers of manifests take it, so that the long s (383) is an s too; of two keys that
stand for one thing only one edge is kept. What is not JSON names nothing.
"""

_EDGES_OF_NEW: Final = EDGES.format("new.digest", "new.content")

EDGE_TABLE: Final = (
    # What a manifest names follows from its bytes, whoever writes them.
    """CREATE TABLE edge (
        parent TEXT NOT NULL REFERENCES manifest (digest) ON DELETE CASCADE, role TEXT NOT NULL,
        position INTEGER NOT NULL, child TEXT NOT NULL, media_type TEXT NOT NULL, size INTEGER NOT NULL,
        PRIMARY KEY (parent, role, position)) STRICT, WITHOUT ROWID""",
    "CREATE INDEX edge_child ON edge (child, role)",
    f"""CREATE TRIGGER manifest_put AFTER INSERT ON manifest BEGIN
        DELETE FROM edge WHERE parent = new.digest; INSERT INTO edge {_EDGES_OF_NEW}; END""",  # noqa: S608 - constants
    f"""CREATE TRIGGER manifest_changed AFTER UPDATE OF content ON manifest BEGIN
        DELETE FROM edge WHERE parent = new.digest; INSERT INTO edge {_EDGES_OF_NEW}; END""",  # noqa: S608 - constants
)
"""What schema 2 has and schema 1 had not: where manifests lead."""

TOP_TABLE: Final = (
    """CREATE TABLE top (
        name TEXT NOT NULL, suffix TEXT NOT NULL, digest TEXT NOT NULL, updated INTEGER NOT NULL,
        PRIMARY KEY (name, suffix)) STRICT, WITHOUT ROWID""",
    "CREATE INDEX top_digest ON top (digest)",
)
"""The same: the manifest or index that a name means."""

PINNED_INDEX: Final = "CREATE INDEX image_pinned ON image_metadata (image) WHERE key = 'pinned'"
"""What schema 3 has and schema 2 had not: pins once more, on a page of their own.

Nobody searches it. A page of the table that has lost a pin contradicts it, and no other row does.
"""

SCHEMA: Final = (
    """CREATE TABLE image (
        id TEXT PRIMARY KEY NOT NULL, config BLOB NOT NULL, chain TEXT, created INTEGER NOT NULL,
        created_ns INTEGER NOT NULL, head INTEGER NOT NULL DEFAULT 1) STRICT""",
    "CREATE INDEX image_newest ON image (created DESC, created_ns DESC, id, chain)",
    "CREATE INDEX image_heads ON image (created DESC, created_ns DESC, id, chain) WHERE head",
    "CREATE INDEX image_chain ON image (chain)",
    """CREATE TABLE image_metadata (
        image TEXT NOT NULL REFERENCES image (id) ON DELETE CASCADE, key TEXT NOT NULL, value BLOB NOT NULL,
        PRIMARY KEY (image, key)) STRICT, WITHOUT ROWID""",
    "CREATE INDEX image_children ON image_metadata (value, image) WHERE key = 'parent'",
    # Whether an image has children follows from the rows of its children, whoever changes them.
    f"""CREATE TRIGGER image_put AFTER INSERT ON image BEGIN {_SET_HEAD.format("new.id")} END""",
    f"""CREATE TRIGGER parent_put AFTER INSERT ON image_metadata WHEN new.key = 'parent' BEGIN
        {_SET_HEAD.format("CAST(new.value AS TEXT)")} END""",
    f"""CREATE TRIGGER parent_moved AFTER UPDATE OF value ON image_metadata WHEN new.key = 'parent' BEGIN
        {_SET_HEAD.format("CAST(old.value AS TEXT)")} {_SET_HEAD.format("CAST(new.value AS TEXT)")} END""",
    f"""CREATE TRIGGER parent_gone AFTER DELETE ON image_metadata WHEN old.key = 'parent' BEGIN
        {_SET_HEAD.format("CAST(old.value AS TEXT)")} END""",
    # What a config says, kept so that a list need not read all configs.
    """CREATE TABLE image_labels (
        image TEXT PRIMARY KEY NOT NULL REFERENCES image (id) ON DELETE CASCADE, labels TEXT NOT NULL)
        STRICT, WITHOUT ROWID""",
    """CREATE TABLE reference (
        name TEXT NOT NULL, suffix TEXT NOT NULL, image TEXT NOT NULL, updated INTEGER NOT NULL,
        PRIMARY KEY (name, suffix)) STRICT, WITHOUT ROWID""",
    "CREATE INDEX reference_image ON reference (image)",
    """CREATE TABLE blob (
        digest TEXT PRIMARY KEY NOT NULL, size INTEGER NOT NULL, compression TEXT NOT NULL) STRICT, WITHOUT ROWID""",
    """CREATE TABLE diff (
        id TEXT PRIMARY KEY NOT NULL, size INTEGER NOT NULL, content_size INTEGER NOT NULL, entries INTEGER NOT NULL,
        partial TEXT) STRICT, WITHOUT ROWID""",
    """CREATE TABLE diff_blob (
        diff TEXT NOT NULL REFERENCES diff (id) ON DELETE CASCADE, blob TEXT NOT NULL REFERENCES blob (digest),
        PRIMARY KEY (diff, blob)) STRICT, WITHOUT ROWID""",
    "CREATE INDEX diff_blob_blob ON diff_blob (blob)",
    """CREATE TABLE chain (
        id TEXT PRIMARY KEY NOT NULL, parent TEXT REFERENCES chain (id), diff TEXT NOT NULL REFERENCES diff (id),
        size INTEGER NOT NULL, depth INTEGER NOT NULL, descriptor BLOB) STRICT, WITHOUT ROWID""",
    "CREATE INDEX chain_parent ON chain (parent)",
    "CREATE INDEX chain_diff ON chain (diff)",
    """CREATE TABLE manifest (
        digest TEXT PRIMARY KEY NOT NULL, media_type TEXT NOT NULL, content BLOB NOT NULL) STRICT""",
    """CREATE TABLE image_manifest (
        image TEXT NOT NULL REFERENCES image (id) ON DELETE CASCADE,
        manifest TEXT NOT NULL REFERENCES manifest (digest), PRIMARY KEY (image, manifest)) STRICT, WITHOUT ROWID""",
    "CREATE INDEX image_manifest_manifest ON image_manifest (manifest)",
    *EDGE_TABLE,
    *TOP_TABLE,
    """CREATE TABLE lease (
        lease TEXT NOT NULL, digest TEXT NOT NULL, PRIMARY KEY (lease, digest)) STRICT, WITHOUT ROWID""",
    "CREATE INDEX lease_digest ON lease (digest)",
    # A number is not used again, even where all events are gone: a listener knows by it what it has heard.
    """CREATE TABLE event (
        number INTEGER PRIMARY KEY AUTOINCREMENT, time INTEGER NOT NULL, kind TEXT NOT NULL, action TEXT NOT NULL,
        actor TEXT NOT NULL, attributes TEXT NOT NULL) STRICT""",
    PINNED_INDEX,
)
"""The statements that make all tables, in their order."""

WITH_ROWIDS: Final = frozenset({"event", "image", "manifest"})
"""Tables whose rows lie in a tree of numbers; the others are indexes of their primary keys."""


def itself(table: str) -> str:
    """Return what stands for a table in a statement that is to read the table and none of its indexes.

    A table without rowids is an index itself, of its primary key. ``NOT INDEXED`` does not keep SQLite from reading all
    that a statement asks of it out of another one, and neither does anything keep it from that for ``count(*)``.
    """
    return f"{table} NOT INDEXED" if table in WITH_ROWIDS else f"{table} INDEXED BY sqlite_autoindex_{table}_1"
