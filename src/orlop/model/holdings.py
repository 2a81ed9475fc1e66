"""What somebody has of layers, as text that can be sent to somebody else: the format of ``orlop have``, version 1.

A line names one thing that is there: a digest, a space and what it is the digest of. A ``blob`` is a layer in the form
in which it is stored or sent, which registries, layouts and containerd know it by. A ``chain`` is a stack of
uncompressed layers, which Docker's graph drivers know a layer by: with it all layers below are there. Empty lines do
not count, nor do lines that begin with ``#``, but for the one that says the version. So ``sort -u`` makes one list of
several, and ``grep`` a part of one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Self

from orlop.errors import InvalidDigest, InvalidInput, WrongType
from orlop.model.digest import ChainID, Digest
from orlop.model.given import check_bytes, shown
from orlop.model.values import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_VERSION: Final = "# orlop-have "
_HEADER: Final = f"{_VERSION}1"
_MAX_LINE: Final = 512


@dataclass(frozen=True, slots=True)
class Holdings:
    """The layers that somebody has: their ``blobs`` by digest, and the ``chains`` that they make."""

    blobs: frozenset[Digest] = frozenset()
    chains: frozenset[ChainID] = frozenset()

    @classmethod
    def read(cls, lines: Iterable[bytes]) -> Self:
        """Read a list that `lines` made, or several in one, in any order.

        Raises:
            WrongType: they are not lines of bytes. InvalidInput: a line cannot be read, or is of a version that is
            not known.
        """
        blobs: set[Digest] = set()
        chains: set[ChainID] = set()
        if isinstance(lines, type) or not hasattr(lines, "__iter__"):
            raise WrongType(f"the lines of what is had are a list or a file, not {shown(lines)}")
        for number, raw in enumerate(lines, 1):
            check_bytes(raw, f"line {number} of what is had")
            line = raw[:_MAX_LINE].decode("utf-8", "replace").strip()
            if line.startswith(_VERSION) and line != _HEADER:
                msg = f"line {number} of the list of layers: {line!r} is of a version that is not known; upgrade orlop"
                raise InvalidInput(msg)
            if not line or line.startswith("#"):
                continue
            text, _, kind = line.partition(" ")
            try:
                if kind == "blob":
                    blobs.add(Digest.parse(text))
                elif kind == "chain":
                    chains.add(ChainID.parse(text))
                else:
                    raise _unread(number, f"{kind!r} is neither 'blob' nor 'chain'")
            except InvalidDigest as error:
                raise _unread(number, str(error)) from error
        return cls(frozenset(blobs), frozenset(chains))

    def lines(self) -> Iterator[str]:
        """Yield the lines of the list, sorted, without line breaks."""
        yield _HEADER
        yield from sorted(
            [*(f"{digest} blob" for digest in self.blobs), *(f"{digest} chain" for digest in self.chains)]
        )

    def __or__(self, other: Holdings) -> Holdings:
        """Return what one or the other has."""
        return Holdings(self.blobs | other.blobs, self.chains | other.chains)


def check_holdings(value: object) -> None:
    """Raise `WrongType` unless a value says what somebody has."""
    if not isinstance(value, Holdings):
        raise WrongType(f"what is had is Holdings, as `have` returns them, not {shown(value)}")


def _unread(number: int, why: str) -> InvalidInput:
    return InvalidInput(f"line {number} of what is had cannot be read: {why}; make the list with `orlop have`")
