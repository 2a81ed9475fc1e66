"""Two repairs of one database: the slower one leaves alone what the faster one has mended, and what came since."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

import orlop
from orlop.cli.main import run
from orlop.store.rows.sqlite.damage.rebuild import DatabaseRepair
from tests.crash import damaged
from tests.invariants import HELD, broken

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path


@pytest.mark.sampled(4)
@pytest.mark.parametrize("damage", [damaged.log, damaged.database], ids=["log", "database"])
def test_a_database_that_another_repair_has_mended_is_not_mended_again(
    damage: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(tmp_path)
    root = tmp_path / "root"
    alone = DatabaseRepair._alone
    kept: list[str] = []

    def orlop_ends(*arguments: str) -> int:
        command = [sys.executable, "-m", "orlop", "--root", str(root), *arguments]
        return subprocess.run(command, capture_output=True, check=False, timeout=300).returncode

    def after_another(repair: DatabaseRepair) -> AbstractContextManager[int]:
        if not kept:
            repair._metadata.close()
            assert orlop_ends("fsck", "--repair") == 8
            assert orlop_ends("load", "-i", str(damaged.MULTI)) == 0
            assert orlop_ends("tag", "example/tiny:1.0", "new:1") == 0
            kept.extend(sorted(path.name for path in (root / "quarantine").iterdir()))
        return alone(repair)

    monkeypatch.setattr(DatabaseRepair, "_alone", after_another)
    status = run(["--root", str(root), "fsck", "--repair"])
    out, err = capsys.readouterr()
    assert (status in {0, 8}, err) == (True, ""), (out, err)
    assert "was taken" not in out
    assert "was made of what could be read" not in out
    assert sorted(path.name for path in (root / "quarantine").iterdir()) == kept
    with orlop.open(root) as images:
        names = {str(name): image.id for image in images.images() for name in image.references}
    assert names["docker.io/library/new:1"] == names["docker.io/example/tiny:1.0"]
    assert [line for line in broken(root) if HELD not in line] == []


def test_a_database_that_is_put_back_with_the_number_of_the_damaged_one_is_not_mended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root, backup = tmp_path / "root", tmp_path / "metadata.db"
    damaged.shape(tmp_path)
    with closing(sqlite3.connect(root / "metadata.db")) as database, database:
        database.execute("DROP TRIGGER foreign_one")
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.copy(root / "metadata.db", backup)
    damaged.spoil_table(root)
    alone = DatabaseRepair._alone

    def after_another(repair: DatabaseRepair) -> AbstractContextManager[int]:
        monkeypatch.setattr(DatabaseRepair, "_alone", alone)
        repair._metadata.close()
        (root / "metadata.db").unlink()
        # Most file systems give the number to the next file.
        (root / "metadata.db").write_bytes(backup.read_bytes())
        return alone(repair)

    monkeypatch.setattr(DatabaseRepair, "_alone", after_another)
    run(["--root", str(root), "fsck", "--repair"])
    out, _ = capsys.readouterr()
    assert "was made of what could be read" not in out
    assert [line for line in broken(root) if HELD not in line] == []
