"""Requests that are about one platform of an image. An image in the store has one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orlop.api.engine.shapes.platform import parse_platform
from orlop.api.engine.versions import V1_52
from orlop.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orlop.api.engine.call import Call
    from orlop.api.engine.versions import ApiVersion
    from orlop.model.platform import Platform

SEVERAL: Final = (
    "multiple platforms not supported for this image store;"
    " use a multi-platform image store such as containerd-snapshotter"
)
"""What an engine says whose store keeps one platform of an image, as this one does."""


def first_platform(call: Call, since: ApiVersion) -> Platform | None:
    """Return the platform that a request names, nothing where it names none or its version does not know it.

    Raises:
        InvalidPlatform: it is not valid.
    """
    text = call.parameters.get("platform") if call.version >= since else ""
    return parse_platform(text) if text else None


def all_platforms(call: Call, name: str, since: ApiVersion) -> list[Platform]:
    """Return all the platforms that a request names in a parameter that may be given several times.

    Raises:
        InvalidPlatform: one is not valid; an empty one is not, either.
    """
    return [parse_platform(text) for text in call.parameters.all(name)] if call.version >= since else []


def transferred_platforms(call: Call, since: ApiVersion) -> list[Platform]:
    """Return the platforms that a save or a load is about.

    Raises:
        InvalidInput: there are several, and its version knows one. InvalidPlatform: one is not valid.
    """
    if since <= call.version < V1_52 and len(call.parameters.all("platform")) > 1:
        raise InvalidInput(
            "multiple platform parameters are not supported in this API version; use API version 1.52 or later"
        )
    return all_platforms(call, "platform", since)


def only_platform(platforms: Sequence[Platform]) -> Platform | None:
    """Return the one platform, or nothing where there is none; raise `InvalidInput` where there are several."""
    if len(platforms) > 1:
        raise InvalidInput(SEVERAL)
    return platforms[0] if platforms else None
