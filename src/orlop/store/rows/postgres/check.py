"""What is wrong with the rows in PostgreSQL, among each other.

The server enforces types, keys and links. What is left to be wrong is what a type does not rule out, such as a size
below zero, what several rows say together, and what bytes say of themselves; and links where somebody has changed rows
in a session that does not check them, as the loading of a dump does.
"""

from __future__ import annotations

from functools import partial
from itertools import starmap
from typing import TYPE_CHECKING, Any, Final

from orlop.errors import DatabaseDamaged
from orlop.model.digest import Digest
from orlop.model.tuples import NamedTuple
from orlop.store.rows.edges import edges_of
from orlop.store.rows.judging import (
    chain_problem,
    image_problem,
    is_lost_name,
    loops_of,
    manifest_problem,
    name_problem,
    structure_checks,
)
from orlop.store.rows.keys import DIGITS, TOC
from orlop.store.rows.postgres.shape import can_be_asked, shape_faults
from orlop.store.rows.postgres.tables import CHILDREN, IS_TTL
from orlop.store.rows.rows import RowProblem
from orlop.store.rows.values import BOUNDS, COLUMNS, MOST, is_valid

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from orlop.store.rows.postgres.rows import PostgresRows

_BATCH: Final = 256
"""Rows whose content is in memory at once."""
NO_DIGEST: Final = """CASE WHEN left({0}, 7) = 'sha256:' AND length({0}) = 71
    AND ltrim(substr({0}, 8), '0123456789abcdef') = '' THEN false
    ELSE {0} !~ '^(sha256:[0-9a-f]{{64}}|sha384:[0-9a-f]{{96}}|sha512:[0-9a-f]{{128}})$' END"""
"""Whether a text is not a digest. A regular expression costs the server many times what the first test does."""
_NO_KEY: Final = f"length(key) <> {DIGITS} OR ltrim(key, '0123456789abcdef') <> ''"
_OWN: Final = (
    ("store", "last_event", "id", f"last_event < coalesce((SELECT max(number) FROM event), 0) OR last_event > {MOST}"),  # noqa: S608 - constants
    ("store", "ttl", "id", f"NOT ({IS_TTL})"),
    ("store", "epoch", "id", f"epoch {BOUNDS['count']}"),
    ("doomed", "size", "key", f"size {BOUNDS['size']}"),
    (
        "object",
        "name",
        "key",
        NO_DIGEST.format(
            f"(CASE WHEN left(name, {len(TOC)}) = '{TOC}' THEN substr(name, {len(TOC) + 1}) ELSE name END)"
        ),
    ),
    *((table, "key", "key", _NO_KEY) for table in ("object", "upload", "doomed", "deleting")),
)
"""What only a store in PostgreSQL has: tables and columns, what names a row, and a test for what they cannot hold."""
KEYS: Final = {"image": "id", "diff": "id", "blob": "digest", "chain": "id", "manifest": "digest"}
"""The tables whose rows are named by a digest, and the column that has it."""
LINKS: Final = (
    ("chain", "diff", "diff", "id"),
    ("chain", "parent", "chain", "id"),
    ("diff_blob", "blob", "blob", "digest"),
    ("diff_blob", "diff", "diff", "id"),
    ("edge", "parent", "manifest", "digest"),
    ("image_labels", "image", "image", "id"),
    ("image_manifest", "image", "image", "id"),
    ("image_manifest", "manifest", "manifest", "digest"),
    ("image_metadata", "image", "image", "id"),
)
"""The links that the server enforces: a table and its column, and the table and column to which that leads."""
NOWHERE: Final = """FROM {0} WHERE {1} IS NOT NULL
    AND NOT EXISTS (SELECT 1 FROM {2} AS target WHERE target.{3} = {0}.{1})"""
"""Finds the rows of a table whose link leads to nothing."""

LOST_LINKS: Final = """SELECT DISTINCT edge.child AS image, edge.parent AS manifest
    FROM edge JOIN reference ON reference.image = edge.child JOIN image ON image.id = edge.child
    LEFT JOIN top ON top.name = reference.name AND top.suffix = reference.suffix
    WHERE edge.role = 'config'
    AND (edge.parent IN (substr(reference.suffix, 2), top.digest) OR EXISTS (SELECT 1 FROM edge AS up
        WHERE up.child = edge.parent AND up.role = 'child' AND up.parent IN (substr(reference.suffix, 2), top.digest)))
    AND NOT EXISTS (SELECT 1 FROM image_manifest AS came
        WHERE came.image = edge.child AND came.manifest = edge.parent)"""
