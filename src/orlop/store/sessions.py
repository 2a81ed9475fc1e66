"""The owners of leases in a store that several machines share: the sessions of its database.

An owner is dead once the others have declared it so, because the database has heard nothing of it. Its content may be
collected from then on, and nothing it does later commits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from orlop.store.owners import Claim, Owners
from orlop.store.rows.postgres.sessions import alive_sessions

if TYPE_CHECKING:
    from collections.abc import Callable

    from orlop.store.rows.postgres.database import PostgresMetadata
    from orlop.store.rows.postgres.sessions import Session


class SessionOwners(Owners):
    """The sessions of one database; a claim is the session of this process.

    Args:
        metadata: the database.
        session: of this process.
    """

    def __init__(self, metadata: PostgresMetadata, session: Session) -> None:
        self._metadata = metadata
        self._session = session

    def ask(self, let_go: Callable[[Callable[[], None]], None]) -> None:
        """Ask before the session of this process is replaced, because it was declared dead."""
        self._session.ask(let_go)

    def claim(self) -> Claim:
        """Return the session of this process, which begins unless it has."""
        return _SessionClaim(self._session)

    def alive(self, *, sweep: bool = True) -> set[str]:
        """Return the sessions that live; ``sweep`` declares those dead first that are silent for too long."""
        return alive_sessions(self._metadata, reap=sweep)


class _SessionClaim(Claim):
    def __init__(self, session: Session) -> None:
        self._session = session
        self.name = session.id

    def end(self) -> None:
        self._session.end()

    def abandon(self) -> None:
        self._session.abandon()
