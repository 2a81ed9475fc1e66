"""Raw requests to an engine and to `orlop serve`: what is sent."""

from __future__ import annotations

from typing import Final, NamedTuple
from urllib.parse import quote

V: Final = "/v1.41"
TINY: Final = f"{V}/images/example/tiny:1.0"
FORM: Final = "application/x-www-form-urlencoded"
JSON: Final = "application/json"


class Request(NamedTuple):
    """What is sent."""

    method: str
    target: str
    body: bytes = b""
    kind: str = ""

    @property
    def key(self) -> str:
        """What the table calls it."""
        return f"{self.method} {self.target.removeprefix(V)}" + f" ({self.kind})" * bool(self.kind)

    def raw(self) -> bytes:
        """Return its bytes."""
        lines = [f"{self.method} {self.target} HTTP/1.1", "Host: docker", "Connection: close"]
        if self.body or self.method == "POST":
            lines.append(f"Content-Length: {len(self.body)}")
        if self.kind:
            lines.append(f"Content-Type: {self.kind}")
        return "\r\n".join([*lines, "", ""]).encode() + self.body


def filtered(path: str, *filters: str) -> list[Request]:
    """Return requests of a list, or a pruning, with filters."""
    method = "POST" if path.endswith("prune") else "GET"
    return [Request(method, f"{V}{path}?filters={quote(text)}") for text in filters]
