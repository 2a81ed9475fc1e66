"""Stores that are damaged, each in a way that another part of a repair mends."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

import orlop

DATA: Final = Path(__file__).parents[1] / "data"
MULTI: Final = DATA / "dockerd-29-overlay2" / "multi.tar"
OTHER: Final = DATA / "dockerd-20.10-overlay2" / "parent-child.tar"


def _load(place: Path, archive: Path) -> None:
    with orlop.open(place / "root") as images:
        images.load(archive)


def files(place: Path) -> None:
    _load(place, MULTI)
    blob, other = sorted((place / "root" / "blobs" / "sha256").iterdir())[:2]
    blob.chmod(0o600)
    blob.write_bytes(b"too short")
    other.unlink()
    next((place / "root" / "toc" / "sha256").iterdir()).unlink()


def database(place: Path) -> None:
    """Damage a table, so that a new database has to be made of what can be read."""
    _load(place, MULTI)
    spoil_table(place / "root")


def spoil_table(root: Path) -> None:
    """Damage the page on which the table of names begins."""
    path = root / "metadata.db"
    with closing(sqlite3.connect(path)) as database:
        ((page,),) = database.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'reference'").fetchall()
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with path.open("r+b") as file:
        # The kind of the page: SQLite reads nothing of it.
        file.seek((page - 1) * 4096)
        file.write(b"\x07")


def shape(place: Path) -> None:
    """Take an index away, and put a trigger in."""
    _load(place, MULTI)
    with closing(sqlite3.connect(place / "root" / "metadata.db")) as database, database:
        database.execute("DROP INDEX image_chain")
        database.execute("CREATE TRIGGER foreign_one AFTER INSERT ON blob BEGIN DELETE FROM reference; END")


def log(place: Path) -> None:
    """Flip a bit in the log that a killed process left, before its last commit."""
    root = place / "root"
    _load(place, OTHER)
    with closing(sqlite3.connect(root / "metadata.db")) as kept:
        # While it is open, nobody brings the log to its end.
        kept.execute("SELECT 1 FROM image").fetchall()
        _load(place, MULTI)
        with orlop.open(root) as images:
            images.pin("example/tiny:1.0")
        shutil.copytree(root, place / "left")
    shutil.rmtree(root)
    (place / "left").rename(root)
    (root / "metadata.db-shm").unlink(missing_ok=True)
    with (root / "metadata.db-wal").open("r+b") as file:
        file.seek(32 + 4120 + 24 + 100)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 4]))


def contents_of_blobs(root: Path) -> set[bytes]:
    """Return what all blobs of a store hold, in their place or set aside by a repair."""
    folders = (root / "blobs" / "sha256", root / "quarantine")
    return {path.read_bytes() for folder in folders if folder.is_dir() for path in folder.iterdir()}
