"""Readers that hash what passes through them, and that refuse to return content that does not match its digest."""

from __future__ import annotations

import hashlib

from orlop.errors import DigestMismatch, IntegrityError, InvalidDigest, SizeMismatch
from orlop.model.digest import Digest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Final

    from orlop.streams.compression import Readable

__all__ = ["HashingReader", "VerifyingReader", "verified_beside"]

_ALGORITHMS: Final = frozenset(("sha256", "sha384", "sha512"))


class HashingReader:
    """Pass on what is read from a source, and track the size and digest of all that was read so far.

    The caller closes the source.
    """

    def __init__(self, source: Readable, *, algorithm: str = "sha256") -> None:
        """Read from ``source``; ``algorithm`` is sha256, sha384 or sha512, else InvalidDigest is raised."""
        if algorithm not in _ALGORITHMS:
            raise InvalidDigest(f"the digest algorithm {algorithm!r} is not known")
        self._source = source
        self._algorithm = algorithm
        self._hash = hashlib.new(algorithm)
        self._size = 0

    @property
    def size(self) -> int:
        """How many bytes were read so far."""
        return self._size

    @property
    def digest(self) -> Digest:
        """The digest of the bytes that were read so far."""
        return Digest(self._algorithm, self._hash.hexdigest())

    def read(self, size: int = 1 << 20, /) -> bytes:
        """Return at most ``size`` bytes, ``b""`` at the end. Raises what the source raises."""
        data = self._source.read(size)
        self._hash.update(data)
        self._size += len(data)
        return data


class VerifyingReader:
    """Pass on content with a given digest (and size, if known); fail before its last byte if they do not match.

    So a caller that copies until ``b""`` never has all of a wrong content. One piece is held back until the next one is
    read, so memory stays at two pieces. The caller closes the source.
    """

    def __init__(self, source: Readable, *, digest: Digest, size: int | None) -> None:
        """Read from ``source``, which is at the start of the content and ends with it. Raises InvalidDigest."""
        if not digest.is_valid:
            raise InvalidDigest(f"{str(digest)!r} is not a digest that content could be verified with")
        self._reader = HashingReader(source, algorithm=digest.algorithm)
        self._digest = digest
        self._expected = size
        self._ready = b""
        self._held = b""
        self._ended = False
        self._failure: IntegrityError | None = None

    def read(self, size: int = 1 << 20, /) -> bytes:
        """Return at least one and at most ``size`` bytes, or ``b""`` at the end of content that matches.

        Raises DigestMismatch or SizeMismatch (again at each further call), and what the source raises.
        """
        if size <= 0:
            return b""
        if self._failure is not None:
            raise self._failure
        while not self._ready and not self._ended:
            data = self._reader.read(size)
            if not data:
                self._ended = True
            try:
                self._verify()
            except IntegrityError as error:
                self._failure = error
                self._held = b""
                raise
            self._ready, self._held = self._held, data
        piece, self._ready = self._ready[:size], self._ready[size:]  # copies only if less is requested than before
        return piece

    def chunks(self, size: int = 1 << 20) -> Iterator[bytes]:
        """Yield the content in pieces of at most ``size`` bytes; raises as `read`."""
        while data := self.read(size):
            yield data

    def _verify(self) -> None:
        """Raise if the content so far is too large or, at its end, does not match."""
        found, expected = self._reader.size, self._expected
        if expected is not None and (found > expected or (self._ended and found < expected)):
            has = f"{found}" if self._ended else "more"
            raise SizeMismatch(f"the content of {self._digest} should have {expected} bytes, but has {has}")
        if self._ended and (digest := self._reader.digest) != Digest.wrap(self._digest):
            raise DigestMismatch(f"the content of {self._digest} has the digest {digest}")


def verified_beside(source: Readable, *, digest: Digest, size: int) -> Iterator[bytes]:
    """Yield content as `VerifyingReader.chunks` does, hashed in a second thread.

    The last piece comes only when everything is verified. Raises DigestMismatch, SizeMismatch and what the source
    raises.
    """
    from orlop.streams.pipeline import Fanout  # noqa: PLC0415 - small content is hashed without threads

    hashed = hashlib.new(digest.algorithm)
    found = 0
    held = b""
    with Fanout(hashed.update) as beside:
        while piece := source.read(1 << 20):
            found += len(piece)
            if found > size:
                raise SizeMismatch(f"the content of {digest} should have {size} bytes, but has more")
            beside.put(piece)
            if held:
                yield held
            held = piece
    if found < size:
        raise SizeMismatch(f"the content of {digest} should have {size} bytes, but has {found}")
    if hashed.hexdigest() != digest.hex:
        raise DigestMismatch(f"the content of {digest} has the digest {digest.algorithm}:{hashed.hexdigest()}")
    if held:
        yield held
