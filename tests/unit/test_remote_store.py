"""Stores over PostgreSQL and an object store: preparing, opening, sharing, and what happens when an engine is away."""

from __future__ import annotations

import io
import logging
import os
import signal
import tempfile
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

import orlop
from orlop.errors import (
    BucketUnavailable,
    ContentNotFound,
    DatabaseUnavailable,
    InvalidInput,
    NotSupported,
    OrlopError,
    ReadOnlyStore,
    StorageError,
    StoreInUse,
    StoreNotFound,
)
from orlop.model.store_url import StoreURL
from orlop.model.values import replace
from orlop.store.blobs.s3.bucket import Bucket
from orlop.store.blobs.s3.client import Patience, Pieces, S3Client
from orlop.store.blobs.s3.ingest import path_of
from orlop.store.blobs.s3.reclaim import MARKER
from orlop.store.blobs.s3.store import S3BlobStore
from orlop.store.opening import open_store
from orlop.store.place.transfer import fingerprint
from orlop.store.remote import init_store, remote_store, settings_of, variables_of
from orlop.store.rows.postgres.tables import SCHEMA_VERSION
from tests import engines
from tests.postgres import Postgres, make_older
from tests.seaweed import Seaweed
from tests.unit.hosted import hosting
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orlop.store.root import Store

PATIENCE = 120


@pytest.fixture
def archives(data: Path) -> list[Path]:
    folder = data / "dockerd-20.10-overlay2"
    return [folder / name for name in ("multi.tar", "parent-child.tar", "dup.tar")]


@pytest.fixture
def url() -> StoreURL:
    return StoreURL.parse(engines.new_url(), engines.variables())


@pytest.fixture
def store(url: StoreURL) -> Iterator[Store]:
    with remote_store(url) as found:
        yield found


def objects(store: Store) -> set[str]:
    """Return the keys of all objects in the bucket that hold content."""
    assert isinstance(store.blobs, S3BlobStore)
    return {found.key for found in store.blobs.bucket.objects("blobs/")}


def direct(url: StoreURL) -> psycopg.Connection:
    """Return a connection to the database of a store."""
    return psycopg.connect(host=url.host, dbname=url.database, user=url.user, autocommit=True)


def forget_place(url: StoreURL) -> None:
    """Make rows say nothing of where their bytes are, as those of an older orlop do."""
    with direct(url) as connection:
        connection.execute("UPDATE orlop.store SET blobs = ''")


# Preparing.


def test_only_init_makes_a_store_and_it_may_be_repeated(archives: list[Path]) -> None:
    url = StoreURL.parse(engines.new_url(prepared=False), engines.variables())
    with pytest.raises(StoreNotFound, match="store init"):
        orlop.open(url)
    orlop.stores.init(url)
    with orlop.open(url) as images:
        images.load(archives[0])
        count = len(list(images.images()))
    assert orlop.stores.init(url).images == count
    with pytest.raises(NotSupported, match="belongs to a group"):
        orlop.stores.init(url, group=0)


def test_init_makes_the_bucket_and_without_one_changes_nothing() -> None:
    known = StoreURL.parse(engines.new_url(prepared=False), engines.variables())
    there = known.host, None, known.user, known.database
    stranger = dict(known.variables) | {"AWS_SECRET_ACCESS_KEY": "wrong"}
    with pytest.raises(StorageError, match="bucket"):
        init_store(StoreURL(*there, "not-ours", "p", variables=stranger))
    with pytest.raises(StoreNotFound):
        remote_store(known)
    new = StoreURL(*there, f"new-{os.urandom(4).hex()}", "p", variables=known.variables)
    init_store(new).close()
    with orlop.open(new) as images:
        assert list(images.images()) == []
        images.gc()


@pytest.mark.sampled(4)
def test_what_is_not_in_the_bucket_any_more_is_found_and_brought_back(url: StoreURL, archives: list[Path]) -> None:
    with orlop.open(url) as images:
        images.load(archives[0])
    with remote_store(url) as store:
        assert isinstance(store.blobs, S3BlobStore)
        blob, toc = (next(iter(store.blobs.keys.objects(tocs=tocs))) for tocs in (False, True))
        store.blobs.bucket.delete([path_of(blob.key), path_of(toc.key)])
        lost = sorted([("blob-missing", blob.name), ("toc-missing", toc.name.removeprefix("toc:"))])
    for quick in (True, False):
        found = orlop.stores.fsck(url, quick=quick).problems
        assert sorted((one.kind, one.subject) for one in found) == lost
    assert {one.kind for one in orlop.stores.check(url).problems} == {"blob-missing", "toc-missing"}
    report = orlop.stores.fsck(url, repair=True, sources=[archives[0]])
    assert report.problems == ()
    assert orlop.stores.fsck(url).problems == ()


