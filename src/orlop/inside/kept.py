"""Contents of files that were passed over while a layer was read, and will be asked for later, up to a bound.

When each will be asked for is known, as a number that grows. If there are too many bytes, those go first that will be
asked for last, which needs the fewest further passes over a layer. What was not asked for when it should have been goes
as well.
"""

from __future__ import annotations

from heapq import heappop, heappush

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable
    from typing import Final

__all__ = ["Kept"]

_MOST: Final = 32 << 20


class Kept:
    """Contents by key, with the moment of the next request for each.

    Args:
        most: how many bytes are kept.
    """

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self._size = 0
        self._found: dict[Hashable, tuple[int, bytes]] = {}
        self._soonest: list[tuple[int, int, Hashable]] = []
        self._latest: list[tuple[int, int, Hashable]] = []
        self._count = 0  # makes items of the heaps differ before their keys are compared

    def has_room(self, size: int, moment: int, now: int) -> bool:
        """Return whether so many bytes that are requested at a moment would be kept, and drop what stands in the way.

        ``now`` is the moment of the last request.
        """
        while self._soonest and self._soonest[0][0] < now:
            moment_of_it, _, key = heappop(self._soonest)
            self._drop(key, moment_of_it)
        while self._size + size > self._most:
            while self._latest and self._found.get(self._latest[0][2], (None,))[0] != -self._latest[0][0]:
                heappop(self._latest)
            if not self._latest or -self._latest[0][0] < moment or size > self._most:
                return False
            latest, _, key = heappop(self._latest)
            self._drop(key, -latest)
        return True

    def put(self, key: Hashable, moment: int, pieces: Iterable[bytes]) -> bytes:
        """Keep a content that there is room for, until it is taken at a moment; return it."""
        data = b"".join(pieces)
        self._size += len(data)
        self._set(key, moment, data)
        return data

    def take(self, key: Hashable, following: int | None) -> bytes | None:
        """Return a content if it is kept. It stays until it is taken at the following moment, if there is one."""
        found = self._found.get(key)
        if found is None:
            return None
        if following is None:
            self._drop(key, found[0])
        else:
            self._set(key, following, found[1])
        return found[1]

    def __contains__(self, key: Hashable) -> bool:
        return key in self._found

    def _set(self, key: Hashable, moment: int, data: bytes) -> None:
        self._count += 1
        self._found[key] = moment, data
        heappush(self._soonest, (moment, self._count, key))
        heappush(self._latest, (-moment, self._count, key))

    def _drop(self, key: Hashable, moment: int) -> None:
        found = self._found.get(key)
        if found is not None and found[0] == moment:
            self._size -= len(found[1])
            del self._found[key]
