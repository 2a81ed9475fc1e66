"""What is wrong with the rows in SQLite, among each other."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final, NamedTuple

from orlop.model.digest import ChainID, DiffID, chain_id

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator


class RowProblem(NamedTuple):
    """A word for what is wrong, what it is about, and a sentence; ``harmless`` where nothing is lost."""

    kind: str
    subject: str
    message: str
    harmless: bool = False


_STATEMENTS: Final = (
    (
        "name-dangling",
        "SELECT name || suffix FROM reference WHERE image NOT IN (SELECT id FROM image) ORDER BY 1",
        "the name {} points to an image that is not there; remove it, or give it to another image",
    ),
    (
        "layers-missing",
        "SELECT id FROM image WHERE chain IS NOT NULL AND chain NOT IN (SELECT id FROM chain) ORDER BY 1",
        "the layers of the image {} are not there; load it again",
    ),
    (
        "parent-missing",
        """SELECT image FROM image_metadata WHERE key = 'parent'
        AND CAST(value AS TEXT) NOT IN (SELECT id FROM image) ORDER BY 1""",
        "the parent of the image {} is not there",
    ),
    (
        "head-wrong",
        """SELECT id FROM image WHERE head = EXISTS (
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
)
_UNNEEDED: Final = """SELECT id FROM chain WHERE NOT EXISTS (SELECT 1 FROM image WHERE image.chain = chain.id)
    AND NOT EXISTS (SELECT 1 FROM chain AS above WHERE above.parent = chain.id)
    AND NOT EXISTS (SELECT 1 FROM lease WHERE lease.digest IN (chain.id, '*')) ORDER BY 1"""


def row_problems(connection: sqlite3.Connection, *, verify: bool) -> Iterator[RowProblem]:
    """Look through all rows, inside a transaction; with ``verify`` also hash what is named by its digest.

    Raises:
        sqlite3.Error: the database cannot be read.
    """
    for (line,) in connection.execute("PRAGMA integrity_check" if verify else "PRAGMA quick_check"):
        if line != "ok":
            yield RowProblem("database", "metadata.db", f"the database is damaged ({line}); restore it from a backup")
    for table, _, parent, _ in connection.execute("PRAGMA foreign_key_check"):
        yield RowProblem("database", str(table), f"a row of the table {table} leads to nothing in {parent}")
    for kind, statement, sentence in _STATEMENTS:
        for (subject,) in connection.execute(statement):
            yield RowProblem(kind, subject, sentence.format(subject))
    for (subject,) in connection.execute(_UNNEEDED):
        yield RowProblem("chain-unneeded", subject, f"nothing needs the layer {subject} any more", harmless=True)
    if verify:
        yield from _digests(connection)


def _digests(connection: sqlite3.Connection) -> Iterator[RowProblem]:
    for image, config in connection.execute("SELECT id, config FROM image ORDER BY id"):
        if _digest(config) != image:
            message = f"the config of the image {image} is not what its ID says; load it again"
            yield RowProblem("config-damaged", image, message)
    for digest, content in connection.execute("SELECT digest, content FROM manifest ORDER BY digest"):
        if _digest(content) != digest:
            message = f"the manifest {digest} is not what its digest says; load its image again"
            yield RowProblem("manifest-damaged", digest, message)
    for chain, parent, diff in connection.execute("SELECT id, parent, diff FROM chain ORDER BY id"):
        diff_id = DiffID.unchecked(diff)
        made = ChainID.wrap(diff_id) if parent is None else chain_id((DiffID.unchecked(parent), diff_id))
        if str(made) != chain:
            yield RowProblem("chain-wrong", chain, f"the chain {chain} is not what its layers make")


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
