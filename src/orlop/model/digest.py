"""Digests: the names of content, and the IDs of images and layers, which are digests with types of their own.

A digest is written ``algorithm:hex``, as in the OCI image spec ("Descriptors", "Digests"). The ID of an image, the diff
ID of a layer and the chain ID of a stack of layers are all digests. Mixing them up is easy and costly, so each has its
own type, and values of different types are never equal.
"""

from __future__ import annotations

from orlop.errors import InvalidDigest, WrongType
from orlop.model.given import check_text, shown
from orlop.model.hashing import sha256_hex
from orlop.model.values import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Final, Self

_HEX_LENGTHS: Final = {"sha256": 64, "sha384": 96, "sha512": 128}
ALGORITHMS: Final = tuple(_HEX_LENGTHS)
"""All algorithms by which content can be named; most is by the first."""
_HEX: Final = "0123456789abcdef"
_SHORT_LENGTH: Final = 12


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """The digest of some content: an algorithm and lower-case hexadecimal digits.

    Values of different subclasses are never equal and cannot be compared by order. Parse text from outside with
    `parse`; `unchecked` is for documents whose digests are kept as found. Hashable, immutable.
    """

    algorithm: str
    hex: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``algorithm:hex``.

        The algorithm is sha256, sha384 or sha512; the digits are in lower case, and their number is that of the
        algorithm. Raises `InvalidDigest` for any other text.
        """
        check_text(text, "a digest")
        digest = cls.unchecked(text)
        if not digest.is_valid:
            raise InvalidDigest(
                f"invalid digest {text!r}: expected sha256, sha384 or sha512, a colon and its lower-case hex digits"
            )
        return digest

    @classmethod
    def unchecked(cls, text: str) -> Self:
        """Take any text as it was found in a document; ``str()`` returns it unchanged. See `is_valid`."""
        try:
            algorithm, colon, digits = text.partition(":")
        except (AttributeError, TypeError) as error:
            raise WrongType(f"a digest is a str, not {shown(text)}") from error
        if not colon or not algorithm:
            return cls("", text)
        return cls(algorithm, digits)

    @classmethod
    def of(cls, data: bytes) -> Self:
        """Return the SHA-256 digest of the bytes."""
        try:
            return cls("sha256", sha256_hex(data))
        except TypeError as error:
            raise WrongType(f"a digest is of bytes, not of {shown(data)}") from error

    @classmethod
    def wrap(cls, other: Digest) -> Self:
        """Return the same digest as this type."""
        try:
            return cls(other.algorithm, other.hex)
        except AttributeError as error:
            raise WrongType(f"what becomes a digest of another type is a digest, not {shown(other)}") from error

    @property
    def is_valid(self) -> bool:
        """Whether `parse` would accept this digest."""
        return len(self.hex) == _HEX_LENGTHS.get(self.algorithm) and not self.hex.strip(_HEX)

    @property
    def short(self) -> str:
        """The first 12 hex digits, as shown to people."""
        return self.hex[:_SHORT_LENGTH]

    def __str__(self) -> str:
        """Return ``algorithm:hex``."""
        return f"{self.algorithm}:{self.hex}" if self.algorithm else self.hex


class ImageID(Digest):
    """The ID of an image: the digest of its exact config bytes."""

    __slots__ = ()


class DiffID(Digest):
    """The digest of one layer's uncompressed tar."""

    __slots__ = ()


class ChainID(Digest):
    """The digest that names a stack of layers (OCI image spec, "Layer ChainID")."""

    __slots__ = ()


EMPTY_LAYER: Final = DiffID("sha256", "5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef")
"""The diff ID of the empty layer: 1,024 zero bytes."""


def chain_ids(diff_ids: Iterable[DiffID]) -> tuple[ChainID, ...]:
    """Return the chain ID of each layer together with all layers below it.

    Takes the diff IDs bottom first and returns one chain ID for each, in the same order: the first is the first diff
    ID, and each further one is the SHA-256 of ``<chain ID below> <diff ID>``. An empty text instead of a diff ID, which
    only a malformed config has, counts as no layer below.
    """
    chain: list[ChainID] = []
    below = ""
    for diff_id in diff_ids:
        link = ChainID.of(f"{below} {diff_id}".encode("utf-8", "surrogateescape")) if below else ChainID.wrap(diff_id)
        chain.append(link)
        below = str(link)
    return tuple(chain)


def chain_id(diff_ids: Iterable[DiffID]) -> ChainID | None:
    """Return the chain ID of the whole stack, or None if there is no layer. Takes diff IDs bottom first."""
    chain = chain_ids(diff_ids)
    return chain[-1] if chain else None


def check_digest(value: object, what: str) -> None:
    """Raise `WrongType` unless a value is a digest of one of these classes; ``what`` is the rule that it breaks."""
    if not isinstance(value, Digest):
        raise WrongType(f"{what}, not {shown(value)}")
