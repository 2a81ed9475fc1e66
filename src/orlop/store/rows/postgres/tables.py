"""The tables of the rows in PostgreSQL, and the steps from each released version of them to the next.

All of them lie in a schema of their own, ``orlop``, since a database may hold other programs. Texts that are compared
sort by their bytes (``COLLATE "C"``), whatever the database's language. Configs, manifests and values of metadata are
``bytea``: no type of text or JSON gives back the same bytes.
"""

from __future__ import annotations

from typing import Final

from orlop.store.rows.content import ELSEWHERE, LISTED
from orlop.store.rows.postgres.lost_marks import HAS_MARKS, MARKS
from orlop.store.rows.postgres.mentions import MENTIONS

SCHEMA: Final = "orlop"
SCHEMA_VERSION: Final = 7
"""Kept in ``store.version``; a store of a higher one is left alone."""

IS_TTL: Final = "ttl BETWEEN 0.001 AND 1e6"
"""Whether sessions can be watched: 'NaN' is greater than all numbers here, as infinity is."""

KEY: Final = 'text COLLATE "C" NOT NULL'

_DUE: Final = """CREATE INDEX deleting_first ON deleting (key) WHERE NOT reported;
    CREATE INDEX deleting_again ON deleting (since) WHERE reported"""
_CLAIMS: Final = "CREATE UNIQUE INDEX upload_name ON upload (name) WHERE name <> ''"
_COMMITTED: Final = "CREATE TABLE committed (number bigint PRIMARY KEY, token text NOT NULL)"
_SAME_RIGHTS: Final = """DO $$ DECLARE one record; BEGIN
    FOR one IN SELECT privilege_type AS what, CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END AS who
        FROM pg_class, aclexplode(coalesce(relacl, acldefault('r', relowner))) WHERE pg_class.oid = 'image'::regclass
    LOOP EXECUTE format('GRANT %s ON committed TO %s', one.what, one.who); END LOOP; END $$"""
"""A role that may write images may write what every write writes: their owner, too, where another one upgrades."""

