"""The contract of `StoreBackend`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from orlop.errors import ContentNotFound, DigestMismatch, InvalidInput
from orlop.model.digest import Digest
from orlop.model.image import Image
from orlop.testing.contract import Contract

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from orlop.store.backends.backend import StoreBackend

_UNKNOWN = Digest.of(b"nobody kept this")
_PATHS = ("", ".", "..", "../x", "a/b", "/etc/passwd", "a\0b", "a\nb", ".hidden", "x" * 200)


class StoreBackendContract(Contract):
    """What every backend of an image store does.

    Hooks: ``open(folder)`` gives a backend as a context manager, and the same content for the same folder again;
    ``damage(folder, digest)`` changes the bytes kept under a digest behind the backend's back, or raises
    `pytest.skip.Exception` where nothing outside a process is kept.
    """

    hooks = ("open", "damage")

    def open(self, folder: Path) -> AbstractContextManager[StoreBackend]:
        """Open the backend whose content lies in a folder."""
        raise NotImplementedError

    def damage(self, folder: Path, digest: Digest) -> None:
        """Change the bytes that are kept under a digest."""
        raise NotImplementedError

    @pytest.fixture
    def backend(self, tmp_path: Path) -> Iterator[StoreBackend]:
        """An empty backend."""
        with self.open(tmp_path) as backend:
            yield backend

    def test_content_comes_back_under_its_sha256(self, backend: StoreBackend) -> None:
        """``set`` gives the digest and ``get`` the bytes."""
        digest = backend.set(b"foobar")
        assert str(digest) == "sha256:c3ab8ff13720e8ad9047dd39466b3c8974e592c2fa383d4a3960714caef0c4f2"
        assert backend.get(digest) == b"foobar"

    def test_setting_twice_is_setting_once(self, backend: StoreBackend) -> None:
        """``set`` is idempotent and keeps metadata."""
        digest = backend.set(b"foobar")
        backend.set_metadata(digest, "parent", b"x")
        assert backend.set(b"foobar") == digest
        assert list(backend.walk()) == [digest]
        assert backend.get_metadata(digest, "parent") == b"x"

    def test_empty_content_is_refused(self, backend: StoreBackend) -> None:
        """``set`` of nothing is an error and keeps nothing."""
        with pytest.raises(InvalidInput):
            backend.set(b"")
        assert list(backend.walk()) == []

    def test_an_image_that_was_read_is_kept_as_its_bytes(self, backend: StoreBackend) -> None:
        """``set_image`` keeps what ``set`` of the config keeps, and refuses an image that has no bytes."""
        image = Image.from_json(b'{"author":"a","rootfs":{"type":"layers"}}')
        backend.set_image(image)
        assert backend.get(image.id) == image.raw_json
        assert backend.set(image.raw_json) == Digest.wrap(image.id)
        assert len(list(backend.walk())) == 1
        with pytest.raises(InvalidInput):
            backend.set_image(replace(image, raw_json=b""))

    def test_any_bytes_are_content(self, backend: StoreBackend) -> None:
        """What is kept need not be an image."""
        for data in (b"\0", b"\xff" * 1000, b"{}", b'{"rootfs":{}}', b" ", bytes(range(256)) * 5000):
            assert backend.get(backend.set(data)) == data

    def test_walk_gives_every_digest_once(self, backend: StoreBackend) -> None:
        """``walk`` is complete, in any order."""
        digests = {backend.set(b"content %d" % number) for number in range(20)}
        walked = list(backend.walk())
        assert len(walked) == len(digests)
        assert set(walked) == digests

    def test_content_may_go_while_it_is_walked(self, backend: StoreBackend) -> None:
        """Deleting inside a walk breaks neither."""
        for number in range(10):
            backend.set(b"content %d" % number)
        for digest in backend.walk():
            backend.delete(digest)
        assert list(backend.walk()) == []

    def test_what_is_not_there_cannot_be_got(self, backend: StoreBackend) -> None:
        """``get`` of an unknown digest is an error."""
        with pytest.raises(ContentNotFound):
            backend.get(_UNKNOWN)

    def test_what_is_not_there_cannot_be_deleted(self, backend: StoreBackend) -> None:
        """``delete`` of an unknown digest is an error."""
        with pytest.raises(ContentNotFound):
            backend.delete(_UNKNOWN)

    def test_deleting_takes_content_and_metadata(self, backend: StoreBackend) -> None:
        """After ``delete`` neither comes back, not even with the content."""
        digest = backend.set(b"foobar")
        backend.set_metadata(digest, "parent", b"x")
        backend.delete(digest)
        with pytest.raises(ContentNotFound):
            backend.get(digest)
        with pytest.raises(ContentNotFound):
            backend.get_metadata(digest, "parent")
        backend.set(b"foobar")
        with pytest.raises(ContentNotFound):
            backend.get_metadata(digest, "parent")

    def test_metadata_is_kept_per_content_and_key(self, backend: StoreBackend) -> None:
        """Values of one key and one content do not touch others."""
        one, other = backend.set(b"one"), backend.set(b"other")
        backend.set_metadata(one, "a", b"1")
        backend.set_metadata(one, "b", b"2")
        backend.set_metadata(other, "a", b"3")
        backend.set_metadata(one, "a", b"4")
        assert backend.get_metadata(one, "a") == b"4"
        assert backend.get_metadata(one, "b") == b"2"
        assert backend.get_metadata(other, "a") == b"3"

    def test_metadata_may_be_empty(self, backend: StoreBackend) -> None:
        """A value of no bytes is a value."""
        digest = backend.set(b"foobar")
        backend.set_metadata(digest, "a", b"")
        assert backend.get_metadata(digest, "a") == b""

    def test_metadata_needs_content(self, backend: StoreBackend) -> None:
        """``set_metadata`` and ``get_metadata`` of an unknown digest are errors."""
        with pytest.raises(ContentNotFound):
            backend.set_metadata(_UNKNOWN, "a", b"1")
        with pytest.raises(ContentNotFound):
            backend.get_metadata(_UNKNOWN, "a")

    def test_deleting_metadata_that_is_not_there_is_no_error(self, backend: StoreBackend) -> None:
        """``delete_metadata`` is idempotent."""
        digest = backend.set(b"foobar")
        backend.set_metadata(digest, "a", b"1")
        backend.delete_metadata(digest, "a")
        backend.delete_metadata(digest, "a")
        backend.delete_metadata(_UNKNOWN, "a")
        with pytest.raises(ContentNotFound):
            backend.get_metadata(digest, "a")

    @pytest.mark.parametrize("key", _PATHS)
    def test_a_key_is_a_plain_name(self, backend: StoreBackend, key: str) -> None:
        """A key that could be a path is refused by every call."""
        digest = backend.set(b"foobar")
        for call in (
            lambda: backend.set_metadata(digest, key, b"1"),
            lambda: backend.get_metadata(digest, key),
            lambda: backend.delete_metadata(digest, key),
        ):
            with pytest.raises(InvalidInput):
                call()

    @pytest.mark.parametrize("text", ["sha256:../../x", "../x", "sha256:", "md5:00", "sha256:" + "A" * 64])
    def test_a_digest_is_never_a_path(self, backend: StoreBackend, text: str) -> None:
        """A digest that came unparsed from a document is refused by every call."""
        digest = Digest.unchecked(text)
        for call in (
            lambda: backend.get(digest),
            lambda: backend.delete(digest),
            lambda: backend.set_metadata(digest, "a", b"1"),
            lambda: backend.get_metadata(digest, "a"),
            lambda: backend.delete_metadata(digest, "a"),
        ):
            with pytest.raises(InvalidInput):
                call()

    def test_content_lasts(self, tmp_path: Path) -> None:
        """A second backend over the same folder has what the first kept."""
        with self.open(tmp_path) as first:
            digest = first.set(b"foobar")
            first.set_metadata(digest, "parent", b"x")
            with self.open(tmp_path) as second:
                assert second.get(digest) == b"foobar"
                assert second.get_metadata(digest, "parent") == b"x"
                assert list(second.walk()) == [digest]

    def test_damaged_content_is_never_given(self, tmp_path: Path) -> None:
        """``get`` verifies the digest."""
        with self.open(tmp_path) as backend:
            digest = backend.set(b"foobar")
            self.damage(tmp_path, digest)
            with pytest.raises(DigestMismatch):
                backend.get(digest)
