"""Whether the schema of a store has the tables, links, indexes and triggers that this version lays out.

What somebody changes there acts on every write: a trigger or a rule of his changes rows behind it, a link that is not
enforced lets rows go that others need, and a table that is not logged is empty after a crash. What only lies there
changes no answer and is left alone: a table or a view of somebody else with all that belongs to it, such as an
extension makes, and an index that forbids no row, such as the server builds beside one that it makes anew.

What is laid out is read from the statements that do it, so that it is said once. The server tells what it has as
statements, too, in its own spelling.
"""

from __future__ import annotations

import re
from hashlib import md5
from typing import TYPE_CHECKING, Final

from psycopg import sql

from orlop.model.tuples import NamedTuple
from orlop.store.rows.postgres.lost_marks import TRIGGERS
from orlop.store.rows.postgres.mentions import AGAIN, INDEXES, MENTIONED
from orlop.store.rows.postgres.tables import SCHEMA, TABLES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from orlop.store.rows.postgres.passing import PassingRows

_TABLE: Final = re.compile(r"CREATE TABLE (\w+) \((.*?)\)(?: WITH \(.*?\))?;", re.DOTALL)
_ADDED: Final = re.compile(r"ALTER TABLE (\w+) ADD COLUMN ([^;]*);")
_INDEX: Final = re.compile(r"CREATE (?:UNIQUE )?INDEX (\w+) ON (\w+) [^;]*")
_TRIGGER: Final = re.compile(r"CREATE TRIGGER (\w+) ([^;]*?) ON (\w+)\s([^;]*)EXECUTE FUNCTION (\w+)")
_FUNCTION: Final = re.compile(r"FUNCTION (\w+)\(\) RETURNS trigger LANGUAGE plpgsql AS \$\$(.*?)\$\$", re.DOTALL)
_QUERY: Final = re.compile(r"FUNCTION (\w+)\(document bytea\) .*? AS \$\$(.*?)\$\$", re.DOTALL)
_COLUMN: Final = re.compile(r'(\w+) (double precision|\w+)( COLLATE "C")?')
_REFERENCES: Final = re.compile(r"REFERENCES \w+ \(\w+\)(?: ON DELETE CASCADE)?")
_CHECKED: Final = re.compile(r"CHECK \(\w+\)")
_DEFAULT: Final = re.compile(r"DEFAULT ('[^']*'|[\w()]+)")
_INDEXED: Final = re.compile(
    r"""(?P<invalid>invalid\ )?CREATE\ (?P<unique>UNIQUE\ )?INDEX\ (?:"(?:[^"]|"")*"|\w+)
    \ ON\ (?P<what>.*?\((?P<columns>(?:[^()]|\([^()]*\))*)\).*)""",
    re.DOTALL | re.VERBOSE,
)
_AS_IT_IS: Final = re.compile(r'"?(\w+)"?(?: DESC)?(?: NULLS (?:FIRST|LAST))?')
"""A column in an index that compares its values as they are."""
_SPELLING: Final = re.compile(
    rf"""\ WITH\ \([^()]*\)|\ NOT\ VALID|\ USING\ btree|::text|\b{SCHEMA}\.|[\s"()]""", re.VERBOSE
)
"""What two statements may differ in that do the same, how densely an index is filled among it."""
_KEY: Final = re.compile(r" (?:PRIMARY KEY|UNIQUE) \((.*)\)")
_PART: Final = re.compile(r",\s*(?![^()]*\))")
_FULL: Final = {"timestamptz": "timestamp with time zone"}
_TRIGGER_BITS: Final = {"EACH ROW": 1, "BEFORE": 2, "INSERT": 4, "DELETE": 8, "UPDATE": 16, "TRUNCATE": 32}
"""What a trigger is for, as the server notes it in ``tgtype``."""

