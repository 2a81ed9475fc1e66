"""What a request to the registry is about: from a method and a path to a value, without looking at the store.

The name of a repository may have any number of parts, and each of them may be called ``blobs``, ``manifests``, ``tags``
or ``uploads``. The end of a path decides what it is: its last two or three parts, and all before them is the name.

Whoever guards the registry asks the same function, so that both judge the same repository. The path is the decoded one.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl

from orlop.errors import InvalidInput, InvalidReference, MethodNotAllowed, NotServed
from orlop.model.reference import Reference

if TYPE_CHECKING:
    from collections.abc import Mapping

PREFIX: Final = "/v2"
"""The path of the registry; all that it serves lies below."""
MAX_NAME: Final = 255
"""How many characters the name of a repository may have."""
_HOST: Final = "registry.invalid"
_MOST_PARAMETERS: Final = 100


class Kind(StrEnum):
    """What a path leads to; the value is the route in logs and metrics."""

    BASE = "/v2/"
    CATALOG = "/v2/_catalog"
    TAGS = "/v2/{name}/tags/list"
    MANIFEST = "/v2/{name}/manifests/{reference}"
    BLOB = "/v2/{name}/blobs/{digest}"
    UPLOADS = "/v2/{name}/blobs/uploads/"
    UPLOAD = "/v2/{name}/blobs/uploads/{id}"
    REFERRERS = "/v2/{name}/referrers/{digest}"


@dataclass(frozen=True, slots=True)
class Need:
    """A right that a request needs.

    ``kind`` is ``repository`` or ``registry``, ``name`` that of the repository or ``catalog``, and ``actions`` some of
    ``pull``, ``push`` and ``delete``, or ``*`` for the catalog. ``str()`` returns it as a scope of docker's tokens.
    """

    kind: str
    name: str
    actions: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}:{','.join(self.actions)}"


@dataclass(frozen=True, slots=True)
class Route:
    """What a request is about.

    ``reference`` is the last part of the path, not parsed: a tag or a digest of a manifest, the digest of a blob, the
    id of an upload; else empty. ``needs`` are the rights without which the request is refused. ``wishes`` are rights
    that are looked at, and whose lack refuses nothing: without the right to pull from the source of a mount, an upload
    begins.
    """

    kind: Kind
    method: str
    repository: str = ""
    reference: str = ""
    needs: tuple[Need, ...] = ()
    wishes: tuple[Need, ...] = ()


_READ: Final = {"GET": ("pull",), "HEAD": ("pull",)}
_WRITE: Final = ("pull", "push")
_ACTIONS: Final[Mapping[Kind, Mapping[str, tuple[str, ...]]]] = {
    Kind.BASE: {"GET": (), "HEAD": ()},
    Kind.CATALOG: {"GET": ("*",), "HEAD": ("*",)},
    Kind.TAGS: _READ,
    Kind.REFERRERS: _READ,
    Kind.MANIFEST: {**_READ, "PUT": _WRITE, "DELETE": ("delete",)},
    Kind.BLOB: {**_READ, "DELETE": ("delete",)},
    Kind.UPLOADS: {"POST": _WRITE},
    # Whoever may push may cancel what it pushes.
    Kind.UPLOAD: {"GET": _WRITE, "HEAD": _WRITE, "PATCH": _WRITE, "PUT": _WRITE, "DELETE": _WRITE},
}


def is_ours(path: str) -> bool:
    """Return whether a path is the registry's."""
    return path == PREFIX or path.startswith(f"{PREFIX}/")


def methods_of(kind: Kind) -> tuple[str, ...]:
    """Return the methods that a kind of path takes, sorted."""
    return tuple(sorted(_ACTIONS[kind]))


def route_of(method: str, path: str, query: str = "") -> Route:
    """Return what a request is about.

    Args:
        method: of the request.
        path: its decoded path.
        query: the encoded parameters after it.

    Raises:
        NotServed: the path is none of the registry's. InvalidReference: the name in it is not a valid one.
        MethodNotAllowed: the path does not take the method. InvalidInput: its parameters cannot be read.
    """
    kind, name, reference = _parts(path)
    actions = _ACTIONS[kind].get(method)
    if actions is None:
        allowed = methods_of(kind)
        raise MethodNotAllowed(f"{kind} does not take {method}; use {', '.join(allowed)}", allowed=allowed)
    if kind is Kind.BASE:
        return Route(kind, method)
    if kind is Kind.CATALOG:
        return Route(kind, method, needs=(Need("registry", "catalog", actions),))
    check_repository(name)
    wishes = _wishes(query) if kind is Kind.UPLOADS else ()
    return Route(kind, method, name, reference, (Need("repository", name, actions),), wishes)


def _parts(path: str) -> tuple[Kind, str, str]:
    """Return the kind of a path, the name in it and its reference, as they stand there."""
    if path in {PREFIX, f"{PREFIX}/"}:
        return Kind.BASE, "", ""
    if path == f"{PREFIX}/_catalog":
        return Kind.CATALOG, "", ""
    parts = path.removeprefix(f"{PREFIX}/").split("/") if path.startswith(f"{PREFIX}/") else []
    *name, first, second = parts if parts[2:] else ("", "")
    found: Kind | None = None
    if (first, second) == ("tags", "list"):
        found, second = Kind.TAGS, ""
    elif first == "manifests" and second:
        found = Kind.MANIFEST
    elif first == "referrers" and second:
        found = Kind.REFERRERS
    elif first == "blobs" and second:
        # Some clients forget the slash at the end.
        found, second = (Kind.UPLOADS, "") if second == "uploads" else (Kind.BLOB, second)
    elif first == "uploads" and name and name[-1] == "blobs":
        name.pop()
        found = Kind.UPLOAD if second else Kind.UPLOADS
    if found is None or not name:
        raise NotServed(f"the registry has no {path!r}")
    return found, "/".join(name), second


def check_repository(name: str) -> None:
    """Check the name of a repository. Raises `InvalidReference`."""
    try:
        # The grammar is that of references; a host before it keeps the first part from being taken for one.
        is_name = Reference.parse(f"{_HOST}/{name}").is_name_only
    except InvalidReference:
        is_name = False
    if not is_name:
        shown = name if len(name) <= MAX_NAME else f"{name[:32]}..."
        raise InvalidReference(
            f"invalid repository name {shown!r}: use words of lower-case letters and digits, with '.', '_' or '-'"
            f" inside and '/' between, at most {MAX_NAME} characters with the host before them"
        )


def parameters_of(query: str) -> dict[str, list[str]]:
    """Return encoded parameters by their names. Raises `InvalidInput`."""
    found: dict[str, list[str]] = {}
    try:
        for name, value in parse_qsl(query, keep_blank_values=True, max_num_fields=_MOST_PARAMETERS):
            found.setdefault(name, []).append(value)
    except ValueError as error:
        raise InvalidInput(f"the parameters of the request cannot be read: {error}") from error
    return found


def _wishes(query: str) -> tuple[Need, ...]:
    """Return the right to pull from the repository that a mount names."""
    parameters = parameters_of(query)
    source = next(iter(parameters.get("from", ())), "")
    if "mount" not in parameters or not source:
        return ()
    try:
        check_repository(source)
    except InvalidReference:
        # An upload begins in place of a mount from nowhere.
        return ()
    return (Need("repository", source, ("pull",)),)
