"""Pulls at once into a store that several machines share: each layer is fetched once, and nobody waits for the dead."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, closing, contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit, urlunsplit

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

import orlop
from orlop import errors
from orlop.intake.taking import storing
from orlop.model.digest import Digest
from orlop.model.reference import Reference
from orlop.model.store_url import StoreURL
from orlop.service.proxied.pull_through import PullThrough, Rules
from orlop.store.blobs.s3.store import S3BlobStore
from orlop.store.rows.metadata import BlobRow
from orlop.store.rows.postgres.keys import PostgresKeys
from orlop.store.rows.postgres.sending import Sending
from tests import engines
from tests.postgres import pooled
from tests.unit.layouts import Layout, layer_tar
from tests.unit.pulling import REPOSITORY, pulling, push
from tests.unit.test_pull import big_tar, image_of
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.unit.pulling import Pulled

HOST = orlop.Platform("linux", "amd64")
SIZE = 1 << 20
_PULL = """
import sys, orlop
from orlop.intake import platforms
platforms.host_platform = lambda: orlop.Platform("linux", "amd64")
with orlop.open(sys.argv[1]) as images:
    images.pull(sys.argv[2])
"""
_COPY = _PULL.replace("pull(sys.argv[2])", 'copy("docker://" + sys.argv[2], "store:copied/app:1")')


@pytest.fixture(autouse=True)
def _on_amd64(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orlop.intake.platforms.host_platform", lambda: HOST)


@pytest.fixture
def url(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    return engines.placed(monkeypatch, tmp_path)


@contextmanager
def sharing(folder: Path, url: str, *tars: bytes, **quirks: Any) -> Iterator[Pulled]:
    """Yield a store with a registry that has an image of some layers, and one of the same layers in another order."""
    layout = Layout()
    with pulling(folder, url=url, **quirks) as there:
        push(there.registry, layout, image_of(layout, *tars), "1")
        push(there.registry, layout, image_of(layout, *reversed(tars)), "2")
        there.registry.requests.clear()
        yield there


def layers(there: Pulled) -> list[str]:
    """Return the paths of all blobs that were asked for and are not configs, sorted."""
    blobs = there.registry.repository(REPOSITORY).blobs
    paths = (one.path for one in there.registry.requests if one.method == "GET" and "/blobs/" in one.path)
    return sorted(path for path in paths if blobs[path.rpartition("/")[2]][:1] != b"{")


def started(there: Pulled, tag: str = "1", program: str = _PULL) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", program, str(there.images.root), there.name(tag)], stderr=subprocess.DEVNULL
    )


def asked(url: str, statement: str) -> Any:
    """Return the first value that a statement finds among the rows of a store."""
    parts = StoreURL.parse(url)
    with psycopg.connect(host=parts.host, user=parts.user, dbname=parts.database, autocommit=True) as connection:
        found = connection.execute(statement.encode())
        return found.fetchone()[0] if found.description else None  # type: ignore[index]


def until_claimed(url: str, count: int = 1) -> None:
    until(lambda: asked(url, "SELECT count(*) FROM orlop.upload WHERE name <> ''") >= count)


def until_waiting(url: str) -> None:
    """Wait until a second session has begun, which then waits for the claims of the first one."""
    until(lambda: asked(url, "SELECT count(DISTINCT lease) FROM orlop.lease") >= 2)


def make_impatient(url: str, seconds: float = 3.0) -> None:
    asked(url, f"UPDATE orlop.store SET ttl = {seconds}")


def require_whole(url: str) -> None:
    assert orlop.stores.check(url, verify=True).damage == ()
    assert asked(url, "SELECT count(*) FROM orlop.upload") == 0


@pytest.mark.sampled(6, daily=False)
@pytest.mark.parametrize("second", [_PULL, _COPY], ids=["pull", "copy"])
def test_two_processes_at_once_fetch_each_layer_once(tmp_path: Path, url: str, second: str) -> None:
    tars = [big_tar(SIZE, seed) for seed in range(4)]
    with sharing(tmp_path, url, *tars) as there:
        both = [started(there, "1"), started(there, "2", second)]
        assert [one.wait(120) for one in both] == [0, 0]
        assert len(layers(there)) == len(set(layers(there))) == 4
        assert len(list(there.images.images())) == 2
        require_whole(url)


@pytest.mark.sampled(4)
def test_many_small_layers_in_other_orders_are_fetched_once(tmp_path: Path, url: str) -> None:
    tars = [layer_tar(f"{number}") for number in range(24)]
    with sharing(tmp_path, url, *tars) as there:
        both = [started(there, tag) for tag in ("1", "2")]
        assert [one.wait(120) for one in both] == [0, 0]
        assert len(layers(there)) == len(set(layers(there))) == 24
        require_whole(url)


@pytest.mark.sampled(3)
@pytest.mark.needs("pgbouncer")
def test_two_threads_behind_a_pooler_fetch_each_layer_once(tmp_path: Path, url: str) -> None:
    """Which gives every transaction another connection of the server's."""
    info = conninfo_to_dict(pooled())
    parts = urlsplit(url)
    place = f"{info['user']}@{quote(str(info['host']), safe='')}:{info['port']}"
    there_url = urlunsplit(parts._replace(netloc=place, path=f"/{info['dbname']}", query=f"{parts.query}/pooled"))
    orlop.stores.init(there_url)
    tars = [big_tar(SIZE, seed) for seed in range(4)]
    with sharing(tmp_path, there_url, *tars) as there, orlop.open(there_url) as other:
        thread = threading.Thread(target=lambda: other.pull(there.name("2"), registries=there.registries))
        thread.start()
        there.images.pull(there.name("1"), registries=there.registries)
        thread.join()
        assert len(list(other.images())) == 2
        assert len(layers(there)) == len(set(layers(there))) == 4


