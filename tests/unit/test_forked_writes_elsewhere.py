"""A process that is forked in the middle of a write to rows in PostgreSQL or in memory: only the parent ends that."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from orlop.errors import StoreInUse
from orlop.model.digest import Digest
from orlop.store.rows.sqlite.memory import MemoryMetadata

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from orlop.store.rows.metadata import Metadata, WritableRows
    from orlop.store.rows.postgres.database import PostgresMetadata

LEASE = "until-9000000000-x"
DIGESTS = [Digest.of(b"brought")]


@pytest.fixture
def memory() -> Iterator[MemoryMetadata]:
    rows = MemoryMetadata()
    yield rows
    rows.end()


def _in_child(metadata: Metadata, folder: Path, how: str) -> int:
    """Fork in a write, let the child end it in some way, then the parent; return the status of the child."""
    parent, status = os.getpid(), 70

    def write(rows: WritableRows) -> None:
        nonlocal status
        rows.after_rollback((folder / "brought").unlink)
        rows.after_commit((folder / "old").unlink)
        rows.put_lease(LEASE, DIGESTS)
        child = os.fork()
        if child == 0:
            if how == "raised":
                raise KeyError(how)
            return
        _, status = os.waitpid(child, 0)
        assert {path.name for path in folder.iterdir()} == {"brought", "old"}

    try:
        with metadata.write() as rows:
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
@pytest.mark.parametrize("kind", ["metadata", "memory"])
def test_a_child_neither_commits_nor_undoes_what_its_parent_writes(request, tmp_path, kind, how, status):
    metadata: PostgresMetadata | MemoryMetadata = request.getfixturevalue(kind)
    for name in ("brought", "old"):
        (tmp_path / name).touch()
    assert _in_child(metadata, tmp_path, how) == status
    assert [path.name for path in tmp_path.iterdir()] == ["brought"]
    with metadata.read() as rows:
        assert rows.lease_digests(LEASE) == DIGESTS
