"""The file of access: TOML, read at the start and again on SIGHUP. ``docs/howto/registry-access.md`` describes it.

What is not known is an error, with its line, so that a mistyped word does not open a door. Files that it names are
relative to its own folder.
"""

from __future__ import annotations

import ipaddress
import os
import re
import secrets
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Never, TypeVar
from urllib.parse import urlsplit

from orlop.api.registry.guard.chains import Authorities
from orlop.api.registry.guard.jws import SecretKey
from orlop.api.registry.guard.keys import read_keys
from orlop.api.registry.guard.passwords import read_htpasswd
from orlop.api.registry.guard.rights import ACTIONS, ANONYMOUS, RepositoryPattern, Rights, Rule
from orlop.api.registry.guard.settings import MANIFEST_LIMIT, Limits, Settings, Tokens, Webhook
from orlop.api.registry.guard.tokens import Issuer, Verifier
from orlop.errors import InvalidInput, PermissionDenied
from orlop.model import toml
from orlop.model.durations import parse_duration
from orlop.model.sizes import parse_size
from orlop.streams.files import explaining

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

_LARGEST_FILE: Final = 16 << 20
_SHORTEST_SECRET: Final = 32
_SECOND: Final = 1_000_000_000
_LIFETIME: Final = "5m"
_SHORTEST_LIFETIME: Final = 60
_HEADER: Final = re.compile(r"\s*\[\[?\s*([A-Za-z0-9_-]+)\s*\]\]?")
_EVENTS: Final = frozenset({"delete", "mount", "pull", "push"})


def read_settings(path: str) -> Settings:
    """Read the file of access and the files that it names.

    Raises:
        InvalidInput: a file is not valid; the message names its line. PermissionDenied: others may read a secret.
        FileNotThere, ReadFailed: a file cannot be read. NotSupported: a package is missing.
    """
    text = _read(path)
    try:
        document = toml.loads(text)
    except ValueError as error:
        raise InvalidInput(f"{path} is not valid TOML: {error}") from error
    top = _Table(document, "", 0, path, text)
    return _settings(top)


@dataclass(slots=True)
class _Table:
    """A table of the file whose keys are taken one by one, so that what is left over is known to be wrong."""

    content: dict[str, Any]
    name: str
    number: int
    path: str
    text: str

    def take(self, key: str, kind: type[T], default: T | None = None) -> T | None:
        """Remove a value and return it, if it is there."""
        if key not in self.content:
            return default
        value = self.content.pop(key)
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            self.fail(key, f"{key} must be {_KINDS[kind]}")
        return value

    def need(self, key: str) -> str:
        """Remove a text and return it; it must be there."""
        value = self.take(key, str)
        if not value:
            self.fail(key, f"{key} is missing" if value is None else f"{key} is empty")
        return value

    def texts(self, key: str) -> list[str]:
        """Remove a list of texts and return it, or an empty one."""
        values = self.take(key, list) or []
        if not all(isinstance(one, str) and one for one in values):
            self.fail(key, f"{key} must be a list of texts")
        return values

    def read(self, key: str, parse: Callable[[str], T], default: str | None = None) -> T | None:
        """Remove a text and return what it stands for, or None if it is not there and has no default."""
        value = self.take(key, str, default)
        try:
            return None if value is None else parse(value)
        except ValueError as error:
            self.fail(key, str(error))

    def tables(self, key: str) -> list[_Table]:
        """Remove an array of tables and return them."""
        values = self.take(key, list) or []
        if not all(isinstance(one, dict) for one in values):
            self.fail(key, f"write each {key} as a table: [[{key}]]")
        return [_Table(one, key, number, self.path, self.text) for number, one in enumerate(values)]

    def table(self, key: str) -> _Table | None:
        """Remove a table and return it, if it is there."""
        value = self.take(key, dict)
        return None if value is None else _Table(value, key, 0, self.path, self.text)

    def file(self, key: str) -> str | None:
        """Remove the name of a file and return its path."""
        value = self.take(key, str)
        return None if value is None else os.path.join(os.path.dirname(os.path.abspath(self.path)), value)

    def end(self) -> None:
        """Check that nothing is left."""
        for key in self.content:
            place = f"[{self.name}] has no {key!r}" if self.name else f"there is no {key!r} in such a file"
            self.fail(key, place)

    def fail(self, key: str, message: str) -> Never:
        """Raise an error about a key."""
        raise InvalidInput(f"{self.path}, line {self._line(key)}: {message}")

    def _line(self, key: str) -> int:
        """Return the line of a key, or else that of its table."""
        wanted = re.compile(rf"\s*(\[\[?\s*)?[\"']?{re.escape(key)}[\"']?\s*[=.\]]")
        seen, inside, found = -1, not self.name, 1
        for line, text in enumerate(self.text.splitlines(), 1):
            header = _HEADER.match(text)
            if header is not None and self.name:
                seen += header[1] == self.name
                inside = header[1] == self.name and seen == self.number
                found = line if inside else found
            if inside and wanted.match(text):
                return line
        return found


