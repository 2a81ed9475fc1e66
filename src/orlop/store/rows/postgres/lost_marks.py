"""Marks of the names that have lost what they mean, so that removals of single images need not ask every name.

What an image had that is lost, nobody can tell, and whatever nothing else needs may be its own. So nothing is released
while a name leads to nothing. To ask that of all names would cost each removal as much as there are names. Instead
the server keeps a mark at each name whose image or manifest is not there, and an index of those that have one. Whoever
deletes a row past orlop sets it thereby: the triggers fire in every mode of a session, also where no link is checked.

A mark alone does not count: what it says is asked of that name again. Collections ask every name, with or without one.
"""

from __future__ import annotations

from typing import Final

_MEANINGS: Final = (("reference", "image", "image", "id"), ("top", "digest", "manifest", "digest"))
"""The tables of names, the column that says what each means, and the table and column where that is."""

_COLUMN_OF: Final = """
ALTER TABLE {names} ADD COLUMN lost boolean NOT NULL DEFAULT false;
CREATE INDEX {names}_lost ON {names} ({means}) WHERE lost;
"""
_TRIGGERS_OF: Final = """
CREATE OR REPLACE FUNCTION mark_{names}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    NEW.lost := NOT EXISTS (SELECT 1 FROM orlop.{table} WHERE {table}.{key} = NEW.{means});
    RETURN NEW; END $$;
CREATE OR REPLACE FUNCTION mark_names_of_{table}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF TG_OP IN ('UPDATE', 'DELETE') THEN UPDATE orlop.{names} SET lost = true WHERE {means} = OLD.{key}; END IF;
    IF TG_OP IN ('UPDATE', 'INSERT') THEN
        UPDATE orlop.{names} SET lost = false WHERE {means} = NEW.{key} AND lost; END IF;
    IF TG_OP = 'TRUNCATE' THEN UPDATE orlop.{names} SET lost = true; END IF;
    RETURN NULL; END $$;
DROP TRIGGER IF EXISTS {names}_marked ON {names};
DROP TRIGGER IF EXISTS {table}_moved ON {table};
DROP TRIGGER IF EXISTS {table}_emptied ON {table};
CREATE TRIGGER {names}_marked BEFORE INSERT OR UPDATE ON {names} FOR EACH ROW EXECUTE FUNCTION mark_{names}();
CREATE TRIGGER {table}_moved AFTER INSERT OR DELETE OR UPDATE OF {key} ON {table}
    FOR EACH ROW EXECUTE FUNCTION mark_names_of_{table}();
CREATE TRIGGER {table}_emptied AFTER TRUNCATE ON {table} EXECUTE FUNCTION mark_names_of_{table}();
ALTER TABLE {names} ENABLE ALWAYS TRIGGER {names}_marked;
ALTER TABLE {table} ENABLE ALWAYS TRIGGER {table}_moved, ENABLE ALWAYS TRIGGER {table}_emptied;
UPDATE {names} SET lost = NOT lost
    WHERE lost = EXISTS (SELECT 1 FROM {table} WHERE {table}.{key} = {names}.{means});
"""
"""What keeps the marks of one table of names; what is written to a mark is put right by the first trigger."""


def _for_each(text: str, between: str) -> str:
    return between.join(
        text.format(names=names, means=means, table=table, key=key) for names, means, table, key in _MEANINGS
    )


TRIGGERS: Final = _for_each(_TRIGGERS_OF, "")
"""The statements that make the triggers, in place of those that are there, and set the marks."""
MARKS: Final = _for_each(_COLUMN_OF, "") + TRIGGERS
"""The statements that add the marks to the tables of a store, and set them."""

HAS_MARKS: Final = "({})".format(
    _for_each(
        """EXISTS (SELECT 1 FROM {names} WHERE {names}.lost
        AND NOT EXISTS (SELECT 1 FROM {table} WHERE {table}.{key} = {names}.{means}))""",
        " OR ",
    )
)
"""Asks whether a name has lost what it means, of the names with a mark."""