TABLES: Final = f"""
CREATE TABLE store (
    one boolean PRIMARY KEY DEFAULT true CHECK (one), version integer NOT NULL, id {KEY}, generation bigint NOT NULL,
    epoch bigint NOT NULL DEFAULT 1, ttl double precision NOT NULL, last_event bigint NOT NULL DEFAULT 0,
    blobs text NOT NULL DEFAULT '');
CREATE TABLE image (
    id {KEY} PRIMARY KEY, config bytea NOT NULL, chain text COLLATE "C", created bigint NOT NULL,
    created_ns integer NOT NULL, head boolean NOT NULL DEFAULT true);
CREATE INDEX image_newest ON image (created DESC, created_ns DESC, id) INCLUDE (chain);
CREATE INDEX image_heads ON image (created DESC, created_ns DESC, id) INCLUDE (chain) WHERE head;
CREATE INDEX image_chain ON image (chain);
CREATE TABLE image_metadata (
    image {KEY} REFERENCES image (id) ON DELETE CASCADE, key {KEY}, value bytea NOT NULL, PRIMARY KEY (image, key));
CREATE INDEX image_children ON image_metadata (value, image) WHERE key = 'parent' AND length(value) < 256;
CREATE TABLE image_labels (
    image {KEY} PRIMARY KEY REFERENCES image (id) ON DELETE CASCADE, labels text NOT NULL);
CREATE TABLE reference (
    name {KEY}, suffix {KEY}, image {KEY}, updated bigint NOT NULL, PRIMARY KEY (name, suffix));
CREATE INDEX reference_image ON reference (image);
CREATE TABLE blob (digest {KEY} PRIMARY KEY, size bigint NOT NULL, compression {KEY});
CREATE TABLE diff (
    id {KEY} PRIMARY KEY, size bigint NOT NULL, content_size bigint NOT NULL, entries bigint NOT NULL, partial text);
CREATE TABLE diff_blob (
    diff {KEY} REFERENCES diff (id) ON DELETE CASCADE, blob {KEY} REFERENCES blob (digest), PRIMARY KEY (diff, blob));
CREATE INDEX diff_blob_blob ON diff_blob (blob);
CREATE TABLE chain (
    id {KEY} PRIMARY KEY, parent text COLLATE "C" REFERENCES chain (id), diff {KEY} REFERENCES diff (id),
    size bigint NOT NULL, depth bigint NOT NULL, descriptor bytea);
CREATE INDEX chain_parent ON chain (parent);
CREATE INDEX chain_diff ON chain (diff);
CREATE TABLE manifest (digest {KEY} PRIMARY KEY, media_type text NOT NULL, content bytea NOT NULL);
CREATE TABLE image_manifest (
    image {KEY} REFERENCES image (id) ON DELETE CASCADE, manifest {KEY} REFERENCES manifest (digest),
    PRIMARY KEY (image, manifest));
CREATE INDEX image_manifest_manifest ON image_manifest (manifest);
CREATE TABLE edge (
    parent {KEY} REFERENCES manifest (digest) ON DELETE CASCADE, role {KEY}, position integer NOT NULL, child {KEY},
    media_type text NOT NULL, size bigint NOT NULL, PRIMARY KEY (parent, role, position));
CREATE INDEX edge_child ON edge (child, role);
CREATE TABLE top (name {KEY}, suffix {KEY}, digest {KEY}, updated bigint NOT NULL, PRIMARY KEY (name, suffix));
CREATE INDEX top_digest ON top (digest);
CREATE TABLE lease (lease {KEY}, digest {KEY}, PRIMARY KEY (lease, digest));
CREATE INDEX lease_digest ON lease (digest);
CREATE TABLE event (
    number bigint PRIMARY KEY, time bigint NOT NULL, kind text NOT NULL, action text NOT NULL, actor text NOT NULL,
    attributes text NOT NULL);
CREATE TABLE session (
    id {KEY} PRIMARY KEY, seen timestamptz NOT NULL DEFAULT clock_timestamp(), pin bigint NOT NULL,
    dead boolean NOT NULL DEFAULT false) WITH (fillfactor = 50);
CREATE TABLE upload (
    key {KEY} PRIMARY KEY, session {KEY}, upload_id text NOT NULL DEFAULT '', name {KEY} DEFAULT '');
CREATE INDEX upload_session ON upload (session);
{_CLAIMS};
CREATE TABLE object (name {KEY} PRIMARY KEY, key {KEY} UNIQUE, size bigint NOT NULL);
CREATE TABLE doomed (
    key {KEY} PRIMARY KEY, name text NOT NULL, size bigint NOT NULL, upload_id text NOT NULL DEFAULT '',
    since timestamptz NOT NULL DEFAULT clock_timestamp(), stamp bigint);
CREATE INDEX doomed_stamp ON doomed (stamp);
CREATE TABLE deleting (
    key {KEY} PRIMARY KEY, upload_id text NOT NULL, since timestamptz NOT NULL DEFAULT clock_timestamp(),
    reported boolean NOT NULL DEFAULT false);
{_DUE};
{_COMMITTED};
{MARKS}
{MENTIONS}
"""
"""The statements that make all tables of the current version, in a schema that is empty."""

STEPS: Final[dict[int, str]] = {
    1: "ALTER TABLE store ADD COLUMN blobs text NOT NULL DEFAULT ''",
    2: f"{_COMMITTED}; {_SAME_RIGHTS}",
    3: _DUE,
    4: f"ALTER TABLE upload ADD COLUMN name {KEY} DEFAULT ''; {_CLAIMS}",
    5: MARKS,
    6: MENTIONS,
}
"""For each older version the statements that make the next one of it. One that is released never changes."""

CHILDREN: Final = (
    "SELECT 1 FROM image_metadata AS child WHERE child.key = 'parent' AND length(child.value) < 256"
    " AND child.value = convert_to({}, 'UTF8')"
)
"""Asks whether the image that a column names has children."""

