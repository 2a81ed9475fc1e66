"""``GET /images/{name}/json``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from orlop.api.engine.shapes.manifest import manifest_list
from orlop.api.engine.versions import V1_44, V1_45, V1_48, V1_50, V1_52
from orlop.service.listing.image_document import image_document

if TYPE_CHECKING:
    from orlop.api.engine.shapes.encoding import Document
    from orlop.api.engine.versions import ApiVersion
    from orlop.service.listing.inspect import ImageDetails
    from orlop.service.listing.manifests import ImageManifests

_NOT_OF_IMAGES: Final = frozenset(
    {
        "Hostname",
        "Domainname",
        "AttachStdin",
        "AttachStdout",
        "AttachStderr",
        "Tty",
        "OpenStdin",
        "StdinOnce",
        "Image",
        "NetworkDisabled",
        "MacAddress",
        "StopTimeout",
    }
)
"""Fields of a config that say something of containers only."""
_OMITTED_WHERE_EMPTY: Final = ("Parent", "Comment", "DockerVersion", "Author")
_CONFIG_ORDER: Final = (
    "User",
    "ExposedPorts",
    "Env",
    "Entrypoint",
    "Cmd",
    "Volumes",
    "WorkingDir",
    "Labels",
    "StopSignal",
    "ArgsEscaped",
    "Healthcheck",
    "OnBuild",
    "Shell",
)


def image(
    details: ImageDetails, version: ApiVersion, manifests: ImageManifests | None = None, *, with_manifests: bool = False
) -> Document:
    """Return all that is known of an image.

    Args:
        details: the image.
        version: that of the request.
        manifests: those of the image, if it came with any.
        with_manifests: whether the request asks for them.
    """
    document = image_document(details)
    if version >= V1_48 and manifests is not None:
        document["Descriptor"] = manifests.target.to_dict()
        if with_manifests and manifests.manifests:
            document["Manifests"] = manifest_list(manifests.manifests)
    if version >= V1_44:
        del document["VirtualSize"]
        if details.image.v1.created is None:
            del document["Created"]
    if version >= V1_45:
        del document["Container"]
        del document["ContainerConfig"]
    if version >= V1_50 and document["Config"] is not None:
        document["Config"] = _config(document["Config"], omit_empty=version >= V1_52)
    if version >= V1_52:
        del document["GraphDriver"]
        for key in _OMITTED_WHERE_EMPTY:
            if not document[key]:
                del document[key]
        if "Parent" in document or "DockerVersion" in document:
            # The daemon merges these two into the rest, and what it merges comes out sorted.
            document = _sorted(document)
    return document


def _config(config: Document, *, omit_empty: bool) -> Document:
    if omit_empty:
        return {key: config[key] for key in _CONFIG_ORDER if config.get(key)}
    return {key: value for key, value in config.items() if key not in _NOT_OF_IMAGES}


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sorted(member) for key, member in sorted(value.items())}
    return [_sorted(item) for item in value] if isinstance(value, list) else value
