"""A store backend in memory, for tests and for programs that keep nothing."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from orlop.store.backends.backend import StoreBackend, missing, missing_metadata

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orlop.model.digest import Digest


class MemoryStoreBackend(StoreBackend):
    """Content in a dictionary. Safe to share between threads; gone with the process."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._content: dict[Digest, bytes] = {}
        self._metadata: dict[Digest, dict[str, bytes]] = {}
        self._changes = 0

    def revision(self) -> object:
        """Return the number of changes so far, see `Revisioned`."""
        return self._changes

    def _walk(self) -> Iterator[Digest]:
        with self._guard:
            return iter(list(self._content))

    def _get(self, digest: Digest) -> bytes:
        try:
            return self._content[digest]
        except KeyError:
            raise missing(digest) from None

    def _set(self, digest: Digest, data: bytes) -> None:
        with self._guard:
            self._changes += 1
            self._content.setdefault(digest, bytes(data))

    def _delete(self, digest: Digest) -> None:
        with self._guard:
            if self._content.pop(digest, None) is None:
                raise missing(digest)
            self._metadata.pop(digest, None)
            self._changes += 1

    def _set_metadata(self, digest: Digest, key: str, data: bytes) -> None:
        with self._guard:
            if digest not in self._content:
                raise missing(digest)
            self._changes += 1
            self._metadata.setdefault(digest, {})[key] = bytes(data)

    def _get_metadata(self, digest: Digest, key: str) -> bytes:
        with self._guard:
            if digest not in self._content:
                raise missing(digest)
            try:
                return self._metadata[digest][key]
            except KeyError:
                raise missing_metadata(digest, key) from None

    def _delete_metadata(self, digest: Digest, key: str) -> None:
        with self._guard:
            self._changes += 1
            self._metadata.get(digest, {}).pop(key, None)
