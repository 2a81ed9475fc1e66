"""Long statements of SQLite end by what ends the work of their thread, and by signals."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from contextlib import closing, suppress
from typing import TYPE_CHECKING

import pytest

from orlop import stores
from orlop.inside.rpm import sqlite_headers
from orlop.store.rows.sqlite.open import copy_pages
from orlop.streams.interruption import interrupted_by, interruptible
from tests.interop.programs import environment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ENDLESS = "WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n"
LONG = "WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n LIMIT 50000) SELECT count(*) FROM n"
#: A command that, at a look through the whole database, says so, and never comes to its end by itself.
_RUN = f"""
import sys
from orlop.cli.main import main
from orlop.store.rows.sqlite.damage import check

def endless(connection, *_, **__):
    print("begun", flush=True)
    return connection.execute({ENDLESS!r}).fetchall()

check._faults = endless
sys.argv[0] = "orlop"
main()
"""


class Ended(Exception):
    """Ends the work of a thread."""


def end() -> None:
    raise Ended


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as found:
        yield found


@pytest.mark.sampled(8)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    "words",
    ["fsck", "fsck --repair", "gc", "prune -f", "store copy {}/new", "store backup {}/new", "store move {}/new"],
)
def test_a_look_through_the_database_ends_by_a_signal(tmp_path: Path, words: str, number: signal.Signals) -> None:
    root = tmp_path / "root"
    stores.init(root)
    argv = [sys.executable, "-c", _RUN, *words.format(tmp_path).split()]
    with subprocess.Popen(
        argv, env=environment(ORLOP_ROOT=str(root)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "begun\n"
            process.send_signal(number)
            _, err = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == 128 + number
    assert "Traceback" not in err
    assert stores.info(root).images == 0
    assert not (tmp_path / "new").exists()


def test_what_ends_a_thread_ends_its_statement(connection: sqlite3.Connection) -> None:
    with pytest.raises(Ended), interrupted_by(end), interruptible(connection):
        connection.execute(ENDLESS).fetchone()
    assert connection.execute(LONG).fetchone() == (50000,)


def test_an_end_is_not_lost_where_errors_of_statements_are_passed_over(connection: sqlite3.Connection) -> None:
    seen = []

    def pass_over() -> None:
        with interruptible(connection):
            for _ in range(2):
                with suppress(sqlite3.Error):
                    connection.execute(ENDLESS).fetchone()
                seen.append(1)

    with pytest.raises(Ended), interrupted_by(end):
        pass_over()
    assert seen == [1, 1]


def test_turns_that_are_used_up_end_a_statement(connection: sqlite3.Connection) -> None:
    with interruptible(connection, range(1000)):
        assert connection.execute(LONG).fetchone() == (50000,)
    with pytest.raises(sqlite3.OperationalError, match="interrupted"), interruptible(connection, range(3)):
        connection.execute(ENDLESS).fetchone()


def test_a_copy_that_is_ended_leaves_its_target_as_it_was(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "one")) as one, closing(sqlite3.connect(tmp_path / "two")) as two:
        one.executescript("CREATE TABLE a (x); INSERT INTO a VALUES (zeroblob(30000000))")
        two.executescript("CREATE TABLE b (x); INSERT INTO b VALUES (1)")
        with pytest.raises(Ended), interrupted_by(end):
            copy_pages(one, two)
        assert two.execute("SELECT x FROM b").fetchall() == [(1,)]
        copy_pages(one, two)
        assert two.execute("SELECT length(x) FROM a").fetchall() == [(30000000,)]


def test_a_database_of_packages_is_read_no_further_where_a_thread_ends(connection: sqlite3.Connection) -> None:
    connection.execute("CREATE TABLE Packages (blob)")
    connection.executemany("INSERT INTO Packages VALUES (?)", [(b"x",)] * 5000)
    database = connection.serialize()
    assert len([*sqlite_headers(database)]) == 5000
    with pytest.raises(Ended), interrupted_by(end):
        list(sqlite_headers(database))
