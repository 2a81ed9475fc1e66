"""What the guard remembers of upload sessions: the token that began each.

The token that began a session is still good for it after it has expired, for a day: clients take a token before they
send a large layer, and would have to send it again. Whose session it is, the registry itself knows.

Sessions are remembered in memory, a bounded number. After a restart of the server, or when too many others came since,
an expired token is not good any more, and the client gets another one.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_MOST: Final = 16_384
_LONGEST: Final = 24 * 3600


@dataclass(slots=True)
class Session:
    """An upload: where, since when (seconds of the clock), and with which token."""

    repository: str
    began: float
    token: bytes = field(repr=False)


class Sessions:
    """The sessions by id; only the thread of the event loop may use them."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._found: dict[str, Session] = {}

    def begin(self, upload: str, repository: str, token: str) -> None:
        """Remember a new session, and forget the oldest one if there are too many."""
        while len(self._found) >= _MOST:
            del self._found[next(iter(self._found))]
        self._found[upload] = Session(repository, self._clock(), _digest(token))

    def end(self, upload: str) -> None:
        """Forget a session."""
        self._found.pop(upload, None)

    def was_begun_with(self, upload: str, repository: str, token: str) -> bool:
        """Return whether a session of this repository was begun with this token, and not too long ago."""
        session = self._found.get(upload)
        return (
            session is not None
            and bool(token)
            and session.repository == repository
            and session.token == _digest(token)
            and self._clock() < session.began + _LONGEST
        )


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest() if token else b""