_NEXT: Final = """LATERAL (
        SELECT edge.child AS digest FROM edge WHERE edge.parent = {0}.digest AND edge.role = 'child'
        UNION ALL SELECT edge.parent FROM edge WHERE edge.child = {0}.digest AND edge.role = 'subject') AS next"""
"""Where one leads that something reaches: to its children, and to what refers to it."""

_NEAR: Final = f"""near (digest) AS (
    ({{}}) UNION SELECT next.digest FROM near, {_NEXT.format("near")})"""  # noqa: S608 - constants
"""What may go where something goes: all that it leads to."""
_STARTS: Final = 'SELECT unnest(%(starts)s::text[]) COLLATE "C"'

ALL_NEAR: Final = f"WITH RECURSIVE {_NEAR.format(_STARTS)} SELECT digest FROM near"  # noqa: S608 - constants

_UNREACHED: Final = f"""reached (digest) AS (
    SELECT digest FROM near WHERE (SELECT true FROM top WHERE top.digest = near.digest LIMIT 1)
        OR (SELECT true FROM image_manifest WHERE manifest = near.digest LIMIT 1)
        OR (SELECT true FROM lease WHERE lease.digest = near.digest LIMIT 1)
        OR (SELECT true FROM edge WHERE child = near.digest AND role = 'child'
            AND parent NOT IN (SELECT digest FROM near) LIMIT 1)
        OR (SELECT true FROM edge AS about WHERE about.parent = near.digest AND about.role = 'subject'
            AND about.child NOT IN (SELECT digest FROM near)
            AND ((SELECT true FROM manifest WHERE manifest.digest = about.child LIMIT 1)
                OR (SELECT true FROM lease WHERE lease.digest = about.child LIMIT 1)
                OR (SELECT true FROM edge WHERE edge.child = about.child AND edge.role = 'child' LIMIT 1)) LIMIT 1)
    UNION SELECT next.digest FROM reached, {_NEXT.format("reached")})
    SELECT near.digest FROM near WHERE near.digest NOT IN (SELECT digest FROM reached)
    AND (SELECT true FROM manifest WHERE manifest.digest = near.digest LIMIT 1)
    AND NOT EXISTS (SELECT 1 FROM lease WHERE digest = '*')"""  # noqa: S608 - constants
UNREACHED_NEAR: Final = f"WITH RECURSIVE {_NEAR.format(_STARTS)}, {_UNREACHED} AND NOT {HAS_MARKS}"
"""Those of what may go that nothing reaches. With LIMIT each is asked of an index: few may go, of many rows."""

# What nothing needs, of all there is. Each question leaves out, row by row, what something needs. So the server goes
# through its tables and needs no memory for them, and what comes back is what goes.

_COUNTED: Final = f"""lease AS NOT MATERIALIZED (
    SELECT digest FROM {SCHEMA}.lease WHERE lease.lease <> ALL(%(ended)s::text[]))"""  # noqa: S608 - constants
"""The leases that count, in place of all of them."""
HOLDS_ALL: Final = f"WITH {_COUNTED} SELECT EXISTS (SELECT 1 FROM lease WHERE digest = '*')"  # noqa: S608 - constants
HAS_LOST_TOPS: Final = """SELECT EXISTS (SELECT 1 FROM top
    WHERE NOT EXISTS (SELECT 1 FROM manifest WHERE manifest.digest = top.digest))"""
HAS_LOST_IMAGES: Final = """SELECT EXISTS (SELECT 1 FROM reference
    WHERE NOT EXISTS (SELECT 1 FROM image WHERE image.id = reference.image))"""
_NO_ROOT: Final = """NOT EXISTS (SELECT 1 FROM top WHERE top.digest = manifest.digest)
        AND NOT EXISTS (SELECT 1 FROM image_manifest AS came WHERE came.manifest = manifest.digest)
        AND NOT EXISTS (SELECT 1 FROM lease WHERE lease.digest = manifest.digest)"""
