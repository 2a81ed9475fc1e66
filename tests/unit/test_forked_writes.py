"""A process that is forked in the middle of a write: only the parent ends that, and a child harms nothing of it."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

import orlop
from orlop import stores
from orlop.errors import StoreInUse
from orlop.model.digest import Digest

if TYPE_CHECKING:
    from pathlib import Path

    from orlop.store.rows.metadata import WritableRows

LEASE = "until-9000000000-x"


def _leased(root: Path) -> set[str]:
    """Return what another connection sees, and bring what is committed into the database."""
    with closing(sqlite3.connect(root / "metadata.db")) as database:
        found = {digest for (digest,) in database.execute("SELECT digest FROM lease WHERE lease = ?", (LEASE,))}
        database.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
    return found


def _in_child(images: orlop.ImageService, file: Path, how: str) -> int:
    """Fork in a write, let the child end it in some way, then the parent; return the status of the child."""
    parent, child, status = os.getpid(), 0, 70

    def write(rows: WritableRows) -> None:
        nonlocal child, status
        rows.after_rollback(file.unlink)
        rows.put_lease(LEASE, [Digest.of(b"parent %d" % number) for number in range(500)])
        child = os.fork()
        if child == 0:
            rows.put_lease(LEASE, [Digest.of(b"child %d" % number) for number in range(500)])
            if how == "raised":
                raise KeyError(how)
            return
        _, status = os.waitpid(child, 0)
        assert _leased(file.parent / "root") == set()
        rows.put_lease(LEASE, [Digest.of(b"later")])

    try:
        with images._store.metadata.write() as rows:
            write(rows)
    except StoreInUse as error:
        if os.getpid() == parent:
            raise
        os._exit(7 if "forked in a write of its parent" in str(error) else 71)
    except KeyError:
        os._exit(8)
    finally:
        if os.getpid() != parent:
            os._exit(72)
    return os.waitstatus_to_exitcode(status)


@pytest.mark.parametrize(("how", "status"), [("left", 7), ("raised", 8)])
def test_a_child_neither_commits_nor_undoes_what_its_parent_writes(tmp_path, how, status):
    file = tmp_path / "brought"
    file.write_bytes(b"bytes that the write publishes")
    with orlop.open(tmp_path / "root") as images:
        assert _in_child(images, file, how) == status
        assert file.exists()
        expected = {str(Digest.of(b"parent %d" % number)) for number in range(500)} | {str(Digest.of(b"later"))}
        assert _leased(tmp_path / "root") == expected
    assert stores.fsck(tmp_path / "root").damage == ()
