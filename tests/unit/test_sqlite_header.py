"""Every bit of the header of a database: flipped, it is damage that is told, or it changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import orlop
from orlop import errors, stores
from tests.unit.damage import copied, images_of, rows_of

if TYPE_CHECKING:
    from pathlib import Path

HEADER = 100
"""The bytes before the first page's own: https://www.sqlite.org/fileformat2.html, 1.3."""
USER_VERSION = (60, 63)


@pytest.fixture(scope="module")
def store(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small store, with nobody at work in it."""
    root = tmp_path_factory.mktemp("header") / "root"
    with orlop.open(root) as images:
        images.load(data / "dockerd-20.10-overlay2" / "parent-child.tar")
    return root


def flip_bit(root: Path, whole: bytes, at: int, bit: int) -> None:
    """Put a whole database in place, with one bit flipped."""
    damaged = bytearray(whole)
    damaged[at] ^= 1 << bit
    for suffix in ("-wal", "-shm"):
        (root / f"metadata.db{suffix}").unlink(missing_ok=True)
    (root / "metadata.db").write_bytes(damaged)


@pytest.mark.sampled(10, daily=False)
@pytest.mark.parametrize("begin", range(0, HEADER, 20))
def test_a_bit_of_the_header_is_told_or_changes_nothing(store, tmp_path, begin):
    root = copied(store, tmp_path / "root")
    whole = (root / "metadata.db").read_bytes()
    expected = images_of(root)
    told = 0
    for at in range(begin, begin + 20):
        for bit in range(8):
            flip_bit(root, whole, at, bit)
            try:
                assert images_of(root) == expected, (at, bit)
            except errors.DatabaseDamaged:
                told += 1
                if bit == at % 8:
                    assert stores.fsck(root, repair=True).damage == (), (at, bit)
                    assert images_of(root) == expected, (at, bit)
    assert told or begin == 80


@pytest.mark.sampled(8)
@pytest.mark.parametrize("at", USER_VERSION)
@pytest.mark.parametrize("bit", range(8))
def test_a_version_that_the_tables_contradict_is_damage_and_repaired(store, tmp_path, at, bit):
    expected = rows_of(store)
    target = copied(store, tmp_path / "flipped")
    flip_bit(target, (target / "metadata.db").read_bytes(), at, bit)
    with pytest.raises(errors.DatabaseDamaged, match="schema"):
        images_of(target)
    assert stores.fsck(target).damage
    assert stores.fsck(target, repair=True).damage == ()
    assert rows_of(target) == expected
    assert images_of(target) == images_of(store)
