"""Where the tables and indexes of a database begin whose schema is lost, told by what lies in them.

The schema names the page on which the tree of each table and index begins. A database that was made in one go always
has the same pages there; one that was upgraded or packed has others. So every tree is looked at to which no page leads:
its first rows are read through a table without types, which tells how many columns they have and of which types. Those
of a tree have to fit the columns of a table or an index, digests where these are digests, and what refers to another
table has to be found there, as far as that one is known: an index of two digests is the table of the same two in
another order. Each tree gets at most one meaning, the one that fits most rows.

Where a page in the midst of a tree is lost, nothing leads to the pages below it, and each of them looks like a tree of
its own. Their rows are told from others in the same way (`stray_rows`).

The schema itself is made by SQLite in a database that begins behind the last page of the damaged one, so nothing of
that is written over but its first page, and what has no tree of its own begins on an empty page there.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from orlop.model.digest import Digest
from orlop.store.rows.sqlite.damage.budget import Budget
from orlop.store.rows.sqlite.damage.pages import tree_roots
from orlop.store.rows.sqlite.damage.working import connected, opened
from orlop.store.rows.sqlite.tables import SCHEMA, SCHEMA_VERSION, WITH_ROWIDS
from orlop.store.rows.sqlite.unopened import DATABASE_HEADER
from orlop.store.rows.values import CHECKS, COLUMNS, Column, is_valid

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_OF_ROWIDS: Final = frozenset((5, 13))
"""With which bytes pages of trees begin: https://www.sqlite.org/fileformat2.html, 1.6."""
_ANY: Final = (*(f"c{number}" for number in range(9)),)
_KEYED: Final = ", PRIMARY KEY (c0)) WITHOUT ROWID"
"""The columns of a table for any records, as many as any has, and how one without rowids is made."""
_SAMPLE: Final = 64
_MOST_KEYS: Final = 50_000
_ENOUGH: Final = 0.8
_AT_ONCE: Final = 256
_LONGEST: Final = 1 << 16
"""The bytes of a value that are looked at: all of what is judged by its content is shorter, or text."""

_KEYS: Final = {"image": "id", "manifest": "digest", "blob": "digest", "diff": "id", "chain": "id"}
"""The tables to which others refer, and their first columns; they are found first."""
_REFERENCES: Final = {
    ("image", "id"): "image",
    ("image", "chain"): "chain",
    ("image_metadata", "image"): "image",
    ("image_labels", "image"): "image",
    ("image_manifest", "image"): "image",
    ("image_manifest", "manifest"): "manifest",
    ("reference", "image"): "image",
    ("top", "digest"): "manifest",
    ("edge", "parent"): "manifest",
    ("manifest", "digest"): "manifest",
    ("blob", "digest"): "blob",
    ("diff", "id"): "diff",
    ("diff_blob", "diff"): "diff",
    ("diff_blob", "blob"): "blob",
    ("chain", "id"): "chain",
    ("chain", "parent"): "chain",
    ("chain", "diff"): "diff",
}
"""Columns that hold a key of a table."""
_DIGESTS: Final = {*_REFERENCES, ("edge", "child"), ("lease", "digest")}
_TYPES: Final = {
    **{(table, column.name): column for table, columns in COLUMNS.items() for column in columns},
    ("image_labels", "labels"): Column("labels", "texts"),
    ("sqlite_sequence", "name"): Column("name", "text"),
    ("sqlite_sequence", "seq"): Column("seq", "number"),
}


_ONE_VALUE: Final = {("image_children", "key"): b"parent", ("image_pinned", "key"): b"pinned"}
"""Columns of indexes that have one value alone: their indexes are of these rows."""


class _Text(bytes):
    """A text, as its bytes: it may not be UTF-8."""

    __slots__ = ()


class _Laid(NamedTuple):
    """A table or an index: its columns as its records have them, a rowid without a name, and whether it has rowids."""

    name: str
    table: str
    columns: tuple[str | None, ...]
    has_rowids: bool


class _Tree(NamedTuple):
    """A tree: the page where it begins, whether it has rowids, and its first records."""

    root: int
    has_rowids: bool
    records: tuple[tuple[Any, ...], ...]