_KINDS: Final[dict[type, str]] = {
    str: "a text",
    int: "a whole number",
    bool: "true or false",
    list: "a list",
    dict: "a table",
}


def _settings(top: _Table) -> Settings:
    htpasswd, audit = top.file("htpasswd"), top.file("audit")
    passwords = None if htpasswd is None else read_htpasswd(_read(htpasswd), where=htpasswd)
    table, groups = top.table("tokens"), _groups(top)
    found = Settings(
        passwords,
        Rights(tuple(_rule(one, groups) for one in top.tables("allow"))),
        None if table is None else _tokens(table, has_passwords=passwords is not None),
        _limits(top.table("limits")),
        _proxies(top),
        top.take("read-only", bool, default=False) or False,
        audit,
        tuple(_webhook(one) for one in top.tables("webhook")),
    )
    top.end()
    _check(top, found)
    return found


def _check(top: _Table, found: Settings) -> None:
    """Check that the parts of the file fit together."""
    rules = found.rights.rules
    if found.tokens is not None and found.tokens.issuer is None:
        # Two sources of rights would have two meanings.
        if rules or found.passwords is not None:
            key = "allow" if rules else "htpasswd"
            top.fail(key, "with keys of another issuer, that issuer decides who may do what")
    elif found.passwords is None and any(rule.users != {ANONYMOUS} for rule in rules):
        top.fail("allow", "rules about users need their passwords: name a file with htpasswd = ")
    elif not rules:
        top.fail("allow", "nobody may do anything; write at least one [[allow]]")


def _groups(top: _Table) -> dict[str, list[str]]:
    table = top.table("groups")
    return {} if table is None else {name: table.texts(name) for name in list(table.content)}


def _rule(table: _Table, groups: dict[str, list[str]]) -> Rule:
    users = set(table.texts("users"))
    for group in table.texts("groups"):
        if group not in groups:
            table.fail("groups", f"there is no group {group!r}; write it under [groups]")
        users.update(groups[group])
    if table.take("anonymous", bool):
        users.add(ANONYMOUS)
    actions = set(table.texts("actions"))
    if not users:
        table.fail("users", 'name users or groups, or write users = ["*"] for all, or anonymous = true for anybody')
    if not actions <= set(ACTIONS) or not actions:
        table.fail("actions", f"actions must be some of {', '.join(ACTIONS)}")
    repositories = _patterns(table)
    if bool(repositories) != bool(actions - {"catalog"}):
        table.fail("repositories", "pull, push and delete need patterns of repositories, and catalog alone needs none")
    table.end()
    return Rule(frozenset(users), frozenset(actions), repositories)


def _patterns(table: _Table) -> tuple[RepositoryPattern, ...]:
    try:
        return tuple(RepositoryPattern.parse(one) for one in table.texts("repositories"))
    except InvalidInput as error:
        table.fail("repositories", str(error))


def _tokens(table: _Table, *, has_passwords: bool) -> Tokens:
    realm, service = _url(table, "realm"), table.need("service")
    if not (service.isascii() and service.isprintable()):
        table.fail("service", "service must be printable ASCII")
    key, verifier = table.file("key"), _foreign(table, service)
    if (key is None) == (verifier is None):
        table.fail(
            "key",
            "give either key, a secret for tokens of this server, or keys or authorities, which are those of another"
            " issuer",
        )
    if verifier is not None:
        table.end()
        return Tokens(realm, service, verifier)
    assert key is not None
    path = urlsplit(realm).path
    if path in {"", "/", "/v2"} or path.startswith("/v2/"):
        table.fail("realm", "the token server here needs a path outside /v2/, such as /token")
    if not has_passwords:
        table.fail("key", "tokens of this server need passwords: name a file with htpasswd = ")
    lifetime = (table.read("lifetime", parse_duration, _LIFETIME) or 0) // _SECOND
    if lifetime < _SHORTEST_LIFETIME:
        table.fail("lifetime", f"clients take a lifetime below {_SHORTEST_LIFETIME}s for that long; give at least that")
    issuer = Issuer(SecretKey(_secret(key, make=True)), table.take("issuer", str) or service, service, lifetime)
    table.end()
    return Tokens(realm, service, issuer.verifier, issuer)


