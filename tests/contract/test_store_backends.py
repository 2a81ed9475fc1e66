"""Every store backend under the one contract, and the contract under those who would weaken it."""

from __future__ import annotations

import sqlite3
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import pytest

from orlop.store.backends.fs import FSStoreBackend
from orlop.store.backends.memory import MemoryStoreBackend
from orlop.store.backends.sqlite import SQLiteStoreBackend
from orlop.store.local import local_store
from orlop.testing.store_backend import StoreBackendContract

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from orlop.model.digest import Digest
    from orlop.store.backends.backend import StoreBackend


class TestSQLite(StoreBackendContract):
    @contextmanager
    def open(self, folder: Path) -> Iterator[StoreBackend]:
        with local_store(folder / "root") as store:
            yield SQLiteStoreBackend(store.metadata)

    def damage(self, folder: Path, digest: Digest) -> None:
        with closing(sqlite3.connect(folder / "root" / "metadata.db")) as connection, connection:
            connection.execute("UPDATE image SET config = ? WHERE id = ?", (b"other", str(digest)))
        connection.close()


class TestFS(StoreBackendContract):
    @contextmanager
    def open(self, folder: Path) -> Iterator[StoreBackend]:
        yield FSStoreBackend(folder / "image" / "overlay2" / "imagedb")

    def damage(self, folder: Path, digest: Digest) -> None:
        path = folder / "image" / "overlay2" / "imagedb" / "content" / "sha256" / digest.hex
        path.write_bytes(b"other")


class TestMemory(StoreBackendContract):
    @contextmanager
    def open(self, folder: Path) -> Iterator[StoreBackend]:
        yield _KEPT.setdefault(folder, MemoryStoreBackend())

    def damage(self, folder: Path, digest: Digest) -> None:
        _KEPT[folder]._content[digest] = b"other"


_KEPT: dict[Path, MemoryStoreBackend] = {}


def _hook(*_: object) -> None:
    """Stand for any hook."""


def test_a_suite_cannot_leave_out_a_hook():
    with pytest.raises(TypeError, match="damage"):
        type("Lazy", (StoreBackendContract,), {"open": _hook})


def test_a_suite_cannot_override_a_test():
    hooks = {"open": _hook, "damage": _hook, "test_content_lasts": _hook}
    with pytest.raises(TypeError, match="test_content_lasts"):
        type("Cheat", (StoreBackendContract,), hooks)
