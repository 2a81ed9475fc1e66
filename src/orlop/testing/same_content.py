"""The part of the contract of `BlobStore` that is about several who write the same content at once."""

from __future__ import annotations

from contextlib import nullcontext
from threading import Event, Thread
from typing import TYPE_CHECKING, Final

import pytest

from orlop.model.digest import DiffID, Digest
from orlop.store.rows.metadata import BlobRow, DiffRow

if TYPE_CHECKING:
    from orlop.testing.blob_store import Opened

_CONTENT: Final = bytes(range(256)) * 12_345
_ROW: Final = BlobRow(Digest.of(_CONTENT), len(_CONTENT), "none")
_PATIENCE: Final = 60


class SameContent:
    """Tests for `orlop.testing.blob_store`, whose fixture ``opened`` they take."""

    @pytest.mark.parametrize("is_committed", [True, False])
    def test_one_at_a_time_has_the_content_of_a_digest(self, opened: Opened, is_committed: bool) -> None:  # noqa: FBT001 - a parameter
        """Whoever waits goes on once it is committed, or given up; other content is not waited for."""
        opened.keep(b"before")  # whoever takes the lock has written before, as a pull holds what it takes
        first = opened.blobs.resume(_ROW.digest, metadata=opened.metadata)
        opened.blobs.resume(Digest.of(b"other"), metadata=opened.metadata).reject()
        waiting, was_there = Event(), list[bool]()

        def wait() -> None:
            with opened.blobs.resume(_ROW.digest, check=waiting.set, metadata=opened.metadata) as second:
                early = opened.blobs.named_early
                with opened.metadata.lock() if early else nullcontext(), opened.metadata.read() as rows:
                    was_there.append(rows.blob(_ROW.digest) is not None and opened.blobs.has(_ROW))
                second.reject()

        thread = Thread(target=wait)
        thread.start()
        assert waiting.wait(_PATIENCE)
        first.write(_CONTENT)
        first.sync()
        if is_committed:
            with opened.metadata.write() as rows:
                first.commit(rows, _ROW)
                rows.put_diff(DiffRow(DiffID.wrap(_ROW.digest), _ROW.size, 0, 0), _ROW)
                assert was_there == []
        else:
            first.reject()
        thread.join(_PATIENCE)
        assert was_there == [is_committed]
        assert list(opened.blobs.unfinished()) == []

    def test_a_wait_for_content_ends_with_what_is_raised(self, opened: Opened) -> None:
        """And leaves nothing: the content is free once whoever had it has given up."""
        asked = []

        def check() -> None:
            asked.append(1)
            if len(asked) > 1:
                raise ZeroDivisionError

        with opened.blobs.resume(_ROW.digest, metadata=opened.metadata), pytest.raises(ZeroDivisionError):
            opened.blobs.resume(_ROW.digest, check=check, metadata=opened.metadata)
        opened.blobs.resume(_ROW.digest, metadata=opened.metadata).reject()
        assert list(opened.blobs.unfinished()) == []

    def test_two_writers_of_one_digest_may_be_threads(self, opened: Opened) -> None:
        """Whichever commits first, all succeed."""
        errors: list[BaseException] = []

        def keep() -> None:
            try:
                opened.keep(_CONTENT)
            except BaseException as error:  # noqa: BLE001 - told by the assertion
                errors.append(error)

        threads = [Thread(target=keep) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []
        assert opened.read(_ROW) == _CONTENT
        assert list(opened.blobs.unfinished()) == []
