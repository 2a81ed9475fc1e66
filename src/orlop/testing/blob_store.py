"""The contract of `BlobStore`: reading, writing, keeping, tables of contents, and what a crash leaves of them."""

from __future__ import annotations

import gc
import os
import warnings
from threading import Thread
from typing import TYPE_CHECKING, NamedTuple

import pytest

from orlop.errors import (
    ContentNotFound,
    DigestMismatch,
    IntegrityError,
    InvalidDigest,
    InvalidInput,
    SizeMismatch,
    StorageError,
)
from orlop.model.digest import DiffID, Digest
from orlop.store.rows.metadata import BlobRow, DiffRow
from orlop.testing.contract import Contract
from orlop.testing.same_content import SameContent

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from orlop.store.blobs.store import BlobStore, Ingest
    from orlop.store.rows.metadata import Metadata

_LARGE = bytes(range(256)) * 12_345
_CONTENTS = (b"\0", b"content", _LARGE)
_NAMES = ("one byte", "few bytes", "many bytes")
_LAYER = DiffID.of(b"some layer")
_BAD = "sha256:../../x"


class Opened(NamedTuple):
    """A store of blobs and the rows that it shares its fate with."""

    blobs: BlobStore
    metadata: Metadata

    def begin(self, data: bytes) -> Ingest:
        """Write content that is not committed yet."""
        ingest = self.blobs.begin()
        ingest.write(data)
        ingest.finish()
        ingest.sync()
        return ingest

    def keep(self, data: bytes) -> BlobRow:
        """Keep content and its row."""
        row = row_of(data)
        ingest = self.begin(data)
        with self.metadata.write() as rows:
            ingest.commit(rows, row)
            rows.put_diff(DiffRow(DiffID.wrap(row.digest), row.size, 0, 0), row)
        return row

    def keep_toc(self, data: bytes) -> None:
        """Keep a table of contents, of a layer that has a row."""
        ingest = self.begin(data)
        with self.metadata.write() as rows:
            ingest.commit_toc(rows, _LAYER)
            rows.put_diff(DiffRow(_LAYER, 1, 0, 0), row_of(b"\0"))

    def read(self, row: BlobRow) -> bytes:
        """Read content to its end, verified."""
        with self.blobs.open(row) as reader:
            return b"".join(reader.chunks(1 << 16))

    def toc(self) -> bytes | None:
        """Read the table of contents."""
        file = self.blobs.open_toc(_LAYER)
        if file is None:
            return None
        with file:
            return file.read()

    def tidy(self) -> None:
        """Finish what a crash interrupted, and clear away what it left, as `gc` does."""
        self.blobs.sweep_ingests()
        with self.metadata.write() as rows:
            self.blobs.sweep_trash(rows)
            for leftover in self.blobs.strays(rows):
                self.blobs.clear(rows, leftover)


def row_of(data: bytes) -> BlobRow:
    """Return the row of some content."""
    return BlobRow(Digest.of(data), len(data), "none")