def lay_out(path: str, page: int) -> None:
    """Put a new schema into a database that has lost its own; each tree begins where one like it does.

    Args:
        path: of the database; nobody has it open.
        page: the size of its pages in bytes.

    Raises:
        sqlite3.Error, OSError: it cannot be written.
    """
    roots = tree_roots(path, page)
    _append_schema(path, page)
    trees = list(_trees(path, page, roots))
    usual = _usual(page)
    with closing(_opened(path)) as connection:
        laid = _laid_out(connection)
    found = _match([one for one in laid if one.name in _KEYS], trees, {}, usual)
    keys = {name: _keys(path, [(tree.root, tree.has_rowids)]) for name, tree in found.items()}
    taken = {tree.root for tree in found.values()}
    others = [one for one in laid if one.name not in _KEYS]
    found |= _match(others, [tree for tree in trees if tree.root not in taken], keys, usual)
    with closing(_opened(path)) as connection:
        for name, tree in found.items():
            connection.execute("UPDATE sqlite_schema SET rootpage = ? WHERE name = ?", (tree.root, name))


def stray_rows(path: str, page: int, roots: Iterable[int]) -> dict[str, list[tuple[Any, ...]]]:
    """Return the rows of each table that lie in trees which belong to nothing; texts are bytes, and may be anything.

    Args:
        path: of a database whose schema is sound; nobody has it open.
        page: the size of its pages in bytes.
        roots: the pages with which trees begin, those that belong to something too.

    Raises:
        sqlite3.Error, OSError: it cannot be written.
    """
    with closing(_opened(path)) as connection:
        laid = _laid_out(connection)
        known = dict(connection.execute("SELECT rootpage, name FROM sqlite_schema WHERE rootpage > 0"))
    strays = list(_trees(path, page, [root for root in roots if root not in known]))
    if not strays:
        return {}
    found = _meanings([one for one in laid if one.name in _KEYS], strays, {})
    of_table = {name: [(root, name in WITH_ROWIDS)] for root, name in known.items() if name in _KEYS}
    for root, one in found.items():
        of_table[one.name].append((root, one.has_rowids))
    keys = {name: _keys(path, some) for name, some in of_table.items()}
    # Nothing can be told by a table of which nothing is there.
    told = _meanings(laid, strays, {name: some for name, some in keys.items() if some})
    rows: dict[str, list[tuple[Any, ...]]] = {}
    budget = Budget(os.stat(path).st_size)
    for connection, tables in _opened_tables(path, [(root, one.has_rowids) for root, one in told.items()]):
        for root, table in tables.items():
            if told[root].name in COLUMNS:
                rows.setdefault(told[root].name, []).extend(_rows(connection, table, told[root], budget))
    return rows


# The new schema.


