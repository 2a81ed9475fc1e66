"""Blobs whose rows were lost, and writes that are undone: what a pull makes of their files, and what a collection."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from orlop.errors import NoSpace
from orlop.model.descriptor import Descriptor
from orlop.model.digest import Digest
from orlop.store.blobs import partial
from orlop.store.local import local_store
from orlop.store.loose import loose_row
from orlop.store.rows.metadata import BlobRow
from orlop.streams.interruption import interrupted_by

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from orlop.store.blobs.store import Ingest
    from orlop.store.root import Store

CONTENT = b"the content of a layer" * 1000
DIGEST = Digest.of(CONTENT)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with local_store(tmp_path / "root") as found:
        yield found


@pytest.fixture
def file(store: Store) -> Path:
    return Path(str(store.root)) / "blobs" / DIGEST.algorithm / DIGEST.hex


def lose_row(store: Store, file: Path, content: bytes) -> None:
    """Make a manifest that names a blob, which is there and has no row."""
    with store.metadata.write() as rows:
        rows.put_manifest(loose_row(Descriptor("application/octet-stream", DIGEST, len(CONTENT))), [])
    file.write_bytes(content)
    file.chmod(0o400)


@pytest.mark.parametrize("ends", ["killed", "discarded"])
def test_what_a_manifest_names_outlives_a_pull_that_breaks_off(store: Store, file: Path, ends: str):
    lose_row(store, file, CONTENT)
    ingest = store.blobs.resume(DIGEST, metadata=store.metadata)
    assert ingest.read_kept(0, ingest.kept) == CONTENT
    if ends == "discarded":
        ingest.discard()
    else:
        ingest._file.close()  # type: ignore[attr-defined]
    store.blobs.free_partials(most=0, before=0)
    assert list(store.blobs.partials()) == []
    assert file.read_bytes() == CONTENT
    assert file.stat().st_nlink == 1


@pytest.mark.parametrize("is_undone", [False, True])
def test_what_a_manifest_names_is_kept_again(store: Store, file: Path, *, is_undone: bool):
    lose_row(store, file, CONTENT)
    ingest = store.blobs.resume(DIGEST, metadata=store.metadata)
    commit(store, ingest, is_undone=is_undone)
    assert file.read_bytes() == CONTENT
    with store.metadata.read() as rows:
        assert (rows.blob(DIGEST) is None) == is_undone
    assert list(store.blobs.partials()) == []


@pytest.mark.parametrize("content", [CONTENT[:100], b"?" + CONTENT[1:], b""])
def test_what_is_not_whole_is_moved_and_helps_nobody_else(store: Store, file: Path, content: bytes):
    lose_row(store, file, content)
    with store.blobs.resume(DIGEST, metadata=store.metadata) as ingest:
        assert ingest.read_kept(0, ingest.kept) == content
    assert not file.exists()


@pytest.mark.parametrize("is_taken", [False, True])
def test_a_write_that_is_undone_leaves_its_bytes_for_the_next_try(store: Store, file: Path, *, is_taken: bool):
    ingest = store.blobs.resume(DIGEST)
    ingest.write(CONTENT)
    others: list[Ingest] = []
    then = (lambda: others.append(store.blobs.resume(DIGEST))) if is_taken else None
    commit(store, ingest, then=then, is_undone=True)
    assert not file.exists()
    for other in others:
        # It writes a file of its own, which nobody takes from it.
        assert other.kept == 0
        other.write(CONTENT[:10])
        other.discard()
    again = store.blobs.resume(DIGEST)
    assert again.read_kept(0, again.kept) == (CONTENT[:10] if is_taken else CONTENT)
    again.write(CONTENT)
    commit(store, again)
    assert file.read_bytes() == CONTENT


@pytest.mark.parametrize("call", ["link", "rename", "unlink", "chmod"])
def test_a_kill_while_a_write_is_undone_bars_no_later_pull(
    store: Store, file: Path, monkeypatch: pytest.MonkeyPatch, call: str
):
    """The process ends just before or just after it has changed a name or a mode."""
    plain = getattr(os, call)
    for is_done in (False, True):
        ingest = store.blobs.resume(DIGEST)
        with monkeypatch.context() as patched:

            def kill(*args: object, **more: object) -> None:
                if is_done:  # noqa: B023 - called in this turn
                    plain(*args, **more)
                raise Killed

            with suppress(Killed):
                commit(store, ingest, then=lambda: patched.setattr(os, call, kill), is_undone=True)
        again = store.blobs.resume(DIGEST, metadata=store.metadata)
        assert again.read_kept(0, again.kept) in {b"", CONTENT}
        again.discard()
        file.unlink(missing_ok=True)


class Killed(BaseException):
    """Stands for the end of a process."""


def commit(store: Store, ingest: Ingest, *, then: Callable[[], object] | None = None, is_undone: bool = False) -> None:
    if ingest.size == 0:
        ingest.write(CONTENT)
    ingest.finish()
    ingest.sync()
    with suppress(ZeroDivisionError), store.metadata.write() as rows:
        row = BlobRow(DIGEST, len(CONTENT), "none")
        ingest.commit(rows, row)
        rows.put_blob(row)
        if then is not None:
            then()
        1 / (not is_undone)


class Enough(Exception):
    """What ends a pull here."""


class FailingHash:
    """Takes the first piece of a content, and then fails as the disk would."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._pieces = 0

    def new(self, _: str) -> FailingHash:
        return self

    def update(self, _: bytes) -> None:
        self._pieces += 1
        if self._pieces > 1:
            raise OSError(self._number, os.strerror(self._number))


def failing(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    monkeypatch.setattr(partial, "CHUNK", 1000)
    monkeypatch.setattr(partial, "hashlib", FailingHash(number))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_copy_for_which_there_is_no_space_takes_none(
    store: Store, file: Path, monkeypatch: pytest.MonkeyPatch, number: int
):
    lose_row(store, file, CONTENT)
    failing(monkeypatch, number)
    with pytest.raises(NoSpace):
        store.blobs.resume(DIGEST, metadata=store.metadata)
    assert file.read_bytes() == CONTENT
    assert sizes(store) == [0]


def test_a_copy_is_ended_with_its_pull(store: Store, file: Path):
    def check() -> None:
        raise Enough

    lose_row(store, file, CONTENT)
    with interrupted_by(check), pytest.raises(Enough):
        store.blobs.resume(DIGEST, metadata=store.metadata)
    assert file.read_bytes() == CONTENT
    assert sizes(store) == [0]


def sizes(store: Store) -> list[int]:
    return [one.stat().st_size for one in (Path(str(store.root)) / "partial").iterdir()]


def test_what_the_disk_has_lost_is_neither_copied_nor_moved(store: Store, file: Path, monkeypatch: pytest.MonkeyPatch):
    lose_row(store, file, CONTENT)
    with monkeypatch.context() as patched:
        failing(patched, errno.EIO)
        ingest = store.blobs.resume(DIGEST, metadata=store.metadata)
    assert ingest.kept == 0
    assert file.read_bytes() == CONTENT
    commit(store, ingest)
    assert file.read_bytes() == CONTENT
    assert list(store.blobs.partials()) == []
