"""A store whose database has a standby that takes over, and the other ways by which libpq is told where it is."""

from __future__ import annotations

import io
import os
import signal
import tempfile
import threading
import time
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

import orlop
from orlop.errors import DatabaseUnavailable, OrlopError, ReadOnlyStore, StorageError
from orlop.model.store_url import StoreURL
from orlop.store.remote import init_store, remote_store
from tests import engines
from tests.machines import tar_of
from tests.postgres import Postgres, database

if TYPE_CHECKING:
    from collections.abc import Iterator

_PATIENCE = 60


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder with a short path, which an ordinary user may enter."""
    with tempfile.TemporaryDirectory(prefix="orlop-pg-", dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def until(what: object, connection: psycopg.Connection, statement: str) -> None:
    """Wait until the server answers this."""
    end = time.monotonic() + _PATIENCE
    while (found := connection.execute(statement).fetchone()) != (what,):
        assert time.monotonic() < end, found
        time.sleep(0.05)


class Pair:
    """A primary and a standby that it waits for, if wanted, and the store in them."""

    def __init__(self, folder: Path, stack: ExitStack, *, waits: bool = True) -> None:
        folders = [folder / name for name in ("one", "two")]
        for each in folders:
            each.mkdir()
        self.primary = Postgres(folders[0], durable=True)
        self.primary.start()
        stack.callback(self.primary.stop, signal.SIGQUIT)
        name = str(conninfo_to_dict(self.primary.database(empty=True))["dbname"])
        self.standby = Postgres(folders[1], durable=True, primary=self.primary)
        self.standby.start()
        stack.callback(self.standby.stop, signal.SIGQUIT)
        with psycopg.connect(self.primary.url("postgres"), autocommit=True) as connection:
            until("streaming", connection, "SELECT state FROM pg_stat_replication")
            if waits:
                connection.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
                connection.execute("SELECT pg_reload_conf()")
                until("sync", connection, "SELECT sync_state FROM pg_stat_replication")
        hosts = ",".join(quote(str(one), safe="") for one in folders)
        self._rest = f"{name}?blobs=s3://{engines.BUCKET}/{os.urandom(8).hex()}"
        self.url = self._url(hosts)
        self.second = self._url(quote(str(folders[1]), safe=""))

    def _url(self, hosts: str) -> StoreURL:
        return StoreURL.parse(f"postgresql://orlop@{hosts}/{self._rest}", engines.variables())

    def detach(self) -> None:
        """End the standby once it has all that was committed; it hears nothing of what follows."""
        with psycopg.connect(self.primary.url("postgres"), autocommit=True) as connection:
            caught_up = "SELECT replay_lsn >= pg_current_wal_insert_lsn() FROM pg_stat_replication"
            until(True, connection, caught_up)
        self.standby.stop()

    def promote(self) -> None:
        """End the primary as a crash does, and have the standby take over. It waits for no standby of its own."""
        self.primary.stop(signal.SIGQUIT)
        with psycopg.connect(self.standby.url("postgres"), autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET synchronous_standby_names = ''")
            connection.execute("SELECT pg_reload_conf()")
            connection.execute("SELECT pg_promote()")
            until(False, connection, "SELECT pg_is_in_recovery()")


@pytest.mark.sampled(4)
@pytest.mark.slow
def test_a_standby_that_takes_over_loses_nothing(place: Path, data: Path) -> None:
    """Machines that work meanwhile end right or with one clear error, and find each image that they were told of."""
    archives = [data / "dockerd-20.10-overlay2" / name for name in ("multi.tar", "parent-child.tar", "dup.tar")]
    with ExitStack() as stack:
        engines.new_url(prepared=False)
        pair = Pair(place, stack)
        init_store(pair.url).close()
        with orlop.open(pair.url) as images:
            images.load(archives[0])
        with orlop.open(pair.second) as images:
            assert list(images.images())
            with pytest.raises(ReadOnlyStore, match="primary"):
                images.load(archives[1])
        stop = threading.Event()
        kept: list[set[str]] = []
        failed: list[OrlopError] = []
        working = threading.Semaphore(0)

        names = count()

        def machine(number: int) -> None:
            mine: set[str] = set()
            while not stop.is_set():
                name = f"machine{number}:{next(names)}"
                try:
                    with orlop.open(pair.url) as images:
                        loaded = images.load(archives[number])
                        images.tag(str(loaded.images[0].id), name)
                        mine.add(name)
                        working.release()
                        if len(mine) > 3:
                            images.remove(mine.pop())
                except OrlopError as error:
                    failed.append(error)
            kept.append(mine)

        machines = [threading.Thread(target=machine, args=(number,)) for number in (1, 2)]
        for one in machines:
            one.start()
        for _ in range(4):
            assert working.acquire(timeout=_PATIENCE)
        pair.promote()
        for _ in range(4):
            assert working.acquire(timeout=_PATIENCE)
        stop.set()
        for one in machines:
            one.join(2 * _PATIENCE)
            assert not one.is_alive()
        assert len(kept) == 2
        assert all(isinstance(one, StorageError) for one in failed), failed
        with orlop.open(pair.url) as images:
            for archive in archives:
                images.load(archive)
            images.gc()
            there = {str(name) for one in images.images() for name in one.references}
            assert {f"docker.io/library/{name}" for mine in kept for name in mine} <= there
        assert orlop.stores.check(pair.url, verify=True).damage == ()


def image_of(images: orlop.ImageService, name: str) -> None:
    images.import_image(io.BytesIO(tar_of(name.encode() * 1000)), name)


def read(images: orlop.ImageService, name: str) -> bytes:
    saved = io.BytesIO()
    images.save([name], saved)
    return saved.getvalue()


@pytest.mark.sampled(3)
@pytest.mark.slow
def test_a_standby_that_takes_over_without_the_last_commits_says_what_is_missing(place: Path) -> None:
    """A removal that is lost names bytes that are gone, and a load that is lost leaves bytes that nobody names."""
    with ExitStack() as stack:
        engines.new_url(prepared=False)
        pair = Pair(place, stack, waits=False)
        init_store(pair.url).close()
        with orlop.open(pair.url) as images:
            image_of(images, "stays:1")
            image_of(images, "removed:1")
        pair.detach()
        with orlop.open(pair.url) as images:
            images.remove("removed:1")
            image_of(images, "loaded:1")
            images.gc()
        # Before the standby hears of it.
        pair.primary.stop(signal.SIGQUIT)
        pair.standby.start()
        pair.promote()

        # Nothing that goes on makes it worse: what the rows name stays.
        with orlop.open(pair.url) as images:
            assert {str(name) for one in images.images() for name in one.references} == {
                "docker.io/library/stays:1",
                "docker.io/library/removed:1",
            }
            images.gc()
            assert read(images, "stays:1")
            with pytest.raises(OrlopError) as caught:
                read(images, "removed:1")
            assert caught.value.code in {"CONTENT_NOT_FOUND", "STORE_DAMAGED"}, caught.value
        # As the documentation says.
        init_store(pair.url, adopt=True).close()
        assert {one.kind: one.level for one in orlop.stores.fsck(pair.url).problems} == {
            "blob-missing": "damage",
            "toc-missing": "note",
            "bucket-strays": "note",
        }
        with orlop.open(pair.url) as images:
            for name in ("removed:1", "loaded:1"):
                image_of(images, name)
            assert all(read(images, name) for name in ("stays:1", "removed:1", "loaded:1"))
            images.gc()
        orlop.stores.fsck(pair.url, repair=True)
        assert orlop.stores.fsck(pair.url).problems == ()
        assert orlop.stores.check(pair.url, verify=True).damage == ()


@pytest.mark.sampled(3)
def test_a_password_comes_from_a_file_or_from_nowhere_in_the_url(place: Path) -> None:
    """With the file that `PGPASSFILE` names; without it, or with another password, it is one error without a secret."""
    own = Postgres(place)
    rules = place / "data" / "pg_hba.conf"
    rules.write_text("local all owner scram-sha-256\n" + rules.read_text())
    own.start()
    try:
        with psycopg.connect(own.url("postgres"), autocommit=True) as connection:
            connection.execute("CREATE ROLE owner LOGIN PASSWORD 'hunter2'")
            connection.execute("CREATE DATABASE images OWNER owner")
        engines.new_url(prepared=False)
        text = (
            f"postgresql://owner@{quote(str(place), safe='')}/images?blobs=s3://{engines.BUCKET}/{os.urandom(8).hex()}"
        )
        file = place / "pass"
        for password in ("hunter2", "hunter3"):
            file.write_text(f"*:*:images:owner:{password}\n")
            file.chmod(0o600)
            url = StoreURL.parse(text, engines.variables() | {"PGPASSFILE": str(file)})
            if password == "hunter2":
                init_store(url).close()
                continue
            with pytest.raises(StorageError, match="password") as caught:
                remote_store(url)
            assert password not in str(caught.value)
        with pytest.raises(StorageError, match="password"):
            remote_store(StoreURL.parse(text, engines.variables() | {"PGPASSFILE": str(place / "none")}))
    finally:
        own.stop()


def test_a_service_says_what_the_url_does_not(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`PGSERVICE` is read by libpq itself; the URL wins over it."""
    engines.new_url(prepared=False)
    info = conninfo_to_dict(database(empty=True))
    (place / "services").write_text("[images]\nuser=orlop\ndbname=elsewhere\n")
    monkeypatch.setenv("PGSERVICEFILE", str(place / "services"))
    monkeypatch.setenv("PGSERVICE", "images")
    host = quote(str(info["host"]), safe="")
    text = f"postgresql://{host}/{info['dbname']}?blobs=s3://{engines.BUCKET}/{os.urandom(8).hex()}"
    init_store(StoreURL.parse(text, engines.variables())).close()


def test_of_several_servers_the_one_that_can_be_written_is_used() -> None:
    url = StoreURL.parse(engines.new_url(), engines.variables())
    away = StoreURL.parse(str(url).replace("@", "@localhost:1,"), url.variables)
    with remote_store(away) as store, store.metadata.write():
        pass
    only = StoreURL.parse(str(away), dict(url.variables) | {"PGTARGETSESSIONATTRS": "standby"})
    with pytest.raises(DatabaseUnavailable):
        remote_store(only)
