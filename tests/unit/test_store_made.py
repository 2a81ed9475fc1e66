"""A directory in which a store is being made by two at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import orlop
from orlop.errors import StoreDamaged
from orlop.store.trust import DIRECTORIES
from orlop.streams.directory import Directory

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("there", range(1, len(DIRECTORIES)))
def test_a_store_that_another_is_just_making_is_no_foreign_directory(
    there: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "root"
    root.mkdir(mode=0o700)
    for name in DIRECTORIES[:there]:
        (root / name).mkdir()
    listed = Directory.names

    def names(self: Directory) -> list[str]:
        found = listed(self)
        # The other goes on as soon as its directories were looked at.
        for name in DIRECTORIES:
            (root / name).mkdir(exist_ok=True)
        return found

    monkeypatch.setattr(Directory, "names", names)
    with orlop.open(root) as images:
        assert images.images() == []


def test_a_directory_with_something_else_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "blobs").mkdir(parents=True)
    (root / "trash").mkdir()
    (root / "notes").touch()
    with pytest.raises(StoreDamaged, match="is not empty and holds no store"):
        orlop.open(root)
