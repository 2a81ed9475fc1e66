"""The Engine API as an ASGI application: versions, access, endpoints, and what becomes of errors."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from starlette.routing import Router

from orlop._version import __version__
from orlop.api.answering import answered
from orlop.api.engine import absent, elsewhere, events, images, networks, registries, search, system, transfer
from orlop.api.engine.form import check_escapes
from orlop.api.engine.paths import cleaned, location
from orlop.api.engine.shapes.encoding import body
from orlop.api.engine.shapes.fault import Verb, fault
from orlop.api.engine.versions import MAXIMUM, MINIMUM, ApiVersion
from orlop.errors import (
    BodyTooLarge,
    RequestAborted,
    RequestRefused,
    ServerBusy,
    StorageError,
    Unauthorized,
    UnsupportedVersion,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import Message, Receive, Scope, Send

    from orlop.api.access import Policy
    from orlop.api.engine.call import Context, Endpoint
    from orlop.api.record import Record
    from orlop.errors import OrlopError

_VERSIONED: Final = re.compile(r"/v([0-9.]+)(/.*)", re.DOTALL)
_OF_SERVER: Final = ("OPTIONS", "*")
_UNAVAILABLE: Final = 503
_HEADERS: Final = (
    (b"api-version", str(MAXIMUM).encode()),
    (b"ostype", b"linux"),
    (b"server", f"orlop/{__version__} (linux)".encode()),
)
_EXPERIMENTAL: Final = (b"docker-experimental", b"false")
"""An engine adds this once it knows that it serves the version of a request."""
ENDPOINTS: Final = (
    *system.ENDPOINTS,
    *events.ENDPOINTS,
    *search.ENDPOINTS,
    *elsewhere.ENDPOINTS,
    *networks.ENDPOINTS,
    *registries.ENDPOINTS,
    *transfer.ENDPOINTS,
    *images.ENDPOINTS,
)
"""All that is served, in the order in which a request is compared with them."""


_FINAL: Final = frozenset({BodyTooLarge, RequestAborted, RequestRefused, ServerBusy, Unauthorized})
"""Errors after which nothing more is taken from a connection, whatever is still on its way."""


@dataclass(frozen=True, slots=True)
class Page:
    """A page for browsers beside the API.

    Args:
        endpoints: what answers for it.
        has: tells whether a path is one of its own.
        parts: paths that hold nothing of the store.
        headers: of all its answers, errors too.
    """

    endpoints: tuple[Endpoint, ...]
    has: Callable[[str], bool]
    parts: frozenset[str]
    headers: tuple[tuple[bytes, bytes], ...]


class Engine:
    """The application for one listener.

    Args:
        context: what all listeners of a server share.
        policy: what this one asks of requests.
        page: the page that it shows to browsers, if it does.
    """

    def __init__(self, context: Context, policy: Policy, page: Page | None = None) -> None:
        self._context = context
        self._policy = policy
        self._page = page
        endpoints = (*ENDPOINTS, *(page.endpoints if page is not None else ()), *networks.ABSENT, *absent.ABSENT)
        self._router = Router(endpoints, redirect_slashes=False, default=absent.unknown)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if self._page is not None:
            send = _to_browser(scope, send, self._page)
        await answered(scope, receive, send, account=self._context.account, answer=self._answer, refuse=_refuse)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, record: Record) -> None:
        scope["orlop.context"] = self._context
        scope["orlop.policy"] = self._policy
        scope["orlop.version"], scope["orlop.version_text"] = MAXIMUM, str(MAXIMUM)
        try:
            await self._routed(scope, receive, send)
        finally:
            record.route = scope.get("orlop.route", "")

    async def _routed(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._admit(scope)
        check_escapes(scope["raw_path"])
        # Of a server as a whole, and of other spellings of a path, an engine's HTTP library tells.
        if (scope["method"], scope["path"]) != _OF_SERVER:
            path = cleaned(scope["path"])
            if path != scope["path"]:
                await _redirect(location(path, scope["query_string"]), send)
                return
            send = _with_headers(send, *_HEADERS, _EXPERIMENTAL)
        match = _VERSIONED.fullmatch(scope["path"])
        if match is not None:
            scope["orlop.version"], scope["orlop.version_text"] = ApiVersion.parse(match[1]), match[1]
            scope["path"] = match[2]
        await self._router(scope, receive, send)

    def _admit(self, scope: Scope) -> None:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in reversed(scope["headers"])}
        if self._page is not None and self._page.has(scope["path"]):
            self._policy.check_page(scope["method"], headers, is_part=scope["path"] in self._page.parts)
        else:
            self._policy.check(scope["method"], headers)
        # Whether a server lives is asked of busy ones, and costs nothing.
        self._context.admit(always=scope["path"].endswith("/_ping"))


def _with_headers(send: Send, *headers: tuple[bytes, bytes]) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*headers, *message.get("headers", ())]
        await send(message)

    return sending


def _to_browser(scope: Scope, send: Send, page: Page) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start" and page.has(scope["path"]):
            message["headers"] = [*message.get("headers", ()), *page.headers]
        await send(message)

    return sending


async def _redirect(target: bytes, send: Send) -> None:
    headers = [(b"location", target), (b"content-length", b"0")]
    await send({"type": "http.response.start", "status": 301, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


async def _refuse(scope: Scope, _receive: Receive, send: Send, error: OrlopError) -> None:
    """Answer a request with an error, in docker's words where docker has some."""
    name = scope.get("orlop.name", scope.get("path_params", {}).get("name"))
    answer = fault(error, scope["orlop.version"], scope.get("orlop.verb", Verb.OTHER), name)
    content, kind = body(answer.document), b"application/json"
    if scope["orlop.version"] < MINIMUM:
        # Clients of such an age show a body as it is.
        content, kind = f"{answer.message}\n".encode(), b"text/plain; charset=utf-8"
    headers = [(b"content-type", kind), (b"content-length", str(len(content)).encode())]
    if not kind.startswith(b"application/json"):
        headers.append((b"x-content-type-options", b"nosniff"))
    if isinstance(error, Unauthorized):
        headers.append((b"www-authenticate", b'Bearer realm="orlop"'))
    if isinstance(error, ServerBusy) or (isinstance(error, StorageError) and error.http_status == _UNAVAILABLE):
        headers.append((b"retry-after", b"1"))
    if type(error) in _FINAL:
        headers.append((b"connection", b"close"))
    if "orlop.unknown" not in scope:
        # An engine answers for itself what it has a route for.
        more = () if isinstance(error, UnsupportedVersion) else (_EXPERIMENTAL,)
        send = _with_headers(send, *_HEADERS, *more)
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": content})
