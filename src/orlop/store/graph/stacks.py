"""Layers in their place as a forest: what is known of each is counted for all below it."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from orlop.model.digest import ChainID
    from orlop.store.rows.metadata import ChainRow

_Value = TypeVar("_Value")


class Stacks:
    """Every layer in its place, numbered from the deepest on: each comes before those that it stands on.

    What is known of layers lies in lists by these numbers: to hash digests again and again would take most of the time.
    """

    __slots__ = ("_below", "_numbers", "rows")

    def __init__(self, rows: Iterable[ChainRow]) -> None:
        self.rows = tuple(sorted(rows, key=lambda row: -row.depth))
        # Their digits say enough, and are hashed much faster than digests.
        self._numbers = {row.chain_id.hex: number for number, row in enumerate(self.rows)}
        self._below = [self.number(row.parent) for row in self.rows]

    def number(self, chain_id: ChainID | None) -> int | None:
        """Return the number of a layer; nothing where it is not there."""
        return None if chain_id is None else self._numbers.get(chain_id.hex)

    def hand_down(self, known: list[_Value], merge: Callable[[_Value, _Value], _Value]) -> None:
        """Count what is known of each layer for all that lie below it."""
        for number, below in enumerate(self._below):
            if below is not None:
                known[below] = merge(known[below], known[number])

    def users(self, tops: Iterable[ChainID | None]) -> list[int]:
        """Count for each layer how many images stand on it, who are given by their uppermost layers."""
        users = [0] * len(self.rows)
        for top in tops:
            number = self.number(top)
            if number is not None:
                users[number] += 1
        self.hand_down(users, lambda below, above: below + above)
        return users

    def own_sizes(self) -> list[int]:
        """Return for each layer the bytes of the files that it adds to those below it."""
        return [
            row.size - (0 if below is None else self.rows[below].size)
            for row, below in zip(self.rows, self._below, strict=True)
        ]

    def shared_sizes(self, users: Sequence[int]) -> list[int]:
        """Return for each layer the bytes of its files and of those below it, as far as they have several users."""
        shared = [size if count > 1 else 0 for size, count in zip(self.own_sizes(), users, strict=True)]
        for number in reversed(range(len(shared))):
            below = self._below[number]
            shared[number] += 0 if below is None else shared[below]
        return shared
