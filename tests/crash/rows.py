"""One row of the database that is lost, with its entries in all indexes, and every command after it.

A lost page takes rows from a table or from an index, and then the other tells; here neither does, and what is left to
tell are the rows of other tables and the documents. `ALONE` says which rows nothing else tells of. `spoiled` says what
is asked of each command.
"""

from __future__ import annotations

import io
import json
import os
import sqlite3
import sys
from contextlib import closing
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Final

import orlop
from orlop.store.rows.values import COLUMNS
from tests.crash.spoiled import NAME, Spoil, bench, tried
from tests.unit.artifacts import chart, signature
from tests.unit.layouts import Layout, named

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.crash.spoiled import Bench

ALONE: Final = {
    "image_metadata": "key <> 'parent'",
    "reference": "NOT EXISTS (SELECT 1 FROM top WHERE top.name = reference.name AND top.suffix = reference.suffix)",
    "top": "TRUE",
    "diff_blob": "(SELECT count(*) FROM diff_blob AS other WHERE other.diff = diff_blob.diff) > 1",
    "lease": "TRUE",
    "event": "TRUE",
}
"""The rows of which nothing else tells: pins, times, names of what has no manifest or index, what names mean, leases,
events, and a stored form of a layer that has another one.

A name of an image that came by a manifest is told by what the name means, as long as the image is recorded with that.
"""


def enrich(root: Path) -> None:
    """Bring an index of two platforms, an artifact, and what refers to an image."""
    layout = Layout()
    platforms = [
        layout.image("both", "of one", platform=True),
        layout.image("both", "of the other", architecture="arm64", platform=True),
    ]
    alone = layout.image("signed", **named("example.com/signed:1"))
    signature(layout, alone)
    layout.top(
        layout.index(*platforms, **named("example.com/index:1")),
        alone,
        signature(layout, alone),
        chart(layout) | named("example.com/chart:1"),
    )
    with orlop.open(root) as images:
        images.load(io.BytesIO(layout.pack()))
        images.tag(NAME, "example/second:2")


def _lose(table: str, row: tuple[object, ...], root: Path) -> None:
    where = " AND ".join(f"{column.name} IS ?" for column in COLUMNS[table])
    with closing(sqlite3.connect(root / "metadata.db", isolation_level=None)) as database:
        database.execute("BEGIN")
        # What follows from a change by SQL does not follow from a loss.
        triggers = database.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'").fetchall()
        for name, _ in triggers:
            database.execute(f"DROP TRIGGER {name}")
        lost = database.execute(f"DELETE FROM {table} WHERE {where}", row).rowcount
        for _, statement in triggers:
            database.execute(statement)
        database.execute("COMMIT")
        assert lost == 1


def of_rows(root: Path) -> Iterator[Spoil]:
    """Yield the loss of each row of a store."""
    with closing(sqlite3.connect(f"file:{root}/metadata.db?mode=ro", uri=True)) as database:
        for table, columns in COLUMNS.items():
            words = ", ".join(one.name for one in columns)
            for alone, *row in database.execute(f"SELECT {ALONE.get(table, 'FALSE')}, {words} FROM {table}").fetchall():
                what = " ".join(str(value)[:80] for value in row if not isinstance(value, bytes))
                yield Spoil(f"lost of {table}: {what}", partial(_lose, table, tuple(row)), alone=bool(alone))


def _made(made: Bench) -> None:
    made.make(log=False)
    enrich(made.template)
    with closing(sqlite3.connect(made.template / "metadata.db")) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def count(tell: Callable[[str], object], *, step: int, seed: int, only: str = "") -> Counter[str]:
    """Lose every ``step``-th row, one at a time, and return what came of it.

    Raises:
        AssertionError: something went wrong that must not.
    """
    with bench() as made:
        _made(made)
        made.learn()
        found = [one for one in of_rows(made.template) if only in one.what]
        Random(seed).shuffle(found)
        return tried(made, found[::step], tell)


def main() -> None:
    """Run for each ``step:seed`` that is given, and print what was counted."""
    loud = bool(os.environ.get("ORLOP_LOUD"))
    for argument in sys.argv[1:]:
        step, seed, *only = argument.split(":")
        counted = count(
            (lambda line: print(line, file=sys.stderr)) if loud else len,
            step=int(step),
            seed=int(seed),
            only=":".join(only),
        )
        print(json.dumps(["rows", counted]))


if __name__ == "__main__":
    main()
