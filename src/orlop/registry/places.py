"""The places of one name: its mirrors, and the registry itself, asked one after the other for the same content.

A mirror that lacks something, cannot be reached, breaks off, or sends something else than was asked for is passed over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

from orlop.errors import DigestMismatch, IntegrityError, InvalidManifest, NotInRegistry, RegistryError
from orlop.registry.fetched import digest_of
from orlop.registry.referrers import referring

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from orlop.model.descriptor import Descriptor
    from orlop.model.digest import Digest
    from orlop.registry.blobs import BlobReader
    from orlop.registry.client import RegistryClient
    from orlop.registry.fetched import FetchedManifest

T = TypeVar("T")
_PIECE: Final = 1 << 16
_WRONG: Final = (NotInRegistry, RegistryError, IntegrityError, InvalidManifest)


class Places:
    """Where a repository can be read: clients, each with what the repository is called there.

    What the first of them lacks, or cannot answer for, the next one is asked for; the error of the last one counts.
    """

    def __init__(self, places: Sequence[tuple[RegistryClient, str]]) -> None:
        self._places = tuple(places)

    def head(self, reference: str | Digest) -> Descriptor:
        """Return what a place says of a manifest, see `RegistryClient.head_manifest`."""
        return self._first(lambda client, repository: client.head_manifest(repository, reference))

    def manifest(self, reference: str | Digest, *, limit: int) -> FetchedManifest:
        """Return a manifest or an index, see `RegistryClient.get_manifest`."""
        return self._first(lambda client, repository: client.get_manifest(repository, reference, limit=limit))

    def blob(self, want: Descriptor, *, offset: int = 0) -> tuple[BlobReader, Places | None]:
        """Open a blob, see `RegistryClient.open_blob`, and return with it where else it may be had, if anywhere."""
        for number, (client, repository) in enumerate(self._places, 1):
            try:
                reader = client.open_blob(repository, want, offset=offset)
            except _WRONG:
                if number == len(self._places):
                    raise
                continue
            rest = self._places[number:]
            return reader, Places(rest) if rest else None
        raise AssertionError("a name leads to one place at least")

    def document(self, want: Descriptor) -> bytes:
        """Return a small blob, which has its digest. Raises `DigestMismatch` where no place has that."""
        return self._first(lambda client, repository: read_blob(client, repository, want))

    def blob_size(self, digest: Digest) -> int | None:
        """Return the size of a blob, see `RegistryClient.head_blob`."""
        return self._first(lambda client, repository: client.head_blob(repository, digest))

    def has_blob(self, digest: Digest) -> bool:
        """Return whether a place has a blob, as far as it says."""
        return any(client.has_blob(repository, digest, pulls=True) for client, repository in self._places)

    def referrers(self, subject: Digest) -> tuple[tuple[Descriptor, str | None], ...]:
        """Return what refers to a manifest, see `referring`; a mirror that knows of nothing may lack it."""
        *mirrors, last = self._places
        for client, repository in mirrors:
            try:
                found = referring(client, repository, subject)
            except (NotInRegistry, RegistryError):
                continue
            if found:
                return found
        return referring(*last, subject)

    def _first(self, ask: Callable[[RegistryClient, str], T]) -> T:
        *mirrors, last = self._places
        for client, repository in mirrors:
            try:
                return ask(client, repository)
            except _WRONG:
                continue
        return ask(*last)


def read_blob(client: RegistryClient, repository: str, want: Descriptor) -> bytes:
    """Return a small blob. Raises `DigestMismatch` where it has another digest."""
    found = bytearray()
    with client.open_blob(repository, want) as reader:
        while piece := reader.read(_PIECE):
            found += piece
    raw = bytes(found)
    if digest_of(raw, want.digest.algorithm) != want.digest:
        raise DigestMismatch(f"{client.host} has something else as {want.digest}; it is damaged there")
    return raw
