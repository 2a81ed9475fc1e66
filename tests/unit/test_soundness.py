"""Removals in a row: each asks every row whether it may go, until a look through all rows answers for the next ones."""

from __future__ import annotations

import io
import shutil
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

import orlop
from orlop import errors
from orlop.store.rows.sqlite import doubts
from orlop.store.rows.sqlite.database import SQLiteMetadata
from tests.hostile import tars
from tests.hostile.lists import configs, many
from tests.unit.damage import ask, sql
from tests.unit.test_damaged_rows import lie

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from orlop import ImageService

MANY = 38


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of many images of one layer, each with a name."""
    root = tmp_path_factory.mktemp("many") / "root"
    with orlop.open(root) as images:
        images.load(io.BytesIO(tars.tar(tars.files(configs(many(MANY))))))
    return root


@pytest.fixture
def root(filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of its own, of a store that is looked through only when needed."""
    monkeypatch.setattr(doubts, "SMALL", 0)
    shutil.copytree(filled, tmp_path / "root")
    return tmp_path / "root"


@contextmanager
def counting(images: ImageService) -> Iterator[list[str]]:
    """Collect the questions that are asked of whole tables."""
    asked: list[str] = []
    metadata = images._store.metadata
    assert isinstance(metadata, SQLiteMetadata)
    connection = metadata._connection()
    connection.set_trace_callback(lambda said: asked.append(said) if "FROM image NOT INDEXED" in said else None)
    try:
        yield asked
    finally:
        connection.set_trace_callback(None)


def asks(images: ImageService, number: int) -> bool:
    """Remove an image, and return whether that has read every image."""
    with counting(images) as asked:
        images.remove(f"a:{number}")
    return bool(asked)


def test_many_removals_ask_all_rows_a_bounded_number_of_times(root):
    with orlop.open(root) as images:
        asked = [asks(images, number) for number in range(MANY)]
        assert asked.count(True) == asked.index(False) == 32
        assert not images.images()


def test_rows_are_asked_again_after_somebody_else_wrote(root):
    with orlop.open(root) as images, orlop.open(root) as other:
        assert [asks(images, number) for number in range(33)][-1] is False
        other.tag("a:37", "b:1")
        assert asks(images, 33)


def test_rows_are_not_asked_again_after_other_writes_of_the_same_store(root):
    with orlop.open(root) as images:
        assert [asks(images, number) for number in range(33)][-1] is False
        images.tag("a:37", "b:1")
        images.save(["a:37"], io.BytesIO())
        assert not asks(images, 33)


def test_rows_are_asked_again_after_a_while(root, monkeypatch):
    with orlop.open(root) as images:
        assert [asks(images, number) for number in range(33)][-1] is False
        now = time.monotonic()
        monkeypatch.setattr(time, "monotonic", lambda: now + 61)
        assert asks(images, 33)


def test_rows_are_asked_each_time_where_anything_is_wrong(root):
    ((image,),) = ask(root, "SELECT image FROM reference WHERE suffix = ':37'")
    other = str(image)
    sql(root, "PRAGMA wal_checkpoint(TRUNCATE)")
    lie(root, "reference_image", other)
    with orlop.open(root) as images:
        assert all(asks(images, number) for number in range(36))
        with pytest.raises(errors.DatabaseDamaged):
            images.remove(other)
    assert ask(root, f"SELECT count(*) FROM image NOT INDEXED WHERE +id = '{other}'") == [(1,)]
