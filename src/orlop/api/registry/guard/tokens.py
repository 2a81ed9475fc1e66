"""Tokens of docker's protocol: what one allows, and an issuer of our own.

The issuer and the registry are one server, so the issuer signs with HMAC and a secret that nobody else needs. What a
token of its own allows is compared with the rules again whenever it is used: a right that was taken away is gone at
once. A refresh token names the user's password by a mark, and ends when the password changes.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from orlop.api.registry.guard.jws import claims_in
from orlop.errors import Unauthorized
from orlop.registry.scopes import Scope, merged

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from orlop.api.registry.guard.chains import Authorities
    from orlop.api.registry.guard.jws import Key, SecretKey
    from orlop.api.registry.guard.rights import Rights
    from orlop.api.registry.routes import Need

_MOST_SCOPES: Final = 64
_LONGEST_SCOPE: Final = 512
_REFRESH_LIFETIME: Final = 30 * 24 * 3600
_REFRESH: Final = "refresh"


@dataclass(frozen=True, slots=True)
class Grant:
    """What a token allows, and whom it names."""

    user: str
    scopes: tuple[Scope, ...]

    def meets(self, need: Need) -> bool:
        """Return whether the token allows all that a request needs."""
        wanted = Scope(need.kind, need.name, frozenset(need.actions))
        return any(one.covers(wanted) for one in self.scopes)


@dataclass(frozen=True, slots=True)
class Verifier:
    """Reads the tokens of one issuer, for one service, which keys or certificates of authorities prove."""

    keys: Sequence[Key]
    issuer: str
    service: str
    authorities: Authorities | None = None

    def grant_of(self, token: str, now: float, *, ignore_end: bool = False) -> Grant:
        """Return what a token allows.

        Args:
            token: as the client sent it.
            now: seconds since 1970.
            ignore_end: whether a token that has expired is still good.

        Raises:
            Unauthorized: it is not valid.
        """
        brought = None if self.authorities is None else partial(self.authorities.key_in, now=now)
        claims = claims_in(token, self.keys, brought)
        claims.check(issuer=self.issuer, audience=self.service, now=now, ignore_end=ignore_end)
        if "use" in claims.document:
            raise Unauthorized("a refresh token is only for the token server")
        return Grant(claims.subject, tuple(_scopes_of(claims.document.get("access"))))


def _scopes_of(access: object) -> Iterable[Scope]:
    """Return the scopes in the claim ``access``; what is not one allows nothing."""
    for entry in access if isinstance(access, list) else ():
        if isinstance(entry, dict):
            kind, name, actions = entry.get("type"), entry.get("name"), entry.get("actions")
            if isinstance(kind, str) and isinstance(name, str) and isinstance(actions, list):
                yield Scope(kind, name, frozenset(one for one in actions if isinstance(one, str)))


def parse_scopes(values: Iterable[str]) -> tuple[Scope, ...]:
    """Return the scopes that a request for a token names; each value may hold several, separated by spaces.

    Raises:
        Unauthorized: they are too many or too long.
    """
    texts = [one for value in values for one in value.split()]
    if len(texts) > _MOST_SCOPES or any(len(one) > _LONGEST_SCOPE for one in texts):
        raise Unauthorized(f"the request names more than {_MOST_SCOPES} scopes, or one that is too long")
    return merged(map(Scope.parse, texts))


@dataclass(frozen=True, slots=True)
class Issuer:
    """Issues tokens. ``lifetime`` is in seconds."""

    key: SecretKey
    name: str
    service: str
    lifetime: int

    @property
    def verifier(self) -> Verifier:
        """What reads the tokens."""
        return Verifier((self.key,), self.name, self.service)

    def token(self, user: str, asked: Iterable[Scope], rights: Rights, now: float) -> str:
        """Return a token with those of the rights that were asked for which the user has; they may be none."""
        allowed = [(one, rights.allowed(user, one.kind, one.name, one.actions)) for one in asked]
        access = [
            {"type": scope.kind, "name": scope.name, "actions": sorted(actions)}
            for scope, actions in allowed
            if actions
        ]
        return self.key.sign(self._claims(user, now, self.lifetime) | {"access": access})

    def refresh_token(self, user: str, mark: str, now: float) -> str:
        """Return a token that gets further ones, as long as the mark of the user's password is the same."""
        return self.key.sign(self._claims(user, now, _REFRESH_LIFETIME) | {"use": _REFRESH, "mark": mark})

    def user_of_refresh(self, token: str, mark_of: Callable[[str], str | None], now: float) -> str:
        """Return whom a refresh token names. Raises `Unauthorized` if it is not valid any more.

        Args:
            token: as the client sent it.
            mark_of: returns the mark of a user's password, or None for an unknown user.
            now: seconds since 1970.
        """
        claims = claims_in(token, (self.key,))
        claims.check(issuer=self.name, audience=self.service, now=now)
        mark = mark_of(claims.subject)
        if claims.document.get("use") != _REFRESH or mark is None or claims.document.get("mark") != mark:
            raise Unauthorized("the refresh token is not valid any more; log in again")
        return claims.subject

    def _claims(self, user: str, now: float, lifetime: int) -> dict[str, Any]:
        begin = int(now)
        return {
            "iss": self.name,
            "sub": user,
            "aud": self.service,
            "iat": begin,
            "nbf": begin,
            "exp": begin + lifetime,
            "jti": secrets.token_urlsafe(12),
        }
