"""Hosts: which servers a name is pulled from and pushed to: mirrors, rewrites, blocks, and how far each is trusted.

A rule is for all names that begin with its prefix, at a ``/``, ``:`` or ``@``; ``*.example.com`` is for all hosts below
a domain. Of several the longest counts. Its location takes the place of the prefix. Its mirrors come first, in order,
and only for pulls. Credentials are looked for under the name of the server that is asked, never under the name that it
stands in for: a mirror gets none of what belongs to its upstream.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final

from orlop.errors import InvalidReference, InvalidSettings, RegistryDenied, UnsafeRedirect
from orlop.model.dialect import Dialect
from orlop.model.reference import Reference
from orlop.model.regex import regex
from orlop.model.values import dataclass
from orlop.registry.credentials import DOCKER_HUB
from orlop.registry.origin import Origin

if TYPE_CHECKING:
    from collections.abc import Iterable

_HUB_HOST: Final = "registry-1.docker.io"
_LOCATION: Final = regex(
    r"(?P<host>[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:]+\])(?P<port>:[0-9]{1,5})?"
    r"(?P<path>(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*)"
)
_PREFIX: Final = regex(r"(?:\*\.)?[A-Za-z0-9\[][A-Za-z0-9._:\]-]*(?:/[a-z0-9][a-z0-9._/:@-]*)?")


class Pulls(Enum):
    """For which pulls a mirror is asked."""

    ALL = "all"
    DIGEST = "digest-only"
    TAG = "tag-only"


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A server, and what lies before the names of repositories there.

    Attributes:
        location: host, port and path.
        plain_http: it is spoken to without encryption.
        verify: whether its certificate is checked.
        may_be_plain: plain HTTP is spoken where it does not speak TLS.
        pulls: for which pulls it is asked, where it is a mirror.
        namespace: whether it is told whose names are asked for (``ns=``), as proxies for several registries want.
    """

    location: str
    plain_http: bool = False
    verify: bool = True
    may_be_plain: bool = False
    pulls: Pulls = Pulls.ALL
    namespace: bool = False

    def __post_init__(self) -> None:
        host = self.location.partition("/")[0]
        is_host = ("." in host or ":" in host or host == "localhost") and "_" not in host
        if _LOCATION.fullmatch(self.location) is None or not is_host:
            raise InvalidSettings(
                f"{self.location!r} is not a location of a registry: expected HOST[:PORT][/PATH],"
                " with a dot or a port in the host, and no '_'"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What holds for names that begin with a prefix.

    Attributes:
        prefix: with which they begin, or ``*.DOMAIN``.
        server: where they are; None for the host that they name.
        mirrors: servers that are asked before it.
        blocked: nothing is pulled or pushed.
        token_realms: token servers of other sites that may have its credentials.
        digest_mirrors: its mirrors are asked for digests only.
    """

    prefix: str
    server: Server | None = None
    mirrors: tuple[Server, ...] = ()
    blocked: bool = False
    token_realms: tuple[str, ...] = ()
    digest_mirrors: bool = False

    def __post_init__(self) -> None:
        if _PREFIX.fullmatch(self.prefix) is None:
            raise InvalidSettings(f"{self.prefix!r} is not a prefix of names: expected HOST[:PORT][/PATH] or *.DOMAIN")

    def rest_of(self, name: str) -> str | None:
        """Return what follows the prefix in a name, or None where the rule is not for it. Hosts match in any case."""
        name, prefix = _with_lower_host(name), _with_lower_host(self.prefix)
        if prefix.startswith("*."):
            host, slash, path = name.partition("/")
            return f"{slash}{path}" if host.partition(":")[0].endswith(prefix[1:]) else None
        rest = name[len(prefix) :]
        # A host with another port is another registry.
        return rest if name.startswith(prefix) and (not rest or rest[0] == "/") else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A server as it is spoken to.

    Attributes:
        origin: where its API is.
        verify: whether its certificate is checked.
        may_be_plain: plain HTTP is spoken where it does not speak TLS.
        token_realms: token servers of other sites that may have its credentials.
        namespace: whose names a mirror is asked for; empty where it need not be told.
    """

    origin: Origin
    verify: bool = True
    may_be_plain: bool = False
    token_realms: tuple[str, ...] = ()
    namespace: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a repository is: on which server, and by which name there, under which credentials are kept."""

    endpoint: Endpoint
    name: Reference

    @property
    def repository(self) -> str:
        """What it is called on its server."""
        return self.name.path


class Hosts:
    """Rules for all names. Without any, a name's own host is its server."""

    def __init__(self, rules: Iterable[Rule] = ()) -> None:
        self._rules = sorted(rules, key=lambda rule: len(rule.prefix), reverse=True)

    def to_pull(self, name: Reference) -> tuple[Place, ...]:
        """Return the places to ask for a name, in order. Raises `RegistryDenied` where that is blocked."""
        name = _lowered(name)
        rule, rest = self._rule(name)
        mirrors = () if rule is None else rule.mirrors
        wanted = {Pulls.ALL, Pulls.TAG if name.digest is None else Pulls.DIGEST}
        only_digests = rule is not None and rule.digest_mirrors and name.digest is None
        asked = [one for one in mirrors if one.pulls in wanted and not only_digests]
        return (*(_place(one, name, rest, ()) for one in asked), self.to_push(name))

    def to_push(self, name: Reference) -> Place:
        """Return the place of a name itself. Raises `RegistryDenied` where that is blocked."""
        name = _lowered(name)
        rule, rest = self._rule(name)
        if rule is None:
            return _own_place(name, ())
        if rule.blocked:
            raise RegistryDenied(f"the configuration of registries blocks {name.name}", registry=name.domain)
        if rule.server is None:
            return _own_place(name, rule.token_realms)
        return _place(rule.server, name, rest, rule.token_realms)

    def to_log_in(self, name: Reference) -> Place:
        """Return the place of a name, as a password for its host may go there.

        Raises:
            InvalidSettings: it is another host. RegistryDenied: the configuration blocks it.
        """
        place = self.to_push(name)
        there = place.name.domain
        if there != name.domain:
            raise InvalidSettings(
                f"the configuration of registries asks {there} in place of {name.domain}, so that a password for"
                f" {name.domain} would go to another host: log in to {there}"
            )
        return place

    def _rule(self, name: Reference) -> tuple[Rule | None, str]:
        for rule in self._rules:
            rest = rule.rest_of(name.name)
            if rest is not None:
                return rule, rest
        return None, ""


def server_of(host: str) -> str:
    """Return the host and port of the server that stands behind the host of a name, where no rule says otherwise."""
    return _HUB_HOST if host in {DOCKER_HUB, f"index.{DOCKER_HUB}"} else host.lower()


def _with_lower_host(name: str) -> str:
    host, slash, path = name.partition("/")
    return f"{host.lower()}{slash}{path}"


def _lowered(name: Reference) -> Reference:
    """Return a name whose host is in lower case, as it is looked for in rules and files of credentials."""
    if name.domain == name.domain.lower():
        return name
    there = Reference.parse(_with_lower_host(f"{name.domain}/{name.path}"), dialect=Dialect.ENGINE_29)
    return Reference(there.domain, there.path, name.tag, name.digest)


def _own_place(name: Reference, realms: tuple[str, ...]) -> Place:
    if not name.domain:
        first = name.path.partition("/")[0]
        raise InvalidReference(f"{name.name} is in no registry: {first!r} cannot be a host, for it has a '_'")
    return _place(Server(location=name.domain), name, f"/{name.path}", realms)


def _place(server: Server, name: Reference, rest: str, realms: tuple[str, ...]) -> Place:
    place = f"{server.location}{rest}"
    if "/" not in place:
        # As a name it would be one of Docker Hub.
        raise InvalidSettings(f"the configuration of registries puts {name.name} at {place}, which names no repository")
    there = Reference.parse(_with_lower_host(place), dialect=Dialect.ENGINE_29)
    host = server_of(there.domain)
    try:
        origin = Origin.of(f"{'http' if server.plain_http else 'https'}://{host}/")
    except UnsafeRedirect as error:
        msg = f"{there.domain!r} cannot be a registry: expected a host, and a port from 1 to 65535"
        raise InvalidReference(msg) from error
    endpoint = Endpoint(
        origin=origin,
        verify=server.verify,
        may_be_plain=server.may_be_plain or origin.is_loopback,
        token_realms=realms,
        namespace=name.domain if server.namespace and there.domain != name.domain else "",
    )
    return Place(endpoint, Reference(there.domain, there.path, name.tag, name.digest))
