"""How deep indexes lie in others: no deeper than readers of archives follow them."""

from __future__ import annotations

from contextlib import contextmanager

from orlop.errors import InvalidArchive

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from typing import Final

    from orlop.model.digest import Digest

_MAX_NESTING: Final = 64


class Nesting:
    """The levels of indexes that are gathered one in the other, each once."""

    def __init__(self) -> None:
        self._depth = 0
        self._levels: dict[Digest, int] = {}

    @contextmanager
    def inside(self, digest: Digest, children: Collection[Digest]) -> Iterator[None]:
        """Gather in a block what an index names. Raises `InvalidArchive` where it leads too deep.

        What it names may have been gathered before, for another index that lies less deep.
        """
        require_shallow(self._depth)
        self._depth += 1
        yield
        self._depth -= 1
        below = max((self._levels[child] for child in children if child in self._levels), default=-1)
        require_shallow(below + 1)
        self._levels[digest] = below + 1


def require_shallow(depth: int) -> None:
    """Raise `InvalidArchive` where an index lies deeper than readers follow, which begin above the outermost."""
    if depth >= _MAX_NESTING:
        msg = f"indexes are nested more than {_MAX_NESTING} deep; they are refused"
        raise InvalidArchive(msg)
