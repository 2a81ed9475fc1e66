"""Files that say which servers names are pulled from: one of our own, and ``registries.conf`` of podman and skopeo.

Ours, in TOML; everything but ``prefix`` may be left out:

    [[registry]]
    prefix = "docker.io"                      # or "quay.io/team", "*.example.com"
    location = "hub.example.com/cache"        # where these names are instead
    plain-http = true                         # no encryption; only loopback has that without being named
    verify = false                            # encryption, with whatever certificate
    blocked = true
    token-realms = ["https://login.example.org/"]
    [[registry.mirror]]
    location = "mirror.example.com:5000/hub"
    pull = "digest-only"                      # or "tag-only", or "all"
    namespace = true                          # adds ns=docker.io to each request
    plain-http = false
    verify = true

Words that it does not have are errors: a misspelt ``blocked`` must not open what it should close.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from orlop.errors import InvalidSettings
from orlop.model import toml
from orlop.registry.hosts import Pulls, Rule, Server
from orlop.registry.origin import Origin
from orlop.streams.interruption import check_interruption
from orlop.streams.waiting import content_of

if TYPE_CHECKING:
    from collections.abc import Iterable

_LIMIT: Final = 1 << 20
_SERVER: Final = {"location": str, "plain-http": bool, "verify": bool}
_RULE: Final = _SERVER | {"prefix": str, "blocked": bool, "token-realms": list, "mirror": list}
_MIRROR: Final = _SERVER | {"pull": str, "namespace": bool}


def rules_in(path: str) -> tuple[Rule, ...]:
    """Read a file of our own; one that is not there has no rules. Raises `InvalidSettings`."""
    document = _read(path)
    unknown = sorted(set(document) - {"registry"})
    if unknown:
        raise InvalidSettings(f"{path}: there is no {unknown[0]!r} in such a file; write [[registry]]")
    return tuple(_rule(table, f"{path}: registry {number}") for number, table in _tables(document, "registry", path))


def rules_of_containers(path: str) -> tuple[Rule, ...]:
    """Read a ``registries.conf`` (version 2). Words that are for others are left out. Raises `InvalidSettings`."""
    document = _read(path)
    return tuple(_theirs(table, f"{path}: registry {number}") for number, table in _tables(document, "registry", path))


def _rule(table: dict[str, Any], where: str) -> Rule:
    _check(table, _RULE, where)
    if "prefix" not in table:
        raise InvalidSettings(f"{where} has no prefix")
    mirrors = []
    for number, mirror in _tables(table, "mirror", where):
        place = f"{where}, mirror {number}"
        _check(mirror, _MIRROR, place)
        if "location" not in mirror:
            raise InvalidSettings(f"{place} has no location")
        mirrors.append(_server(mirror, mirror["location"], place))
    prefix = table["prefix"]
    settings = {"location", "plain-http", "verify"} & set(table)
    location = table.get("location", prefix)
    if settings and location.startswith("*."):
        raise InvalidSettings(f"{where} covers many hosts, so it needs a location")
    realms = table.get("token-realms", [])
    for realm in realms:
        if not isinstance(realm, str):
            raise InvalidSettings(f"{where}: token-realms is not a list of URLs")
        Origin.of(realm)
    return Rule(
        prefix=prefix,
        server=_server(table, location, where) if settings else None,
        mirrors=tuple(mirrors),
        blocked=table.get("blocked", False),
        token_realms=tuple(realms),
    )


def _server(table: dict[str, Any], location: str, where: str) -> Server:
    try:
        pulls = Pulls(table.get("pull", "all"))
    except ValueError as error:
        raise InvalidSettings(f'{where}: pull is "all", "digest-only" or "tag-only"') from error
    return Server(
        location=location,
        plain_http=table.get("plain-http", False),
        verify=table.get("verify", True),
        pulls=pulls,
        namespace=table.get("namespace", False),
    )


def _theirs(table: dict[str, Any], where: str) -> Rule:
    prefix, location = table.get("prefix") or table.get("location"), table.get("location") or table.get("prefix")
    if not isinstance(prefix, str) or not isinstance(location, str):
        raise InvalidSettings(f"{where} has neither a prefix nor a location")
    # They may end in slashes, which mean nothing.
    prefix, location = prefix.rstrip("/"), location.rstrip("/")
    mirrors = tuple(_their_server(one, one.get("location"), where) for _, one in _tables(table, "mirror", where))
    is_for_many = location == prefix and location.startswith("*.")
    is_rewritten = location != prefix or bool(table.get("insecure"))
    return Rule(
        prefix=prefix,
        server=_their_server(table, location, where) if is_rewritten and not is_for_many else None,
        mirrors=mirrors,
        blocked=table.get("blocked") is True,
        digest_mirrors=table.get("mirror-by-digest-only") is True,
    )


def _their_server(table: dict[str, Any], location: object, where: str) -> Server:
    if not isinstance(location, str):
        raise InvalidSettings(f"{where}: a location is not a text")
    insecure = table.get("insecure") is True
    words = {one.value: one for one in Pulls}
    pulls = words.get(str(table.get("pull-from-mirror") or "all"))
    if pulls is None:
        raise InvalidSettings(f"{where}: pull-from-mirror is all, digest-only or tag-only")
    return Server(location=location.rstrip("/"), verify=not insecure, may_be_plain=insecure, pulls=pulls)


def _read(path: str) -> dict[str, Any]:
    try:
        content = content_of(path, _LIMIT, look=check_interruption)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise InvalidSettings(f"cannot read {path}: {error.strerror or error}") from error
    try:
        return toml.loads(content.decode())
    except ValueError as error:
        raise InvalidSettings(f"{path} is not valid TOML: {error}") from error


def _tables(table: dict[str, Any], name: str, where: str) -> Iterable[tuple[int, dict[str, Any]]]:
    found = table.get(name, [])
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise InvalidSettings(f"{where}: {name} is not a list of tables; write [[{name}]]")
    return enumerate(found, 1)


def _check(table: dict[str, Any], known: dict[str, type], where: str) -> None:
    for name, value in table.items():
        kind = known.get(name)
        if kind is None:
            raise InvalidSettings(f"{where}: there is no setting {name!r}; there are {', '.join(sorted(known))}")
        if not isinstance(value, kind):
            raise InvalidSettings(f"{where}: {name} is not a {kind.__name__}")
