"""Refusals: what a registry says when it does not do what was asked, as an error of orlop's own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final, TypeAlias

from orlop.errors import (
    InvalidAnswer,
    NotInRegistry,
    RegistryBusy,
    RegistryDenied,
    RegistryError,
    RegistryUnreachable,
    RegistryUnsupported,
    UploadLost,
)
from orlop.model.regex import regex
from orlop.model.urls import scrubbed
from orlop.registry.limits import RateLimit, retry_after
from orlop.registry.origin import Origin

if TYPE_CHECKING:
    from orlop.registry.messages import Answer

_LIMIT: Final = 1 << 16
_SHOWN: Final = 300
_TITLE: Final = regex(r"(?is)<title[^<>]*+>([^<]*+)</title>")
_Kind: TypeAlias = type[RegistryError] | type[NotInRegistry]
_KINDS: Final[dict[int, _Kind]] = {
    401: RegistryDenied,
    403: RegistryDenied,
    404: NotInRegistry,
    405: RegistryUnsupported,
    429: RegistryBusy,
    501: RegistryUnsupported,
}
_BY_CODE: Final[dict[str, _Kind]] = {
    "TOOMANYREQUESTS": RegistryBusy,
    "UNSUPPORTED": RegistryUnsupported,
    "BLOB_UPLOAD_UNKNOWN": UploadLost,
    "BLOB_UPLOAD_INVALID": UploadLost,
}
_ADVICE: Final = {
    401: "log in, or check the name: registries answer so for repositories that are not there, too",
    403: "these credentials do not allow that, or it is allowed to nobody",
    413: "a proxy before the registry limits what may be sent at once",
}
_STATUSES: Final = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    413: "Content Too Large",
    429: "Too Many Requests",
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}
Said = tuple[tuple[str, str], ...]


def said_in(body: bytes) -> tuple[Said, str]:
    """Return the codes and messages in the body of an answer, and its text where it has none of these.

    The body may be the JSON of the protocol, other JSON, a page of HTML, or any text.
    """
    text = body.decode(errors="replace").strip()
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        title = _TITLE.search(text)
        return (), (title[1].strip() if title else "" if text.startswith("<") else text[:_SHOWN])
    if not isinstance(document, dict):
        return (), ""
    errors = document.get("errors")
    if isinstance(errors, list):
        pairs = ((one.get("code"), one.get("message")) for one in errors if isinstance(one, dict))
        found = tuple((str(code or "UNKNOWN"), str(message or "")) for code, message in pairs)
        if found:
            return found, ""
    texts = (errors, document.get("details"), document.get("error_description"), document.get("message"))
    return (), next((one for one in (*texts, document.get("error")) if isinstance(one, str)), "")[:_SHOWN]


def details_in(body: bytes) -> list[str]:
    """Return the details of all errors that are texts: `MANIFEST_BLOB_UNKNOWN` names the blob so."""
    try:
        errors = json.loads(body).get("errors")
        found = [one.get("detail") for one in errors if isinstance(one, dict)]
    except (ValueError, AttributeError, TypeError, RecursionError):
        return []
    nested = [one.get("digest", one.get("Digest")) if isinstance(one, dict) else one for one in found]
    return [one for one in nested if isinstance(one, str)]


def refusal(answer: Answer, what: str, *, now: float = 0) -> RegistryError | NotInRegistry:
    """Return the error that an answer means, and close it.

    Args:
        answer: an answer that is not a success.
        what: what was asked for, as in "pull app:1".
        now: seconds since 1970.
    """
    host = Origin.of(answer.url).authority
    try:
        body = answer.document(_LIMIT, what="the error")
    except (InvalidAnswer, RegistryUnreachable):
        body = b""
    said, text = said_in(body)
    code = said[0][0] if said else ""
    status = answer.status
    kind = _BY_CODE.get(code) or _KINDS.get(status, RegistryError)
    words = "; ".join(f"{one}: {message}" if message else one for one, message in dict.fromkeys(said)) or text
    reason = words[:_SHOWN] or f"{status} {_STATUSES.get(status, '')}".strip()
    advice = f" ({_ADVICE[status]})" if status in _ADVICE else ""
    wait = retry_after(answer.headers, now) if kind is RegistryBusy else None
    if kind is RegistryBusy:
        advice = _how_long(answer, wait)
    error = kind(f"cannot {what}: {host} answers {scrubbed(reason)}{advice}", registry=host, answered=status, said=said)
    if isinstance(error, RegistryBusy):
        error.wait = wait
    if any(one == "MANIFEST_BLOB_UNKNOWN" for one, _ in said):
        error.missing = tuple(details_in(body))
    return error


def _how_long(answer: Answer, wait: float | None) -> str:
    quota = RateLimit.of(answer.headers)
    words = "" if wait is None else f"; it asks to wait {wait:g} s"
    if quota is not None and quota.limit is not None and quota.window:
        words += f"; its limit is {quota.limit} in {quota.window / 3600:g} h, and more after logging in"
    return words
