"""``GET /events``: the messages, and which of them a request wants."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orlop.api.engine.versions import V1_52
from orlop.model.gojson import dumps

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from orlop.api.engine.shapes.encoding import Document
    from orlop.api.engine.versions import ApiVersion
    from orlop.store.rows.metadata import Event

_SECOND: Final = 1_000_000_000
_SCOPE: Final = "local"
_FUZZY: Final = ("container", "daemon", "plugin", "volume", "network", "node", "service", "secret", "config")
_WITH_VARIANTS: Final = frozenset({"exec_create", "exec_start", "health_status"})
_WITH_STATUS: Final = frozenset({"container", "image"})


def event(happened: Event, version: ApiVersion) -> Document:
    """Return the message of an event."""
    document: Document = {}
    if version < V1_52 and happened.kind in _WITH_STATUS:
        document["status"] = happened.action
        if happened.actor:
            document["id"] = happened.actor
    return document | {
        "Type": happened.kind,
        "Action": happened.action,
        "Actor": {"ID": happened.actor, "Attributes": dict(sorted(happened.attributes.items()))},
        "scope": _SCOPE,
        "time": happened.time // _SECOND,
        "timeNano": happened.time,
    }


def event_line(happened: Event, version: ApiVersion) -> bytes:
    """Write an event as a line of the stream; ``<``, ``>`` and ``&`` are escaped there."""
    return dumps(event(happened, version)) + b"\n"


def is_wanted(happened: Event, filters: Mapping[str, Collection[str]]) -> bool:
    """Return whether an event passes the filters that `parse_filters` gave; those of unknown names pass all."""
    name = happened.attributes.get("name", "")
    return (
        _has(filters, "type", happened.kind)
        and ("scope" not in filters or _has(filters, "scope", _SCOPE))
        and _matches_action(filters.get("event", ()), happened.action)
        and all(_has_prefix(filters.get(kind, ()), happened.actor, name) for kind in _FUZZY)
        and _matches_image(filters.get("image", ()), happened)
        and all(_has_label(happened.attributes, label) for label in filters.get("label", ()))
    )


def _has(filters: Mapping[str, Collection[str]], key: str, value: str) -> bool:
    wanted = filters.get(key)
    return not wanted or value in wanted


def _matches_action(wanted: Collection[str], action: str) -> bool:
    if not wanted or action in wanted:
        return True
    # Such an action goes on after a colon, as in `health_status: healthy`.
    return bool(_WITH_VARIANTS & {*wanted}) and any(action.startswith(word) for word in wanted)


def _has_prefix(wanted: Collection[str], *values: str) -> bool:
    return not wanted or any(value.startswith(word) for word in wanted for value in values)


def _matches_image(wanted: Collection[str], happened: Event) -> bool:
    name = happened.attributes.get("name" if happened.kind == "image" else "image", "")
    known = {happened.actor, name, _without_tag(happened.actor), _without_tag(name)}
    return not wanted or bool(known & {*wanted})


def _without_tag(name: str) -> str:
    """Return a name without its tag; the colon of a registry's port is none."""
    head, colon, tail = name.rpartition(":")
    return head if colon and "/" not in tail else name


def _has_label(labels: Mapping[str, str], wanted: str) -> bool:
    name, equals, value = wanted.partition("=")
    return name in labels and (not equals or labels[name] == value)
