"""The Engine API as an ASGI application: versions, access, endpoints, and what becomes of errors."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Final

from starlette.routing import Router

from orlop._version import __version__
from orlop.api.engine import elsewhere, events, images, system, transfer
from orlop.api.engine.shapes.encoding import body
from orlop.api.engine.shapes.fault import Verb, fault
from orlop.api.engine.versions import MAXIMUM, requested
from orlop.api.record import counted, record_of
from orlop.errors import (
    BodyTooLarge,
    OrlopError,
    RequestAborted,
    RequestRefused,
    ServerBusy,
    StorageError,
    Unauthorized,
)

if TYPE_CHECKING:
    from starlette.types import Message, Receive, Scope, Send

    from orlop.api.access import Policy
    from orlop.api.engine.call import Context
    from orlop.api.record import Record

_log = logging.getLogger(__name__)

_VERSIONED: Final = re.compile(r"/v([0-9.]+)(/.*)", re.DOTALL)
_SERVERS: Final = range(500, 600)
_HEADERS: Final = (
    (b"api-version", str(MAXIMUM).encode()),
    (b"docker-experimental", b"false"),
    (b"ostype", b"linux"),
    (b"server", f"orlop/{__version__} (linux)".encode()),
)
ENDPOINTS: Final = (
    *system.ENDPOINTS,
    *events.ENDPOINTS,
    *elsewhere.ENDPOINTS,
    *transfer.ENDPOINTS,
    *images.ENDPOINTS,
)
"""All that is served, in the order in which a request is compared with them."""


_FINAL: Final = frozenset({BodyTooLarge, RequestAborted, RequestRefused, ServerBusy, Unauthorized})
"""Errors after which nothing more is taken from a connection, whatever is still on its way."""


class Broken(Exception):
    """An answer that had begun cannot be completed."""


class Engine:
    """The application for one listener.

    Args:
        context: what all listeners of a server share.
        policy: what this one asks of requests.
    """

    def __init__(self, context: Context, policy: Policy) -> None:
        self._context = context
        self._policy = policy
        self._router = Router(ENDPOINTS, redirect_slashes=False, default=elsewhere.unknown)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        record = record_of(scope)
        receive, send = counted(record, receive, send)
        metrics = self._context.metrics
        metrics.active += 1
        try:
            await self._answer(scope, receive, _with_headers(send), record)
        finally:
            metrics.active -= 1
            record.route = scope.get("orlop.route", "")
            metrics.count(record)
            if self._context.log is not None:
                self._context.log.write(record)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, record: Record) -> None:
        scope["orlop.context"] = self._context
        scope["orlop.policy"] = self._policy
        scope["orlop.version"] = MAXIMUM
        try:
            self._admit(scope)
            await self._router(scope, receive, send)
        except OrlopError as error:
            if record.status:
                level = logging.DEBUG if isinstance(error, RequestAborted) else logging.WARNING
                _log.log(level, "%s %s ended in the midst of the answer: %s", record.method, record.target, error)
                raise Broken from error
            if isinstance(error, StorageError) and error.http_status in _SERVERS:
                # Whoever runs the server can help, the client cannot, and may have hung up.
                _log.warning("%s %s failed: %s", record.method, record.target, error)
            await _refuse(scope, send, error)
        except Exception as error:
            _log.exception("%s %s failed", record.method, record.target)
            if record.status:
                raise Broken from error
            unexpected = OrlopError(
                f"something unexpected went wrong ({type(error).__name__}); the server's log says more"
            )
            await _refuse(scope, send, unexpected)

    def _admit(self, scope: Scope) -> None:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in reversed(scope["headers"])}
        self._policy.check(scope["method"], headers)
        if self._context.ending.is_set():
            raise ServerBusy("the server is about to end")
        match = _VERSIONED.fullmatch(scope["path"])
        if match is not None:
            scope["orlop.version"] = requested(match[1])
            scope["path"] = match[2]
        # Whether a server lives is asked of busy ones, and costs nothing.
        if scope["path"] != "/_ping" and self._context.working() > self._context.bounds.requests:
            raise ServerBusy("the server works on as many requests as it may; try again later")


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*_HEADERS, *message.get("headers", ())]
        await send(message)

    return sending


async def _refuse(scope: Scope, send: Send, error: OrlopError) -> None:
    """Answer a request with an error, in docker's words where docker has some."""
    name = scope.get("orlop.name") or scope.get("path_params", {}).get("name")
    answer = fault(error, scope["orlop.version"], scope.get("orlop.verb", Verb.OTHER), name)
    content = body(answer.document)
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
    if isinstance(error, Unauthorized):
        headers.append((b"www-authenticate", b'Bearer realm="orlop"'))
    if isinstance(error, ServerBusy):
        headers.append((b"retry-after", b"1"))
    if type(error) in _FINAL:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": content})