@pytest.mark.sampled(3)
def test_two_threads_of_one_service_fetch_each_layer_once(tmp_path: Path, url: str) -> None:
    tars = [big_tar(SIZE, seed) for seed in range(4)]
    with sharing(tmp_path, url, *tars) as there:
        pull = there.images.pull
        thread = threading.Thread(target=lambda: pull(there.name("2"), registries=there.registries))
        thread.start()
        pull(there.name("1"), registries=there.registries)
        thread.join()
        assert len(layers(there)) == len(set(layers(there))) == 4
        require_whole(url)


def test_claims_cost_no_statement(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An upload is recorded anyway: before its layer is fetched, instead of after that."""
    tars = [layer_tar(f"{number}") for number in range(5)]
    statements: list[str] = []
    execute = Sending.execute

    def counted(self: Sending, statement: str, values: Any) -> psycopg.Cursor[tuple[Any, ...]]:
        statements.append(" ".join(statement.split()))
        return execute(self, statement, values)

    with sharing(tmp_path, url, *tars) as there:
        monkeypatch.setattr(Sending, "execute", counted)
        there.pull()
        monkeypatch.undo()
        uploads = [one for one in statements if " upload " in one and not one.startswith("WITH silent")]
        # Each layer, and its table of contents.
        assert len([one for one in uploads if one.startswith("INSERT INTO upload")]) == 5 + 5
        assert len([one for one in uploads if one.startswith("DELETE FROM upload WHERE key = %s AND session")]) == 5 + 5
        assert len(uploads) == 20


def test_whether_a_layer_has_come_is_asked_without_the_lock_of_writers(url: str) -> None:
    digest = Digest.of(b"layer")
    held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted AND pid <> pg_backend_pid()"
    with orlop.open(url) as images, orlop.open(url) as other, storing(images.store) as taking:
        before = asked(url, held)
        with other.store.metadata.lock():
            assert taking.known(digest) is taking.known_blob(digest) is None
            # Not because the server has ended a lock that nobody used for long.
            assert asked(url, held) == before + 1


@pytest.mark.sampled(4)
def test_the_layer_of_a_process_that_was_killed_is_fetched_by_who_waits(tmp_path: Path, url: str) -> None:
    make_impatient(url)
    with sharing(tmp_path, url, big_tar(SIZE), stall=SIZE // 2) as there:
        first = started(there)
        until_claimed(url)
        until(lambda: layers(there))
        second = started(there, "2")
        until_waiting(url)
        there.quirks()
        first.kill()
        first.wait()
        assert second.wait(120) == 0
        assert len(layers(there)) == 2

        def is_clean() -> bool:
            there.images.gc()
            return not asked(url, "SELECT count(*) FROM orlop.upload")

        until(is_clean)
        require_whole(url)


@pytest.mark.sampled(4)
def test_the_layer_of_a_process_that_hangs_is_fetched_by_who_waits(tmp_path: Path, url: str) -> None:
    """If it goes on before it is declared dead, it succeeds as well, and one object stays."""
    make_impatient(url, 60)
    with sharing(tmp_path, url, big_tar(SIZE), stall=SIZE // 2) as there:
        first = started(there)
        until_claimed(url)
        until(lambda: layers(there))
        second = started(there, "2")
        until_waiting(url)
        there.quirks()
        first.send_signal(signal.SIGSTOP)
        try:
            # As if it had been silent for long.
            asked(
                url,
                "UPDATE orlop.session SET seen = seen - interval '30 seconds'"
                " WHERE id = (SELECT session FROM orlop.upload WHERE name <> '')",
            )
            assert second.wait(120) == 0
        finally:
            first.send_signal(signal.SIGCONT)
        first.send_signal(signal.SIGINT)
        first.wait(120)
        there.pull()
        require_whole(url)


@pytest.mark.sampled(4)
def test_what_one_gives_up_another_fetches_at_once(tmp_path: Path, url: str) -> None:
    with sharing(tmp_path, url, big_tar(SIZE), stall=SIZE // 2) as there:
        first = started(there)
        until_claimed(url)
        until(lambda: layers(there))
        second = started(there, "2")
        until_waiting(url)
        there.quirks()
        first.send_signal(signal.SIGINT)
        begin = time.monotonic()
        assert second.wait(60) == 0
        # Long before anybody is silent for too long.
        assert time.monotonic() - begin < 20
        assert first.wait(60) != 0
        require_whole(url)


@pytest.mark.sampled(4)
def test_a_wait_for_another_ends_with_ctrl_c(tmp_path: Path, url: str) -> None:
    with sharing(tmp_path, url, big_tar(SIZE), stall=SIZE // 2) as there, ExitStack() as stack:
        first = started(there)
        stack.callback(first.wait)
        stack.callback(first.kill)
        until_claimed(url)
        until(lambda: layers(there))
        argv = [sys.executable, "-m", "orlop", "--root", url, "pull", "--platform", "linux/amd64", there.name("2")]
        second = subprocess.Popen(argv, stderr=subprocess.PIPE, env=os.environ | {"HOME": str(tmp_path)})
        until_waiting(url)
        second.send_signal(signal.SIGINT)
        begin = time.monotonic()
        _, said = second.communicate(timeout=60)
        took = time.monotonic() - begin
        assert second.returncode == 130, said
        assert b"Traceback" not in said
        assert took < 10, said
        assert asked(url, "SELECT count(*) FROM orlop.session WHERE NOT dead") == 1
        assert len(layers(there)) == 1


def test_what_was_claimed_by_a_session_that_died_meanwhile_is_published_by_the_next(url: str) -> None:
    """A server whose machine has hung while it fetched loses the claim, and nothing else."""
    row = BlobRow(Digest.of(b"content"), len(b"content"), "none")
    with orlop.open(url) as images:
        blobs = images.store.blobs
        assert isinstance(blobs, S3BlobStore)
        assert isinstance(blobs.keys, PostgresKeys)
        with blobs.resume(row.digest) as ingest:
            asked(url, "UPDATE orlop.session SET dead = true")
            blobs.keys._session.beat()
            ingest.write(b"content")
            ingest.sync()
            with images.store.metadata.write() as rows:
                ingest.commit(rows, row)
                rows.put_blob(row)
        with blobs.open(row) as reader:
            assert reader.read(100) == b"content"


@pytest.mark.sampled(2)
def test_a_pull_that_fails_keeps_nobody_waiting(tmp_path: Path, url: str) -> None:
    with sharing(tmp_path, url, big_tar(SIZE), corrupt=True) as there, orlop.open(url) as other:
        with pytest.raises(errors.DigestMismatch):
            other.pull(there.name(), registries=there.registries)
        assert not asked(url, "SELECT count(*) FROM orlop.upload")
        there.quirks()
        there.pull()
        require_whole(url)


@pytest.mark.sampled(2)
def test_two_caches_over_one_store_fetch_a_blob_once(tmp_path: Path, url: str) -> None:
    layout = Layout()
    with pulling(tmp_path, url=url) as there, orlop.open(url) as other:
        top = image_of(layout, big_tar(3 * SIZE))
        push(there.registry, layout, top, "1")
        manifest = json.loads(layout.files["blobs/" + top["digest"].replace(":", "/")])
        layer = Digest.parse(manifest["layers"][0]["digest"])
        name = Reference.parse(f"{there.registry.authority}/{REPOSITORY}")
        hosts = {there.registry.authority: Rules()}
        read = list[bytes]()
        with ExitStack() as stack:
            caches = [
                stack.enter_context(closing(PullThrough(one.store, there.registries, hosts)))
                for one in (there.images, other)
            ]
            caches[0].manifest(name.with_tag("1"))
            start = threading.Barrier(4)

            def follow(cache: PullThrough) -> None:
                start.wait(60)
                with cache.blob(name, layer) as reader:
                    read.append(b"".join(iter(lambda: reader.read(1 << 16), b"")))

            threads = [threading.Thread(target=follow, args=(cache,)) for cache in caches * 2]
            for one in threads:
                one.start()
            for one in threads:
                one.join()
        assert read == [there.registry.repository(REPOSITORY).blobs[str(layer)]] * 4
        assert len(layers(there)) == 1
        require_whole(url)
