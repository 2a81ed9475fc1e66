"""What uses real engines, killed at any request to either of them and repeated.

Commands over a store beyond one machine, and copies and moves between one and a directory.
"""

from __future__ import annotations

import os
import signal
import traceback
from functools import partial
from typing import TYPE_CHECKING

import psycopg
import pytest

import orlop
from orlop.errors import OrlopError
from orlop.model.store_url import StoreURL
from orlop.service.sync.plan import SyncPlan
from orlop.store.blobs.s3.client import Pieces
from orlop.store.blobs.s3.store import S3BlobStore
from orlop.store.opening import open_store
from orlop.store.place.transfer import fingerprint
from orlop.store.remote import remote_store
from tests import engines
from tests.crash.messages import signal_before
from tests.crash.pace import PACE, first
from tests.unit.pushed import placed, simple
from tests.unit.synced import entry

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

STEP = PACE if PACE == 1 else 3 * PACE


def told(root: Path | StoreURL) -> str:
    """Return what the rows of a store say, without what differs from store to store."""
    with open_store(root, create=False) as store, store.metadata.read() as rows:
        return fingerprint(rows)


def seen(root: Path | StoreURL) -> list[tuple[str, list[str]]]:
    """Return the images of a store with their names."""
    with orlop.open(root) as images:
        return sorted((str(one.id), sorted(map(str, one.references))) for one in images.images(all=True))


def killed(work: Callable[[], object], moment: int) -> bool:
    """Do work in a child that is killed before its n-th message to an engine; return whether it came to that."""
    child = os.fork()
    if not child:
        try:
            signal_before(moment, signal.SIGKILL)
            work()
        except BaseException:  # noqa: BLE001 - the child must not run the tests
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in {0, -signal.SIGKILL}
    return status != 0


def forget_the_dead(url: StoreURL) -> None:
    """Make sessions as old as those that are declared dead."""
    with psycopg.connect(host=url.host, dbname=url.database, user=url.user, autocommit=True) as connection:
        connection.execute("UPDATE orlop.session SET seen = seen - interval '1 hour'")


def filled(root: Path | StoreURL, data: Path) -> str:
    with orlop.open(root) as images:
        images.load(data / "dockerd-20.10-overlay2" / "dup.tar")
    return told(root)


def loaded(url: StoreURL, data: Path) -> None:
    with orlop.open(url) as images:
        images.load(data / "dockerd-20.10-overlay2" / "tiny.tar")


def removed(url: StoreURL, _: Path) -> None:
    with orlop.open(url) as images:
        for one in list(images.images()):
            images.remove(str(one.id), force=True)


def tagged(url: StoreURL, _: Path) -> None:
    with orlop.open(url) as images:
        images.tag(str(next(iter(images.images())).id), "example/another:1")


def pruned(url: StoreURL, _: Path) -> None:
    with orlop.open(url) as images:
        images.prune(all=True)


def collected(url: StoreURL, _: Path) -> None:
    with orlop.open(url) as images:
        images.gc()


def repaired(url: StoreURL, _: Path) -> None:
    orlop.stores.fsck(url, repair=True)


def leave_garbage(url: StoreURL) -> None:
    """Send a part of a blob and a whole one, and an object that no row knows; and die."""
    store = remote_store(url)
    blobs = store.blobs
    assert isinstance(blobs, S3BlobStore)
    blobs.begin().write(bytes(9 << 20))
    whole = blobs.begin()
    whole.write(b"whole")
    whole.sync()
    blobs.bucket.put(f"blobs/{os.urandom(16).hex()}", Pieces([b"stray"]))
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.sampled(24, daily=False)
@pytest.mark.parametrize("command", [loaded, removed, tagged, pruned, collected, repaired])
def test_a_command_that_is_killed_leaves_the_old_state_or_the_new(
    data: Path, command: Callable[[StoreURL, Path], object]
) -> None:
    """And nothing that its repetition and a collection do not clear away."""
    moment = 1 + first(command.__name__, STEP)
    while True:
        url = StoreURL.parse(engines.new_url(), engines.variables())
        filled(url, data)
        if command in (collected, repaired):
            assert killed(partial(leave_garbage, url), 0)
            forget_the_dead(url)
        old = seen(url)
        was_killed = killed(partial(command, url, data), moment)
        new = seen(url)
        if was_killed:
            assert orlop.stores.check(url, verify=True).damage == (), moment
            forget_the_dead(url)
            command(url, data)
            assert new in (old, seen(url)), moment
        if command in (collected, repaired):
            assert new == old
        with orlop.open(url) as images:
            images.gc()
        if command is not collected:
            assert orlop.stores.fsck(url).problems == (), moment
        if not was_killed:
            return
        moment += STEP