"""Images and manifests of them that their names mean, alone or in an index, and with which they are not recorded."""

_STATEMENTS: Final = structure_checks(
    nameless="SELECT name || suffix FROM reference WHERE NOT EXISTS (SELECT 1 FROM image WHERE id = image) ORDER BY 1",
    topless="""SELECT name || suffix FROM top
        WHERE NOT EXISTS (SELECT 1 FROM manifest WHERE manifest.digest = top.digest) ORDER BY 1""",
    layerless="""SELECT id FROM image
        WHERE chain IS NOT NULL AND NOT EXISTS (SELECT 1 FROM chain WHERE chain.id = image.chain) ORDER BY 1""",
    orphans="""SELECT image FROM image_metadata AS one WHERE key = 'parent'
        AND NOT EXISTS (SELECT 1 FROM image WHERE convert_to(id, 'UTF8') = one.value) ORDER BY 1""",
    heads=f"SELECT id FROM image WHERE head <> NOT EXISTS ({CHILDREN.format('image.id')}) ORDER BY 1",  # noqa: S608 - constants
    empty="SELECT id FROM diff WHERE NOT EXISTS (SELECT 1 FROM diff_blob WHERE diff = id) ORDER BY 1",
    misfits="""SELECT blob.digest FROM diff_blob JOIN blob ON blob.digest = diff_blob.blob
        WHERE (blob.compression <> 'none' AND blob.digest = diff_blob.diff)
        OR (blob.compression = 'none' AND blob.digest <> diff_blob.diff AND left(blob.digest, 7) = 'sha256:')
        ORDER BY 1""",
    links=LOST_LINKS,
)

ROOTLESS: Final = """WITH RECURSIVE rooted (image) AS (
        SELECT image FROM image_metadata AS one WHERE one.key = 'parent' AND NOT EXISTS (
            SELECT 1 FROM image_metadata AS up WHERE up.key = 'parent' AND convert_to(up.image, 'UTF8') = one.value)
        UNION ALL SELECT below.image FROM rooted, LATERAL (SELECT child.image FROM image_metadata AS child
            WHERE child.key = 'parent' AND length(child.value) < 256
            AND child.value = convert_to(rooted.image, 'UTF8') OFFSET 0) AS below)
    SELECT image, value FROM image_metadata WHERE key = 'parent'
        AND NOT EXISTS (SELECT 1 FROM rooted WHERE rooted.image = image_metadata.image) ORDER BY image"""
"""The images from which no way up ends, with their parents: those in a circle, and those below one.

Each image has one parent at most, so that each is met once. OFFSET makes the children of each a question to the index:
one that is planned for all of them would read the table for each step down.
"""


def require_sound(rows: PostgresRows, *, but: Iterable[str] = (), verify: bool = False) -> None:
    """Raise `DatabaseDamaged` where anything is wrong with rows ``but`` problems of some kinds."""
    forgiven = {"name-dangling", *but}
    wrong = [one for one in row_problems(rows, verify=verify) if not one.harmless and one.kind not in forgiven]
    if wrong:
        # What the message advises is for that problem alone.
        what, more = wrong[0].message.partition("; ")[0], len(wrong) - 1
        raise DatabaseDamaged(
            f"{rows.place} cannot be trusted: {what}{f', and {more} more' if more else ''};"
            " run `orlop fsck --repair`, or restore it from a backup"
        )


def row_problems(rows: PostgresRows, *, verify: bool) -> Iterator[RowProblem]:
    """Look through all rows; with ``verify`` also at what their content says.

    Args:
        rows: inside a transaction that sees one moment.
        verify: hash and read what the rows hold.
    """
    faults = shape_faults(rows)
    yield from (RowProblem("schema", one.subject, f"{one.message}; a repair puts that right") for one in faults)
    if not can_be_asked(faults):
        return
    wrong = list(invalid_values(rows))
    if wrong:
        # Nothing else can be asked of such rows: whoever reads them refuses.
        yield from (_of_value(one) for one in wrong)
        return
    for table, target in sorted({(link[0], link[2]) for link in LINKS if _leads_nowhere(rows, link)}):
        yield RowProblem("database", table, f"rows of the table {table} lead to nothing in {target}")
    invalid = list(_invalid_keys(rows))
    yield from invalid
    # What else there is to say of a row without a digest says the same.
    known = {one.subject for one in invalid}
    for kind, statement, sentence in _STATEMENTS:
        for (subject,) in rows.rows(statement):
            if subject not in known and (kind != "name-lost" or is_lost_name(subject)):
                yield RowProblem(kind, subject, sentence.format(subject))
    for loop in parent_loops(rows):
        message = f"the parents of the image {loop[0]} form a loop"
        yield RowProblem("parent-loop", loop[0], message)
    if verify:
        chains = rows.rows("SELECT id, parent, diff FROM chain ORDER BY id")
        yield from filter(None, starmap(chain_problem, chains))
        names = rows.rows("SELECT name, suffix, image FROM reference UNION SELECT name, suffix, digest FROM top")
        yield from filter(None, starmap(name_problem, sorted(names)))
        yield from _images(rows)
        yield from _manifests(rows)


