"""Work that ends early: by a server that waits no longer, or by a signal just as a write is committed."""

from __future__ import annotations

import asyncio
import io
import tarfile
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

import orlop
from orlop.api.workers import Workers
from orlop.errors import ServerBusy
from orlop.model.digest import Digest
from orlop.service.listing.listed import image_usage
from orlop.store.local import local_store
from orlop.streams.interruption import check_interruption, interrupted_by

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from orlop.store.root import Store
    from orlop.store.rows.metadata import WritableRows

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


def _layer() -> io.BytesIO:
    file = io.BytesIO()
    tarfile.open(fileobj=file, mode="w").close()
    file.seek(0)
    return file


@pytest.mark.parametrize(
    "take",
    [
        lambda store, _chain: store.leases.hold([Digest.of(b"x")]),
        lambda store, chain: store.layers.get(chain),
        lambda store, _chain: store.layers.register(_layer()),
    ],
    ids=["hold", "get", "register"],
)
def test_what_a_signal_keeps_from_its_caller_protects_nothing_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, take: Callable[[Store, object], object]
) -> None:
    """A process may live on, and nobody could release it."""
    with local_store(str(tmp_path / "root")) as store:
        layer = store.layers.register(_layer())
        known = layer.chain_id
        store.images.create(b'{"rootfs":{"diff_ids":["%s"]}}' % str(layer.diff_id).encode())
        store.layers.release(layer)
        write = store.metadata.write

        @contextmanager
        def interrupted() -> Iterator[WritableRows]:
            outermost = not store.metadata.in_block()
            with write() as rows:
                yield rows
            if outermost:
                raise KeyboardInterrupt

        monkeypatch.setattr(store.metadata, "write", interrupted)
        with pytest.raises(KeyboardInterrupt):
            take(store, known)
        monkeypatch.undo()
        with store.metadata.read() as rows:
            assert rows.lease_digests(store.leases.name())
        store.leases.hold([Digest.of(b"next")]).release()
        with store.metadata.read() as rows:
            assert rows.lease_digests(store.leases.name()) == []