_ALONE: Final = f"""SELECT digest FROM manifest WHERE {_NO_ROOT}
        AND NOT EXISTS (SELECT 1 FROM edge WHERE edge.child = manifest.digest AND edge.role = 'child')
        AND NOT EXISTS (SELECT 1 FROM edge AS about WHERE about.parent = manifest.digest AND about.role = 'subject'
            AND ((SELECT true FROM manifest AS subject WHERE subject.digest = about.child LIMIT 1)
                OR (SELECT true FROM lease WHERE lease.digest = about.child LIMIT 1)
                OR (SELECT true FROM edge AS up WHERE up.child = about.child AND up.role = 'child' LIMIT 1)))
    UNION SELECT digest FROM manifest WHERE {_NO_ROOT}
        AND EXISTS (SELECT 1 FROM edge AS about WHERE about.parent = manifest.digest AND about.role = 'subject')
        AND EXISTS (SELECT 1 FROM edge AS down WHERE down.parent = manifest.digest AND down.role = 'child')"""  # noqa: S608 - constants
"""The documents to which nothing leads, and the indexes with a subject.

What nothing reaches is below one of them. For either something leads to it, and to that, and so on up to where nothing
does; or that goes round. As a document names only what was there before, a way goes round only where it leads from a
subject to what refers to it, and from that to a child.
"""
UNREACHED: Final = f"WITH RECURSIVE {_COUNTED}, {_NEAR.format(_ALONE)}, {_UNREACHED} ORDER BY 1"
UNNAMED_BLOBS: Final = f"""WITH {_COUNTED} SELECT digest FROM blob
    WHERE NOT EXISTS (SELECT 1 FROM diff_blob WHERE diff_blob.blob = blob.digest)
    AND NOT EXISTS (SELECT 1 FROM edge
        LEFT JOIN unnest(%(gone)s::text[]) AS going (digest) ON going.digest = edge.parent
        WHERE edge.child = blob.digest AND going.digest IS NULL)
    AND NOT EXISTS (SELECT 1 FROM lease WHERE lease.digest = blob.digest) ORDER BY 1"""  # noqa: S608 - constants
"""Those without a layer that only documents name which go."""
UNNEEDED_CHAINS: Final = f"""WITH {_COUNTED} SELECT id FROM chain
    WHERE NOT EXISTS (SELECT 1 FROM image WHERE image.chain = chain.id)
    AND NOT EXISTS (SELECT 1 FROM chain AS above WHERE above.parent = chain.id)
    AND NOT EXISTS (SELECT 1 FROM lease WHERE lease.digest = chain.id) ORDER BY 1"""  # noqa: S608 - constants
UNNEEDED_CONTENTS: Final = f"""WITH {_COUNTED} SELECT id FROM diff
    WHERE NOT EXISTS (SELECT 1 FROM chain WHERE chain.diff = diff.id)
    AND NOT EXISTS (SELECT 1 FROM lease WHERE lease.digest = diff.id) ORDER BY 1"""  # noqa: S608 - constants

STANDING: Final = f"""WITH {_COUNTED}
    SELECT id, parent, diff, (SELECT count(*) FROM chain AS above WHERE above.parent = chain.id) FROM chain
    WHERE id = ANY(%(asked)s) AND NOT EXISTS (SELECT 1 FROM image WHERE image.chain = chain.id)
    AND NOT EXISTS (SELECT 1 FROM lease WHERE lease.digest = chain.id)"""  # noqa: S608 - constants
"""Those of some layers that neither an image nor a lease needs, and how many layers stand on each."""
PLACED: Final = f"""WITH {_COUNTED} SELECT id, (SELECT count(*) FROM chain WHERE chain.diff = diff.id)
    FROM diff WHERE id = ANY(%(asked)s) AND NOT EXISTS (SELECT 1 FROM lease WHERE lease.digest = diff.id)"""  # noqa: S608 - constants