_OURS: Final = f"relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = '{SCHEMA}')"  # noqa: S608 - a constant
_FOUND: Final = {
    "table": f"""SELECT relname, '', CASE WHEN relkind <> 'r' THEN 'other' WHEN relpersistence <> 'p' THEN 'unlogged'
            WHEN relrowsecurity THEN 'row security' ELSE '' END
        FROM pg_class WHERE relkind IN ('r', 'v', 'm', 'f', 'p') AND {_OURS}""",  # noqa: S608 - constants
    "column": f"""SELECT relname, attname, concat(format_type(atttypid, atttypmod),
            CASE WHEN collname = 'C' THEN ' COLLATE "C"' END, CASE WHEN attnotnull THEN ' NOT NULL' END)
        FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
        LEFT JOIN pg_collation ON pg_collation.oid = attcollation
        WHERE attnum > 0 AND NOT attisdropped AND relkind = 'r' AND {_OURS}""",  # noqa: S608 - as above
    "default": f"""SELECT relname, attname,
            concat(CASE WHEN attgenerated <> '' THEN 'generated ' END, pg_get_expr(adbin, adrelid))
        FROM pg_attrdef JOIN pg_class ON pg_class.oid = adrelid
        JOIN pg_attribute ON attrelid = adrelid AND attnum = adnum WHERE {_OURS}""",  # noqa: S608 - as above
    "heir": f"""SELECT relname, (SELECT relname FROM pg_class WHERE oid = inhrelid),
            (SELECT nspname FROM pg_namespace JOIN pg_class ON pg_namespace.oid = relnamespace
                WHERE pg_class.oid = inhrelid)
        FROM pg_inherits JOIN pg_class ON pg_class.oid = inhparent WHERE {_OURS}""",  # noqa: S608 - as above
    "constraint": f"""SELECT relname, conname, pg_get_constraintdef(pg_constraint.oid)
        FROM pg_constraint JOIN pg_class ON pg_class.oid = conrelid
        WHERE contype IN ('p', 'u', 'f', 'c', 'x') AND {_OURS}""",  # noqa: S608 - as above
    "index": f"""SELECT relname, (SELECT relname FROM pg_class WHERE oid = indexrelid),
            concat(CASE WHEN NOT indisvalid THEN 'invalid ' END, pg_get_indexdef(indexrelid))
        FROM pg_index JOIN pg_class ON pg_class.oid = indrelid
        WHERE {_OURS} AND NOT EXISTS (SELECT 1 FROM pg_constraint WHERE conindid = indexrelid)""",  # noqa: S608 - as above
    "trigger": f"""SELECT relname, tgname, concat_ws(' ', tgtype, proname, md5(prosrc), (SELECT string_agg(attname, ' ')
                FROM pg_attribute WHERE attrelid = tgrelid AND attnum = ANY (tgattr)),
            CASE WHEN tgenabled <> 'A' THEN 'off' END, CASE WHEN tgqual IS NOT NULL THEN 'sometimes' END)
        FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid JOIN pg_proc ON pg_proc.oid = tgfoid
        WHERE NOT tgisinternal AND {_OURS}""",  # noqa: S608 - as above
    "function": """SELECT '', proname, concat_ws(' ', provolatile, md5(prosrc)) FROM pg_proc
        WHERE pronargs = 1 AND proargtypes[0] = 'bytea'::regtype
        AND pronamespace = (SELECT oid FROM pg_namespace WHERE nspname = 'orlop')""",
    "rule": f"""SELECT relname, rulename, '' FROM pg_rewrite JOIN pg_class ON pg_class.oid = ev_class
        WHERE relkind = 'r' AND {_OURS}""",  # noqa: S608 - as above
    "links": f"""SELECT DISTINCT relname, '', 'off' FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid
        WHERE tgisinternal AND tgenabled NOT IN ('O', 'A') AND {_OURS}""",  # noqa: S608 - as above
}
"""For each kind of thing what asks for all of them: the table, the name, and what there is to say of it."""
_LYING_ABOUT: Final = frozenset(("table", "column", "default", "index", "function"))
"""What changes no answer and no write where somebody else has made it, but for an index that forbids rows."""
_SPELLED: Final = frozenset(("default", "constraint", "index"))
"""What is compared as statements, however these are spelled."""

_TABLE_STATES: Final = {
    "unlogged": "ALTER TABLE {} SET LOGGED",
    "row security": "ALTER TABLE {} DISABLE ROW LEVEL SECURITY",
}
"""What a table can be, and what ends that."""
_OF_FUNCTION: Final = frozenset(name for name, _ in _INDEX.findall(INDEXES))
"""The indexes that are made again with their function."""
_NOTHING: Final = {
    "text": "''",
    "bytea": "''",
    "integer": "0",
    "bigint": "0",
    "double precision": "0",
    "boolean": "false",
    "timestamptz": "'-infinity'",
}
"""What takes the place of a value that is none: bytes, other rows or the bounds of its column then contradict it."""

Place = tuple[str, str, str]
"""The type of the kind, the table and the name of something."""