def test_a_misspelt_prefix_is_told_and_never_taken(url: StoreURL, archives: list[Path]) -> None:
    with orlop.open(url) as images:
        images.load(archives[0])
        name = str(next(iter(images.images())).references[0])
    wrong = StoreURL(url.host, None, url.user, url.database, url.bucket, "misspelt", variables=url.variables)
    right, named = f"s3://{url.bucket}/{url.prefix}", f"s3://{url.bucket}/misspelt"
    for use in (orlop.open, orlop.stores.check, orlop.stores.fsck, init_store):
        with pytest.raises(StoreInUse, match=f"are in {right}, not in {named}; .* --adopt"):
            use(wrong)
    # Rows of an older orlop do not say where their bytes are.
    forget_place(url)
    for look in (orlop.stores.check, orlop.stores.fsck):
        with pytest.raises(StoreNotFound, match="check that prefix"):
            look(wrong)
        forget_place(url)
    with pytest.raises(StoreInUse, match="none of it is in"):
        init_store(wrong)
    with orlop.open(wrong) as images, pytest.raises(ContentNotFound, match="check that prefix"):
        images.save([name], io.BytesIO())
    init_store(url).close()
    assert orlop.stores.fsck(url).problems == ()


def test_of_several_places_at_once_one_is_marked() -> None:
    known = StoreURL.parse(engines.new_url(prepared=False), engines.variables())
    places = [replace(known, prefix=f"{known.prefix}{number}") for number in range(4)]
    barrier, errors = threading.Barrier(len(places)), list[OrlopError]()

    def prepare(place: StoreURL) -> None:
        barrier.wait(PATIENCE)
        try:
            init_store(place).close()
        except StoreInUse as error:
            errors.append(error)

    threads = [threading.Thread(target=prepare, args=(one,)) for one in places]
    for one in threads:
        one.start()
    for one in threads:
        one.join(PATIENCE)
    marked = [one for one in places if Bucket(S3Client(settings_of(one, one.variables))).read(MARKER) is not None]
    assert len(marked) == 1
    assert [f"are in s3://{known.bucket}/{marked[0].prefix}, not" in str(one) for one in errors] == [True] * 3
    init_store(marked[0]).close()


@pytest.mark.sampled(2)
def test_a_store_of_the_first_version_is_brought_on_and_learns_its_place(url: StoreURL, archives: list[Path]) -> None:
    with orlop.open(url) as images:
        images.load(archives[0])
        before = {str(one.id) for one in images.images()}
    with direct(url) as connection:
        make_older(connection, 1)
        connection.execute("CREATE ROLE only_reads LOGIN")
        connection.execute("GRANT USAGE ON SCHEMA orlop TO only_reads")
        connection.execute("GRANT SELECT ON ALL TABLES IN SCHEMA orlop TO only_reads")
    try:
        with orlop.open(replace(url, user="only_reads")) as images:
            assert {str(one.id) for one in images.images()} == before
    finally:
        with direct(url) as connection:
            assert connection.execute("SELECT version FROM orlop.store").fetchone() == (1,)
            connection.execute("DROP OWNED BY only_reads")
            connection.execute("DROP ROLE only_reads")
    place = f"s3://{url.bucket}/{url.prefix}"
    with orlop.open(url) as images:
        assert {str(one.id) for one in images.images()} == before
        images.import_image(io.BytesIO(bytes(1024)), "a:1")
    with direct(url) as connection:
        assert connection.execute("SELECT version, blobs FROM orlop.store").fetchone() == (SCHEMA_VERSION, place)
    with pytest.raises(StoreInUse):
        orlop.open(replace(url, prefix="elsewhere"))


@pytest.mark.sampled(2)
def test_bytes_that_were_moved_are_adopted_where_they_are(url: StoreURL, archives: list[Path]) -> None:
    with orlop.open(url) as images:
        images.load(archives[0])
    moved = replace(url, prefix=f"{url.prefix}-moved")
    with remote_store(url) as store:
        assert isinstance(store.blobs, S3BlobStore)
        there = Bucket(S3Client(settings_of(moved, moved.variables)))
        for one in list(store.blobs.bucket.objects("blobs/")):
            there.put(one.key, Pieces([store.blobs.bucket.read(one.key) or b""]))
    init_store(moved, adopt=True).close()
    assert orlop.stores.fsck(moved).problems == ()
    with pytest.raises(StoreInUse, match="not in"):
        orlop.open(url)