class InvalidValue(NamedTuple):
    """A value that its column cannot hold: where it is, and the ``key`` of its row."""

    table: str
    column: str
    key: str


def invalid_values(rows: PostgresRows) -> Iterator[InvalidValue]:
    """Yield each value that its column cannot hold, though its type can."""
    for table, columns in COLUMNS.items():
        key = columns[0].name
        for column in columns:
            if column.kind == "digest" or column.kind in BOUNDS:
                is_digest = column.kind == "digest"
                test = NO_DIGEST.format(column.name) if is_digest else f"{column.name} {BOUNDS[column.kind]}"
                statement = f"SELECT {key} FROM {table} WHERE {test} ORDER BY 1"  # noqa: S608 - constants
                yield from (InvalidValue(table, column.name, str(found)) for (found,) in rows.rows(statement))
            elif column.kind in {"texts", "document"}:
                given = f"SELECT {key}, {column.name} FROM {table} WHERE {column.name} IS NOT NULL"  # noqa: S608 - constants
                for found, value in rows.each(given):
                    if not is_valid(column, value.encode() if isinstance(value, str) else value):
                        yield InvalidValue(table, column.name, str(found))
    for table, column_name, key, test in _OWN:
        statement = f"SELECT {key} FROM {table} WHERE {test} ORDER BY 1"  # noqa: S608 - constants
        yield from (InvalidValue(table, column_name, str(found)) for (found,) in rows.rows(statement))


def _of_value(one: InvalidValue) -> RowProblem:
    key = one.key if one.key.isprintable() else repr(one.key)
    message = f"the row {key} of the table {one.table} holds something in {one.column} that it cannot hold"
    return RowProblem("value-invalid", f"{one.table} {key}", message)


def _invalid_keys(rows: PostgresRows) -> Iterator[RowProblem]:
    for table, key in KEYS.items():
        for (subject,) in rows.rows(f"SELECT {key} FROM {table} WHERE {NO_DIGEST.format(key)} ORDER BY 1"):  # noqa: S608 - constants
            message = f"the table {table} has a row for {subject!r}, which is not a digest"
            yield RowProblem("key-invalid", subject, message)


def _leads_nowhere(rows: PostgresRows, link: tuple[str, str, str, str]) -> bool:
    return bool(rows.value(f"SELECT EXISTS (SELECT 1 {NOWHERE.format(*link)})"))


def parent_loops(rows: PostgresRows) -> list[list[str]]:
    """Return each circle of images that are each other's parents, see `loops_of`."""
    found = rows.rows(ROOTLESS)
    return loops_of({image: bytes(value).decode("ascii", "replace") for image, value in found})


def _images(rows: PostgresRows) -> Iterator[RowProblem]:
    columns = "id, config, chain, created, created_ns, labels"
    table = "image LEFT JOIN image_labels ON image_labels.image = image.id"
    for image, config, *recorded in _batches(rows, columns, table, "id"):
        problem = image_problem(image, bytes(config), *recorded)
        if problem is not None:
            yield problem


def _manifests(rows: PostgresRows) -> Iterator[RowProblem]:
    for digest, media_type, content in _batches(rows, "digest, media_type, content", "manifest", "digest"):
        raw = bytes(content)
        problem = manifest_problem(digest, media_type, raw, partial(_edges_differ, rows, digest, raw))
        if problem is not None:
            yield problem


def _batches(rows: PostgresRows, columns: str, table: str, key: str) -> Iterator[tuple[Any, ...]]:
    after = ""
    while found := rows.rows(f"SELECT {columns} FROM {table} WHERE {key} > %s ORDER BY {key} LIMIT {_BATCH}", (after,)):  # noqa: S608 - constants
        yield from found
        after = found[-1][0]


def _edges_differ(rows: PostgresRows, digest: str, raw: bytes) -> bool:
    parent = Digest.unchecked(digest)
    return rows.edges(parent) != edges_of(parent, raw)
