"""Stores that a URL names, in the memory of this process: to run everything over a store without files, quickly."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from orlop.model.limits import DEFAULT_LIMITS
from orlop.store.blobs.memory import MemoryBlobStore
from orlop.store.root import Store
from orlop.store.rows.sqlite.memory import MemoryMetadata, MemoryRows
from orlop.store.scratch import Scratch

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from orlop.model.limits import Limits
    from orlop.model.store_url import StoreURL


class Elsewhere:
    """What opens such stores; each URL names one, which lasts as long as this object."""

    def __init__(self, scratch: str | None = None) -> None:
        self._scratch = scratch
        self._kept: dict[str, tuple[MemoryRows, MemoryBlobStore]] = {}

    def open(
        self,
        url: StoreURL,
        *,
        mending: bool = False,
        limits: Limits = DEFAULT_LIMITS,
        now: Callable[[], int] | None = None,
    ) -> Store:
        """Open the store that a URL names; one that is not there is made."""
        blobs = self.blobs_of(str(url))
        rows = self._kept[str(url)][0]
        return Store(
            MemoryMetadata(rows),
            blobs,
            root=str(url),
            scratch=Scratch(self._scratch),
            limits=limits,
            now=now or time.time_ns,
        )

    def blobs_of(self, url: str) -> MemoryBlobStore:
        """Return the blobs of a store, which is made where there is none."""
        if url not in self._kept:
            self._kept[url] = MemoryRows(), MemoryBlobStore()
        return self._kept[url][1]

    def blobs(self, url: str) -> MemoryBlobStore:
        """Return the blobs of a store, to be damaged."""
        return self._kept[url][1]


def install(monkeypatch: pytest.MonkeyPatch, scratch: str | None = None) -> Elsewhere:
    """Open URLs as stores in memory for a test; ``scratch`` is the directory of pushes under way."""
    elsewhere = Elsewhere(scratch)
    monkeypatch.setattr("orlop.store.remote.remote_store", elsewhere.open)
    return elsewhere
