"""Answers of the guard itself, in the form of the distribution specification."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from starlette.types import Send

Headers = tuple[tuple[bytes, bytes], ...]

_VERSION: Final = (b"docker-distribution-api-version", b"registry/2.0")


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer: its status, its document, which becomes JSON, further headers, and its code if it refuses."""

    status: int
    document: object
    headers: Headers = ()
    code: str = ""

    async def send(self, send: Send, *, has_body: bool = True) -> None:
        """Send it; the answer to HEAD has no body."""
        content = json.dumps(self.document, ensure_ascii=True, separators=(",", ":")).encode() + b"\n"
        headers = [
            _VERSION,
            (b"content-type", b"application/json"),
            (b"content-length", str(len(content)).encode()),
            *self.headers,
        ]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": content if has_body else b""})


def refusal(status: int, code: str, message: str, *headers: tuple[bytes, bytes], detail: object = None) -> Answer:
    """Return an answer that refuses a request, by a code of the specification."""
    error = {"code": code, "message": message, **({} if detail is None else {"detail": detail})}
    return Answer(status, {"errors": [error]}, headers, code)


def challenge(scheme: str, **params: str) -> tuple[bytes, bytes]:
    """Return the header that says how to authenticate; parameters that are empty are left out."""
    shown = ",".join(f'{name}="{_quoted(value)}"' for name, value in params.items() if value)
    return b"www-authenticate", f"{scheme} {shown}".encode("ascii", "replace")


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
