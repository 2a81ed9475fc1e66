"""``GET /system/df``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orlop.api.engine.shapes.image_list import summary
from orlop.api.engine.versions import V1_42, V1_52
from orlop.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from orlop.api.engine.shapes.encoding import Document
    from orlop.api.engine.versions import ApiVersion
    from orlop.service.listing.listed import ImageUsage

_IMAGE: Final = "image"
# The types of objects in the order of the answer, under the names of their lists.
_LISTS: Final = {_IMAGE: "Images", "container": "Containers", "volume": "Volumes", "build-cache": "BuildCache"}
_USAGES: Final = {
    _IMAGE: "ImageUsage",
    "container": "ContainerUsage",
    "volume": "VolumeUsage",
    "build-cache": "BuildCacheUsage",
}


def usage_types(values: Sequence[str], version: ApiVersion) -> frozenset[str]:
    """Read the parameter ``type``: which kinds of objects are asked for.

    Raises:
        InvalidInput: there is no such kind.
    """
    if version < V1_42 or not values:
        return frozenset(_LISTS)
    for value in values:
        if value not in _LISTS:
            raise InvalidInput(f"unknown object type: {value}")
    return frozenset(values)


def is_verbose(text: str | None, version: ApiVersion) -> bool | None:
    """Read the parameter ``verbose``; nothing where it was not given or is not known to the version.

    Raises:
        InvalidInput: it is neither true nor false.
    """
    if version < V1_52 or not text:
        return None
    if text not in GO_BOOLEANS:
        raise InvalidInput(f"invalid value for verbose: {text}")
    return GO_BOOLEANS[text]


GO_BOOLEANS: Final = {
    **dict.fromkeys(("1", "t", "T", "TRUE", "true", "True"), True),
    **dict.fromkeys(("0", "f", "F", "FALSE", "false", "False"), False),
}


def usage(
    images: ImageUsage | None, version: ApiVersion, types: Collection[str], *, verbose: bool | None = None
) -> Document:
    """Return the use of the disk.

    Args:
        images: that of images; nothing where they are not asked for.
        version: that of the request.
        types: what `usage_types` gave.
        verbose: what `is_verbose` gave: with all objects or without, but for the summaries only.
    """
    items = [] if images is None else [summary(image, version) for image in images.images]
    document: Document = {} if verbose is not None else _lists(images, items, version, types)
    if version >= V1_52:
        for kind, key in _USAGES.items():
            if kind in types:
                document[key] = {}
        if images is not None:
            document[_USAGES[_IMAGE]] = _image_usage(images, items if verbose is not False else [])
    return document


def _lists(images: ImageUsage | None, items: list[Document], version: ApiVersion, types: Collection[str]) -> Document:
    """Return the lists that versions before 1.52 had, and later ones still have."""
    document: Document = {"LayersSize": 0 if images is None else images.layers_size}
    for kind, key in _LISTS.items():
        document[key] = (items if kind == _IMAGE else []) if kind in types else None
    if version < V1_42:
        return document | {"BuildCache": None, "BuilderSize": 0}
    if version >= V1_52:
        return {key: value for key, value in document.items() if value or isinstance(value, list)}
    return document


def _image_usage(images: ImageUsage, items: list[Document]) -> Document:
    document = {
        "Items": items,
        "Reclaimable": images.reclaimable,
        "TotalCount": len(images.images),
        "TotalSize": images.layers_size,
    }
    return {key: value for key, value in document.items() if value}
