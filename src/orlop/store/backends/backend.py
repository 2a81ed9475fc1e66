"""The seam under an image store: content by digest and small metadata beside it.

The seven calls of the Go package ``docker/image``'s ``StoreBackend``, and what a backend with an index may add.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import nullcontext

from orlop.errors import ContentNotFound, DigestMismatch, InvalidInput
from orlop.model.digest import Digest
from orlop.model.generic import Protocol, final, runtime_checkable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from contextlib import AbstractContextManager

    from orlop.model.digest import ImageID
    from orlop.model.image import Image

_FIRST = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789")
_OTHERS = _FIRST | frozenset("._-")
_MOST_KEY = 128


class StoreBackend(ABC):
    """Persistence for an `ImageStore`. The public calls check what they are given; a backend writes the primitives."""

    @final
    def walk(self) -> Iterator[Digest]:
        """Yield the digest of every content, in no promised order; names that are not digests are skipped."""
        return self._walk()

    @final
    def get(self, digest: Digest) -> bytes:
        """Return content that fits its digest.

        Raises:
            ContentNotFound: there is none. DigestMismatch: it is damaged.
        """
        data = self._get(_checked(digest))
        if Digest.of(data) != Digest.wrap(digest):
            msg = f"the content kept under {digest} is damaged: its digest is {Digest.of(data)}"
            raise DigestMismatch(msg)
        return data

    @final
    def set(self, data: bytes) -> Digest:
        """Keep content and return its digest; atomic, and idempotent.

        Raises:
            InvalidInput: the data is empty.
        """
        _check_content(data)
        digest = Digest.of(data)
        self._set(digest, data)
        return digest

    @final
    def set_image(self, image: Image) -> None:
        """Keep the config of an image that has been read, as `set` keeps its bytes. Raises what that raises."""
        _check_content(image.raw_json)
        self._set_image(image)

    @final
    def delete(self, digest: Digest) -> None:
        """Delete content with its metadata.

        Raises:
            ContentNotFound: there is none.
        """
        self._delete(_checked(digest))

    @final
    def set_metadata(self, digest: Digest, key: str, data: bytes) -> None:
        """Keep a value beside content, replacing an older one; atomic.

        Raises:
            ContentNotFound: the content is not there. InvalidInput: the key is not a plain name.
        """
        self._set_metadata(_checked(digest), _checked_key(key), data)

    @final
    def get_metadata(self, digest: Digest, key: str) -> bytes:
        """Return a value that is kept beside content.

        Raises:
            ContentNotFound: the content or the value is not there. InvalidInput: the key is not a plain name.
        """
        return self._get_metadata(_checked(digest), _checked_key(key))

    @final
    def delete_metadata(self, digest: Digest, key: str) -> None:
        """Delete a value, if it is there. Raises `InvalidInput` for a key that is not a plain name."""
        self._delete_metadata(_checked(digest), _checked_key(key))

    def together(self) -> AbstractContextManager[object]:
        """Return a block whose calls become visible together or not at all, if the backend can do that."""
        return nullcontext()

    @abstractmethod
    def _walk(self) -> Iterator[Digest]: ...

    @abstractmethod
    def _get(self, digest: Digest) -> bytes: ...

    @abstractmethod
    def _set(self, digest: Digest, data: bytes) -> None: ...

    def _set_image(self, image: Image) -> None:
        self._set(Digest.wrap(image.id), image.raw_json)

    @abstractmethod
    def _delete(self, digest: Digest) -> None: ...

    @abstractmethod
    def _set_metadata(self, digest: Digest, key: str, data: bytes) -> None: ...

    @abstractmethod
    def _get_metadata(self, digest: Digest, key: str) -> bytes: ...

    @abstractmethod
    def _delete_metadata(self, digest: Digest, key: str) -> None: ...


@runtime_checkable
class ImageIndex(Protocol):
    """What a backend may know without a walk."""

    def ids_with_prefix(self, prefix: str, limit: int) -> list[ImageID]:
        """Return at most ``limit`` IDs that start with ``prefix`` (with its algorithm)."""

    def children(self, image: ImageID) -> list[ImageID]:
        """Return the images whose parent this is."""

    def heads(self) -> Iterable[ImageID]:
        """Return the images that are nobody's parent."""


@runtime_checkable
class Revisioned(Protocol):
    """What a backend without an index may know: whether anything has changed."""

    def revision(self) -> object:
        """Return a value that differs from an earlier one where content or metadata came, went or changed since.

        It may also differ where nothing changed. It is nothing where the backend cannot tell at the moment.
        """


def missing(digest: Digest) -> ContentNotFound:
    """Make the error for content that is not there."""
    return ContentNotFound(f"no content is kept under {digest}")


def missing_metadata(digest: Digest, key: str) -> ContentNotFound:
    """Make the error for metadata that is not there."""
    return ContentNotFound(f"no metadata {key!r} is kept beside {digest}")


def _check_content(data: bytes) -> None:
    if not data:
        msg = "empty content cannot be kept; give at least one byte"
        raise InvalidInput(msg)


def _checked(digest: Digest) -> Digest:
    # A digest may come from a document unparsed, and would become part of a path.
    return Digest.parse(str(digest))


def _checked_key(key: str) -> str:
    if not (0 < len(key) <= _MOST_KEY and key[0] in _FIRST and _OTHERS.issuperset(key)):
        msg = f"{key!r} is not a key for metadata; use letters, digits, '.', '_' and '-'"
        raise InvalidInput(msg)
    return key