@pytest.mark.sampled(3)
def test_rows_that_have_not_the_bucket_delete_nothing_until_they_adopt_it(url: StoreURL, archives: list[Path]) -> None:
    with orlop.open(url) as images:
        images.load(archives[0])
    other = StoreURL.parse(engines.new_url(prepared=False), engines.variables())
    clone = StoreURL(other.host, None, other.user, other.database, url.bucket, url.prefix, variables=url.variables)
    with pytest.raises(StoreInUse, match="--adopt"):
        init_store(clone)
    with remote_store(url) as store:
        before = objects(store)
    init_store(clone, adopt=True).close()
    with orlop.open(url) as images:
        for image in list(images.images()):
            images.remove(str(image.id), force=True)
        with pytest.raises(StoreInUse, match="belongs to generation"):
            images.gc()
    with remote_store(clone) as store:
        assert objects(store) == before


# What the URL does not say.


def test_a_file_of_variables_wins_over_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "store.toml"
    keys = 'AWS_ACCESS_KEY_ID = "from the file"\nAWS_SECRET_ACCESS_KEY = "secret"\n'
    file.write_text(f'{keys}AWS_ALLOW_HTTP = true\nORLOP_S3_SSE = "AES256"\n')
    file.chmod(0o600)
    text = f"postgresql://db/images?blobs=s3://bucket/p&config={file}"
    url = StoreURL.parse(text, {"AWS_ACCESS_KEY_ID": "other", "AWS_ENDPOINT_URL": "http://localhost:1", "HOME": "/"})
    settings = settings_of(url, variables_of(url))
    assert settings.endpoint == "http://localhost:1"
    assert settings.allow_http
    assert settings.sse == "AES256"
    assert settings.credentials_now().access_key == "from the file"
    assert (settings.bucket, settings.prefix) == ("bucket", "p")


@pytest.mark.parametrize(
    ("content", "mode", "message"),
    [
        ("PGPASSWORD = 'hunter2'", 0o640, "others can read it; run: chmod 600"),
        ("PGPASSWORT = 'hunter2'", 0o600, "'PGPASSWORT', which is not a variable"),
        ("PGPASSWORD = hunter2", 0o600, "is not valid TOML"),
        ("AWS_ALLOW_HTTP = 'perhaps'", 0o600, "AWS_ALLOW_HTTP is 'perhaps'; use true or false"),
    ],
)
def test_a_file_that_is_not_valid_is_refused(tmp_path: Path, content: str, mode: int, message: str) -> None:
    file = tmp_path / "store.toml"
    file.write_text(content)
    file.chmod(mode)
    url = StoreURL.parse(f"postgresql://db/images?blobs=s3://bucket&config={file}")
    with pytest.raises(InvalidInput, match=message) as caught:
        settings_of(url, variables_of(url))
    assert "hunter2" not in str(caught.value)


def test_a_file_that_is_missing_says_so() -> None:
    url = StoreURL.parse("postgresql://db/images?blobs=s3://bucket&config=/nowhere/store.toml")
    with pytest.raises(OrlopError, match=r"/nowhere/store\.toml"):
        variables_of(url)