"""Those of some contents that no lease needs, and in how many places each is."""
FREED: Final = f"""WITH {_COUNTED}, form AS (
        SELECT blob, count(*) AS forms FROM diff_blob WHERE diff = ANY(%(contents)s) GROUP BY blob)
    SELECT form.blob FROM form
    WHERE forms = (SELECT count(*) FROM diff_blob WHERE diff_blob.blob = form.blob)
    AND NOT EXISTS (SELECT 1 FROM edge
        LEFT JOIN unnest(%(gone)s::text[]) AS going (digest) ON going.digest = edge.parent
        WHERE edge.child = form.blob AND going.digest IS NULL)
    AND NOT EXISTS (SELECT 1 FROM lease WHERE lease.digest = form.blob)"""  # noqa: S608 - constants
"""The forms of some contents that nothing else needs."""

_COMPARED: Final = {
    **dict.fromkeys(("image", "chain", "diff"), "id"),
    **dict.fromkeys(("blob", "manifest"), "digest"),
    **dict.fromkeys(("image_metadata", "reference", "top", "image_manifest", "diff_blob"), "{}::text"),
}
"""Tables, and of each what tells its rows apart: whatever else is in them follows from that."""
_SUMS: Final = (
    f"(SELECT concat(count(*), ' ', sum(hashtextextended({what.format(table)}, 0))) FROM {table})"  # noqa: S608 - constants
    for table, what in _COMPARED.items()
)
STATE: Final = f"SELECT concat_ws(', ', {', '.join(_SUMS)})"

UNNEEDED_BLOB: Final = f"""NOT EXISTS (SELECT 1 FROM diff_blob WHERE diff_blob.blob = blob.digest)
    AND NOT EXISTS (SELECT 1 FROM edge WHERE edge.child = blob.digest)
    AND NOT EXISTS (SELECT 1 FROM lease WHERE lease.digest IN (blob.digest, '*')) AND NOT {HAS_MARKS}"""  # noqa: S608 - constants
"""Whether nothing needs a blob, nor may have needed it."""

IS_NAMED: Final = """(EXISTS (SELECT 1 FROM top WHERE top.digest = {0} AND top.suffix = '@' || {0}
        AND left(top.name, 7) <> 'layout:' AND left(top.name, 6) <> 'cache:')
    OR EXISTS (SELECT 1 FROM image_manifest AS came JOIN reference ON reference.image = came.image
        AND reference.suffix = '@' || {0} WHERE came.manifest = {0}))"""
"""Whether any repository names a manifest by its digest. It then belongs to those that do, and to no others."""

_TOGETHER: Final = """(NOT EXISTS (SELECT 1 FROM image_manifest WHERE manifest = edge.child)
    OR EXISTS (SELECT 1 FROM image_manifest AS one JOIN image_manifest AS other ON other.image = one.image
        WHERE one.manifest = edge.child AND other.manifest = edge.parent))"""
"""Whether a manifest of an image came with an index that names it, and was not only named by somebody."""

_UP: Final = f"""WITH RECURSIVE up (digest) AS (
    {{0}}
    UNION SELECT next.digest FROM up, LATERAL (
        SELECT edge.parent AS digest FROM edge WHERE edge.child = up.digest AND edge.role = 'child' AND {_TOGETHER}
        UNION ALL SELECT edge.child FROM edge WHERE edge.parent = up.digest AND edge.role = 'subject') AS next
        WHERE NOT {IS_NAMED.format("up.digest")})
    SELECT EXISTS (SELECT 1 FROM up JOIN top ON top.digest = up.digest AND top.name = %(name)s)
        OR EXISTS (SELECT 1 FROM up JOIN reference ON reference.name = %(name)s
            AND reference.suffix = '@' || up.digest)
        OR EXISTS (SELECT 1 FROM up JOIN image_manifest AS came ON came.manifest = up.digest
            JOIN reference ON reference.image = came.image AND reference.name = %(name)s
            WHERE NOT {IS_NAMED.format("up.digest")})"""  # noqa: S608 - constants
