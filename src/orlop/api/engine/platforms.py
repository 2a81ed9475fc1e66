"""Requests that are about one platform of an image. An image in the store has one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orlop.api.engine.shapes.platform import parse_platform
from orlop.archive.platforms import matches
from orlop.errors import PlatformNotFound

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orlop.api.engine.call import Call
    from orlop.api.engine.versions import ApiVersion
    from orlop.model.platform import Platform
    from orlop.service.image_service import ImageService


def asked_platforms(call: Call, since: ApiVersion) -> list[Platform]:
    """Give the platforms that a request names, none where its version does not know the parameter.

    Raises:
        InvalidPlatform: one is none.
    """
    if call.version < since:
        return []
    return [parse_platform(text) for text in call.query_params.getlist("platform") if text]


def require_platform(service: ImageService, name: str, wanted: Sequence[Platform]) -> None:
    """See that an image is of one of some platforms, if there are any.

    Raises:
        PlatformNotFound: it is not. ImageNotFound, …: as `ImageService.inspect`.
    """
    if not wanted:
        return
    found = service.inspect(name).image.platform
    if not any(matches(platform, found) for platform in wanted):
        asked = ", ".join(map(str, wanted))
        raise PlatformNotFound(f"image with reference {name} was found but does not provide the platform {asked}")
