"""Exchanges with one registry: what is between a request that a client makes, and the answer that it can use.

    send ── no answer, 429, 5xx ──► wait, send again        (`Patience`: a few times, longer each time, with jitter)
         ── 401 of the registry ──► learn, send again       (`Access`)
         ── 3xx ────────────────► the next place            (ten at most; without authorization on another origin)
              there: 401 ───────► an anonymous token of that host, once
              there: 403 ───────► back to the registry, once: what it signed may have expired
         ── another refusal ────► an error
         ── success ────────────► the answer

A request whose body has a place in a sequence (a chunk of an upload), or cannot be read twice, is sent once: the caller
knows what to ask before it goes on.
"""

from __future__ import annotations

import socket
import ssl
from functools import partial
from http.client import RemoteDisconnected
from typing import TYPE_CHECKING, Final

from orlop.errors import InvalidAnswer, RegistryBusy, RegistryUnreachable
from orlop.model.logger import Logger
from orlop.model.regex import regex
from orlop.model.urls import scrubbed
from orlop.model.values import replace
from orlop.registry.access import Access, Wants
from orlop.registry.limits import RateLimit, retry_after
from orlop.registry.messages import NotedBody, Request
from orlop.registry.origin import Origin, resolved
from orlop.registry.refusal import refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from orlop.errors import NotInRegistry, RegistryError
    from orlop.registry.hosts import Endpoint
    from orlop.registry.messages import Answer, Body, Transport
    from orlop.registry.patience import Waiting

_FAILURES: Final = frozenset({408, 429, 499, 500, 502, 503, 504, 522})
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_HOPS: Final = 10
_CHALLENGES: Final = 3
_QUOTA: Final = 600
"""A limit over so many seconds or more is a quota: asking again costs, and does not help."""
_NO_TLS: Final = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL", "RECORD_LAYER_FAILURE"})
"""What OpenSSL says of an answer that is not TLS."""
_HUNG_UP: Final = (ConnectionResetError, RemoteDisconnected, ssl.SSLEOFError, ssl.SSLZeroReturnError)
"""A reset, or the end of a connection, for which versions of Python have two errors."""
_NO_HOST: Final = frozenset({socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)})
"""The resolver has asked, and there is no such host, or it has no address."""
_WARNING: Final = regex(r'299\s+\S+\s+"((?:[^"\\]|\\.)*)"')
_SHOWN: Final = 500
_log: Final = Logger("orlop.registry")


