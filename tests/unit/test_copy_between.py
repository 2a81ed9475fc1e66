"""Copies, backups and moves between a directory and a store that has no files here, both ways."""

from __future__ import annotations

import io
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

import orlop
from orlop.errors import DatabaseDamaged, DigestMismatch, NotSupported, OrlopError, StoreInUse, TargetExists
from orlop.store.opening import open_store
from orlop.store.place.transfer import Transfer, fingerprint
from tests.elsewhere import install
from tests.unit.damage import fill

if TYPE_CHECKING:
    from pathlib import Path

    from tests.elsewhere import Elsewhere

URL = "postgresql://db/images?blobs=s3://bucket/a"
OTHER = "postgresql://db/images?blobs=s3://bucket/b"


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Elsewhere:
    return install(monkeypatch)


@pytest.fixture
def source(data: Path, tmp_path: Path) -> Path:
    root = tmp_path / "source"
    fill(root, data)
    orlop.stores.fsck(root, repair=True)
    with orlop.open(root) as images:
        images.gc()
    return root


def told(root: Path | str) -> tuple[str, list[str]]:
    """Return what names what in a store, and the digests that it holds."""
    with open_store(root, create=False) as store:
        with store.metadata.read() as rows:
            found = fingerprint(rows)
        return found, sorted(map(str, store.blobs.digests())) + sorted(map(str, store.blobs.tocs()))


@pytest.mark.sampled(2)
@pytest.mark.usefixtures("elsewhere")
def test_a_copy_there_and_back_is_the_same_store(source: Path, tmp_path: Path) -> None:
    there = orlop.stores.copy(source, URL)
    assert told(URL) == told(source)
    assert there.images > 0
    assert there.added == there.size
    assert orlop.stores.check(URL, verify=True).problems == ()
    back = orlop.stores.copy(URL, tmp_path / "back")
    assert (back.images, back.blobs, back.size) == (there.images, there.blobs, there.size)
    assert told(tmp_path / "back") == told(source)
    assert orlop.stores.check(tmp_path / "back", verify=True).damage == ()
    orlop.stores.copy(URL, OTHER)
    assert told(OTHER) == told(source)


@pytest.mark.usefixtures("elsewhere")
def test_a_target_with_images_is_not_touched(source: Path, tmp_path: Path) -> None:
    orlop.stores.copy(source, URL)
    before = told(URL)
    for target in (URL, tmp_path / "source"):
        with pytest.raises((TargetExists, OrlopError)):
            orlop.stores.copy(URL if target != URL else source, target)
    with pytest.raises(NotSupported, match="linked"):
        orlop.stores.copy(source, OTHER, link=True)
    with pytest.raises(OrlopError, match="the store itself"):
        orlop.stores.copy(URL, URL)
    assert told(URL) == before


def test_a_copy_that_was_interrupted_goes_on(source: Path, elsewhere: Elsewhere) -> None:
    blobs = elsewhere.blobs_of(URL)
    begun = blobs.begin
    left = 6

    def begin(algorithm: str = "sha256") -> object:
        nonlocal left
        left -= 1
        if not left:
            raise KeyboardInterrupt
        return begun(algorithm)

    blobs.begin = begin  # type: ignore[method-assign, assignment]
    with pytest.raises(KeyboardInterrupt):
        orlop.stores.copy(source, URL)
    blobs.begin = begun  # type: ignore[method-assign]
    with orlop.open(URL) as images:
        assert list(images.images(all=True)) == []
        came = set(images.store.blobs.digests())
        images.gc()
        assert set(images.store.blobs.digests()) == came, "what has come waits for a day"
    report = orlop.stores.copy(source, URL)
    assert report.added == report.size - sum(len(blobs._blobs[digest]) for digest in came)
    assert told(URL) == told(source)


def test_damage_in_the_source_ends_a_copy_before_anything_has_a_name(source: Path, elsewhere: Elsewhere) -> None:
    orlop.stores.copy(source, URL)
    blobs = elsewhere.blobs(URL)
    victim = max(blobs.digests(), key=lambda one: len(blobs._blobs[one]))
    blobs._blobs[victim] = bytes(len(blobs._blobs[victim]))
    with pytest.raises(DigestMismatch):
        orlop.stores.copy(URL, OTHER)
    with orlop.open(OTHER) as images:
        assert list(images.images(all=True)) == []


