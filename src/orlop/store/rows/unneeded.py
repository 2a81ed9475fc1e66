"""What nothing in a store needs, as a value."""

from __future__ import annotations

from orlop.model.generic import TypeVar
from orlop.model.values import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Final

    from orlop.model.digest import ChainID, DiffID, Digest

T = TypeVar("T")
_DOCUMENTS: Final = 32
"""How many times as many documents go at once: few statements take them all, and what is near one is near many."""


@dataclass(frozen=True, slots=True)
class Unneeded:
    """What nothing needs, each sorted.

    ``chains`` are those on which nothing stands; what lies below them goes with them as far as nothing else needs it.
    ``contents`` are in no chain. ``blobs`` are not the content of a layer.
    """

    chains: tuple[ChainID, ...] = ()
    contents: tuple[DiffID, ...] = ()
    manifests: tuple[Digest, ...] = ()
    blobs: tuple[Digest, ...] = ()

    def parts(self, most: int) -> Iterator[Unneeded]:
        """Yield all of it in parts of at most so many things, and more documents, in the order in which they can go."""
        if sum(map(len, (self.chains, self.contents, self.manifests, self.blobs))) <= most:
            yield self
            return
        # A blob goes after the manifests that name it, and a content after the chains that it is in.
        for part in _pieces(self.manifests, most * _DOCUMENTS):
            yield Unneeded(manifests=part)
        for part in _pieces(self.blobs, most):
            yield Unneeded(blobs=part)
        for chains in _pieces(self.chains, most):
            yield Unneeded(chains=chains)
        for contents in _pieces(self.contents, most):
            yield Unneeded(contents=contents)


@dataclass(frozen=True, slots=True)
class Falling:
    """What goes with what nothing needs, beside manifests: all layers in their place, contents and blobs."""

    chains: tuple[ChainID, ...] = ()
    contents: tuple[DiffID, ...] = ()
    blobs: tuple[Digest, ...] = ()


def _pieces(things: tuple[T, ...], most: int) -> Iterator[tuple[T, ...]]:
    return (things[start : start + most] for start in range(0, len(things), most))