class Exchange:
    """Asks one registry. Threads may share it.

    Args:
        endpoint: where the registry is.
        transport: carries the requests.
        waiting: how long, and how often.
        access: makes what authorizes requests to an origin.
        warn: told of each warning of the registry once.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        transport: Transport,
        waiting: Waiting,
        access: Callable[[Origin, Callable[[Request], Answer]], Access],
        *,
        warn: Callable[[str], None] | None = None,
    ) -> None:
        self._transport = transport
        self.waiting = waiting
        self._make_access = access
        self._warn = warn or (lambda text: _log.warning("%s", text))
        self._warned: set[str] = set()
        self._may_be_plain = endpoint.may_be_plain
        self._verify = endpoint.verify
        self.origin = endpoint.origin
        self.access = access(endpoint.origin, self._for_access)

    def ask(
        self,
        method: str,
        where: str,
        wants: Wants,
        *,
        what: str,
        expect: Collection[int],
        headers: tuple[tuple[str, str], ...] = (),
        body: Body | None = None,
        once: bool = False,
    ) -> Answer:
        """Ask for something, and return an answer with one of the expected statuses, which is to be closed.

        Args:
            method: of the request.
            where: a path on the registry with its query, or a URL to which it led.
            wants: what the request needs to be allowed.
            what: what is asked for, for errors: "pull app:1".
            expect: the statuses that are returned.
            headers: of the request, without authorization.
            body: of the request.
            once: whether it must not be sent again where its fate is not known.

        Raises:
            RegistryError, NotInRegistry: the registry refuses, or fails. UnsafeRedirect: it leads astray.
        """
        noted = None if body is None else NotedBody(body)
        request = Request(method, self._url(where), headers, noted)
        once = once or not request.can_repeat
        may_return, tried = True, 0
        while True:
            try:
                answer = self._authorized(request, wants, once=once)
            except RegistryUnreachable as error:
                # Another thread may have fallen back meanwhile.
                is_old = request.url == f"https://{self.origin.authority}{where}" and self.origin.scheme == "http"
                was_begun = once and noted is not None and noted.was_opened
                if was_begun or (not is_old and not self._falls_back(error)):
                    raise
                request = Request(method, self._url(where), headers, noted)
                continue
            if answer.status in _REDIRECTS and answer.status not in expect:
                answer = self._followed(request, answer, wants, once=once)
                is_elsewhere = Origin.of(answer.url) != self.origin
                if answer.status == 403 and is_elsewhere and may_return and not once:
                    may_return = False
                    answer.close()
                    continue
            if answer.status in expect:
                self._look_for_warnings(answer)
                if method == "GET":
                    ask = partial(self.ask, method, where, wants, what=what, expect=expect, headers=headers)
                    answer.again = self._repeating(ask)
                return answer
            refused, tried = self._refusal(answer, what), tried + 1
            if once or not self._waits_for(refused, tried):
                raise refused

    def ask_stranger(
        self, url: str, *, what: str, expect: Collection[int], headers: tuple[tuple[str, str], ...] = ()
    ) -> Answer:
        """Ask a place that a manifest names, as anybody: it gets neither credentials nor a token (CVE-2020-15157).

        Raises:
            UnsafeRedirect: nothing may be sent there. RegistryError, NotInRegistry: it refuses.
        """
        request = Request("GET", resolved(f"{self.origin}/", url), headers)
        for _ in range(_HOPS):
            answer = self.steady(request)
            location = answer.headers.get("Location")
            if answer.status in expect:
                return answer
            if answer.status not in _REDIRECTS or location is None:
                raise refusal(answer, what, now=self.waiting.clock.now())
            answer.close()
            request = Request("GET", resolved(request.url, location), headers)
        raise InvalidAnswer(f"{Origin.of(request.url).authority} redirects more than {_HOPS} times")

    def steady(self, request: Request, *, once: bool = False) -> Answer:
        """Send a request, again where its server fails or asks to wait a little, and return any other answer."""
        there = Origin.of(request.url)
        if not self._verify and there.authority == self.origin.authority:
            request = replace(request, verify=False)
        if there.host != self.origin.host:
            request = replace(request, is_led=True)
        patience, tried = self.waiting.patience, 0
        while True:
            tried += 1
            is_last = once or tried >= patience.tries
            try:
                answer = self._transport.send(request)
            except RegistryUnreachable as error:
                if is_last or not is_passing(error) or self._would_fall_back(error):
                    raise
                self.waiting.pause(patience.before(tried, self.waiting.clock))
                continue
            if there == self.origin and there.scheme == "https":
                # It speaks TLS, and whatever fails from now on is another failure.
                self._may_be_plain = False
            if answer.status not in _FAILURES or is_last:
                return answer
            wait = self._wait(answer, tried)
            if wait is None:
                return answer
            answer.close()
            self.waiting.pause(wait)

    def _repeating(self, ask: Callable[[], Answer]) -> Callable[[RegistryUnreachable], Answer]:
        """Return what asks once more for an answer that broke off, or raises that where it was asked often enough."""
        patience, tried = self.waiting.patience, 0

        def again(error: RegistryUnreachable) -> Answer:
            nonlocal tried
            tried += 1
            if tried >= patience.tries:
                raise error
            self.waiting.pause(patience.before(tried, self.waiting.clock))
            answer = ask()
            answer.again = again
            return answer

        return again

    def _for_access(self, request: Request) -> Answer:
        """Send a request of an `Access`, whose answer is small."""
        answer = self.steady(request)
        answer.again = self._repeating(partial(self.steady, request))
        return answer

    def _wait(self, answer: Answer, tried: int) -> float | None:
        """Return how long to wait before a request is sent again, or None where that would not help."""
        asked = retry_after(answer.headers, self.waiting.clock.now())
        if asked is not None:
            return asked if asked <= self.waiting.patience.longest else None
        quota = RateLimit.of(answer.headers) if answer.status == 429 else None
        if quota is not None and (quota.window or 0) >= _QUOTA:
            return None
        return self.waiting.patience.before(tried, self.waiting.clock)

    def _waits_for(self, error: RegistryError | NotInRegistry, tried: int) -> bool:
        """Wait where a registry asks for that in its words, and not by its status; return whether to ask again."""
        patience = self.waiting.patience
        if not isinstance(error, RegistryBusy) or error.answered in _FAILURES or tried >= patience.tries:
            return False
        wait = patience.before(tried, self.waiting.clock) if error.wait is None else error.wait
        if wait > patience.longest:
            return False
        self.waiting.pause(wait)
        return True

    def _authorized(self, request: Request, wants: Wants, *, once: bool) -> Answer:
        """Send a request with what the registry wants to see, if it goes to the registry itself."""
        if Origin.of(request.url) != self.origin:
            return self._elsewhere(request, once=once)
        for challenged in range(_CHALLENGES + 1):
            sent = self.access.header(wants)
            answer = self.steady(_with(request, sent), once=once)
            if answer.status != 401:
                self.access.worked(sent)
                return answer
            if challenged == _CHALLENGES or not request.can_repeat or not self._is_learned(answer, wants, sent):
                return answer
            answer.close()
        raise AssertionError

    def _is_learned(self, answer: Answer, wants: Wants, sent: str | None) -> bool:
        """Learn from a challenge, and return whether that helps."""
        try:
            return self.access.challenged(answer, wants, sent)
        except BaseException:
            answer.close()
            raise

    def _elsewhere(self, request: Request, *, once: bool) -> Answer:
        """Send a request to another host: as anybody, with a token of its own where it asks for one."""
        answer = self.steady(request, once=once)
        if answer.status != 401 or not request.can_repeat:
            return answer
        there = Access(Origin.of(request.url), self._for_access, self.waiting.clock)
        try:
            helps = there.challenged(answer, Wants(), None)
        except BaseException:
            answer.close()
            raise
        if not helps:
            return answer
        answer.close()
        return self.steady(_with(request, there.header(Wants())), once=once)

    def _followed(self, request: Request, answer: Answer, wants: Wants, *, once: bool) -> Answer:
        for _ in range(_HOPS):
            location = answer.headers.get("Location")
            is_look = request.method in {"GET", "HEAD"}
            if location is None or not (is_look or (answer.status in {307, 308} and request.can_repeat)):
                return answer
            answer.close()
            request = Request(request.method, resolved(answer.url, location), request.headers, request.body)
            answer = self._authorized(request, wants, once=once)
            if answer.status not in _REDIRECTS:
                return answer
        answer.close()
        host = self.origin.authority
        raise InvalidAnswer(f"{host} redirects more than {_HOPS} times", registry=host)

    def _url(self, where: str) -> str:
        return f"{self.origin}{where}" if where.startswith("/") else where

    def _would_fall_back(self, error: RegistryUnreachable) -> bool:
        """Return whether the registry itself does not speak TLS, as far as an error tells, and need not."""
        cause = error.__cause__
        speaks_other = isinstance(cause, ssl.SSLError) and getattr(cause, "reason", None) in _NO_TLS
        # A server that hangs up on what it does not understand may lose its own answer.
        hangs_up = isinstance(cause, _HUNG_UP)
        is_own = error.registry == self.origin.authority and not error.speaks_tls
        return self._may_be_plain and self.origin.scheme == "https" and is_own and (speaks_other or hangs_up)

    def _falls_back(self, error: RegistryUnreachable) -> bool:
        """Speak plain HTTP from now on where that is allowed, and what answered does not speak TLS."""
        if not self._would_fall_back(error):
            return False
        self._may_be_plain = False
        self.origin = self.origin.plain
        self.access = self._make_access(self.origin, self._for_access)
        return True

    def _refusal(self, answer: Answer, what: str) -> RegistryError | NotInRegistry:
        error = refusal(answer, what, now=self.waiting.clock.now())
        note = self.access.note or (self.access.refused if answer.status == 401 else "")
        if note and answer.status in {401, 403, 404}:
            error.args = (f"{error.args[0]}{note}",)
        return error

    def _look_for_warnings(self, answer: Answer) -> None:
        for header in answer.headers.all("Warning"):
            found = _WARNING.match(header)
            text = f"{self.origin.authority} warns: {_printable(scrubbed(found[1]))}" if found else ""
            if text and text not in self._warned and len(self._warned) < 100:
                self._warned.add(text)
                self._warn(text)


def _with(request: Request, authorization: str | None) -> Request:
    if authorization is None:
        return request
    return Request(request.method, request.url, (*request.headers, ("Authorization", authorization)), request.body)


def _printable(text: str) -> str:
    """Return a text of a registry as a terminal may have it."""
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text[:_SHOWN])


def is_passing(error: RegistryUnreachable) -> bool:
    """Return whether what kept a server from answering may be over soon."""
    cause = error.__cause__
    if isinstance(cause, socket.gaierror):
        # Other errors are those of the resolver, or of the way to it.
        return cause.errno not in _NO_HOST
    return not isinstance(cause, ssl.SSLCertVerificationError)