def test_no_secret_is_shown(url: StoreURL, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = url.variables["AWS_SECRET_ACCESS_KEY"]
    with remote_store(url) as store:
        assert secret not in f"{url} {url!r} {store.root} {store.metadata.facts()}"
    wrong = dict(url.variables) | {"AWS_SECRET_ACCESS_KEY": "hunter2hunter2"}
    monkeypatch.setattr("time.sleep", lambda _: None)
    with orlop.open(StoreURL.parse(str(url), wrong)) as images, pytest.raises(StorageError) as caught:
        images.import_image(io.BytesIO(bytes(1024)), "a:1")
    assert "hunter2" not in str(caught.value)


def test_no_secret_is_logged(url: StoreURL, archives: list[Path], caplog: pytest.LogCaptureFixture) -> None:
    """With everything logged that `--debug` shows, and more."""
    secrets = {"hunter2hunter2", url.variables["AWS_SECRET_ACCESS_KEY"], "a token of a session"}
    variables = dict(url.variables) | {"PGPASSWORD": "hunter2hunter2"}
    wrong = variables | {"AWS_SESSION_TOKEN": "a token of a session"}
    with caplog.at_level(logging.DEBUG):
        with orlop.open(StoreURL.parse(str(url), variables)) as images:
            images.load(archives[0])
        with orlop.open(StoreURL.parse(str(url), wrong)) as images, suppress(StorageError):
            images.save([str(next(iter(images.images())).references[0])], io.BytesIO())
        with pytest.raises(DatabaseUnavailable):
            orlop.open(StoreURL.parse(str(url).replace("orlop-pg", "orlop-away"), variables))
    assert caplog.records
    for record in caplog.records:
        assert not [secret for secret in secrets if secret in record.getMessage() + str(record.exc_info)]


@pytest.mark.sampled(2)
def test_stores_share_a_bucket_below_each_other(archives: list[Path]) -> None:
    """A prefix may be the beginning of another one, or lie in it; no store takes objects of another for its own."""
    urls = []
    base = os.urandom(8).hex()
    for prefix in (base, f"{base}b", f"{base}/b", f"{base}/blobs", f"{base}/blobs/{'0' * 32}"):
        url = StoreURL.parse(engines.new_url(prepared=False), engines.variables())
        urls.append(replace(url, prefix=prefix))
        init_store(urls[-1]).close()
        with orlop.open(urls[-1]) as images:
            images.load(archives[2])
    for url in urls:
        assert orlop.stores.fsck(url, repair=True).problems == ()
        with orlop.open(url) as images:
            assert images.gc().garbage == ()
    with orlop.open(urls[0]) as images:
        for one in list(images.images()):
            images.remove(str(one.id), force=True)
        images.gc()
    for url in urls:
        assert orlop.stores.check(url, verify=True).problems == ()


# Sharing.


def test_a_command_leaves_no_session_and_a_list_writes_no_row(url: StoreURL, archives: list[Path]) -> None:
    with orlop.open(url) as images:
        images.load(archives[0])
    with psycopg.connect(host=url.host, user=url.user, dbname=url.database, autocommit=True) as connection:
        counted = "SELECT sum(n_tup_ins + n_tup_upd + n_tup_del) FROM pg_stat_user_tables"
        assert connection.execute("SELECT count(*) FROM orlop.session").fetchone() == (0,)
        _until_alone(connection)
        before = connection.execute(counted).fetchone()
        with orlop.open(url) as images:
            assert list(images.images())
        _until_alone(connection)
        assert connection.execute(counted).fetchone() == before


def _until_alone(connection: psycopg.Connection) -> None:
    """Wait until all others have left the database: a process of the server counts what it did before it ends."""
    others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    until(lambda: connection.execute(others).fetchone() == (0,))
    connection.execute("SELECT pg_stat_clear_snapshot()")


def role(url: StoreURL, *grants: str) -> StoreURL:
    """Return the URL for a new role with some rights, as `docs/remote.md` names them."""
    name = f"role_{os.urandom(4).hex()}"
    with direct(url) as connection:
        connection.execute(f"CREATE ROLE {name} LOGIN".encode())
        connection.execute(f"GRANT USAGE ON SCHEMA orlop TO {name}".encode())
        for grant in grants:
            connection.execute(f"GRANT {grant} TO {name}".encode())
    return replace(url, user=name)


READER = ("SELECT ON ALL TABLES IN SCHEMA orlop", "INSERT, UPDATE, DELETE ON orlop.session")
WRITER = ("SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA orlop",)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("more", ["", "INSERT", "DELETE"])
def test_a_role_that_only_reads_reads(url: StoreURL, archives: list[Path], more: str) -> None:
    with orlop.open(url) as images:
        images.load(archives[0])
    grants = (*READER, f"{more} ON ALL TABLES IN SCHEMA orlop") if more else READER
    with orlop.open(role(url, *grants)) as images:
        assert images.read_only
        names = [str(name) for one in images.images() for name in one.references]
        saved = io.BytesIO()
        images.save(names, saved)
        assert saved.tell()
        with pytest.raises(ReadOnlyStore, match="may only read"):
            images.remove(names[0])


@pytest.mark.sampled(2)
def test_a_role_that_writes_needs_no_other_right(url: StoreURL, archives: list[Path]) -> None:
    with orlop.open(role(url, *WRITER)) as images:
        images.load(archives[0])
        names = [str(name) for one in images.images() for name in one.references]
        images.save(names, io.BytesIO())
        for name in names:
            images.remove(name)
        images.gc()
        assert images.gc().garbage == ()


def versions(url: StoreURL) -> dict[str, list[tuple[str, ...]]]:
    """Return which versions of its rows each table has, but for sessions: any change makes another one."""
    with direct(url) as connection:
        tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'orlop' ORDER BY 1").fetchall()
        asked = "SELECT ctid::text, xmin::text FROM orlop.{} ORDER BY ctid"
        return {
            name: connection.execute(asked.format(name).encode()).fetchall() for (name,) in tables if name != "session"
        }


@pytest.mark.sampled(3)
def test_readers_write_nothing_but_heartbeats(url: StoreURL, archives: list[Path], tmp_path: Path) -> None:
    """A role that only reads, with all it can do; and pulls from a registry, whatever its role."""

    def pull(images: orlop.ImageService, times: int) -> None:
        with hosting(images, tmp_path) as registry:
            for _ in range(times):
                manifest = registry.get("/v2/a/manifests/1")
                assert manifest.status == 200
                for one in manifest.json["layers"]:
                    assert registry.get(f"/v2/a/blobs/{one['digest']}").status == 200

    with orlop.open(url) as images:
        images.load(archives[0])
        name = str(next(iter(images.images())).references[0])
        images.tag(name, "localhost:5000/a:1")
        # The first pull makes compressed forms of the layers.
        pull(images, 1)
    with remote_store(url) as store:
        kept = objects(store)
    before = versions(url)
    with orlop.open(role(url, *READER)) as images:
        images.save([name], io.BytesIO())
        assert images.files(name).listdir()
        assert images.files(name).stat("/")
        assert images.history(name)
        assert images.inspect(name).image.rootfs.diff_ids
    with orlop.open(url) as images:
        pull(images, 20)
    assert versions(url) == before
    with remote_store(url) as store:
        assert objects(store) == kept


def test_the_time_of_a_store_is_that_of_its_database(url: StoreURL, monkeypatch: pytest.MonkeyPatch) -> None:
    right = time.time_ns()
    with remote_store(url) as store:
        monkeypatch.setattr("time.time_ns", lambda: right + 10**15)
        monkeypatch.setattr("time.time", lambda: right / 1e9 + 10**6)
        assert abs(store.now() - right) < PATIENCE * 10**9


@pytest.mark.sampled(2)
def test_a_forked_child_goes_on(url: StoreURL, archives: list[Path]) -> None:
    with orlop.open(url) as images:
        images.load(archives[0])
        names = [str(name) for one in images.images() for name in one.references]
        child = os.fork()
        if not child:
            status = 1
            try:
                images.load(archives[1])
                images.save(names[:1], io.BytesIO())
                status = 0
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        images.save(names, io.BytesIO())
        assert images.gc().garbage == ()


# Copies.


@pytest.mark.sampled(3)
def test_a_copy_there_and_back_is_the_same_store(url: StoreURL, archives: list[Path], tmp_path: Path) -> None:
    with orlop.open(tmp_path / "here") as images:
        for archive in archives:
            images.load(archive)
    orlop.stores.copy(tmp_path / "here", url)
    orlop.stores.move(url, tmp_path / "back")
    told = []
    for place in ("here", "back"):
        with open_store(tmp_path / place) as store, store.metadata.read() as rows:
            told.append(fingerprint(rows))
    assert told[0] == told[1]
    assert orlop.stores.check(tmp_path / "back", verify=True).damage == ()
    with remote_store(url) as store:
        assert objects(store) == set()


@pytest.mark.sampled(2)
def test_what_no_row_knows_is_found_and_removed_by_a_repair(url: StoreURL, archives: list[Path]) -> None:
    with orlop.open(url) as images:
        images.load(archives[0])
    with remote_store(url) as store:
        before = objects(store)
        assert isinstance(store.blobs, S3BlobStore)
        store.blobs.bucket.put(f"blobs/{'0' * 32}", Pieces([b"late"]))
        store.blobs.bucket.put("blobs/a note of somebody else", Pieces([b"stays"]))
    assert [one.kind for one in orlop.stores.check(url, verify=True).problems] == ["bucket-strays"]
    assert [one.kind for one in orlop.stores.fsck(url, repair=True).repairs] == ["bucket-strays"]
    assert orlop.stores.fsck(url).problems == ()
    with remote_store(url) as store:
        assert objects(store) == before | {"blobs/a note of somebody else"}


def test_a_bucket_that_is_not_marked_gets_no_bytes(url: StoreURL) -> None:
    misspelt = StoreURL(url.host, None, url.user, url.database, url.bucket, f"{url.prefix}x", variables=url.variables)
    forget_place(url)
    with orlop.open(misspelt) as images, pytest.raises(StoreNotFound, match="store init"):
        images.import_image(io.BytesIO(bytes(1024)), "a:1")
    with remote_store(misspelt) as store:
        assert objects(store) == set()


# When an engine is away.


def test_without_the_bucket_lists_work(url: StoreURL, archives: list[Path]) -> None:
    with orlop.open(url) as images:
        images.load(archives[0])
    away = dict(url.variables) | {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}
    with orlop.open(StoreURL.parse(str(url), away)) as images:
        names = [str(name) for one in images.images() for name in one.references]
        assert names
        assert images.inspect(names[0]).image.rootfs.diff_ids


def test_what_needs_the_bucket_asks_it_once(
    url: StoreURL, archives: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What can be read instead of a table of contents lies in the same bucket."""
    with orlop.open(url) as images:
        images.load(archives[0])
    away = dict(url.variables) | {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}
    waits: list[str] = []

    def wait(self: Patience, reason: str) -> None:
        waits.append(reason)
        raise BucketUnavailable(reason)

    monkeypatch.setattr(Patience, "wait", wait)
    with orlop.open(StoreURL.parse(str(url), away)) as images:
        name = str(next(iter(images.images())).references[0])
        for look in (lambda: images.files(name).listdir(), lambda: images.files(name).stat("/etc")):
            waits.clear()
            with pytest.raises(BucketUnavailable):
                look()
            assert len(waits) == 1


def test_without_the_database_everything_is_one_error(url: StoreURL) -> None:
    gone = StoreURL("/nowhere", None, url.user, url.database, url.bucket, url.prefix, variables=url.variables)
    with pytest.raises(DatabaseUnavailable, match="cannot reach the database") as caught:
        orlop.open(gone)
    assert caught.value.http_status == 503  # clients and load balancers of a server try again, or elsewhere


@pytest.mark.slow
@pytest.mark.sampled(3)
def test_engines_that_crash_cost_commands_and_nothing_else(archives: list[Path], tmp_path: Path) -> None:
    """Commands end right or with one error while an engine is killed and started; repeated, they succeed."""
    with ExitStack() as stack:
        postgres, seaweed = _engines_of_its_own(stack, tmp_path)
        seaweed.bucket(engines.BUCKET).make()
        database = conninfo_to_dict(postgres.database(empty=True))
        variables = engines.variables() | {"AWS_ENDPOINT_URL": seaweed.endpoint}
        place = quote(str(database["host"]), safe="")
        text = f"postgresql://{database['user']}@{place}/{database['dbname']}?blobs=s3://{engines.BUCKET}/p"
        url = StoreURL.parse(text, variables)
        orlop.stores.init(url)
        ended = {True: 0, False: 0}
        for crash in (None, lambda: postgres.stop(signal.SIGQUIT), seaweed.stop):
            stop = threading.Event()
            worker = threading.Thread(target=_work, args=(url, archives, stop, ended))
            worker.start()
            time.sleep(1)
            if crash is not None:
                crash()
                time.sleep(1)
                if crash != seaweed.stop:  # a bucket is waited for; without the database a command ends
                    until(lambda: bool(ended[False]))
                (seaweed if crash == seaweed.stop else postgres).start()
            time.sleep(2)
            stop.set()
            worker.join(PATIENCE)
            assert not worker.is_alive()
            with orlop.open(url) as images:
                for archive in archives:
                    images.load(archive)
        assert ended[True]
        assert ended[False]
        assert orlop.stores.check(url, verify=True).damage == ()


def _engines_of_its_own(stack: ExitStack, folder: Path) -> tuple[Postgres, Seaweed]:
    place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="orlop-pg-", dir="/tmp")))
    postgres, seaweed = Postgres(place, durable=True), Seaweed(folder / "weed")
    postgres.start()
    stack.callback(postgres.stop, signal.SIGQUIT)
    seaweed.start()
    stack.callback(seaweed.stop)
    return postgres, seaweed


def _work(url: StoreURL, archives: list[Path], stop: threading.Event, ended: dict[bool, int]) -> None:
    """Load and remove until told to stop, and count what ended right and what with an error of orlop's own."""
    while not stop.is_set():
        for archive in archives:
            try:
                with orlop.open(url) as images:
                    images.load(archive)
                    name = next(str(name) for one in images.images() for name in one.references)
                    images.remove(name, force=True)
                ended[True] += 1
            except OrlopError:
                ended[False] += 1
