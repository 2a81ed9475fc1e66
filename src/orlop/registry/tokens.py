"""Tokens: how one is asked of a token server, and what comes back (docker's "token authentication", and OAuth 2)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlencode

from orlop.errors import InvalidAnswer
from orlop.model.regex import regex
from orlop.model.urls import shown
from orlop.model.values import dataclass, field
from orlop.registry.limits import number
from orlop.registry.messages import BytesBody, Request

if TYPE_CHECKING:
    from orlop.registry.credentials import Credentials
    from orlop.registry.messages import Answer
    from orlop.registry.scopes import Scope

SHORTEST: Final = 60
"""Seconds that a token lives where its server says nothing, or less."""
_LONGEST: Final = 366 * 24 * 3600
CLIENT_ID: Final = "orlop"
_LIMIT: Final = 1 << 18
_TOKEN: Final = regex(r"[!-~]+")


@dataclass(frozen=True, slots=True)
class TokenServer:
    """Where tokens are had, and for which service; the service may be empty."""

    realm: str
    service: str = ""


@dataclass(frozen=True, slots=True)
class Token:
    """A token, how many seconds it lives, and one that gets further ones, where there is one."""

    text: str = field(repr=False)
    lifetime: float
    refresh: str = field(default="", repr=False)


def by_get(server: TokenServer, scopes: tuple[Scope, ...], credentials: Credentials | None) -> Request:
    """Return the request that every token server understands, with Basic authorization where there are credentials."""
    pairs = [("service", server.service)] if server.service else []
    pairs += [("scope", str(scope)) for scope in scopes]
    header = None if credentials is None else credentials.basic
    if header is not None and credentials is not None:
        pairs.append(("account", credentials.user))
    query = urlencode(pairs, quote_via=quote, safe="/:,*")
    mark = "&" if "?" in server.realm else "?"
    url = f"{server.realm}{mark}{query}" if query else server.realm
    return Request("GET", url, (("Authorization", header),) if header else ())


def by_post(server: TokenServer, scopes: tuple[Scope, ...], credentials: Credentials) -> Request:
    """Return the request of OAuth 2, with an identity token or with a name and password."""
    if credentials.identity_token:
        pairs = [("grant_type", "refresh_token"), ("refresh_token", credentials.identity_token)]
    else:
        pairs = [("grant_type", "password"), ("username", credentials.user), ("password", credentials.password)]
    pairs += [("service", server.service)] if server.service else []
    pairs.append(("client_id", CLIENT_ID))
    pairs += [("scope", " ".join(map(str, scopes)))] if scopes else []
    headers = (("Content-Type", "application/x-www-form-urlencoded"),)
    return Request("POST", server.realm, headers, BytesBody(urlencode(pairs, quote_via=quote).encode()))


def token_in(answer: Answer) -> Token:
    """Read a token server's answer, and close it. Raises `InvalidAnswer` where there is no token in it."""
    where = shown(answer.url)
    body = answer.document(_LIMIT, what="a token")
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InvalidAnswer(f"the token server {where} does not answer with JSON") from error
    found = document if isinstance(document, dict) else {}
    texts = (one for name in ("token", "access_token") if isinstance(one := found.get(name), str) and one)
    text = next(texts, "")
    if _TOKEN.fullmatch(text) is None:
        raise InvalidAnswer(f"the token server {where} answers without a token")
    lifetime, refresh = found.get("expires_in"), found.get("refresh_token")
    if isinstance(lifetime, str):
        lifetime = number(lifetime)
    # It may be an integer that is larger than any float, and it may not be a number.
    if not isinstance(lifetime, int | float) or isinstance(lifetime, bool) or not lifetime >= SHORTEST:
        lifetime = SHORTEST
    return Token(text, float(min(lifetime, _LONGEST)), refresh if isinstance(refresh, str) else "")