def _foreign(table: _Table, service: str) -> Verifier | None:
    """Return what reads the tokens of another issuer, if the file names its keys or its authorities."""
    keys, authorities = table.file("keys"), table.file("authorities")
    if keys is None and authorities is None:
        return None
    return Verifier(
        () if keys is None else read_keys(_read(keys), where=keys),
        table.need("issuer"),
        service,
        None if authorities is None else Authorities.read(_read(authorities), where=authorities),
    )


def _limits(table: _Table | None) -> Limits:
    if table is None:
        return Limits()
    rate = table.take("rate", int)
    if rate is not None and rate < 1:
        table.fail("rate", "rate is a number of requests a second, at least 1")
    burst = table.take("burst", int, 10 * (rate or 1)) or 0
    if burst < 1:
        table.fail("burst", "burst is a number of requests, at least 1")
    upload = table.read("upload", parse_size)
    manifest = table.read("manifest", parse_size) or MANIFEST_LIMIT
    table.end()
    return Limits(rate, burst, upload, manifest)


def _proxies(top: _Table) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
    try:
        return tuple(ipaddress.ip_network(one) for one in top.texts("trusted-proxies"))
    except ValueError as error:
        top.fail("trusted-proxies", f"{error}; give addresses or networks such as 10.0.0.0/8")


def _webhook(table: _Table) -> Webhook:
    url, queue, secret = _url(table, "url"), table.file("queue"), table.file("secret")
    if queue is None:
        table.fail("queue", "queue is missing: a folder for events that are not delivered yet")
    actions = frozenset(table.texts("actions")) or frozenset({"delete", "push"})
    if not actions <= _EVENTS:
        table.fail("actions", f"actions must be some of {', '.join(sorted(_EVENTS))}")
    most = table.take("limit", int, 10_000) or 0
    if most < 1:
        table.fail("limit", "limit is a number of events, at least 1")
    name = table.take("name", str) or urlsplit(url).hostname or ""
    repositories = _patterns(table) or (RepositoryPattern.parse("**"),)
    table.end()
    return Webhook(name, url, queue, None if secret is None else _secret(secret), actions, repositories, most)


def _url(table: _Table, key: str) -> str:
    value = table.need(key)
    try:
        parts = urlsplit(value)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in {"http", "https"} or not parts.hostname or not (value.isascii() and value.isprintable()):
        table.fail(key, f"{key} must be a URL with http:// or https://")
    if parts.username is not None or parts.fragment:
        table.fail(key, f"{key} must have neither a user nor a fragment")
    return value


def _secret(path: str, *, make: bool = False) -> bytes:
    """Return the secret in a file, which may be made."""
    with explaining("read", path):
        if make:
            _make_secret(path)
    secret = _read(path, private=True).strip().encode()
    if len(secret) < _SHORTEST_SECRET:
        raise InvalidInput(f"the secret in {path} is shorter than {_SHORTEST_SECRET} characters; use a random one")
    return secret


def _make_secret(path: str) -> None:
    """Make a secret where there is none. Nobody sees a part of it: of servers that start at once, one makes it."""
    if os.path.lexists(path):
        return
    made = f"{path}.{secrets.token_hex(8)}"
    descriptor = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(descriptor, "w", encoding="ascii") as file:
            file.write(f"{secrets.token_urlsafe(48)}\n")
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(made, path)
    finally:
        os.unlink(made)


def _read(path: str, *, private: bool = False) -> str:
    with explaining("read", path), open(path, "rb") as file:
        if private and os.fstat(file.fileno()).st_mode & 0o077:
            raise PermissionDenied(f"others may read the secret in {path}; make it private with: chmod 600 {path}")
        content = file.read(_LARGEST_FILE + 1)
    if len(content) > _LARGEST_FILE:
        raise InvalidInput(f"{path} is larger than {_LARGEST_FILE >> 20} MiB")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path} is not UTF-8") from error
