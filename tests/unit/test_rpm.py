"""Bytes by package of images with a database of rpm."""

from __future__ import annotations

import io
import sqlite3
import struct
from typing import TYPE_CHECKING

import pytest

import orlop
from orlop.inside.packages import package_sizes
from orlop.inside.rpm import ndb_headers, package_files, sqlite_headers
from tests.unit.images_made import image, layer

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

_STRING, _STRINGS, _INT32 = 6, 8, 4
PACKAGES = {"bash": ["/usr/bin/bash", "/etc/bashrc"], "coreutils": ["/usr/bin/ls"], "empty": []}


def header(name: str, paths: Sequence[str]) -> bytes:
    """Make the header of a package as rpm stores it."""
    folders = sorted({path.rpartition("/")[0] + "/" for path in paths})
    tags = [(1000, _STRING, 1, name.encode() + b"\0")]
    if paths:
        numbers = [folders.index(path.rpartition("/")[0] + "/") for path in paths]
        tags += [
            (1116, _INT32, len(paths), struct.pack(f">{len(paths)}I", *numbers)),
            (1117, _STRINGS, len(paths), b"".join(path.rpartition("/")[2].encode() + b"\0" for path in paths)),
            (1118, _STRINGS, len(folders), b"".join(folder.encode() + b"\0" for folder in folders)),
        ]
    data = b"\0" * 16
    entries = struct.pack(">IIII", 63, 7, 0, 16)
    for tag, kind, count, value in tags:
        entries += struct.pack(">IIII", tag, kind, len(data), count)
        data += value
    return struct.pack(">II", len(tags) + 1, len(data)) + entries + data


def sqlite(
    path: Path, headers: Iterable[bytes], *, table: str = "CREATE TABLE Packages(hnum INTEGER, blob BLOB)"
) -> bytes:
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(table)
    if "VIEW" not in table:
        connection.executemany("INSERT INTO Packages VALUES (?, ?)", list(enumerate(headers, 1)))
    connection.commit()
    connection.close()
    return path.read_bytes()


def ndb(headers: Sequence[bytes]) -> bytes:
    slots = struct.pack("<4sIII", b"RpmP", 0, 1, 1) + bytes(16)
    blobs = b""
    for number, one in enumerate(headers, 1):
        blob = struct.pack("<4sIII", b"BlbS", number, 1, len(one)) + one
        blob += bytes(-len(blob) % 16)
        slots += struct.pack("<4sIII", b"Slot", number, (4096 + len(blobs)) // 16, len(blob) // 16)
        blobs += blob
    return slots.ljust(4096, b"\0") + blobs


@pytest.mark.parametrize("place", ["var/lib/rpm/rpmdb.sqlite", "usr/lib/sysimage/rpm/Packages.db"])
def test_bytes_are_counted_by_package(tmp_path: Path, place: str) -> None:
    headers = [header(name, paths) for name, paths in PACKAGES.items()]
    database = sqlite(tmp_path / "db", headers) if place.endswith("sqlite") else ndb(headers)
    content = layer((place, database), ("usr/bin/bash", b"x" * 70), ("etc/bashrc", b"y" * 7), ("usr/bin/ls", b"z" * 20))
    with orlop.open(tmp_path / "root") as images:
        images.load(io.BytesIO(image(content)))
        with images.files("made:1") as files:
            assert package_sizes(files) == {"bash": 77, "coreutils": 20}


def test_a_damaged_database_gives_what_can_be_read(tmp_path: Path) -> None:
    whole = header("bash", ["/usr/bin/bash"])
    assert list(package_files(whole)) == [("bash", "/usr/bin/bash")]
    for end in range(len(whole)):
        assert list(package_files(whole[:end])) == []
    assert list(package_files(whole.replace(b"\0\0\x04\x5c", b"\0\0\x04\x5d"))) == []  # no numbers of directories
    database = ndb([whole])
    for end in range(0, len(database), 7):
        assert list(ndb_headers(database[:end])) in ([], [whole])
    database = sqlite(tmp_path / "db", [whole])
    assert list(sqlite_headers(database)) == [whole]
    for end in range(0, len(database), 511):
        for one in sqlite_headers(database[:end]):
            assert {name for name, _ in package_files(one)} <= {"bash", ""}


def test_slots_that_share_a_blob_do_not_multiply_the_work() -> None:
    one = header("bash", [f"/usr/bin/b{number}" for number in range(200)])
    database = bytearray(ndb([one]))
    for at in range(32, 4096, 16):
        database[at : at + 16] = database[32:48]
    assert sum(map(len, ndb_headers(bytes(database)))) <= len(database)


def test_a_view_is_not_queried(tmp_path: Path) -> None:
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i, x'00' AS blob FROM n"
    view = f"CREATE VIEW Packages AS {endless}"
    assert list(sqlite_headers(sqlite(tmp_path / "db", [], table=view))) == []
