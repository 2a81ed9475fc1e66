"""The guard: an ASGI application in front of the registry's, which lets through what may be done.

For each request, in this order:

1. Where does it come from? Has this client, or whoever guesses passwords there, come too often? → 429
2. Who is it? Credentials that are wrong are refused, whatever is asked for. → 401, with the challenge
3. Has this user come too often? → 429
4. What is it about? The guard and the registry ask `route_of`, so they judge the same repository. A path that leads
   nowhere goes on to the registry, which says so.
5. May they do it? Without credentials: 401, with exactly the scope that is needed. With a token that lacks a right that
   its user has: 401 too, so that the client gets another token. Otherwise 403. The answer depends on the name of the
   repository and never on what is in it.
6. Is it too large? → 413

The registry then finds the user's name in ``scope["orlop.user"]``, and in ``scope["orlop.may"]`` a function that tells
whether a `Need` is met, for mounts and lists. A token is checked when a request begins, not when it ends.

What the settings say is read anew by `Guard.renew`, between two requests: one request sees one state.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

from orlop.api.record import counted, record_of
from orlop.api.registry.guard.answers import challenge, refusal
from orlop.api.registry.guard.audit import Deed
from orlop.api.registry.guard.bodies import limited, whole
from orlop.api.registry.guard.clients import client_of
from orlop.api.registry.guard.issuing import LARGEST, Asked, TokenServer
from orlop.api.registry.guard.passwords import Passwords, bcrypt_check
from orlop.api.registry.guard.rate import Buckets
from orlop.api.registry.guard.refusals import REALM, Refused, refused, too_many, unauthorized
from orlop.api.registry.guard.sessions import Sessions
from orlop.api.registry.guard.who import Identifier, Who
from orlop.api.registry.routes import Kind, route_of
from orlop.errors import BodyTooLarge, InvalidInput, OrlopError, ServerBusy, Unauthorized

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from orlop.api.record import Record
    from orlop.api.registry.guard.answers import Answer
    from orlop.api.registry.guard.audit import AuditLog
    from orlop.api.registry.guard.settings import Settings
    from orlop.api.registry.routes import Need, Route

_READING: Final = frozenset({"GET", "HEAD"})
_ACCEPTED: Final = 202
_DONE: Final = frozenset({201, 204})
_ACTIONS: Final = {
    Kind.BASE: "check",
    Kind.CATALOG: "list",
    Kind.TAGS: "list",
    Kind.REFERRERS: "list",
    Kind.UPLOADS: "upload",
    Kind.UPLOAD: "upload",
}
_OF_METHOD: Final = {"GET": "pull", "HEAD": "pull", "PUT": "push", "DELETE": "delete"}


@dataclass(frozen=True, slots=True)
class _State:
    """Everything that the settings decide, so that one request sees one state."""

    settings: Settings
    identifier: Identifier
    buckets: Buckets | None
    server: TokenServer | None
    token_path: str

    def charge(self, kind: str, name: str) -> None:
        """Take a token from a bucket. Raises `Refused` if it is empty."""
        if self.buckets is not None:
            _check_wait(self.buckets.take((kind, name)))

    def look(self, kind: str, name: str) -> None:
        """Raise `Refused` if a bucket is empty."""
        if self.buckets is not None:
            _check_wait(self.buckets.wait((kind, name)))


class Guard:
    """Stands in front of the registry's applications, one for all listeners.

    Args:
        settings: who may do what.
        audit: where each request gets a line.
        now: seconds since 1970.
        clock: seconds, which never go back.
        check: compares a password with a hash; by default bcrypt does.

    Raises:
        NotSupported: a package that the settings need is not installed.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        audit: AuditLog | None = None,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
        check: Callable[[bytes, bytes], bool] | None = None,
    ) -> None:
        self._audit = audit
        self._now = now
        self._clock = clock
        self._check = check
        self._sessions = Sessions(clock)
        self._passwords: Passwords | None = None
        self._rate: tuple[float | None, int] = (None, 0)
        self._buckets: Buckets | None = None
        self.renew(settings)

    def renew(self, settings: Settings) -> None:
        """Take other settings from now on. Raises `NotSupported` as the constructor does."""
        if settings.passwords is not None:
            if self._passwords is None:
                self._passwords = Passwords(settings.passwords, self._check or bcrypt_check(), self._clock)
            self._passwords.replace(settings.passwords)
        tokens = settings.tokens
        server = None
        if tokens is not None and tokens.issuer is not None and self._passwords is not None:
            server = TokenServer(tokens.issuer, self._passwords, settings.rights)
        path = "" if server is None or tokens is None else unquote(urlsplit(tokens.realm).path)
        identifier = Identifier(settings, self._passwords, self._sessions)
        rate = settings.limits.rate, settings.limits.burst
        if rate != self._rate:
            # Where that stays, it is not forgotten who has come how often.
            self._rate, self._buckets = rate, None if rate[0] is None else Buckets(rate[0], rate[1], self._clock)
        self._state = _State(settings, identifier, self._buckets, server, path)

    def before(self, app: ASGIApp, answered: Callable[[Record], object] = lambda _: None) -> ASGIApp:
        """Return the application that guards another one.

        Args:
            app: the registry.
            answered: called with the record of each request that the guard has answered itself.
        """

        async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
            record, state = record_of(scope), self._state
            receive, send = counted(record, receive, send)
            deed = Deed(client_of(scope, state.settings.proxies), scope["method"], _agent(scope))
            try:
                answer = await self._handle(app, scope, receive, _noting(send, deed), deed=deed, state=state)
                if answer is not None:
                    deed.error = answer.code
                    await answer.send(send, has_body=scope["method"] != "HEAD")
                    answered(record)
            finally:
                deed.status, deed.received, deed.sent = record.status, record.received, record.sent
                self._keep(deed, scope)

        return guarded

    def _keep(self, deed: Deed, scope: Scope) -> None:
        # Nearly every client asks without credentials first; that is not a deed.
        is_first = deed.error == "UNAUTHORIZED" and not any(name == b"authorization" for name, _ in scope["headers"])
        if self._audit is not None and not is_first:
            self._audit.write(deed)

    async def _handle(
        self, app: ASGIApp, scope: Scope, receive: Receive, send: Send, *, deed: Deed, state: _State
    ) -> Answer | None:
        """Return the answer of the guard to a request, or None if the registry has answered it."""
        has_begun = False

        async def beginning(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            if state.server is not None and scope["path"] == state.token_path:
                deed.action = "login"
                return await self._issue(state, scope, receive, deed)
            await self._let_in(app, scope, receive, beginning, deed=deed, state=state)
        except Refused as error:
            return error.answer
        except BodyTooLarge as error:
            if has_begun:
                raise
            return refusal(413, "SIZE_INVALID", str(error))
        return None

    async def _let_in(
        self, app: ASGIApp, scope: Scope, receive: Receive, send: Send, *, deed: Deed, state: _State
    ) -> None:
        """Pass a request on to the registry. Raises `Refused` if it may not be made."""
        route = _route(scope)
        if route is not None:
            _describe(deed, route)
        who = await self._who(scope, route, deed, state)
        deed.user = who.user
        state.charge("user" if who.user else "client", who.user or deed.address)
        if route is None:
            # What is not there is not told to just anybody either, nor what the server counts.
            if not state.settings.is_open and not who.user:
                raise unauthorized(state.settings, None)
        else:
            _authorize(route, who)
            receive = self._bounded(route, scope, receive, state.settings)
            send = self._remembering(route, send, who)
        # A token names the repositories that its client works with; the catalog shows all that the user may read.
        is_list = route is not None and route.kind is Kind.CATALOG
        may: Callable[[Need], bool] = who.may_ever if is_list else who.may
        most = state.settings.limits.upload
        await app({**scope, "orlop.user": who.user, "orlop.may": may, "orlop.upload": most}, receive, send)

    async def _who(self, scope: Scope, route: Route | None, deed: Deed, state: _State) -> Who:
        """Return who sent a request. Raises `Refused` if the credentials are wrong."""
        if state.settings.is_open:
            return Who(state.settings)
        state.look("failed", deed.address)
        try:
            return await state.identifier.who(scope["headers"], route, self._now())
        except Unauthorized as error:
            state.charge("failed", deed.address)
            raise unauthorized(state.settings, route, str(error), error="invalid_token") from error
        except ServerBusy as error:
            raise too_many(1, str(error)) from error

    def _bounded(self, route: Route, scope: Scope, receive: Receive, settings: Settings) -> Receive:
        """Return the end of a request at which bodies that are too large fail.

        How many bytes the parts of an upload have together, the registry knows, whichever server began it.
        """
        limits = settings.limits
        if route.kind is Kind.MANIFEST and route.method == "PUT":
            return limited(receive, scope, limits.manifest, "manifest")
        if route.kind in {Kind.UPLOADS, Kind.UPLOAD}:
            return limited(receive, scope, limits.upload, "upload")
        return receive

    def _remembering(self, route: Route, send: Send, who: Who) -> Send:
        """Return the end of a request at which uploads are seen to begin and to end."""
        if route.kind not in {Kind.UPLOADS, Kind.UPLOAD}:
            return send

        async def remembering(message: Message) -> None:
            status = message.get("status") if message["type"] == "http.response.start" else None
            if route.kind is Kind.UPLOADS and status == _ACCEPTED:
                location = next((value for name, value in message["headers"] if name.lower() == b"location"), b"")
                upload = urlsplit(location.decode("latin-1")).path.rpartition("/")[2]
                self._sessions.begin(upload, route.repository, who.token)
            elif route.method in {"PUT", "DELETE"} and status in _DONE:
                self._sessions.end(route.reference)
            await send(message)

        return remembering

    async def _issue(self, state: _State, scope: Scope, receive: Receive, deed: Deed) -> Answer:
        """Return the answer to a request for a token."""
        assert state.server is not None
        state.charge("client", deed.address)
        state.look("failed", deed.address)
        try:
            asked = await _asked(scope, receive)
            deed.user, answer = await state.server.answer(asked, self._now())
        except Unauthorized as error:
            state.charge("failed", deed.address)
            raise refused(401, "UNAUTHORIZED", str(error), challenge("Basic", realm=REALM)) from error
        except ServerBusy as error:
            raise too_many(1, str(error)) from error
        except InvalidInput as error:
            raise refused(400, "UNSUPPORTED", str(error)) from error
        return answer


def _authorize(route: Route, who: Who) -> None:
    """Check that a request may be made. Raises `Refused` if it may not."""
    settings = who.settings
    if not settings.is_open and not who.has_credentials:
        # Clients ask for the base to learn how to authenticate, also where anybody may pull.
        if route.kind is Kind.BASE or not all(map(who.may, route.needs)):
            raise unauthorized(settings, route)
    elif not all(map(who.may, route.needs)):
        if who.grant is not None and all(map(who.may_ever, route.needs)):
            raise unauthorized(settings, route, "the token lacks a right", error="insufficient_scope")
        raise refused(403, "DENIED", f"this is not allowed in {route.repository or 'the catalog'}")
    if settings.read_only and route.method not in _READING:
        raise refused(405, "UNSUPPORTED", "the registry is read-only", (b"allow", b"GET, HEAD"))


async def _asked(scope: Scope, receive: Receive) -> Asked:
    if scope["method"] == "GET":
        return Asked.parse(scope["query_string"], scope["headers"], is_form=False)
    if scope["method"] == "POST":
        form = await whole(limited(receive, scope, LARGEST, "form"))
        return Asked.parse(form, scope["headers"], is_form=True)
    raise refused(405, "UNSUPPORTED", "request a token with GET or POST", (b"allow", b"GET, POST"))


def _check_wait(seconds: float) -> None:
    if seconds:
        raise too_many(seconds, "too many requests; try again later")


def _route(scope: Scope) -> Route | None:
    try:
        return route_of(scope["method"], scope["path"], scope["query_string"].decode("latin-1"))
    except (OrlopError, ValueError):
        return None


def _agent(scope: Scope) -> str:
    return next((value for name, value in scope["headers"] if name == b"user-agent"), b"").decode("latin-1")


def _describe(deed: Deed, route: Route) -> None:
    deed.action = _ACTIONS.get(route.kind) or _OF_METHOD.get(route.method, "")
    deed.repository = route.repository
    if route.kind in {Kind.MANIFEST, Kind.BLOB, Kind.REFERRERS}:
        deed.reference = route.reference
    if route.kind is Kind.UPLOADS and route.wishes:
        deed.source = route.wishes[0].name


def _noting(send: Send, deed: Deed) -> Send:
    """Return the end of a request that notes what was stored or answered."""

    async def noting(message: Message) -> None:
        if message["type"] == "http.response.start":
            for name, value in message.get("headers", ()):
                if name.lower() == b"docker-content-digest":
                    deed.digest = value.decode("latin-1")
        await send(message)

    return noting