class ShapeFault(NamedTuple):
    """Something that is ``foreign``, ``missing`` or ``changed``: its kind, the table, and the name where it has one."""

    what: str
    kind: str
    table: str
    name: str
    state: str = ""

    @property
    def subject(self) -> str:
        """What the fault is about."""
        return ".".join(filter(None, (self.table, self.name)))

    @property
    def message(self) -> str:
        """What is wrong, as a clause."""
        if self.kind == "links":
            return f"the links of the table {self.table} are not enforced"
        if self.state in _TABLE_STATES:
            return f"the table {self.table} {'is not logged' if self.state == 'unlogged' else 'hides rows by policies'}"
        if self.kind == "heir":
            return f"the table {self.table} counts the rows of {self.state}.{self.name} as its own"
        kind = "default of the column" if self.kind == "default" else self.kind
        of = f" of the table {self.table}" if self.name and self.table else ""
        called = f"{kind} {self.name or self.table}{of}"
        if self.what == "missing":
            return f"the {called} is missing"
        if self.what == "changed":
            return f"the {called} is {'off' if self.state.endswith(' off') else 'not what this version makes'}"
        return f"the {called} is not of this version"


def _laid_out() -> Mapping[Place, tuple[str, str]]:
    """Return what there has to be: the state of each, and the statement that makes it where one alone can."""
    made: dict[Place, tuple[str, str]] = {}
    for table, columns in _TABLE.findall(TABLES):
        made["table", table, ""] = ("", "")
        for part in _PART.split(columns.strip()):
            made.update(_of_part(table, part))
    for table, column in _ADDED.findall(TABLES):
        made.update(_of_part(table, column))
    for found in _INDEX.finditer(TABLES):
        name, table = found.groups()
        made["index", table, name] = (_spelled(found[0]), found[0])
    sources = dict(_FUNCTION.findall(TRIGGERS))
    for name, when, table, each, function in _TRIGGER.findall(TRIGGERS):
        _, of, column = when.partition(" OF ")
        bits = sum(bit for word, bit in _TRIGGER_BITS.items() if word in f"{when} {each}")
        source = md5(sources[function].encode(), usedforsecurity=False).hexdigest()
        made["trigger", table, name] = (f"{bits} {function} {source}{of and f' {column}'}", "")
    for name, query in _QUERY.findall(MENTIONED):
        made["function", "", name] = (f"i {md5(query.encode(), usedforsecurity=False).hexdigest()}", "")
    return made


def _of_part(table: str, part: str) -> Iterator[tuple[Place, tuple[str, str]]]:
    """Yield what one part of the statement that makes a table lays out: a column, and what is enforced of it."""
    alter = f"ALTER TABLE {table} ADD CONSTRAINT"
    key = f"{table}_pkey"
    if part.startswith("PRIMARY KEY"):
        yield ("constraint", table, key), (_spelled(part), f"{alter} {key} {part}")
        return
    found = _COLUMN.match(part)
    assert found is not None
    name, kind, collation = found.groups()
    is_key = "PRIMARY KEY" in part
    must = " NOT NULL" if is_key or "NOT NULL" in part else ""
    state = f"{_FULL.get(kind, kind)}{collation or ''}{must}"
    filled = f"""UPDATE {table} SET {name} = {_NOTHING[kind]} WHERE {name} IS NULL;
        ALTER TABLE {table} ALTER COLUMN {name} SET NOT NULL"""  # noqa: S608 - constants
    yield ("column", table, name), (state, filled if must else "")
    if default := _DEFAULT.search(part):
        usual = f"ALTER TABLE {table} ALTER COLUMN {name} SET {default[0]}"
        yield ("default", table, name), (_spelled(default[1]), usual)
    enforced = {}
    if is_key:
        enforced[key] = f"PRIMARY KEY ({name})"
    if part.endswith(" UNIQUE"):
        enforced[f"{table}_{name}_key"] = f"UNIQUE ({name})"
    if leads := _REFERENCES.search(part):
        # Rows that lead to nothing by now are found one by one.
        enforced[f"{table}_{name}_fkey"] = f"FOREIGN KEY ({name}) {leads[0]} NOT VALID"
    if checked := _CHECKED.search(part):
        enforced[f"{table}_{name}_check"] = checked[0]
    for called, what in enforced.items():
        yield ("constraint", table, called), (_spelled(what), f"{alter} {called} {what}")


def _spelled(statement: str) -> str:
    """Return what a statement, or a part of one, says: the same for all that do the same, whatever they call it."""
    found = _INDEXED.fullmatch(statement)
    words = statement if found is None else f"{found['invalid'] or ''}{found['unique'] or ''}{found['what']}"
    return _SPELLING.sub("", words)


def _forbids_rows(table: str, index: str) -> bool:
    """Return whether an index of somebody else allows fewer rows than the keys and indexes of this version do."""
    found = _INDEXED.fullmatch(index)
    if found is None or found["unique"] is None:
        return False
    columns = {one[1] for part in _PART.split(found["columns"]) if (one := _AS_IT_IS.fullmatch(part))}
    same = _spelled(index.removeprefix("invalid "))
    return not any(
        (kind == "constraint" and _key_of(made) <= columns) or (kind == "index" and state == same)
        for (kind, of, _), (state, made) in LAID_OUT.items()
        if of == table
    )


