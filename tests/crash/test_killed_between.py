"""Copies and moves between a directory and real engines, killed at any request to either engine and repeated."""

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
from orlop.store.blobs.s3.client import S3Client
from orlop.store.opening import open_store
from orlop.store.place.transfer import fingerprint
from orlop.store.rows.postgres.pool import Pool
from orlop.store.rows.postgres.sending import Sending
from tests import engines
from tests.crash.pace import DAY, PACE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Any


def told(root: Path | StoreURL) -> str:
    """Return what the rows of a store say, without what differs from store to store."""
    with open_store(root, create=False) as store, store.metadata.read() as rows:
        return fingerprint(rows)


def killed(work: Callable[[], object], moment: int) -> bool:
    """Do work in a child that is killed before its n-th message to an engine; return whether it came to that."""
    child = os.fork()
    if not child:
        left = moment

        def counted(function: Callable[..., Any]) -> Callable[..., Any]:
            def call(*arguments: Any, **options: Any) -> Any:
                nonlocal left
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return function(*arguments, **options)

            return call

        try:
            for kind, name in ((S3Client, "send"), (Sending, "execute"), (Pool, "begun")):
                setattr(kind, name, counted(getattr(kind, name)))
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


@pytest.mark.sampled(4)
@pytest.mark.parametrize("verb", ["copy", "move"])
@pytest.mark.parametrize("way", ["there", "back"])
def test_killed_and_repeated(data: Path, tmp_path: Path, verb: str, way: str) -> None:
    do = getattr(orlop.stores, verb)
    moment = 1 + DAY % PACE
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
        moment += PACE
