"""Work that a server ends which does not wait for it any longer: threads hear of it as they go through rows."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest

import orlop
from orlop.api.workers import Workers
from orlop.errors import ServerBusy
from orlop.service.listing.listed import image_usage
from orlop.streams.interruption import check_interruption, interrupted_by

if TYPE_CHECKING:
    from pathlib import Path

IMAGES = 40


def test_work_of_any_kind_ends_with_the_server() -> None:
    begun = threading.Barrier(3)

    def work() -> None:
        begun.wait()
        while True:
            check_interruption()

    async def serve() -> list[object]:
        workers = Workers(1)
        tasks = [asyncio.ensure_future(run(work)) for run in (workers.run, workers.transfer)]
        await asyncio.to_thread(begun.wait)
        workers.end()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert workers.is_idle
        return list(found)

    found = asyncio.run(serve())
    assert [(type(one), str(one)) for one in found] == [(ServerBusy, "the server ends; try again later")] * 2


def test_images_are_described_no_further_than_until_the_work_ends(tmp_path: Path) -> None:
    """What is asked for each is too short for SQLite to ask whether it is to go on."""
    asked = 0

    def check() -> None:
        nonlocal asked
        asked += 1
        if asked > IMAGES // 2:
            raise KeyError

    with orlop.open(tmp_path / "root") as opened:
        store = opened._store
        for number in range(IMAGES):
            store.images.create(b'{"rootfs":{},"author":"%d"}' % number)
        with interrupted_by(check), pytest.raises(KeyError):
            image_usage(store)