@pytest.mark.parametrize(
    "change", ["content_size = content_size + 1", "entries = entries + 1", "size = size + 1", "partial = 'why'"]
)
@pytest.mark.usefixtures("elsewhere")
def test_a_layer_whose_row_is_not_what_its_table_says_ends_a_copy(source: Path, change: str) -> None:
    with open_store(source, create=False) as store, store.metadata.read() as rows:
        diff = max(rows.diff_ids(), key=str)
    with closing(sqlite3.connect(source / "metadata.db")) as database, database:
        assert (
            database.execute(f"UPDATE diff SET {change} WHERE id = ? AND partial IS NULL", (str(diff),)).rowcount == 1
        )
        if "content" in change:
            above = (
                "SELECT id FROM chain WHERE diff = ? UNION SELECT chain.id FROM chain JOIN above ON parent = above.id"
            )
            database.execute(
                f"WITH RECURSIVE above (id) AS ({above}) UPDATE chain SET size = size + 1 WHERE id IN above",
                (str(diff),),
            )
    with pytest.raises(DatabaseDamaged, match=f"what it says of the layer {diff} is not what its table"):
        orlop.stores.copy(source, URL)
    with orlop.open(URL) as images:
        assert list(images.images(all=True)) == []


@pytest.mark.sampled(2)
@pytest.mark.usefixtures("elsewhere")
def test_a_backup_follows_what_it_is_of(source: Path, tmp_path: Path) -> None:
    orlop.stores.copy(source, URL)
    backup = tmp_path / "backup"
    orlop.stores.backup(URL, backup)
    assert told(backup) == told(URL)
    assert orlop.stores.info(backup).backup_of == URL
    with orlop.open(URL) as images:
        name = str(next(name for one in images.images() for name in one.references))
        images.remove(name, force=True)
        images.import_image(io.BytesIO(_tar()), "new:1")
    report = orlop.stores.backup(URL, backup)
    assert 0 < report.added < report.size
    assert told(backup) == told(URL)
    with pytest.raises(TargetExists, match="holds the backup of"):
        orlop.stores.backup(OTHER, backup)
    with pytest.raises(NotSupported, match="a backup is a directory"):
        orlop.stores.backup(source, URL)


@pytest.mark.usefixtures("elsewhere")
def test_a_move_leaves_nothing_where_it_was(source: Path, tmp_path: Path) -> None:
    before = told(source)
    orlop.stores.move(source, URL)
    assert told(URL) == before
    assert not source.exists()
    assert list(tmp_path.iterdir()) == []
    orlop.stores.move(URL, tmp_path / "back")
    assert told(tmp_path / "back") == before
    assert told(URL)[1] == []
    with orlop.open(URL) as images:
        assert list(images.images(all=True)) == []


@pytest.mark.usefixtures("elsewhere")
def test_a_store_in_use_is_not_moved(source: Path) -> None:
    orlop.stores.copy(source, URL)
    with open_store(URL) as other, other.leases.hold([next(iter(other.blobs.digests()))]):
        with pytest.raises(StoreInUse):
            orlop.stores.move(URL, OTHER)
        assert told(URL) == told(source)


@pytest.mark.usefixtures("elsewhere")
def test_what_comes_while_a_copy_is_made_is_copied_too(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = Transfer._commit
    late: list[str] = ["one:1", "two:2"]

    def committing(self: Transfer) -> str | None:
        if late:
            with orlop.open(source) as images:
                images.import_image(io.BytesIO(_tar(late[-1])), late.pop())
        return commit(self)

    monkeypatch.setattr(Transfer, "_commit", committing)
    orlop.stores.copy(source, URL)
    assert told(URL) == told(source)


def _tar(name: str = "file") -> bytes:
    import tarfile

    found = io.BytesIO()
    with tarfile.open(fileobj=found, mode="w") as tar:
        tar.addfile(tarfile.TarInfo(name.replace(":", "-")))
    return found.getvalue()
