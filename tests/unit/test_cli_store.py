"""`orlop store …`: what it prints, and how it ends."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from orlop import stores
from orlop.cli.main import run
from orlop.streams.filesystems import FileSystem
from tests.unit.test_json import check

if TYPE_CHECKING:
    from pathlib import Path


class Ended(NamedTuple):
    status: int
    out: str
    err: str


@pytest.fixture
def root(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ORLOP_ROOT", str(tmp_path / "root"))
    assert run(["load", "-q", "-i", str(data / "dockerd-29-overlay2" / "multi.tar")]) == 0
    return tmp_path / "root"


@pytest.fixture
def orlop(root, capsysbinary):
    capsysbinary.readouterr()

    def call(*arguments: object) -> Ended:
        status = run([str(argument) for argument in arguments])
        out, err = capsysbinary.readouterr()
        return Ended(status, out.decode(), err.decode())

    return call


def read(ended: Ended, schema: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(ended.out)
    check(schema, [document])
    return document


def test_info(orlop, root, monkeypatch):
    ended = orlop("store", "info")
    assert ended.status == 0
    assert f"Root:         {root}\n" in ended.out
    assert "Images:       3, with 3 names\n" in ended.out
    document = read(orlop("store", "info", "--format", "json"), "store-info")
    assert (document["Images"], document["ReadOnly"], document["Leases"]) == (3, "", 0)
    assert orlop("store", "info", "--format", "{{.Images}} {{.BlobBytes}}").out == f"3 {document['BlobBytes']}\n"
    monkeypatch.setattr("orlop.store.local.file_system_of", lambda _: FileSystem("cifs", "/"))
    document = read(orlop("store", "info", "--format", "json"), "store-info")
    assert document["Leases"] is None
    assert "Read-only:    cannot write" in orlop("store", "info").out


def test_a_shared_store_and_a_backup_say_what_they_are(orlop, tmp_path):
    ended = orlop("--root", tmp_path / "shared", "store", "init", "--group", os.getegid())
    assert ended.out.startswith(f"The store at {tmp_path / 'shared'} is for the group ")
    document = read(orlop("--root", tmp_path / "shared", "store", "info", "--format", "json"), "store-info")
    assert f"Shared by:    the group {document['Group']}\n" in orlop("--root", tmp_path / "shared", "store", "info").out
    orlop("store", "backup", tmp_path / "backup")
    document = read(orlop("--root", tmp_path / "backup", "store", "info", "--format", "json"), "store-info")
    assert document["BackupOf"] == str(tmp_path / "root")
    assert f"Backup of:    {tmp_path / 'root'}\n" in orlop("--root", tmp_path / "backup", "store", "info").out


def test_init(orlop, tmp_path):
    ended = orlop("--root", tmp_path / "new", "store", "init")
    assert ended == (0, f"The store at {tmp_path / 'new'} is for you alone\n", "")
    assert orlop("--root", tmp_path / "new", "store", "init").status == 0
    assert orlop("--root", tmp_path / "new", "store", "init", "--group", os.getegid()).status == 5
    assert orlop("store", "init", "--group", "there is no such group").status == 3


def test_check(orlop, root):
    assert orlop("store", "check") == (0, f"{root}: nothing is damaged\n", "")
    document = read(orlop("store", "check", "--verify", "--format", "json"), "store-check")
    assert document == {"Root": str(root), "Verified": True, "Damaged": False, "Problems": []}
    (root / "blobs" / "sha256" / "x").touch()
    assert orlop("store", "check").status == 0
    blob = max((root / "blobs" / "sha256").iterdir(), key=lambda path: path.stat().st_size)
    blob.unlink()
    ended = orlop("store", "check")
    assert ended.status == 6
    assert ended.out.splitlines() == [
        f"damage: the blob sha256:{blob.name} is missing from {blob}; load its image again",
        f"note: {root / 'blobs' / 'sha256' / 'x'} belongs to nothing; it may be removed",
        f"{root}: 1 damaged",
    ]
    ended = orlop("store", "check", "--format", "json")
    assert ended.status == 6
    document = read(ended, "store-check")
    assert [(one["Level"], one["Kind"]) for one in document["Problems"]] == [
        ("damage", "blob-missing"),
        ("note", "stray"),
    ]


def test_copy_backup_and_move(orlop, root, tmp_path):
    size = stores.info(root).blob_bytes
    assert orlop("store", "copy", tmp_path / "a") == (0, f"Copied 3 images in 6 blobs (43kB) to {tmp_path / 'a'}\n", "")
    document = read(orlop("store", "copy", "--link", "--format", "json", tmp_path / "b"), "store-copy")
    assert document == {"Root": str(tmp_path / "b"), "Images": 3, "Blobs": 6, "Size": size, "Added": 0}
    assert "43kB of it new" in orlop("store", "backup", tmp_path / "c").out
    assert "0B of it new" in orlop("store", "backup", tmp_path / "c").out
    document = read(orlop("store", "backup", "--format", "json", tmp_path / "c"), "store-copy")
    assert (document["Size"], document["Added"]) == (size, 0)
    assert orlop("store", "move", tmp_path / "d").out == f"Moved 3 images in 6 blobs (43kB) to {tmp_path / 'd'}\n"
    document = read(orlop("--root", tmp_path / "d", "store", "move", "--format", "json", tmp_path / "e"), "store-copy")
    assert document["Added"] == 0
    for place in "abce":
        assert stores.check(tmp_path / place, verify=True).problems == ()


def test_what_cannot_be_done_is_one_sentence(orlop, root, tmp_path):
    assert orlop("store", "copy", root).status == 3
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    for verb in ("copy", "backup", "move"):
        ended = orlop("store", verb, tmp_path / "full")
        assert (ended.status, ended.out, ended.err.count("\n")) == (5, "", 1)
    for verb in ("info", "check", "migrate"):
        ended = orlop("--root", tmp_path / "nothing", "store", verb)
        assert ended == (4, "", f"Error: there is no store at {tmp_path / 'nothing'}; check the root that was given\n")


def test_migrate(orlop, root):
    assert orlop("store", "migrate") == (0, "The store is of schema 3 already\n", "")
    document = read(orlop("store", "migrate", "--format", "json"), "store-migrate")
    assert document == {"Root": str(root), "Old": 3, "New": 3, "Kept": ""}
    with closing(sqlite3.connect(root / "metadata.db")) as database:
        database.execute("PRAGMA user_version = 99")
        database.execute("CREATE TABLE later (id)")
    assert orlop("store", "migrate").status == 7


@pytest.mark.parametrize("way", ["option", "environment"])
def test_a_network_file_system_must_be_allowed(orlop, root, monkeypatch, way):
    monkeypatch.setattr("orlop.store.local.file_system_of", lambda _: FileSystem("nfs4", "/"))
    assert orlop("images", "-q").status == 0
    ended = orlop("tag", "example/tiny:1.0", "a:b")
    assert ended.status == 7
    assert "--allow-network-fs" in ended.err
    if way == "environment":
        monkeypatch.setenv("ORLOP_ALLOW_NETWORK_FS", "1")
    options = ["--allow-network-fs"] if way == "option" else []
    assert orlop(*options, "tag", "example/tiny:1.0", "a:b").status == 0
