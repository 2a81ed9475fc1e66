"""How the guard refuses a request: the answers, and the exception that carries one."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from orlop.api.registry.guard.answers import challenge, refusal

if TYPE_CHECKING:
    from orlop.api.registry.guard.answers import Answer
    from orlop.api.registry.guard.settings import Settings
    from orlop.api.registry.routes import Route

REALM: Final = "orlop"


class Refused(Exception):
    """A request is answered by the guard, with ``answer``."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.code)
        self.answer = answer


def refused(status: int, code: str, message: str, *headers: tuple[bytes, bytes], detail: object = None) -> Refused:
    """Return the refusal with a code of the specification."""
    return Refused(refusal(status, code, message, *headers, detail=detail))


def unauthorized(settings: Settings, route: Route | None, message: str = "", *, error: str = "") -> Refused:
    """Return the refusal of a request that lacks credentials or a right, with the challenge to get exactly these.

    Args:
        settings: which credentials are taken.
        route: what the request is about, if that is known.
        message: why it is refused.
        error: why a token is not enough, by RFC 6750.
    """
    needs = () if route is None else route.needs
    if settings.tokens is None:
        asked = challenge("Basic", realm=REALM)
    else:
        wanted = needs if route is None else (*needs, *route.wishes)
        realm, service = settings.tokens.realm, settings.tokens.service
        asked = challenge("Bearer", realm=realm, service=service, scope=" ".join(map(str, wanted)), error=error)
    detail = [{"Type": one.kind, "Name": one.name, "Action": ",".join(one.actions)} for one in needs]
    return refused(401, "UNAUTHORIZED", message or "authentication is required", asked, detail=detail or None)


def too_many(wait: float, message: str) -> Refused:
    """Return the refusal of a request that comes too early, by so many seconds."""
    return refused(429, "TOOMANYREQUESTS", message, (b"retry-after", str(math.ceil(wait)).encode()))
