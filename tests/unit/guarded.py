"""A guard with a registry behind it that answers everything, and a client that asks both."""

from __future__ import annotations

import asyncio
import base64
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import bcrypt

from orlop.api.registry.guard.configuration import read_settings
from orlop.api.registry.guard.guard import Guard
from tests.unit import served

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from starlette.types import Message, Receive, Scope, Send

PASSWORDS = {"anna": "secret-a", "ben": "secret-b"}
RULES = """
htpasswd = "users"

[groups]
team = ["anna"]

[[allow]]
groups = ["team"]
repositories = ["team/**"]
actions = ["pull", "push", "delete"]

[[allow]]
users = ["*"]
repositories = ["shared/*", "home/{user}/**"]
actions = ["pull", "push"]

[[allow]]
users = ["ben"]
actions = ["catalog"]

[[allow]]
anonymous = true
repositories = ["public/**"]
actions = ["pull"]
"""
TOKENS = """
[tokens]
realm = "http://registry.test/token"
service = "registry.test"
key = "token.key"
"""


class Clock:
    """Both clocks of a guard; it stands still until it is moved."""

    def __init__(self) -> None:
        self.seconds = 1_800_000_000.0

    def __call__(self) -> float:
        return self.seconds


class Checks:
    """Compares passwords as bcrypt does, and counts."""

    def __init__(self) -> None:
        self.number = 0
        self._lock = threading.Lock()

    def __call__(self, password: bytes, hashed: bytes) -> bool:
        with self._lock:
            self.number += 1
        return bcrypt.checkpw(password, hashed)


@dataclass
class Registry:
    """Stands where the registry is: takes every body, and remembers what came through."""

    status: int = 200
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    seen: list[Scope] = field(default_factory=list)
    received: int = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.seen.append(scope)
        while True:
            message = await receive()
            self.received += len(message.get("body", b""))
            if not message.get("more_body"):
                break
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        await send({"type": "http.response.body", "body": b"from behind"})


@dataclass(frozen=True)
class Answer(served.Answer):
    """What came back from a door."""

    @property
    def code(self) -> str:
        (error,) = self.json["errors"]
        return str(error["code"])

    @property
    def challenge(self) -> str:
        return self.headers["www-authenticate"]


class Door:
    """Asks a guard."""

    def __init__(self, guard: Guard, registry: Registry, clock: Clock, checks: Checks) -> None:
        self.guard = guard
        self.app = guard.before(registry)
        self.registry = registry
        self.clock = clock
        self.checks = checks

    def ask(self, method: str, target: str, authorization: str | bytes | None = None, **how: Any) -> Answer:
        return asyncio.run(self.asking(method, target, authorization, **how))

    async def asking(
        self,
        method: str,
        target: str,
        authorization: str | bytes | None = None,
        *,
        body: bytes | list[bytes] = b"",
        headers: tuple[tuple[bytes, bytes], ...] = (),
        client: tuple[str, int] | None = ("192.0.2.1", 1234),
        is_sized: bool = True,
    ) -> Answer:
        path, _, query = target.partition("?")
        parts = [body] if isinstance(body, bytes) else list(body)
        sent = list(headers)
        if authorization is not None:
            value = authorization.encode() if isinstance(authorization, str) else authorization
            sent.append((b"authorization", value))
        if is_sized and any(parts):
            sent.append((b"content-length", str(sum(map(len, parts))).encode()))
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "raw_path": quote(path).encode(),
            "query_string": query.encode(),
            "headers": sent,
            "client": client,
        }
        answered: list[Message] = []

        async def receive() -> Message:
            part = parts.pop(0)
            return {"type": "http.request", "body": part, "more_body": bool(parts)}

        async def send(message: Message) -> None:
            answered.append(message)

        await self.app(scope, receive, send)
        start, *rest = answered
        found = {name.decode().lower(): value.decode() for name, value in start["headers"]}
        return Answer(start["status"], found, b"".join(one.get("body", b"") for one in rest))


def basic(user: str, password: str | None = None) -> str:
    """Return the header of a user, with the right password by default."""
    chosen = PASSWORDS[user] if password is None else password
    return f"Basic {base64.b64encode(f'{user}:{chosen}'.encode()).decode()}"


def write_users(folder: Path, passwords: Mapping[str, str] = PASSWORDS) -> None:
    """Write a file of passwords, with a cheap hash."""
    lines = [f"{name}:{bcrypt.hashpw(word.encode(), bcrypt.gensalt(4)).decode()}" for name, word in passwords.items()]
    (folder / "users").write_text("\n".join([*lines, ""]))


def write_access(folder: Path, text: str) -> Path:
    """Write a file of access, and the passwords beside it."""
    write_users(folder)
    path = folder / "access.toml"
    path.write_text(text)
    return path


@contextmanager
def guarded(folder: Path, text: str = RULES, **how: Any) -> Iterator[Door]:
    """Guard a registry by a file of access for a block."""
    clock, checks, registry = Clock(), Checks(), Registry()
    settings = read_settings(str(write_access(folder, text)))
    guard = Guard(settings, now=clock, clock=clock, check=checks, **how)
    yield Door(guard, registry, clock, checks)


def token_of(door: Door, scope: str, authorization: str | None = None) -> str:
    """Return the header with a token for a scope."""
    query = f"?service=registry.test&scope={quote(scope)}"
    answer = door.ask("GET", f"/token{query}", authorization)
    assert answer.status == 200, answer.body
    return f"Bearer {answer.json['token']}"