def _key_of(made: str) -> set[str | None]:
    """Return the columns of a key by the statement that makes it, of anything else a column that there is not."""
    found = _KEY.search(made)
    return {None} if found is None else {*found[1].split(", ")}


LAID_OUT: Final = _laid_out()


def shape_faults(rows: PassingRows) -> list[ShapeFault]:
    """Return what is wrong with the schema that some rows are in."""
    found = {(kind, table, name): state for kind, asked in _FOUND.items() for table, name, state in rows.rows(asked)}
    faults = [ShapeFault("missing", *place) for place in LAID_OUT if place not in found]
    for place, state in found.items():
        kind, table, _ = place
        if place in LAID_OUT:
            if (_spelled(state) if kind in _SPELLED else state) != LAID_OUT[place][0]:
                faults.append(ShapeFault("changed", *place, state))
        elif ("table", table, "") in LAID_OUT and (
            kind not in _LYING_ABOUT or (kind == "index" and _forbids_rows(table, state))
        ):
            faults.append(ShapeFault("foreign", *place, state))
    return faults


def can_be_asked(faults: Iterable[ShapeFault]) -> bool:
    """Return whether rows can be asked for in spite of some faults: all tables and columns are what they should be."""
    return all(one.kind not in {"table", "column"} or one.state in _TABLE_STATES for one in faults)


def can_be_mended(faults: Iterable[ShapeFault]) -> bool:
    """Return whether statements put right each fault of tables and columns."""
    return all(one.kind not in {"table", "column"} or _statement(one) is not None for one in faults)


def mending(faults: Iterable[ShapeFault]) -> list[sql.Composable]:
    """Return the statements that put faults right, in the order in which they can be run.

    Those of which somebody has to know what was lost have none.
    """
    order = (*(table for kind, table, _ in LAID_OUT if kind == "table"),)
    first = ("function", "rule", "trigger", "heir", "table", "links", "column", "default", "constraint", "index")
    # Keys are there before what leads to them, and tables are logged before those that lead to them.
    given = list(faults)
    has_function = any(one.kind == "function" for one in given)
    known = sorted(
        (one for one in given if not (has_function and one.name in _OF_FUNCTION)),
        key=lambda one: (
            first.index(one.kind),
            "FOREIGN KEY" in _made_by(one),
            one.table in order and order.index(one.table),
        ),
    )
    found = [statement for one in known if (statement := _statement(one)) is not None]
    if any(one.kind in {"trigger", "links"} and one.what != "foreign" for one in known):
        found.append(sql.SQL(TRIGGERS))
    if has_function:
        found.append(sql.SQL(AGAIN))
    return found


def _made_by(fault: ShapeFault) -> str:
    return LAID_OUT.get((fault.kind, fault.table, fault.name), ("", ""))[1]


def _statement(fault: ShapeFault) -> sql.Composable | None:
    table, name = sql.Identifier(SCHEMA, fault.table), sql.Identifier(fault.name)
    if fault.kind == "links":
        return sql.SQL("ALTER TABLE {} ENABLE TRIGGER ALL").format(table)
    if fault.kind == "table":
        return _of_table(fault.state, table)
    if fault.kind == "heir":
        heir = sql.Identifier(fault.state, fault.name)
        return sql.SQL("ALTER TABLE {} NO INHERIT {}").format(heir, table)
    if fault.what == "foreign":
        if fault.kind == "index":
            return sql.SQL("DROP INDEX {}").format(sql.Identifier(SCHEMA, fault.name))
        if fault.kind == "constraint":
            return sql.SQL("ALTER TABLE {} DROP CONSTRAINT {}").format(table, name)
        return sql.SQL("DROP {} {} ON {}").format(sql.SQL(fault.kind.upper()), name, table)
    made = _made_by(fault)
    if not made or (
        fault.kind == "column" and LAID_OUT["column", fault.table, fault.name][0] != f"{fault.state} NOT NULL"
    ):
        return None
    again: sql.Composable = sql.SQL("")
    if fault.what == "changed" and fault.kind == "index":
        again = sql.SQL("DROP INDEX {}; ").format(sql.Identifier(SCHEMA, fault.name))
    if fault.what == "changed" and fault.kind == "constraint":
        again = sql.SQL("ALTER TABLE {} DROP CONSTRAINT {}; ").format(table, name)
    return again + sql.SQL(made)


def _of_table(state: str, table: sql.Identifier) -> sql.Composable | None:
    return sql.SQL(_TABLE_STATES[state]).format(table) if state in _TABLE_STATES else None