def _append_schema(path: str, page: int) -> None:
    """Replace the first page by that of a new schema; its other pages, and an empty tree for each name, come last."""
    pages = -(-os.stat(path).st_size // page)
    fresh = f"{path}.part"
    with suppress(FileNotFoundError):
        os.unlink(fresh)
    with closing(connected(fresh)) as connection:
        connection.execute(f"PRAGMA page_size={page}")
        connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
    with opened(fresh, "r+b") as file:
        header = bytearray(file.read(DATABASE_HEADER))
        # It has as many pages already, so that SQLite takes those behind them.
        header[28:32] = pages.to_bytes(4, "big")
        header[92:96] = header[24:28]
        file.seek(0)
        file.write(header)
        file.truncate(pages * page)
    with closing(connected(fresh)) as connection:
        for statement in SCHEMA:
            connection.execute(statement)
    with opened(fresh) as new, opened(path, "r+b") as old:
        old.write(new.read(page))
        new.seek(pages * page)
        old.seek(pages * page)
        shutil.copyfileobj(new, old)
    os.unlink(fresh)


def _opened(path: str) -> sqlite3.Connection:
    connection = connected(path)
    connection.text_factory = _Text
    connection.execute("PRAGMA writable_schema=ON")
    return connection


# What is looked for, and what there is.


def _usual(page: int) -> dict[str, int]:
    """Return where each tree begins in a database that was made in one go."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.execute(f"PRAGMA page_size={page}")
        for statement in SCHEMA:
            connection.execute(statement)
        return dict(connection.execute("SELECT name, rootpage FROM sqlite_schema WHERE rootpage > 0"))


def _laid_out(connection: sqlite3.Connection) -> list[_Laid]:
    connection.text_factory = str
    keyed = {name for name, wr in connection.execute("SELECT name, wr FROM pragma_table_list") if wr}
    found = connection.execute("SELECT type, name, tbl_name FROM sqlite_schema WHERE rootpage > 0").fetchall()
    return [
        _Laid(name, table, _columns(connection, name, is_keyed=is_keyed), not is_keyed)
        for kind, name, table in found
        for is_keyed in [kind == "index" or name in keyed]
    ]


def _columns(connection: sqlite3.Connection, name: str, *, is_keyed: bool) -> tuple[str | None, ...]:
    """Return the columns of a table or an index in the order of its records; a rowid has no name."""
    if not is_keyed:
        return tuple(column for (column,) in connection.execute("SELECT name FROM pragma_table_info(?)", (name,)))
    index = connection.execute("SELECT name FROM pragma_index_list(?) WHERE origin = 'pk'", (name,)).fetchone()
    asked = (name if index is None else index[0],)
    return tuple(column for (column,) in connection.execute("SELECT name FROM pragma_index_xinfo(?)", asked))


def _trees(path: str, page: int, roots: Iterable[int]) -> Iterator[_Tree]:
    """Yield the trees that have records, with the first of them."""
    budget = Budget(os.stat(path).st_size)
    with opened(path) as file:
        kinds = {root: os.pread(file.fileno(), 1, (root - 1) * page)[0] in _OF_ROWIDS for root in roots}
    for connection, tables in _opened_tables(path, list(kinds.items())):
        for root, table in tables.items():
            records = tuple(_records(connection, table, "*", _SAMPLE, budget))
            if records:
                yield _Tree(root, kinds[root], records)


def _opened_tables(path: str, trees: Sequence[tuple[int, bool]]) -> Iterator[tuple[sqlite3.Connection, dict[int, str]]]:
    """Yield tables for trees, some at a time, see `_tables`."""
    for start in range(0, len(trees), _AT_ONCE):
        with _tables(path, trees[start : start + _AT_ONCE]) as opened:
            yield opened


@contextmanager
def _tables(path: str, trees: Iterable[tuple[int, bool]]) -> Iterator[tuple[sqlite3.Connection, dict[int, str]]]:
    """Open a database with a table for each tree, of which is known whether it has rowids; return them by their roots.

    SQLite reads the schema once, so that many trees are looked at with one connection.
    """
    ends = {root: ")" if has_rowids else _KEYED for root, has_rowids in trees}
    tables = {root: f"any_{root}" for root in ends}
    with closing(_opened(path)) as connection, connection:
        for root, table in tables.items():
            made = f"CREATE TABLE {table} ({', '.join(_ANY)}{ends[root]}"
            connection.execute("INSERT INTO sqlite_schema VALUES ('table', ?1, ?1, ?2, ?3)", (table, root, made))
    try:
        with closing(_opened(path)) as connection:
            yield connection, tables
    finally:
        with closing(_opened(path)) as connection, connection:
            connection.executemany("DELETE FROM sqlite_schema WHERE name = ?", [(table,) for table in tables.values()])


def _records(
    connection: sqlite3.Connection, table: str, what: str, most: int, budget: Budget
) -> Iterator[tuple[Any, ...]]:
    """Yield the first records of a tree, as far as they can be read; of long values their beginnings."""
    with suppress(sqlite3.Error):
        for record in connection.execute(f"SELECT {what} FROM {table} LIMIT {most}"):  # noqa: S608 - constants
            if not budget.has(record):
                return
            yield tuple(_beginning(value) for value in record)


def _beginning(value: object) -> object:
    if isinstance(value, bytes) and len(value) > _LONGEST:
        return type(value)(value[:_LONGEST])
    return value


def _rows(connection: sqlite3.Connection, table: str, laid: _Laid, budget: Budget) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of a tree, as far as they can be read, with their columns in the order of their table."""
    columns = [laid.columns.index(column.name) for column in COLUMNS[laid.name]]
    number = next((at for at, column in enumerate(COLUMNS[laid.name]) if column.kind == "count"), None)
    with suppress(sqlite3.Error):
        for rowid, *record in connection.execute(f"SELECT {'rowid' if laid.has_rowids else '0'}, * FROM {table}"):  # noqa: S608 - constants
            if not budget.has(record):
                return
            if _fits(laid, tuple(record)):
                row = [record[column] for column in columns]
                if number is not None:
                    row[number] = rowid
                yield tuple(row)


def _keys(path: str, trees: Sequence[tuple[int, bool]]) -> set[bytes]:
    """Return the first values of the records of some trees."""
    budget = Budget(os.stat(path).st_size)
    return {
        key
        for connection, tables in _opened_tables(path, trees)
        for table in tables.values()
        for (key,) in _records(connection, table, "c0", _MOST_KEYS, budget)
    }


# What fits what.


def _match(
    laid: list[_Laid], trees: list[_Tree], keys: dict[str, set[bytes]], usual: dict[str, int]
) -> dict[str, _Tree]:
    """Return the tree of each name, as far as there is one; a tree has one name."""
    scored = [
        (score, usual[one.name] == tree.root, -tree.root, one.name, tree)
        for one in laid
        for tree in trees
        if tree.has_rowids == one.has_rowids and (score := _score(one, tree, keys)) > 0
    ]
    found: dict[str, _Tree] = {}
    taken = set[int]()
    for _, _, _, name, tree in sorted(scored, key=lambda one: one[:4], reverse=True):
        if name not in found and tree.root not in taken:
            found[name] = tree
            taken.add(tree.root)
    return found


def _meanings(laid: list[_Laid], trees: list[_Tree], keys: dict[str, set[bytes]]) -> dict[int, _Laid]:
    """Return what each tree is a part of, as far as it is known, by its first page; several may be of one table."""
    found: dict[int, _Laid] = {}
    for tree in trees:
        scored = [
            (score, one.name == one.table, one.name, one)
            for one in laid
            if tree.has_rowids == one.has_rowids and (score := _score(one, tree, keys)) > 0
        ]
        if scored:
            found[tree.root] = max(scored, key=lambda one: one[:3])[-1]
    return found


def _score(laid: _Laid, tree: _Tree, keys: dict[str, set[bytes]]) -> int:
    """Return how well records fit a table or an index: 0 where they do not."""
    fitting = [record for record in tree.records if _fits(laid, record)]
    if len(fitting) < _ENOUGH * len(tree.records):
        return 0
    told = [
        value in keys[of]
        for place, column in enumerate(laid.columns)
        if (of := _REFERENCES.get((laid.table, column or ""))) in keys
        for record in fitting
        if (value := record[place]) is not None
    ]
    known = sum(told)
    return len(fitting) + known if not told or 2 * known >= len(told) else 0


def _fits(laid: _Laid, record: tuple[Any, ...]) -> bool:
    values = record[: len(laid.columns)]
    return all(value is None for value in record[len(laid.columns) :]) and all(
        _is_value(laid, column, value) for column, value in zip(laid.columns, values, strict=True)
    )


def _is_value(laid: _Laid, column: str | None, value: Any) -> bool:
    if column is None:
        return isinstance(value, int)
    declared = _TYPES[laid.table, column]
    # A number that is the rowid is not a part of the record.
    if value is None:
        return declared.optional or declared.kind == "count"
    if isinstance(value, bytes) and isinstance(value, _Text) is not (CHECKS[declared.kind][0] == "text"):
        return False
    if not is_valid(declared, value) or value != _ONE_VALUE.get((laid.name, column), value):
        return False
    if column == "suffix":
        return bytes(value[:1]) in {b":", b"@"}
    if (laid.table, column) == ("lease", "digest") and value == b"*":
        return True
    return (laid.table, column) not in _DIGESTS or Digest.unchecked(value.decode()).is_valid