"""Whether a repository has any of some manifests, or what these belong to."""

NAMED_MANIFESTS: Final = f"""SELECT one, is_here FROM (
    SELECT one, coalesce((SELECT true FROM top WHERE top.digest = one AND top.name = %(name)s LIMIT 1),
        (SELECT true FROM reference WHERE name = %(name)s AND suffix = '@' || one LIMIT 1), false) AS is_here
    FROM (SELECT unnest(%(digests)s::text[]) COLLATE "C" AS one) AS asked) AS found
    WHERE is_here OR {IS_NAMED.format("one")}"""  # noqa: S608 - constants
HOLDS_MANIFEST: Final = _UP.format("SELECT digest FROM manifest WHERE digest = %(digest)s")
_NAMES_BLOB: Final = f"""edge.child = %(digest)s AND (edge.role IN ('config', 'layer')
    OR edge.role = 'child' AND edge.media_type IN ({", ".join(f"'{kind}'" for kind in LISTED)}))"""
_ELSEWHERE: Final = " OR ".join(f"left(edge.media_type, {len(kind)}) = '{kind}'" for kind in ELSEWHERE)
_HAS_BLOB: Final = f"{_NAMES_BLOB} AND NOT ({_ELSEWHERE})"
"""Whether a manifest names some content that it must have had, for it was not said to be elsewhere."""
HOLDS_BLOB_NEAR: Final = f"""SELECT EXISTS (SELECT 1 FROM top JOIN edge
        ON edge.parent = top.digest AND {_HAS_BLOB} WHERE top.name = %(name)s)
    OR EXISTS (SELECT 1 FROM reference JOIN edge
        ON edge.parent = substr(reference.suffix, 2) AND {_HAS_BLOB}
        WHERE reference.name = %(name)s AND left(reference.suffix, 1) = '@')"""  # noqa: S608 - constants
HOLDS_BLOB: Final = _UP.format(f"SELECT edge.parent FROM edge WHERE {_HAS_BLOB}")  # noqa: S608 - constants
IS_ELSEWHERE: Final = f"""SELECT EXISTS (SELECT 1 FROM edge WHERE {_NAMES_BLOB})
    AND NOT EXISTS (SELECT 1 FROM edge WHERE {_HAS_BLOB})"""  # noqa: S608 - constants
NAMES_ELSEWHERE: Final = _UP.format(f"SELECT edge.parent FROM edge WHERE {_NAMES_BLOB}")  # noqa: S608 - constants

_FIRST_NAME: Final = """least(
        (SELECT name FROM reference WHERE name > {0} AND name < %(end)s ORDER BY name LIMIT 1),
        (SELECT name FROM top WHERE name > {0} AND name < %(end)s ORDER BY name LIMIT 1))"""
REPOSITORIES: Final = f"""WITH RECURSIVE each (name) AS (
    SELECT {_FIRST_NAME.format('%(after)s COLLATE "C"')}
    UNION ALL SELECT {_FIRST_NAME.format("each.name")} FROM each WHERE each.name IS NOT NULL)
    SELECT name FROM each WHERE name IS NOT NULL LIMIT %(most)s"""  # noqa: S608 - constants
"""The names behind another one, from one to the next: each may have very many tags."""
HAS_NAMES: Final = """SELECT EXISTS (SELECT 1 FROM reference WHERE name = %(name)s)
    OR EXISTS (SELECT 1 FROM top WHERE name = %(name)s)"""
TAGS: Final = """(SELECT suffix FROM reference
        WHERE name = %(name)s AND suffix > %(after)s AND suffix < ';' ORDER BY suffix LIMIT %(most)s)
    UNION (SELECT suffix FROM top
        WHERE name = %(name)s AND suffix > %(after)s AND suffix < ';' ORDER BY suffix LIMIT %(most)s)
    ORDER BY suffix LIMIT %(most)s"""
"""Each part ends by itself, so that a page does not read all that is behind it."""
