"""The SQLite that Python has: one that is too old for a store is named, and the store is not called damaged."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import pytest

import orlop
from orlop import errors, stores
from orlop.store.rows.sqlite.memory import MemoryMetadata
from tests.unit.damage import images_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

OLD = (3, 34, 1)
"""That of Enterprise Linux 9, which has Python 3.11 and later beside it."""


@pytest.fixture
def store(data: Path, tmp_path: Path) -> Path:
    """A sound store."""
    root = tmp_path / "root"
    with orlop.open(root) as images:
        images.load(data / "dockerd-20.10-overlay2" / "tiny.tar")
    return root


@pytest.fixture
def old(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand in for a Python with an old SQLite, which the suite cannot bring."""
    monkeypatch.setattr(sqlite3, "sqlite_version_info", OLD)
    monkeypatch.setattr(sqlite3, "sqlite_version", ".".join(map(str, OLD)))


USES: dict[str, Callable[[Path], object]] = {
    "list": images_of,
    "check": stores.fsck,
    "repair": lambda root: stores.fsck(root, repair=True),
    "backup": lambda root: stores.copy(root, root.parent / "backup"),
}


@pytest.mark.usefixtures("store", "old")
@pytest.mark.parametrize("use", USES)
def test_an_old_sqlite_is_named_and_the_store_stays_as_it_is(store, use):
    before = (store / "metadata.db").read_bytes()
    with pytest.raises(errors.NotSupported, match=r"needs SQLite 3\.37\.0 or later, and this Python has 3\.34\.1"):
        USES[use](store)
    assert (store / "metadata.db").read_bytes() == before
    assert not (store / "quarantine").exists()


@pytest.mark.usefixtures("old")
def test_an_old_sqlite_makes_no_store_in_memory():
    with pytest.raises(errors.NotSupported, match="needs SQLite"):
        MemoryMetadata()


def test_the_sqlite_of_this_python_is_new_enough(store):
    assert images_of(store)