@pytest.mark.sampled(16, daily=False)
@pytest.mark.parametrize("verb", ["copy", "move"])
@pytest.mark.parametrize("way", ["there", "back"])
def test_killed_and_repeated(data: Path, tmp_path: Path, verb: str, way: str) -> None:
    do = getattr(orlop.stores, verb)
    moment = 1 + first(f"{verb} {way}", STEP)
    while True:
        url = StoreURL.parse(engines.new_url(), engines.variables())
        place = tmp_path / str(moment)
        source, target = (place, url) if way == "there" else (url, place)
        before = filled(source, data)
        was_killed = killed(partial(do, source, target), moment)
        if was_killed:
            forget_the_dead(url)
            try:
                do(source, target)
            except OrlopError:
                # It was killed when everything was over but the end of its process, or the source is gone by half.
                assert told(target) == before, moment
        assert told(target) == before, moment
        assert orlop.stores.check(target, verify=True).damage == (), moment
        if verb == "copy":
            assert told(source) == before
        if not was_killed:
            return
        moment += STEP


@pytest.mark.slow
@pytest.mark.sampled(4)
def test_a_backup_that_is_killed_is_the_old_one_or_the_new_one(data: Path, tmp_path: Path) -> None:
    """A backup in a directory, which is brought up to date, of a store beyond one machine."""
    moment = 1 + first("backup", STEP)
    while True:
        url = StoreURL.parse(engines.new_url(), engines.variables())
        target = tmp_path / str(moment)
        filled(url, data)
        orlop.stores.backup(url, target)
        old = seen(target)
        with orlop.open(url) as images:
            images.load(data / "dockerd-20.10-overlay2" / "multi.tar")
            images.remove(next(str(name) for one in images.images() for name in one.references), force=True)
        new = seen(url)
        was_killed = killed(partial(orlop.stores.backup, url, target), moment)
        assert seen(target) in ([old, new] if was_killed else [new]), moment
        assert orlop.stores.check(target, verify=True).damage == (), moment
        if was_killed:
            forget_the_dead(url)
            orlop.stores.backup(url, target)
        assert seen(target) == seen(url) == new, moment
        assert told(target) == told(url), moment
        assert orlop.stores.check(target, verify=True).damage == (), moment
        if not was_killed:
            return
        moment += STEP


@pytest.mark.slow
@pytest.mark.sampled(4)
def test_a_sync_that_is_killed_is_repeated(tmp_path: Path) -> None:
    """From a registry into a store beyond one machine."""
    tags = ["1", "2", "3"]
    with placed(tmp_path) as place:
        for tag in tags:
            place.load(simple(place.name(f"app:{tag}"), tag))
        place.push(*(f"app:{tag}" for tag in tags))
        registries = place.registries
        plan = SyncPlan.parse(entry(f"docker://{place.name('app')}", "store:here/app"))

        def synced() -> None:
            with orlop.open(url) as images:
                assert images.sync(plan, registries).error is None

        moment = 1 + first("sync", STEP)
        while True:
            url = StoreURL.parse(engines.new_url(), engines.variables())
            was_killed = killed(synced, moment)
            if was_killed:
                forget_the_dead(url)
                synced()
            with orlop.open(url) as images:
                names = {name.familiar for one in images.images() for name in one.references}
                assert names >= {f"here/app:{tag}" for tag in tags}, moment
                images.gc()
            assert orlop.stores.check(url, verify=True).damage == (), moment
            assert orlop.stores.fsck(url).problems == (), moment
            if not was_killed:
                return
            moment += STEP
