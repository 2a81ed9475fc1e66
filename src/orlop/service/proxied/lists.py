"""Lists of referrers that a client reads page by page: what an upstream said is kept until the client can be done."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from orlop.model.digest import Digest
    from orlop.model.reference import Reference

_MOST: Final = 200_000
"""How many digests are kept, of all lists together."""


class ReferrerLists:
    """Lists of referrers as upstreams sent them, in the order of their digests. Threads may share it."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._lists: dict[tuple[Reference, Digest], tuple[int, list[str]]] = {}

    def behind(
        self,
        name: Reference,
        subject: Digest,
        read: Callable[[], Iterable[Digest]],
        *,
        after: str,
        since: int,
        now: int,
    ) -> list[str]:
        """Return what refers to a manifest of a repository and sorts behind a digest.

        Args:
            name: the repository.
            subject: the digest of the manifest.
            read: asks the upstream.
            after: the last digest that the client has; empty for the first page, for which the upstream is asked.
            since: the list of a first page is used for the others if it was read no earlier.
            now: the time, by the same clock.
        """
        with self._guard:
            read_at, found = self._lists.get((name, subject), (0, []))
        if not after or not since <= read_at <= now:
            found = sorted({str(one) for one in read()})
            self._keep((name, subject), now, found)
        return [one for one in found if one > after]

    def _keep(self, key: tuple[Reference, Digest], now: int, found: list[str]) -> None:
        with self._guard:
            self._lists.pop(key, None)
            self._lists[key] = now, found
            count = sum(len(one) for _, one in self._lists.values())
            while count > _MOST and self._lists:
                count -= len(self._lists.pop(next(iter(self._lists)))[1])
