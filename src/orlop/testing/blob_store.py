"""The contract of `BlobStore`."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest

from orlop.errors import ContentNotFound, DigestMismatch, IntegrityError, SizeMismatch
from orlop.model.digest import DiffID, Digest
from orlop.store.rows.metadata import BlobRow, DiffRow
from orlop.testing.contract import Contract

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from orlop.store.blobs.files import BlobStore
    from orlop.store.rows.metadata import Metadata

_LARGE = bytes(range(256)) * 12_345
_CONTENTS = (b"\0", b"content", _LARGE)


class Opened(NamedTuple):
    """A store of blobs and the rows that it shares its fate with."""

    blobs: BlobStore
    metadata: Metadata

    def keep(self, data: bytes) -> BlobRow:
        """Keep content and its row."""
        row = row_of(data)
        file = self.blobs.new()
        file.write(data)
        file.sync()
        with self.metadata.write() as rows:
            self.blobs.publish(rows, file, row.digest)
            rows.put_diff(DiffRow(DiffID.wrap(row.digest), row.size, 0, 0), row)
        return row

    def read(self, row: BlobRow) -> bytes:
        """Read content to its end, verified."""
        with self.blobs.open(row) as reader:
            return b"".join(reader.chunks(1 << 16))


def row_of(data: bytes) -> BlobRow:
    """Return the row of some content."""
    return BlobRow(Digest.of(data), len(data), "none")


class BlobStoreContract(Contract):
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

    @pytest.mark.parametrize("data", _CONTENTS, ids=["one byte", "few bytes", "many bytes"])
    def test_published_bytes_come_back(self, opened: Opened, data: bytes) -> None:
        """What was written in pieces is read as it was."""
        file = opened.blobs.new()
        for at in range(0, len(data), 100_000):
            file.write(data[at : at + 100_000])
        assert file.size == len(data)
        file.sync()
        row = row_of(data)
        with opened.metadata.write() as rows:
            opened.blobs.publish(rows, file, row.digest)
        assert opened.blobs.has(row)
        assert opened.read(row) == data

    def test_nothing_is_there_before_it_is_published(self, opened: Opened) -> None:
        """Bytes that are written are not yet content; discarding them is enough."""
        row = row_of(b"content")
        with opened.blobs.new() as file:
            file.write(b"content")
            file.sync()
            assert not opened.blobs.has(row)
        with pytest.raises(ContentNotFound):
            opened.read(row)

    def test_several_are_written_at_once(self, opened: Opened) -> None:
        """New files do not get into each other's way."""
        files = [opened.blobs.new() for _ in range(5)]
        for turn in range(3):
            for number, file in enumerate(files):
                file.write(b"%d-%d" % (number, turn))
        contents = [b"".join(b"%d-%d" % (number, turn) for turn in range(3)) for number in range(5)]
        with opened.metadata.write() as rows:
            for file, data in zip(files, contents, strict=True):
                opened.blobs.publish(rows, file, Digest.of(data))
        assert [opened.read(row_of(data)) for data in contents] == contents

    def test_publishing_is_undone_with_its_write(self, opened: Opened) -> None:
        """``publish`` shares the fate of the rows."""
        row = row_of(b"content")
        with opened.blobs.new() as file:
            file.write(b"content")
            file.sync()
            with pytest.raises(ZeroDivisionError), opened.metadata.write() as rows:  # noqa: PT012 - the block is what is tested
                opened.blobs.publish(rows, file, row.digest)
                raise ZeroDivisionError
        assert not opened.blobs.has(row)

    def test_publishing_again_leaves_what_was_there(self, opened: Opened) -> None:
        """An undone second ``publish`` does not take the first one's bytes away."""
        row = opened.keep(b"content")
        file = opened.blobs.new()
        file.write(b"content")
        file.sync()
        with pytest.raises(ZeroDivisionError), opened.metadata.write() as rows:  # noqa: PT012 - the block is what is tested
            opened.blobs.publish(rows, file, row.digest)
            raise ZeroDivisionError
        assert opened.read(row) == b"content"

    def test_removed_bytes_go_once_the_write_is_durable(self, opened: Opened) -> None:
        """``remove`` takes what was named, and nothing else."""
        one, other = opened.keep(b"one"), opened.keep(b"other")
        with opened.metadata.write() as rows:
            opened.blobs.remove(rows, [one.digest])
        assert not opened.blobs.has(one)
        with pytest.raises(ContentNotFound):
            opened.read(one)
        assert opened.read(other) == b"other"

    def test_removing_is_undone_with_its_write(self, opened: Opened) -> None:
        """``remove`` shares the fate of the rows."""
        row = opened.keep(b"content")
        with pytest.raises(ZeroDivisionError), opened.metadata.write() as rows:  # noqa: PT012 - the block is what is tested
            opened.blobs.remove(rows, [row.digest])
            raise ZeroDivisionError
        assert opened.read(row) == b"content"

    def test_removing_what_is_not_there_is_no_error(self, opened: Opened) -> None:
        """``remove`` is idempotent."""
        with opened.metadata.write() as rows:
            opened.blobs.remove(rows, [Digest.of(b"nobody kept this")])

    def test_bytes_may_come_back(self, opened: Opened) -> None:
        """Removing leaves nothing that stops the same content later."""
        row = opened.keep(b"content")
        with opened.metadata.write() as rows:
            opened.blobs.remove(rows, [row.digest])
        assert opened.read(opened.keep(b"content")) == b"content"

    def test_what_is_read_stays_readable_while_it_goes(self, opened: Opened) -> None:
        """A reader that began before ``remove`` ends well."""
        row = opened.keep(_LARGE)
        with opened.blobs.open(row) as reader:
            first = reader.read(10)
            with opened.metadata.write() as rows:
                opened.blobs.remove(rows, [row.digest])
            assert first + b"".join(reader.chunks()) == _LARGE

    def test_content_lasts(self, tmp_path: Path) -> None:
        """A second store over the same folder has what the first published, at once."""
        with self.open(tmp_path) as first:
            row = first.keep(b"content")
            with self.open(tmp_path) as second:
                assert second.blobs.has(row)
                assert second.read(row) == b"content"

    @pytest.mark.parametrize("data", _CONTENTS, ids=["one byte", "few bytes", "many bytes"])
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

    def test_missing_bytes_are_told(self, tmp_path: Path) -> None:
        """Bytes that vanished are an error that names them."""
        with self.open(tmp_path) as opened:
            row = opened.keep(b"content")
            self.damage(tmp_path, row.digest, None)
            assert not opened.blobs.has(row)
            with pytest.raises(ContentNotFound, match=row.digest.hex):
                opened.read(row)

    def test_the_row_must_fit_too(self, opened: Opened) -> None:
        """A row with another size than the content's never leads to it."""
        row = opened.keep(b"content")
        for size in (6, 8):
            with pytest.raises(IntegrityError):
                opened.read(row._replace(size=size))
