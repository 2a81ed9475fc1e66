"""Who sent a request, by its credentials, and what that allows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from orlop.api.registry.guard.authorization import Bearer, Login, authorization_in
from orlop.api.registry.guard.rights import ANONYMOUS
from orlop.api.registry.routes import Kind
from orlop.errors import Unauthorized

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orlop.api.registry.guard.passwords import Passwords
    from orlop.api.registry.guard.sessions import Sessions
    from orlop.api.registry.guard.settings import Settings
    from orlop.api.registry.guard.tokens import Grant
    from orlop.api.registry.routes import Need, Route


@dataclass(frozen=True, slots=True)
class Who:
    """The user's name, and the token that was shown with what it allows."""

    settings: Settings
    user: str = ANONYMOUS
    grant: Grant | None = None
    token: str = field(default="", repr=False)

    @property
    def has_credentials(self) -> bool:
        """Whether there were any."""
        return self.user != ANONYMOUS or self.grant is not None

    def may(self, need: Need) -> bool:
        """Return whether a need is met: by the rules, and by the token where one was shown.

        The tokens of another issuer alone say what they allow. Those of our own never allow more than the rules do.
        """
        by_token = self.grant is None or self.grant.meets(need)
        return by_token and (self._is_of_others or self.settings.rights.meets(self.user, need))

    def may_ever(self, need: Need) -> bool:
        """Return whether a need is met, or would be by another token."""
        return self._is_of_others or self.settings.rights.meets(self.user, need)

    @property
    def _is_of_others(self) -> bool:
        tokens = self.settings.tokens
        return self.grant is not None and tokens is not None and tokens.issuer is None


@dataclass(frozen=True, slots=True)
class Identifier:
    """Reads credentials.

    Args:
        settings: which are taken.
        passwords: of the users, if they have some.
        sessions: the uploads for which a token is good after its end.
    """

    settings: Settings
    passwords: Passwords | None
    sessions: Sessions

    async def who(self, headers: Iterable[tuple[bytes, bytes]], route: Route | None, now: float) -> Who:
        """Return who sent a request.

        Args:
            headers: of the request.
            route: what it is about, if that is known.
            now: seconds since 1970.

        Raises:
            Unauthorized: the credentials are not valid. ServerBusy: too many are being checked.
        """
        found = authorization_in(headers)
        if found is None:
            return Who(self.settings)
        # What asks for metrics has no way to get tokens, and may log in with a password too.
        is_login = route is None and isinstance(found, Login) and self.passwords is not None
        if self.settings.tokens is not None and not is_login:
            return self._bearer(found, route, now)
        if not isinstance(found, Login):
            raise Unauthorized("this registry takes a user name and a password, and no tokens")
        if self.passwords is None or not await self.passwords.verify(found):
            raise Unauthorized("the user name or password is wrong")
        return Who(self.settings, found.user)

    def _bearer(self, found: Login | Bearer, route: Route | None, now: float) -> Who:
        assert self.settings.tokens is not None
        if not isinstance(found, Bearer):
            raise Unauthorized("this registry takes tokens; get one where the challenge says")
        is_own_upload = (
            route is not None
            and route.kind is Kind.UPLOAD
            and self.sessions.was_begun_with(route.reference, route.repository, found.token)
        )
        grant = self.settings.tokens.verifier.grant_of(found.token, now, ignore_end=is_own_upload)
        return Who(self.settings, grant.user, grant, found.token)
