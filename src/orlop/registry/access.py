"""Access: how one registry is told who asks, and what it is told.

A registry is first asked without authorization. Its challenge (401) says what it wants, and is remembered, so that
further requests carry it from the start:

    nothing known ──401 Basic──► name and password, to the registry's own origin alone
                  ──401 Bearer─► a token for the scopes of the request, from the realm's token server
                  ──401, no challenge──► as GET /v2/ says

Invariants:

- Only answers of the registry's own origin are believed; a challenge of a host to which it redirected is none of these.
- Credentials go to the realm only where it is of the registry's site, or where the user named it. Elsewhere tokens are
  asked for anonymously, and an error that follows says why.
- A token that worked once and is refused has expired, and is renewed. One that never worked is not renewed for the same
  scopes: that would never end.
- Credentials are looked for when they are first needed, since a helper that keeps them may be slow.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

from orlop.errors import InvalidAnswer, RegistryDenied, UnsafeRedirect
from orlop.model.urls import shown
from orlop.model.values import dataclass
from orlop.registry import scopes as scoping
from orlop.registry.challenges import challenges, chosen
from orlop.registry.messages import Request
from orlop.registry.origin import Origin, is_same_site, resolved
from orlop.registry.refusal import refusal
from orlop.registry.scopes import Scope, are_covered, merged
from orlop.registry.tokens import TokenServer, by_get, by_post, token_in

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from orlop.registry.challenges import Challenge
    from orlop.registry.credentials import Credentials
    from orlop.registry.messages import Answer
    from orlop.registry.patience import Clock
    from orlop.registry.tokens import Token

_REDIRECTS: Final = frozenset({301, 302, 307, 308})
_NO_POST: Final = frozenset({400, 401, 404, 405})
"""What servers answer that do not know OAuth 2."""
_NO_GET: Final = frozenset({404, 405})
_EARLY: Final = 60
"""A token is renewed so many seconds before its end, or when a fifth of its life is left."""
_BASIC: Final = "basic"
_HOPS: Final = 3
_SHOWN: Final = 80


@dataclass(frozen=True, slots=True)
class Wants:
    """What a request needs to be allowed, and what would help but need not be."""

    needed: tuple[Scope, ...] = ()
    wished: tuple[Scope, ...] = ()

    @property
    def kind(self) -> str:
        """The kind of things that it is about."""
        return self.needed[0].kind if self.needed else "registry"


def to_pull(repository: str) -> Wants:
    """Return what reading needs."""
    return Wants((scoping.pull(repository),))


def to_push(repository: str, *, mounted_from: str | None = None) -> Wants:
    """Return what writing needs; mounting a blob of another repository needs to read that."""
    return Wants((scoping.push(repository),), () if mounted_from is None else (scoping.pull(mounted_from),))


def to_delete(repository: str) -> Wants:
    """Return what deleting needs."""
    return Wants((scoping.delete(repository),))


class _Held:
    """A token that is kept: for which scopes it was asked, until when, and whether it ever worked."""

    def __init__(self, token: Token, asked: tuple[Scope, ...], server: TokenServer, now: float) -> None:
        self.header = f"Bearer {token.text}"
        self.asked = asked
        self.server = server
        self.until = now + token.lifetime - min(_EARLY, token.lifetime / 5)
        self.has_worked = False


class Access:
    """Authorization at one registry. Threads may share it.

    Args:
        registry: its origin.
        send: sends a request to a token server, again and again where that helps.
        clock: by which tokens grow old.
        find: finds the credentials.
        renew: finds them anew, where they may have grown old.
        realms: URLs of token servers, or their beginnings, that the user named for this registry.
    """

    def __init__(
        self,
        registry: Origin,
        send: Callable[[Request], Answer],
        clock: Clock,
        *,
        find: Callable[[], Credentials | None] = lambda: None,
        renew: Callable[[], Credentials | None] = lambda: None,
        realms: Sequence[str] = (),
    ) -> None:
        self.registry = registry
        self.note = ""
        """What an error should add: why credentials were not used."""
        self.refused = ""
        """What the error for a 401 should add: whose user name and password were refused."""
        self.has_shown = False
        """Whether credentials were used."""
        self._send = send
        self._clock = clock
        self._find = find
        self._renew = renew
        self._realms = tuple(realms)
        self._ways: dict[str, TokenServer | str] = {}
        self._demands: dict[Wants, tuple[Scope, ...]] = {}
        self._held: list[_Held] = []
        self._known: tuple[Credentials | None] | None = None
        self._turn = threading.RLock()

    @property
    def credentials(self) -> Credentials | None:
        """Who asks; None for anybody."""
        with self._turn:
            if self._known is None:
                self._known = (self._find(),)
            return self._known[0]

    @property
    def was_asked(self) -> bool:
        """Whether the registry asked who this is."""
        return bool(self._ways)

    def header(self, wants: Wants) -> str | None:
        """Return the value of ``Authorization`` for a request, or None where none is known to be wanted.

        Raises:
            RegistryDenied: the token server refuses. InvalidAnswer, RegistryUnreachable, InvalidSettings.
        """
        with self._turn:
            way = self._ways.get(wants.kind)
            if way is None:
                return None
            credentials = self.credentials
            if credentials is not None and credentials.registry_token:
                self.has_shown = True
                return f"Bearer {credentials.registry_token}"
            if isinstance(way, str):
                found = None if credentials is None else credentials.basic
                self.has_shown = self.has_shown or found is not None
                return found
            return self._token(way, wants).header

    def challenged(self, answer: Answer, wants: Wants, sent: str | None) -> bool:
        """Learn from a 401 of the registry, and return whether the request should be sent again.

        Args:
            answer: the registry's; it is left open.
            wants: what the request needs.
            sent: the header that it had.

        Raises:
            InvalidAnswer, UnsafeRedirect: the challenge leads nowhere.
        """
        with self._turn:
            asked = challenges(answer.headers.all("WWW-Authenticate"))
            challenge = chosen(asked) or self._usual()
            if challenge is None:
                if asked:
                    schemes = ", ".join(dict.fromkeys(one.scheme for one in asked))
                    self.note = f"; it asks for {schemes[:_SHOWN]}, and orlop knows Basic and Bearer alone"
                return False
            if challenge.scheme == _BASIC:
                self._ways[wants.kind] = _BASIC
                return self._has_password(sent)
            self._ways[wants.kind] = self._server(challenge, answer.url)
            demanded = tuple(map(Scope.parse, challenge.scopes))
            self._demands[wants] = demanded
            if sent is None:
                return True
            refused = next((one for one in self._held if one.header == sent), None)
            if refused is None:
                credentials = self.credentials
                return credentials is None or sent != f"Bearer {credentials.registry_token}"
            self._held.remove(refused)
            return refused.has_worked or not are_covered(demanded, refused.asked)

    def worked(self, sent: str | None) -> None:
        """Note that a request was allowed with a header."""
        with self._turn:
            for one in self._held:
                if one.header == sent:
                    one.has_worked = True

    def _has_password(self, sent: str | None) -> bool:
        """Return whether there is a user name and password that the registry has not refused in a header."""
        credentials = self.credentials
        if credentials is None or credentials.basic is None:
            return False
        if credentials.basic != sent:
            return True
        renewed = self._renew()
        if renewed is not None and renewed.basic not in {None, sent}:
            self._known = (renewed,)
            return True
        self.refused = f"; it refused the user name and password of {credentials.source or 'this login'}"
        return False

    def _usual(self) -> Challenge | None:
        """Return the challenge of the registry's root, which some give there alone."""
        with self._send(Request("GET", f"{self.registry}/v2/")) as answer:
            return chosen(challenges(answer.headers.all("WWW-Authenticate")))

    def _server(self, challenge: Challenge, url: str) -> TokenServer:
        realm = challenge.params.get("realm")
        if not realm:
            raise InvalidAnswer(
                f"{self.registry.authority} asks for a token, but does not say where to get one",
                registry=self.registry.authority,
            )
        return TokenServer(resolved(url, realm), challenge.params.get("service", ""))

    def _token(self, server: TokenServer, wants: Wants) -> _Held:
        demanded = self._demands.get(wants, ())
        every = merged((*demanded, *wants.needed, *wants.wished))
        now = self._clock.monotonic()
        self._held = [one for one in self._held if one.until > now]
        for one in self._held:
            if one.server == server and are_covered(every, one.asked):
                return one
        try:
            token = self._fetched(server, every)
        except RegistryDenied:
            # Some servers refuse all where one is not allowed.
            if not wants.wished:
                raise
            token = self._fetched(server, merged((*demanded, *wants.needed)))
        held = _Held(token, every, server, self._clock.monotonic())
        self._held.append(held)
        return held

    def _fetched(self, server: TokenServer, scopes: tuple[Scope, ...]) -> Token:
        credentials = self._credentials_for(server)
        answer = self._asked(server, scopes, credentials)
        if answer.status == 401 and credentials is not None:
            renewed = self._renew()
            if renewed is not None and renewed != credentials:
                answer.close()
                self._known, credentials = (renewed,), renewed
                answer = self._asked(server, scopes, credentials)
        if answer.status == 200:
            self.has_shown = self.has_shown or credentials is not None
            return token_in(answer)
        error = refusal(answer, "give a token", now=self._clock.now())
        if answer.status not in _NO_POST | {403}:
            raise error
        whose = "to anybody" if credentials is None else f"for the credentials of {credentials.source or 'this login'}"
        raise RegistryDenied(
            f"the token server of {self.registry.authority} gives no token {whose}: {error}",
            registry=self.registry.authority,
            answered=answer.status,
            said=error.said,
        )

    def _asked(self, server: TokenServer, scopes: tuple[Scope, ...], credentials: Credentials | None) -> Answer:
        if credentials is not None and credentials.identity_token:
            answer = self._sent(by_post(server, scopes, credentials))
            if answer.status in _NO_POST and credentials.basic is not None:
                answer.close()
                answer = self._sent(by_get(server, scopes, credentials))
            return answer
        answer = self._sent(by_get(server, scopes, credentials))
        if answer.status in _NO_GET and credentials is not None and credentials.password:
            answer.close()
            answer = self._sent(by_post(server, scopes, credentials))
        return answer

    def _sent(self, request: Request) -> Answer:
        """Send a request to a token server; it may redirect within its own origin, and elsewhere with no secrets."""
        origin = Origin.of(request.url)
        for _ in range(_HOPS):
            answer = self._send(request)
            location = answer.headers.get("Location")
            if answer.status not in _REDIRECTS or location is None:
                return answer
            answer.close()
            url = resolved(request.url, location)
            if Origin.of(url) != origin and (request.headers or request.body is not None):
                raise UnsafeRedirect(
                    f"the token server {origin} leads to {shown(url)}, to which these credentials do not belong",
                    registry=self.registry.authority,
                )
            request = Request(request.method, url, request.headers, request.body)
        raise InvalidAnswer(f"the token server {origin} redirects too many times", registry=self.registry.authority)

    def _credentials_for(self, server: TokenServer) -> Credentials | None:
        credentials = self.credentials
        if credentials is None:
            return None
        there = Origin.of(server.realm)
        if is_same_site(self.registry, there) or any(self._is_named(one, server.realm) for one in self._realms):
            return credentials
        self.note = (
            f"; its credentials were not sent to {there}, which is another site: if they belong there, name it in"
            " token-realms of this registry"
        )
        return None

    @staticmethod
    def _is_named(named: str, realm: str) -> bool:
        """Return whether a realm lies at or below a URL that the user named."""
        return Origin.of(named) == Origin.of(realm) and realm.startswith(named)
