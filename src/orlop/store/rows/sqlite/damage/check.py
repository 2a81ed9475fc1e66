"""What is wrong with the rows in SQLite, among each other."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from typing import TYPE_CHECKING, Final

from orlop.errors import InvalidInput
from orlop.model.digest import DiffID, Digest, chain_id
from orlop.store.rows.image_facts import glimpsed_facts, glimpsed_type, image_facts, manifest_type
from orlop.store.rows.metadata import RowProblem
from orlop.store.rows.sqlite.damage.columns import invalid_values
from orlop.store.rows.sqlite.shape import shape_faults
from orlop.store.rows.sqlite.tables import EDGES, LOST_LINKS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

DATABASE: Final = "metadata.db"
"""The subject of problems with the database as a whole."""
_UNKNOWN: Final = frozenset(("schema", "value-invalid"))
# Nothing else can be wrong with what is only read.
_DAMAGE: Final = frozenset(
    (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_ERROR)
)
_BATCH: Final = 256
"""Rows whose content is read in one transaction: logs grow as long as one lasts."""


_RECORDED: Final = "SELECT * FROM edge WHERE parent = ? ORDER BY role, position"
_SAID: Final = f"{EDGES.format('?1', '(SELECT content FROM manifest WHERE digest = ?1)')} ORDER BY role, position"  # noqa: S608 - constants
_STATEMENTS: Final = (
    (
        "name-dangling",
        "SELECT name || suffix FROM reference WHERE image NOT IN (SELECT id FROM image) ORDER BY 1",
        "the name {} points to an image that is not there; remove it, or give it to another image",
    ),
    (
        "name-dangling",
        "SELECT name || suffix FROM top WHERE digest NOT IN (SELECT digest FROM manifest) ORDER BY 1",
        "the name {} means a manifest that is not there; load it again, or remove the name",
    ),
    (
        "layers-missing",
        "SELECT id FROM image WHERE chain IS NOT NULL AND chain NOT IN (SELECT id FROM chain) ORDER BY 1",
        "the layers of the image {} are not there; load it again",
    ),
    (
        "parent-missing",
        """SELECT image FROM image_metadata WHERE key = 'parent' AND image IN (SELECT id FROM image)
        AND value NOT IN (SELECT CAST(id AS BLOB) FROM image) ORDER BY 1""",
        "the parent of the image {} is not there",
    ),
    (
        "head-wrong",
        """SELECT id FROM image WHERE head <> NOT EXISTS (
            SELECT 1 FROM image_metadata AS child WHERE child.key = 'parent' AND child.value = CAST(image.id AS BLOB))
        ORDER BY 1""",
        "whether the image {} has children is recorded wrongly, so that lists may miss it",
    ),
    (
        "chain-wrong",
        """SELECT chain.id FROM chain JOIN diff ON diff.id = chain.diff
        LEFT JOIN chain AS below ON below.id = chain.parent
        WHERE chain.depth <> coalesce(below.depth, 0) + 1 OR chain.size <> coalesce(below.size, 0) + diff.content_size
        ORDER BY 1""",
        "the size or the depth of the chain {} does not follow from the layers in it",
    ),
    (
        "content-missing",
        "SELECT id FROM diff WHERE id NOT IN (SELECT diff FROM diff_blob) ORDER BY 1",
        "no bytes are kept of the layer {}; load its image again",
    ),
    (
        "blob-wrong",
        "SELECT digest FROM blob WHERE compression NOT IN ('none', 'gzip', 'bzip2', 'xz', 'zstd') ORDER BY 1",
        "the compression that is recorded of the blob {} does not exist; a repair asks the blob itself",
    ),
    (
        "edges-wrong",
        f"SELECT DISTINCT manifest FROM ({LOST_LINKS}) ORDER BY 1",  # noqa: S608 - constants
        "the manifest {} is not recorded as that of its image, whose name means it",
    ),
)
KEYS: Final = {"image": "id", "diff": "id", "blob": "digest", "chain": "id", "manifest": "digest"}
"""The tables whose rows are named by a digest, and the column that has it."""


def row_problems(
    reading: Callable[[], AbstractContextManager[sqlite3.Connection]], *, verify: bool
) -> Iterator[RowProblem]:
    """Look through all rows; with ``verify`` also at what their content says.

    Args:
        reading: gives a connection inside a transaction, for a block.
        verify: hash and read what the rows hold.

    Raises:
        sqlite3.Error: the database cannot be read.
    """
    with reading() as connection:
        database = list(_database(connection, verify=verify))
        yield from database
        if any(one.kind in _UNKNOWN for one in database):
            return
        yield from _readable(_structure(connection))
        if verify:
            yield from _readable(_chain_ids(connection))
            yield from _readable(_names(connection))
    if verify:
        yield from _readable(_contents(reading))


def _contents(reading: Callable[[], AbstractContextManager[sqlite3.Connection]]) -> Iterator[RowProblem]:
    for statement, look in (
        ("SELECT id FROM image ORDER BY id", _images),
        ("SELECT digest FROM manifest ORDER BY digest", _manifests),
    ):
        with reading() as connection:
            keys = [key for (key,) in connection.execute(statement)]
        for start in range(0, len(keys), _BATCH):
            with reading() as connection:
                yield from look(connection, keys[start : start + _BATCH])


def _readable(problems: Iterator[RowProblem]) -> Iterator[RowProblem]:
    """Yield problems; where the database cannot be read any further that is one, and the last."""
    try:
        yield from problems
    except (sqlite3.Error, UnicodeDecodeError) as error:
        if getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF not in _DAMAGE:
            raise
        yield RowProblem(
            "database", DATABASE, f"the database is damaged ({error}); repair it, or restore it from a backup"
        )


def _database(connection: sqlite3.Connection, *, verify: bool) -> Iterator[RowProblem]:
    """Look at what there must be before rows can be compared with each other."""
    yield from _readable(_integrity(connection, verify=verify))
    yield from _readable(_shape(connection))
    yield from _readable(_values(connection))


def _integrity(connection: sqlite3.Connection, *, verify: bool) -> Iterator[RowProblem]:
    lines = [line for (line,) in connection.execute("PRAGMA integrity_check" if verify else "PRAGMA quick_check")]
    if lines != ["ok"]:
        more = f", and {len(lines) - 1} more" if len(lines) > 1 else ""
        message = f"the database is damaged ({lines[0]}{more}); repair it, or restore it from a backup"
        yield RowProblem("database", DATABASE, message)


def _shape(connection: sqlite3.Connection) -> Iterator[RowProblem]:
    for fault in shape_faults(connection):
        yield RowProblem("schema", fault.name, f"{fault.message}; a repair puts that right")


def _values(connection: sqlite3.Connection) -> Iterator[RowProblem]:
    for table, column, key in invalid_values(connection):
        message = f"the row {key} of the table {table} holds something in {column} that it cannot hold"
        yield RowProblem("value-invalid", f"{table} {key}", message)


def _structure(connection: sqlite3.Connection) -> Iterator[RowProblem]:
    leading = ((str(table), str(parent)) for table, _, parent, _ in connection.execute("PRAGMA foreign_key_check"))
    for table, parent in sorted(set(leading)):
        yield RowProblem("database", table, f"rows of the table {table} lead to nothing in {parent}")
    invalid = list(_invalid_keys(connection))
    yield from invalid
    # What else there is to say of a row without a digest says the same.
    known = {one.subject for one in invalid}
    for kind, statement, sentence in _STATEMENTS:
        for (subject,) in connection.execute(statement):
            if subject not in known:
                yield RowProblem(kind, subject, sentence.format(subject))
    yield from _loops(connection)


def _invalid_keys(connection: sqlite3.Connection) -> Iterator[RowProblem]:
    for table, key in KEYS.items():
        for (subject,) in connection.execute(f"SELECT {key} FROM {table} WHERE {no_digest(key)} ORDER BY 1"):  # noqa: S608 - constants
            message = f"the table {table} has a row for {subject!r}, which is not a digest"
            yield RowProblem("key-invalid", subject, message)


def no_digest(column: str) -> str:
    """Return the test that a column holds no digest."""
    lengths = " OR ".join(
        f"{column} GLOB '{algorithm}:*' AND length({column}) = {len(algorithm) + 1 + digits}"
        for algorithm, digits in (("sha256", 64), ("sha384", 96), ("sha512", 128))
    )
    return f"NOT (({lengths}) AND substr({column}, 8) NOT GLOB '*[^0-9a-f]*')"


def _loops(connection: sqlite3.Connection) -> Iterator[RowProblem]:
    for loop in parent_loops(connection):
        yield RowProblem("parent-loop", loop[0], f"the parents of the image {loop[0]} lead in a circle back to itself")


def parent_loops(connection: sqlite3.Connection) -> list[list[str]]:
    """Return each circle of images that are each other's parents, as IDs: the smallest, then each one's parent."""
    found = connection.execute("SELECT image, value FROM image_metadata WHERE key = 'parent' ORDER BY image")
    parents = {image: value.decode("ascii", "replace") for image, value in found}
    done: set[str] = set()
    loops: list[list[str]] = []
    for image in parents:
        path: dict[str, None] = {}
        current: str | None = image
        while current is not None and current not in done and current not in path:
            path[current] = None
            current = parents.get(current)
        if current is not None and current in path:
            members = list(path)
            circle = members[members.index(current) :]
            start = circle.index(min(circle))
            loops.append(circle[start:] + circle[:start])
        done.update(path)
    return loops


def _chain_ids(connection: sqlite3.Connection) -> Iterator[RowProblem]:
    for chain, parent, diff in connection.execute("SELECT id, parent, diff FROM chain ORDER BY id"):
        if chain != chain_of(parent, diff) and Digest.unchecked(chain).is_valid:
            yield RowProblem("chain-wrong", chain, f"the chain {chain} is not what its layers make")


def chain_of(parent: str | None, diff: str) -> str:
    """Return the ID of the chain that a layer makes on another one."""
    diff_id = DiffID.unchecked(diff)
    return diff if parent is None else str(chain_id((DiffID.unchecked(parent), diff_id)))


def _names(connection: sqlite3.Connection) -> Iterator[RowProblem]:
    for name, suffix, image in connection.execute(
        "SELECT name, suffix, image FROM reference UNION SELECT name, suffix, digest FROM top ORDER BY name, suffix"
    ):
        if not is_name(name, suffix):
            text = f"{name}{suffix}"
            message = f"{text!r} is not a name that a command could ask for; give its image {image} another one"
            yield RowProblem("name-invalid", text, message)


def is_name(name: str, suffix: str) -> bool:
    """Return whether the parts of a name are those of a canonical reference."""
    from orlop.model.reference import Reference  # noqa: PLC0415 - only where content is read

    name = name.removeprefix("cache:")
    text = f"{name}{suffix}"
    if name.startswith("layout:"):
        return suffix.startswith("@") and Digest.unchecked(suffix[1:]).is_valid
    try:
        return suffix[:1] in {":", "@"} and str(Reference.parse(text)) == text
    except InvalidInput:
        return False


def _images(connection: sqlite3.Connection, ids: Sequence[str]) -> Iterator[RowProblem]:
    marks = ", ".join("?" * len(ids))
    found = connection.execute(
        f"""SELECT id, config, chain, created, created_ns, labels FROM image
        LEFT JOIN image_labels ON image_labels.image = image.id WHERE id IN ({marks}) ORDER BY id""",  # noqa: S608 - marks
        ids,
    )
    for image, config, chain, created, created_ns, labels in found:
        if not Digest.unchecked(image).is_valid:
            continue
        if digest_of(config) != image:
            message = f"the config of the image {image} is not what its ID says; load it again"
            yield RowProblem("config-damaged", image, message)
            continue
        recorded = (chain, created, created_ns, _read_labels(labels))
        if recorded == glimpsed_facts(config):
            continue
        try:
            facts = image_facts(config)
        except InvalidInput as error:
            yield RowProblem("config-unreadable", image, f"{image} is not an image: {error}", harmless=True)
            continue
        if recorded != facts:
            message = f"the layers, time or labels that are recorded of the image {image} are not those of its config"
            yield RowProblem("image-wrong", image, message)


def _read_labels(text: str | None) -> object:
    try:
        return None if text is None else json.loads(text)
    except ValueError:
        return text


def _manifests(connection: sqlite3.Connection, digests: Sequence[str]) -> Iterator[RowProblem]:
    marks = ", ".join("?" * len(digests))
    found = connection.execute(
        f"SELECT digest, media_type, content FROM manifest WHERE digest IN ({marks}) ORDER BY digest",  # noqa: S608 - marks
        digests,
    )
    for digest, media_type, content in found:
        if not Digest.unchecked(digest).is_valid:
            continue
        if digest_of(content, digest) != digest:
            message = f"the manifest {digest} is not what its digest says; load its image again"
            yield RowProblem("manifest-damaged", digest, message)
        elif glimpsed_type(content) != media_type and manifest_type(content) not in {None, media_type}:
            message = f"the manifest {digest} is recorded as {media_type!r}, which is not what it says itself"
            yield RowProblem("manifest-wrong", digest, message)
        elif edges_differ(connection, digest):
            message = f"what the manifest {digest} leads to is recorded otherwise than it says itself"
            yield RowProblem("edges-wrong", digest, message)


def edges_differ(connection: sqlite3.Connection, digest: str) -> bool:
    """Return whether other edges of a manifest are recorded than its bytes say."""
    return connection.execute(_RECORDED, (digest,)).fetchall() != connection.execute(_SAID, (digest,)).fetchall()


def digest_of(content: bytes, named: str = "sha256:") -> str:
    """Return the digest of some bytes, by the algorithm of the digest that names them."""
    algorithm = named.partition(":")[0]
    if algorithm not in {"sha256", "sha384", "sha512"}:
        return ""
    return f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"
