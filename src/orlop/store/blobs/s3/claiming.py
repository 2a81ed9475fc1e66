"""Who fetches some content into a bucket: one at a time, among all processes of all machines.

The key of an upload may claim the digest that its bytes are to have (`orlop.store.rows.keys.ObjectKeys.claim`), from
before the first byte is fetched until it is published or given up. Whoever finds the claim of another one waits, and
asks now and then: a row in a database wakes nobody. Then the content is there, or is to be fetched after all.

A claim spares a fetch, and nobody relies on it. One whose process is not heard of counts no more, long before that is
declared dead; if it goes on later, both have fetched, and one object stays. Nobody waits for a claim while what it
fetched waits for its rows, so that those who want the same layers in another order do not wait for each other for ever.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orlop.streams.interruption import check_interruption

if TYPE_CHECKING:
    from collections.abc import Callable

    from orlop.store.rows.keys import ObjectKeys

_TICK: Final = 0.1
"""Seconds after which a wait looks whether it is to end."""
_LONGEST: Final = 2.0
"""Seconds between two questions, at most; very many may wait."""
_PART: Final = 0.1
"""The part of its wait so far by which a wait may be longer than it need be."""


def claimed(
    keys: ObjectKeys,
    name: str,
    check: Callable[[], None] | None,
    *,
    clock: Callable[[], float],
    sleep: Callable[[float], object],
) -> str:
    """Return a new key that claims a name, once nobody else does; an empty one where content has come meanwhile.

    Args:
        keys: the keys.
        name: what is claimed.
        check: called now and then; what it raises ends the wait.
        clock: seconds that never go back.
        sleep: what waits for some seconds.
    """
    began = clock()
    while (key := keys.claim(name)) is None:
        while True:
            now = clock()
            until = now + min(max(_TICK, (now - began) * _PART), _LONGEST)
            while now < until:
                check_interruption()
                if check is not None:
                    check()
                sleep(min(_TICK, until - now))
                now = clock()
            if not keys.is_claimed(name):
                break
        if keys.find(name) is not None:
            return ""
    return key