class BlobStoreContract(SameContent, Contract):
    """What every store of blobs does.

    Hooks: ``open(folder)`` gives an `Opened` as a context manager, and the same content for the same folder again;
    ``damage(folder, digest, data)`` puts other bytes in the place of a blob, or takes it away where they are nothing.
    """

    hooks = ("open", "damage")

    def open(self, folder: Path) -> AbstractContextManager[Opened]:
        """Open the store whose content lies in a folder."""
        raise NotImplementedError

    def damage(self, folder: Path, digest: Digest, data: bytes | None) -> None:
        """Change what is kept under a digest behind the store's back."""
        raise NotImplementedError

    @pytest.fixture
    def opened(self, tmp_path: Path) -> Iterator[Opened]:
        """An empty store."""
        with self.open(tmp_path) as opened:
            yield opened

    # Reading.

    @pytest.mark.parametrize("data", _CONTENTS, ids=_NAMES)
    def test_committed_bytes_come_back(self, opened: Opened, data: bytes) -> None:
        """What was written in pieces is read as it was."""
        row = row_of(data)
        with opened.blobs.begin() as ingest:
            for at in range(0, len(data), 100_000):
                ingest.write(data[at : at + 100_000])
            assert (ingest.size, ingest.digest) == (row.size, row.digest)
            ingest.sync()
            with opened.metadata.write() as rows:
                ingest.commit(rows, row)
        assert opened.blobs.has(row)
        assert opened.read(row) == data

    def test_a_range_is_read_by_itself(self, opened: Opened) -> None:
        """``read_range`` gives the bytes from one number on, fewer where they end."""
        row = opened.keep(_LARGE)
        for start, size in (
            (0, 10),
            (1_000_000, 300_000),
            (row.size - 5, 100),
            (row.size, 1),
            (row.size + 9, 1),
            (5, 0),
        ):
            assert opened.blobs.read_range(row, start, size) == _LARGE[start : start + size]
        for start, size in ((-1, 1), (0, -1)):
            with pytest.raises(InvalidInput):
                opened.blobs.read_range(row, start, size)
        with pytest.raises(ContentNotFound):
            opened.blobs.read_range(row_of(b"nobody kept this"), 0, 1)

    def test_what_is_read_stays_readable_while_it_goes(self, opened: Opened) -> None:
        """A reader that began before ``remove`` ends well."""
        row = opened.keep(_LARGE)
        with opened.blobs.open(row) as reader:
            first = reader.read(10)
            with opened.metadata.write() as rows:
                opened.blobs.remove(rows, [row.digest])
            assert first + b"".join(reader.chunks()) == _LARGE

    @pytest.mark.parametrize("data", _CONTENTS, ids=_NAMES)
    def test_damaged_bytes_are_never_given_whole(self, tmp_path: Path, data: bytes) -> None:
        """Reading fails before the last byte where the digest is another."""
        with self.open(tmp_path) as opened:
            row = opened.keep(data)
            self.damage(tmp_path, row.digest, bytes([data[0] ^ 1]) + data[1:])
            got = bytearray()
            with opened.blobs.open(row) as reader, pytest.raises(DigestMismatch):  # noqa: PT012 - the block is what is tested
                while piece := reader.read(1 << 16):
                    got += piece
            assert len(got) < len(data)

    @pytest.mark.parametrize("more", [-1, 1, 100_000])
    def test_another_size_is_told_at_once(self, tmp_path: Path, more: int) -> None:
        """Bytes of another size are not there by ``has``, and cannot be opened."""
        with self.open(tmp_path) as opened:
            row = opened.keep(b"content")
            self.damage(tmp_path, row.digest, b"content"[:more] if more < 0 else b"content" + bytes(more))
            assert not opened.blobs.has(row)
            with pytest.raises(SizeMismatch):
                opened.read(row)
            with pytest.raises(SizeMismatch):
                opened.blobs.read_range(row, 0, 1)

    def test_missing_bytes_are_told(self, tmp_path: Path) -> None:
        """Bytes that vanished are an error that names them."""
        with self.open(tmp_path) as opened:
            row = opened.keep(b"content")
            self.damage(tmp_path, row.digest, None)
            assert not opened.blobs.has(row)
            assert opened.blobs.size_of(row.digest).size == 0
            with pytest.raises(ContentNotFound, match=row.digest.hex):
                opened.read(row)

    def test_the_row_must_fit_too(self, opened: Opened) -> None:
        """A row with another size than the content's never leads to it."""
        row = opened.keep(b"content")
        for size in (6, 8):
            with pytest.raises(IntegrityError):
                opened.read(row._replace(size=size))

    def test_what_is_not_a_digest_leads_nowhere(self, opened: Opened) -> None:
        """A digest that came unparsed from a document is refused by every call."""
        digest, diff_id = Digest.unchecked(_BAD), DiffID.unchecked(_BAD)
        row = BlobRow(digest, 1, "none")
        with opened.begin(b"x") as ingest, opened.metadata.write() as rows:
            for call in (
                lambda: opened.blobs.has(row),
                lambda: opened.blobs.open_unverified(row),
                lambda: opened.blobs.size_of(digest),
                lambda: opened.blobs.remove(rows, [digest]),
                lambda: opened.blobs.open_toc(diff_id),
                lambda: opened.blobs.toc_size_of(diff_id),
                lambda: opened.blobs.remove_tocs(rows, [diff_id]),
                lambda: ingest.commit_toc(rows, diff_id),
            ):
                with pytest.raises(InvalidDigest):
                    call()

    # Writing.

    def test_nothing_is_there_before_it_is_committed(self, opened: Opened) -> None:
        """Bytes that are written are not yet content; leaving the block discards them."""
        row = row_of(b"content")
        with opened.begin(b"content"):
            assert not opened.blobs.has(row)
            assert list(opened.blobs.digests()) == []
        assert list(opened.blobs.unfinished()) == []
        with pytest.raises(ContentNotFound):
            opened.read(row)

    @pytest.mark.parametrize("wrong", [b"contemt", b"contents", b"", _LARGE], ids=["digest", "more", "none", "large"])
    def test_a_wrong_expectation_changes_nothing(self, opened: Opened, wrong: bytes) -> None:
        """``commit`` refuses bytes that are not what was expected, and may be asked again for what they are."""
        row = row_of(b"content")
        with opened.begin(b"content") as ingest, opened.metadata.write() as rows:
            for expected in (row_of(wrong), row._replace(digest=row_of(wrong).digest)):
                with pytest.raises((DigestMismatch, SizeMismatch)):
                    ingest.commit(rows, expected)
            assert list(opened.blobs.digests()) == []
            ingest.commit(rows, row)
        assert opened.read(row) == b"content"

    def test_several_are_written_at_once(self, opened: Opened) -> None:
        """Writers do not get into each other's way."""
        ingests = [opened.blobs.begin() for _ in range(5)]
        for turn in range(3):
            for number, ingest in enumerate(ingests):
                ingest.write(b"%d-%d" % (number, turn))
        contents = [b"".join(b"%d-%d" % (number, turn) for turn in range(3)) for number in range(5)]
        for ingest in ingests:
            ingest.sync()
        with opened.metadata.write() as rows:
            for ingest, data in zip(ingests, contents, strict=True):
                ingest.commit(rows, row_of(data))
        assert [opened.read(row_of(data)) for data in contents] == contents

    def test_the_halves_of_a_write_may_run_beside_each_other(self, opened: Opened) -> None:
        """``append`` in one thread and ``hash`` in another make what ``write`` makes."""
        row = row_of(_LARGE)
        with opened.blobs.begin() as ingest:
            threads = [Thread(target=half, args=(_LARGE,)) for half in (ingest.append, ingest.hash)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            ingest.sync()
            with opened.metadata.write() as rows:
                ingest.commit(rows, row)
        assert opened.read(row) == _LARGE

    def test_two_writers_of_one_digest_keep_it_once(self, opened: Opened) -> None:
        """The second finds what the first has brought, in the same write or in a later one."""
        row = row_of(b"content")
        first, second, third = (opened.begin(b"content") for _ in range(3))
        with opened.metadata.write() as rows:
            for ingest in (first, second):
                ingest.commit(rows, row)
                rows.put_diff(DiffRow(DiffID.wrap(row.digest), row.size, 0, 0), row)
        with opened.metadata.write() as rows:
            third.commit(rows, row)
        assert opened.read(row) == b"content"
        assert list(opened.blobs.digests()) == [row.digest]
        assert list(opened.blobs.unfinished()) == []

    def test_committing_again_leaves_what_was_there(self, opened: Opened) -> None:
        """An undone second ``commit`` does not take the first one's bytes away."""
        row = opened.keep(b"content")
        ingest = opened.begin(b"content")
        with pytest.raises(ZeroDivisionError), opened.metadata.write() as rows:  # noqa: PT012 - the block is what is tested
            ingest.commit(rows, row)
            raise ZeroDivisionError
        assert opened.read(row) == b"content"

    def test_committing_is_undone_with_its_write(self, opened: Opened) -> None:
        """``commit`` shares the fate of the rows."""
        row, ingest = row_of(b"content"), opened.begin(b"content")
        with pytest.raises(ZeroDivisionError), opened.metadata.write() as rows:  # noqa: PT012 - the block is what is tested
            ingest.commit(rows, row)
            raise ZeroDivisionError
        assert not opened.blobs.has(row)
        assert list(opened.blobs.digests()) == []

    def test_nothing_can_be_written_after_the_end(self, opened: Opened) -> None:
        """A writer that was committed or discarded takes no more."""
        committed, discarded = opened.begin(b"content"), opened.begin(b"other")
        with opened.metadata.write() as rows:
            committed.commit(rows, row_of(b"content"))
        discarded.discard()
        discarded.discard()
        for ingest in (committed, discarded):
            with pytest.raises(StorageError):
                ingest.write(b"more")

    def test_an_abandoned_writer_leaves_nothing_in_the_end(self, tmp_path: Path) -> None:
        """What nobody commits or discards is never content, and goes once its owner has ended."""
        with self.open(tmp_path) as opened:
            opened.begin(b"abandoned")
            gc.collect()
            assert not opened.blobs.has(row_of(b"abandoned"))
        with self.open(tmp_path) as opened:
            opened.blobs.sweep_ingests()
            assert list(opened.blobs.unfinished()) == []
            assert list(opened.blobs.digests()) == []

    def test_a_writer_at_work_is_not_swept_up(self, opened: Opened) -> None:
        """``sweep_ingests`` takes only what dead owners left."""
        with opened.begin(b"content") as ingest:
            opened.blobs.sweep_ingests()
            with opened.metadata.write() as rows:
                ingest.commit(rows, row_of(b"content"))
        assert opened.read(row_of(b"content")) == b"content"

    def test_a_spool_gives_back_what_it_took(self, opened: Opened) -> None:
        """A spool is a place for bytes that are not content, and leaves nothing."""
        spool = opened.blobs.spool()
        starts = [spool.append(data) for data in _CONTENTS]
        for start, data in reversed(list(zip(starts, _CONTENTS, strict=True))):
            assert spool.read(start, len(data)) == data
        spool.close()
        spool.close()
        assert list(opened.blobs.digests()) == []
        assert list(opened.blobs.unfinished()) == []

    # Keeping.

    def test_what_is_kept_can_be_listed_and_measured(self, opened: Opened) -> None:
        """``digests`` and ``size_of`` tell of all blobs, and of nothing else."""
        kept = {row.digest: row.size for row in map(opened.keep, _CONTENTS)}
        opened.keep_toc(b"a table")
        found = list(opened.blobs.digests())
        assert sorted(found) == sorted(kept)
        assert {digest: opened.blobs.size_of(digest).size for digest in found} == kept
        assert opened.blobs.size_of(Digest.of(b"nobody kept this")) == (0, 0)
        alone = {one: opened.blobs.size_of(one) for one in found} | {_LAYER: opened.blobs.toc_size_of(_LAYER)}
        assert opened.blobs.sizes_of(alone) == alone

    def test_removed_bytes_go_once_the_write_is_durable(self, opened: Opened) -> None:
        """``remove`` takes what was named, and nothing else."""
        one, other = opened.keep(b"one"), opened.keep(b"other")
        with opened.metadata.write() as rows:
            opened.blobs.remove(rows, [one.digest])
        assert not opened.blobs.has(one)
        assert not opened.blobs.needs_recovery()
        with pytest.raises(ContentNotFound):
            opened.read(one)
        assert opened.read(other) == b"other"

    def test_removing_is_undone_with_its_write(self, opened: Opened) -> None:
        """``remove`` shares the fate of the rows."""
        row = opened.keep(b"content")
        opened.keep_toc(b"a table")
        with pytest.raises(ZeroDivisionError), opened.metadata.write() as rows:  # noqa: PT012 - the block is what is tested
            opened.blobs.remove(rows, [row.digest])
            opened.blobs.remove_tocs(rows, [_LAYER])
            raise ZeroDivisionError
        assert opened.read(row) == b"content"
        assert opened.toc() == b"a table"

    def test_removing_what_is_not_there_is_no_error(self, opened: Opened) -> None:
        """``remove`` is idempotent."""
        with opened.metadata.write() as rows:
            opened.blobs.remove(rows, [Digest.of(b"nobody kept this")])
            opened.blobs.remove_tocs(rows, [_LAYER])

    def test_bytes_may_come_back(self, opened: Opened) -> None:
        """Removing leaves nothing that stops the same content later."""
        row = opened.keep(b"content")
        with opened.metadata.write() as rows:
            opened.blobs.remove(rows, [row.digest])
        assert opened.read(opened.keep(b"content")) == b"content"

    def test_content_lasts(self, tmp_path: Path) -> None:
        """A second store over the same folder has what the first published, at once."""
        with self.open(tmp_path) as first:
            row = first.keep(b"content")
            with self.open(tmp_path) as second:
                assert second.blobs.has(row)
                assert second.read(row) == b"content"

    def test_what_no_row_names_is_found_and_goes(self, opened: Opened) -> None:
        """``strays`` finds blobs and tables without a row, and ``clear`` takes them unless its write is undone."""
        row = row_of(b"stray")
        with opened.begin(b"stray") as blob, opened.begin(b"a table") as toc, opened.metadata.write() as rows:
            blob.commit(rows, row)
            toc.commit_toc(rows, _LAYER)
        kept = opened.keep(b"content")
        with pytest.raises(ZeroDivisionError), opened.metadata.write() as rows:  # noqa: PT012 - the block is what is tested
            for stray in opened.blobs.strays(rows):
                opened.blobs.clear(rows, stray)
            raise ZeroDivisionError
        assert opened.read(row) == b"stray"
        with opened.metadata.write() as rows:
            strays = list(opened.blobs.strays(rows))
            assert sorted(stray.size for stray in strays) == [len(b"stray"), len(b"a table")]
            for stray in (*strays, *strays):
                opened.blobs.clear(rows, stray)
        assert list(opened.blobs.digests()) == [kept.digest]
        assert opened.toc() is None

    # Tables of contents.

    def test_a_table_comes_back_and_can_be_replaced(self, opened: Opened) -> None:
        """A table of contents is kept under its layer, and made again at any time."""
        assert opened.toc() is None
        assert opened.blobs.toc_size_of(_LAYER) == (0, 0)
        for data in (b"a table", b"the same table, made anew"):
            opened.keep_toc(data)
            assert opened.toc() == data
            assert opened.blobs.toc_size_of(_LAYER).size == len(data)
            assert list(opened.blobs.tocs()) == [_LAYER]
        with opened.metadata.write() as rows:
            opened.blobs.remove_tocs(rows, [_LAYER])
        assert opened.toc() is None
        assert list(opened.blobs.tocs()) == []

    def test_a_new_table_is_undone_with_its_write(self, opened: Opened) -> None:
        """``commit_toc`` shares the fate of the rows."""
        ingest = opened.begin(b"a table")
        with pytest.raises(ZeroDivisionError), opened.metadata.write() as rows:  # noqa: PT012 - the block is what is tested
            ingest.commit_toc(rows, _LAYER)
            raise ZeroDivisionError
        assert opened.toc() is None

    # Crashes.

    @pytest.mark.parametrize("step", ["begun", "synced", "committed", "removed", "cleared"])
    def test_a_crash_between_steps_leaves_the_old_state(self, tmp_path: Path, step: str) -> None:
        """A process that dies before its write is durable has kept and removed nothing, and what it left can go."""
        with self.open(tmp_path) as opened:
            kept = opened.keep(b"kept")
            opened.keep_toc(b"a table")
        self._crash(tmp_path, step)
        with self.open(tmp_path) as opened:
            if opened.blobs.needs_recovery():
                with opened.metadata.write() as rows:
                    opened.blobs.put_back(rows)
            assert opened.read(kept) == b"kept"
            opened.tidy()
            assert opened.read(kept) == b"kept"
            assert opened.toc() == b"a table"
            assert list(opened.blobs.digests()) == [kept.digest]
            assert list(opened.blobs.unfinished()) == []
            assert not opened.blobs.needs_recovery()

    def _crash(self, folder: Path, step: str) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # other threads are at rest
            child = os.fork()
        if child == 0:
            try:
                with self.open(folder) as opened:
                    self._work(opened, step)
            finally:
                os._exit(1)  # it should have died before
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

    @staticmethod
    def _work(opened: Opened, step: str) -> None:
        """Work up to a step and die there, without a word to anybody."""
        ingest = opened.blobs.begin()
        ingest.write(_LARGE)
        if step == "begun":
            os._exit(0)
        ingest.sync()
        if step == "synced":
            os._exit(0)
        with opened.metadata.write() as rows:
            ingest.commit(rows, row_of(_LARGE))
            if step == "committed":
                os._exit(0)
            opened.blobs.remove(rows, [Digest.of(b"kept")])
            opened.blobs.remove_tocs(rows, [_LAYER])
            if step == "removed":
                os._exit(0)
            for stray in opened.blobs.strays(rows):
                opened.blobs.clear(rows, stray)
            os._exit(0)
