"""The token server of a fake registry."""

from __future__ import annotations

import base64
import json
import secrets
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from orlop.testing.registry.site import Reply

if TYPE_CHECKING:
    from orlop.testing.registry.quirks import Quirks
    from orlop.testing.registry.site import Asked

REFRESH = "refresh-"
Rights = frozenset[tuple[str, str]]
"""Pairs of a repository, or ``catalog``, and an action."""


class Tokens:
    """Issues tokens, and knows what they are for.

    Args:
        quirks: how it differs.
        users: names and passwords.
    """

    def __init__(self, quirks: Quirks, users: dict[str, str]) -> None:
        self._quirks = quirks
        self._users = users
        self._given: dict[str, Rights] = {}
        self._uses: dict[str, int] = {}

    def allows(self, token: str, repository: str, action: str) -> bool | None:
        """Return whether a token allows an action, or None where it is not known any more. It counts as a use."""
        if token not in self._given:
            return None
        self._uses[token] += 1
        if self._quirks.token_uses is not None and self._uses[token] > self._quirks.token_uses:
            self.expire(token)
            return None
        return not action or (repository, action) in self._given[token]

    def expire(self, token: str) -> None:
        """Forget a token."""
        self._given.pop(token, None)

    def user_of(self, header: str) -> str | None:
        """Return the user whom an ``Authorization: Basic`` names, or None where the password is wrong."""
        try:
            user, _, password = base64.b64decode(header.removeprefix("Basic ")).decode().partition(":")
        except ValueError:
            return None
        return user if user and self._users.get(user) in {password, password.removeprefix(REFRESH)} else None

    def answer(self, asked: Asked) -> Reply:
        """Answer a request for a token."""
        quirks = self._quirks
        if quirks.token_redirect:
            return Reply(307, [("Location", quirks.token_redirect)])
        refused = quirks.token_get if asked.method == "GET" else quirks.token_post
        form = parse_qsl(asked.read().decode()) if asked.method == "POST" else []
        if refused != 200:
            return _json(refused, {"details": f"{asked.method} is not for tokens"})
        user: str | None = ""
        if form and not {"client_id", "service"} <= dict(form).keys():
            return _json(400, {"error": "invalid_request", "error_description": "client_id and service are required"})
        if form:
            user = self._user_of_form(dict(form))
        elif "authorization" in asked.headers:
            user = self.user_of(asked.headers["authorization"])
        if user is None:
            return _json(401, {"details": "incorrect username or password"})
        query = form or parse_qsl(asked.target.partition("?")[2])
        scopes = [one for name, value in query if name == "scope" for one in value.split()]
        wanted = [self._rights(scope) for scope in (scopes[:1] if quirks.first_scope_only else scopes)]
        granted = frozenset(
            (name, action) for rights in wanted for name, action in rights if self._may(user, name, action)
        )
        if quirks.all_or_nothing and any(rights - granted for rights in wanted):
            return _json(403, {"errors": [{"code": "DENIED", "message": "access forbidden"}]})
        return self._token(granted, user, dict(query))

    def mint(self, granted: Rights, user: str) -> str:
        """Return the text of a new token; a subclass may have one that others read."""
        del granted, user
        return f"token-{secrets.token_hex(8)}"

    def given(self, granted: Rights, user: str) -> str:
        """Return a new token for some rights, which counts from now on."""
        token = self.mint(granted, user)
        self._given[token], self._uses[token] = granted, 0
        return token

    def _token(self, granted: Rights, user: str, query: dict[str, str]) -> Reply:
        quirks = self._quirks
        token = self.given(granted, user)
        names = ["token", "access_token"] if quirks.carrier == "both" else [quirks.carrier]
        document: dict[str, object] = dict.fromkeys(names, token)
        if quirks.expires_in is not None:
            document["expires_in"] = quirks.expires_in
        if query.get("access_type") == "offline" or query.get("offline_token") == "true":
            document["refresh_token"] = REFRESH + self._users.get(user, "")
        return _json(200, document)

    def _user_of_form(self, form: dict[str, str]) -> str | None:
        if form.get("grant_type") == "refresh_token":
            token = form.get("refresh_token", "")
            return next((user for user, password in self._users.items() if token == REFRESH + password), None)
        user = form.get("username", "")
        return user if self._users.get(user) == form.get("password", "") else None

    def _may(self, user: str, name: str, action: str) -> bool:
        if name in self._quirks.forbidden:
            return False
        return bool(user) or (action == "pull" and self._quirks.anonymous == "pull")

    @staticmethod
    def _rights(scope: str) -> Rights:
        _, _, rest = scope.partition(":")
        name, _, actions = rest.rpartition(":")
        return frozenset((name, action) for action in actions.split(","))


def _json(status: int, document: object) -> Reply:
    return Reply(status, [("Content-Type", "application/json")], json.dumps(document).encode())
