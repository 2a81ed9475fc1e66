"""What must be under a tag when a manifest is put there: anything, nothing, or what was read (RFC 9110, 13.1).

Registries that do not know conditions pass over them. A proxy that compresses makes a weak tag, ``W/"…"``, of a
registry's strong one, and a weak one is good for no condition. But where it is the digest of what was read, it stands
for these bytes and no others, and the strong one is likely to be the same text. A registry whose own tags are weak
refuses that one each time, even though nobody has written: then the next try is made without a condition.

Whether a registry looks at conditions is known only once it has refused one: others take them and write over what came
meanwhile. So whatever was put without that proof is read again, after longer than it took from the look to the put.
Whoever looked before it came, and writes as fast, has written by then. If the other one does the same, both stay.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orlop.model.values import dataclass

if TYPE_CHECKING:
    from orlop.model.digest import Digest


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition for a put: a header and its value; without them, there is none.

    ``is_likely``: the registry itself may not know the tag in it.
    """

    header: str = ""
    value: str = ""
    is_likely: bool = False

    def headers(self) -> tuple[tuple[str, str], ...]:
        """Return what a request says of it."""
        return ((self.header, self.value),) if self.header else ()


ALWAYS: Final = Condition()
"""Whatever is there is replaced."""
FIRST: Final = Condition("If-None-Match", "*")
"""Nothing is there yet."""


def unchanged(etag: str, digest: Digest) -> Condition:
    """Return the condition that what was read is still there, by its ``ETag`` and the digest of its bytes."""
    if etag == f'W/"{digest}"':
        return Condition("If-Match", f'"{digest}"', is_likely=True)
    return Condition("If-Match", etag) if etag and not etag.startswith("W/") else ALWAYS


class Tries:
    """The conditions of one change, which is made anew where it was refused, or may have been written over."""

    def __init__(self) -> None:
        self._last = ALWAYS
        self._used: Condition | None = None
        self._is_heeded = False
        self._was_refused = False

    def next(self, condition: Condition) -> Condition:
        """Return the condition to use for what was read now: none if it is likely, and was refused before."""
        is_refused = self._was_refused and condition.is_likely and condition == self._last
        self._last, self._was_refused = condition, False
        self._used = ALWAYS if is_refused else condition
        return self._used

    def refuse(self) -> None:
        """Note that the registry has refused the condition."""
        self._was_refused = self._is_heeded = True
        self._used = None

    def is_settled(self) -> bool:
        """Return whether nothing was put since this was asked last, or under a condition that is known to count."""
        used, self._used = self._used, None
        return used is None or (self._is_heeded and bool(used.header))
