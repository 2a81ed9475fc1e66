"""Commands over PostgreSQL and S3 that hang before a message to an engine, and go on when others have given them up."""

from __future__ import annotations

import io
import os
import signal
import tarfile
import traceback
from functools import partial
from typing import TYPE_CHECKING

import pytest

import orlop
from orlop.errors import ContentNotFound, NotFound, StorageError, StoreDamaged
from orlop.model.store_url import StoreURL
from orlop.store.leases import EVERYTHING
from orlop.store.remote import remote_store
from orlop.store.rows.postgres import database, sending
from tests import engines
from tests.crash.messages import signal_before
from tests.crash.pace import first
from tests.crash.test_killed_between import STEP, collected, filled, forget_the_dead, loaded, pruned, removed, repaired
from tests.machines import shorten

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def hung(work: Callable[[], object], moment: int, meanwhile: Callable[[], object]) -> bool:
    """Do work in a child that hangs before its n-th message to an engine until others have done something.

    It may end with an error of storage, as its session is dead. Returns whether it came to that moment.
    """
    child = os.fork()
    if not child:
        try:
            shorten()
            for module, name in ((sending, "BOUND"), (database, "_WRITE"), (database, "SHORT")):
                setattr(module, name, getattr(module, name).replace("'300s'", "'4s'"))
            signal_before(moment, signal.SIGSTOP)
            work()
        except StoreDamaged:
            traceback.print_exc()
            os._exit(1)
        except (StorageError, NotFound, ContentNotFound):
            os._exit(0)
        except BaseException:  # noqa: BLE001 - the child must not run the tests
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    status = os.waitpid(child, os.WUNTRACED)[1]
    if not os.WIFSTOPPED(status):
        assert os.waitstatus_to_exitcode(status) == 0
        return False
    try:
        meanwhile()
    finally:
        os.kill(child, signal.SIGCONT)
        status = os.waitpid(child, 0)[1]
    assert os.waitstatus_to_exitcode(status) == 0
    return True


def leave_layers(url: StoreURL) -> None:
    """Remove all images while somebody holds everything, who dies: their layers are garbage."""
    store = remote_store(url)
    store.leases.hold([EVERYTHING])
    with orlop.open(url) as images:
        for one in list(images.images(all=True)):
            images.remove(str(one.id), force=True)
    with store.metadata.read() as rows:
        assert rows.chains()
        assert not list(rows.image_rows(listed_only=False))
    os.kill(os.getpid(), signal.SIGKILL)


def others(url: StoreURL, data: Path) -> None:
    """Declare who hangs dead, collect, and load what was about to go."""
    forget_the_dead(url)
    with orlop.open(url) as images:
        images.gc()
        images.load(data / "dockerd-20.10-overlay2" / "dup.tar")


def contents(url: StoreURL) -> list[dict[str, bytes]]:
    """Return what is in the layers of each image."""
    found = []
    with orlop.open(url) as images:
        for one in sorted(images.images(), key=lambda one: str(one.id)):
            made = io.BytesIO()
            images.save([str(one.id)], made)
            made.seek(0)
            with tarfile.open(fileobj=made) as archive:
                members = [member for member in archive if member.isfile()]
                found.append({member.name: archive.extractfile(member).read() for member in members})  # type: ignore[union-attr]
    return found


@pytest.mark.sampled(10, daily=False)
@pytest.mark.parametrize("command", [collected, loaded, removed, pruned, repaired])
def test_a_command_that_hangs_and_goes_on_takes_nothing_that_came_meanwhile(
    data: Path, command: Callable[[StoreURL, Path], object]
) -> None:
    moment = 1 + first(command.__name__, STEP)
    expected: list[dict[str, bytes]] | None = None
    while True:
        url = StoreURL.parse(engines.new_url(), engines.variables())
        filled(url, data)
        if expected is None:
            expected = contents(url)
        if command not in (removed, pruned):
            child = os.fork()
            if not child:
                leave_layers(url)
            os.waitpid(child, 0)
            forget_the_dead(url)
        if not hung(partial(command, url, data), moment, partial(others, url, data)):
            return
        assert orlop.stores.check(url, verify=True).damage == (), moment
        if command in (collected, repaired):
            assert contents(url) == expected, moment
        with orlop.open(url) as images:
            images.gc()
            images.load(data / "dockerd-20.10-overlay2" / "dup.tar")
        assert orlop.stores.check(url, verify=True).damage == (), moment
        moment += STEP
