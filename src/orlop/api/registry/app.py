"""The registry as an ASGI application: whose request it is, which endpoint answers it, what becomes of errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from starlette.responses import Response

from orlop.api.answering import answered
from orlop.api.registry import blobs, lists, manifests, uploads
from orlop.api.registry.asked import Asked
from orlop.api.registry.faults import fault
from orlop.api.registry.routes import PREFIX, Kind, route_of
from orlop.errors import InvalidRange

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from starlette.types import Message, Receive, Scope, Send

    from orlop.api.access import Policy
    from orlop.api.engine.call import Context
    from orlop.api.record import Record
    from orlop.api.registry.happened import Listener
    from orlop.api.registry.routes import Route
    from orlop.errors import OrlopError
    from orlop.service.hosted.registry import HostedRegistry

_VERSION: Final = (b"docker-distribution-api-version", b"registry/2.0")
_ROUTE: Final = "orlop.registry.route"
_ENDED: Final = frozenset({204, 304})


async def _base(_: Asked) -> Response:
    return Response(b"{}", media_type="application/json")


_ENDPOINTS: Final[Mapping[Kind, Mapping[str, Callable[[Asked], Awaitable[Response]]]]] = {
    Kind.BASE: {"GET": _base, "HEAD": _base},
    Kind.CATALOG: {"GET": lists.catalog, "HEAD": lists.catalog},
    Kind.TAGS: {"GET": lists.tags, "HEAD": lists.tags},
    Kind.REFERRERS: {"GET": lists.referrers, "HEAD": lists.referrers},
    Kind.MANIFEST: {
        "GET": manifests.read,
        "HEAD": manifests.read,
        "PUT": manifests.put,
        "DELETE": manifests.delete,
    },
    Kind.BLOB: {"GET": blobs.read, "HEAD": blobs.read, "DELETE": blobs.delete},
    Kind.UPLOADS: {"POST": uploads.begin},
    Kind.UPLOAD: {
        "GET": uploads.state,
        "HEAD": uploads.state,
        "PATCH": uploads.append,
        "PUT": uploads.finish,
        "DELETE": uploads.cancel,
    },
}


class Registry:
    """The application for one listener.

    A guard in front of it may refuse requests, and put the client's name into ``scope["orlop.user"]`` and a function
    that says whether it has a right into ``scope["orlop.may"]``, and how many bytes a blob may have into
    ``scope["orlop.upload"]``.

    Args:
        context: what all listeners of a server share.
        registry: what answers.
        policy: what this listener asks of requests.
        listeners: called with everything that happens.
    """

    def __init__(
        self, context: Context, registry: HostedRegistry, policy: Policy, listeners: Sequence[Listener] = ()
    ) -> None:
        self._context = context
        self._registry = registry
        self._policy = policy
        self._listeners = listeners

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        await answered(scope, receive, send, account=self._context.account, answer=self._answer, refuse=self._refuse)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, record: Record) -> None:
        self._admit(scope)
        send = _with_version(send)
        if scope["path"] == PREFIX:
            await Response(status_code=301, headers={"Location": f"{PREFIX}/"})(scope, receive, send)
            return
        route = route_of(scope["method"], scope["path"], scope["query_string"].decode("latin-1"))
        scope[_ROUTE] = route
        record.route = str(route.kind)
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        asked = Asked(route, self._registry, self._context.workers, self._listeners, scope, receive, headers)
        response = await _ENDPOINTS[route.kind][route.method](asked)
        await response(scope, receive, send)

    def _admit(self, scope: Scope) -> None:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in reversed(scope["headers"])}
        self._policy.check(scope["method"], headers)
        self._context.admit()

    async def _refuse(self, scope: Scope, receive: Receive, send: Send, error: OrlopError) -> None:
        route: Route | None = scope.get(_ROUTE)
        response = fault(error, scope["method"], None if route is None else route.kind)
        if isinstance(error, InvalidRange) and route is not None:
            if route.kind is Kind.UPLOAD:
                repository, key = route.repository, route.reference
                response.headers["Location"] = f"{PREFIX}/{repository}/blobs/uploads/{key}"
                response.headers["Range"] = f"0-{max(0, error.reached - 1)}"
                response.headers["Docker-Upload-UUID"] = key
            else:
                response.headers["Content-Range"] = f"bytes */{error.reached}"
        await response(scope, receive, _with_version(send))


def _with_version(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = [_VERSION, *message.get("headers", ())]
            if message["status"] in _ENDED:
                headers = [one for one in headers if one[0].lower() != b"content-length"]
            message["headers"] = headers
        await send(message)

    return sending
