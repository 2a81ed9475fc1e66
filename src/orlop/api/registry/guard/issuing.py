"""The token server of our own: docker's token protocol by GET, and its form of OAuth 2 by POST."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl

from orlop.api.registry.guard.answers import Answer
from orlop.api.registry.guard.authorization import Login, authorization_in, login
from orlop.api.registry.guard.rights import ANONYMOUS
from orlop.api.registry.guard.tokens import parse_scopes
from orlop.errors import InvalidInput, Unauthorized

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orlop.api.registry.guard.passwords import Passwords
    from orlop.api.registry.guard.rights import Rights
    from orlop.api.registry.guard.tokens import Issuer

LARGEST: Final = 64 << 10
"""How many bytes a form may have."""
_MOST: Final = 128
_SCOPES: Final = "scope"


@dataclass(frozen=True, slots=True)
class Asked:
    """A request for a token: the fields of its query or form, and its headers."""

    fields: Sequence[tuple[str, str]]
    headers: Sequence[tuple[bytes, bytes]]
    is_form: bool

    @classmethod
    def parse(cls, text: bytes, headers: Sequence[tuple[bytes, bytes]], *, is_form: bool) -> Asked:
        """Read a query or a form. Raises `InvalidInput` if it is not one."""
        try:
            found = parse_qsl(text.decode("ascii"), keep_blank_values=True, max_num_fields=_MOST, errors="strict")
        except ValueError as error:
            raise InvalidInput("the request for a token is not an encoded form, or has too many fields") from error
        return cls(found, headers, is_form)

    def field(self, name: str) -> str:
        """Return a field, or an empty text. Raises `InvalidInput` if there are several."""
        values = [value for key, value in self.fields if key == name]
        if len(values) > 1:
            raise InvalidInput(f"the request for a token has {name} twice")
        return values[0] if values else ""


@dataclass(frozen=True, slots=True)
class TokenServer:
    """Answers requests for tokens.

    Args:
        issuer: signs them.
        passwords: those of the users.
        rights: what they may do.
    """

    issuer: Issuer
    passwords: Passwords
    rights: Rights

    async def answer(self, asked: Asked, now: float) -> tuple[str, Answer]:
        """Return the user's name, or an empty one, and the answer.

        Raises:
            Unauthorized: the password or refresh token is wrong. InvalidInput: the request is not valid.
            ServerBusy: too many passwords are being checked.
        """
        service = asked.field("service")
        if service not in {"", self.issuer.service}:
            raise InvalidInput(f"this server issues tokens for {self.issuer.service!r}, and not for {service[:100]!r}")
        user = await self._user(asked, now)
        scopes = parse_scopes(value for name, value in asked.fields if name == _SCOPES)
        token = self.issuer.token(user, scopes, self.rights, now)
        document: dict[str, object] = {
            "token": token,
            "access_token": token,
            "expires_in": self.issuer.lifetime,
            "issued_at": datetime.fromtimestamp(int(now), UTC).isoformat().replace("+00:00", "Z"),
        }
        wants_more = asked.field("access_type") == "offline" or asked.field("offline_token") == "true"
        mark = self.passwords.mark(user) if wants_more and user != ANONYMOUS else None
        if mark is not None:
            document["refresh_token"] = self.issuer.refresh_token(user, mark, now)
        return user, Answer(200, document, ((b"cache-control", b"no-store"),))

    async def _user(self, asked: Asked, now: float) -> str:
        kind = asked.field("grant_type") if asked.is_form else ""
        if kind == "refresh_token":
            return self.issuer.user_of_refresh(asked.field("refresh_token"), self.passwords.mark, now)
        if kind == "password":
            found: object = login(asked.field("username"), asked.field("password"))
        elif asked.is_form:
            raise InvalidInput("grant_type must be password or refresh_token")
        else:
            found = authorization_in(asked.headers)
        if found is None and self._is_anybody_welcome():
            return ANONYMOUS
        if not isinstance(found, Login):
            raise Unauthorized("this token server asks for a user name and a password")
        if not await self.passwords.verify(found):
            raise Unauthorized("the user name or password is wrong")
        return found.user

    def _is_anybody_welcome(self) -> bool:
        return any(rule.is_for(ANONYMOUS) for rule in self.rights.rules)
