"""The query parameter ``platform``, and platforms in answers: JSON objects as the OCI image spec has them."""

from __future__ import annotations

from typing import Any

from orlop.errors import InvalidJSON, InvalidPlatform
from orlop.model import gojson
from orlop.model.platform import Platform


def parse_platform(text: str) -> Platform:
    """Read a platform such as ``{"os":"linux","architecture":"arm64"}``.

    Raises:
        InvalidPlatform: it is no JSON object, or names no operating system or no architecture.
    """
    try:
        document = gojson.loads(text.encode("utf-8", "surrogatepass"))
    except InvalidJSON as error:
        raise InvalidPlatform(f"failed to parse platform: {error}") from error
    if not isinstance(document, dict):
        raise InvalidPlatform("failed to parse platform: it is no JSON object")
    members = gojson.folded(document)
    os, architecture, variant = (_text(members, key) for key in ("os", "architecture", "variant"))
    if not os and not architecture and not variant:
        raise InvalidPlatform("failed to parse platform: it is empty")
    if not os or not architecture:
        raise InvalidPlatform("both OS and Architecture must be provided")
    features = members.get("os.features")
    if features is not None and not (isinstance(features, list) and all(isinstance(item, str) for item in features)):
        raise InvalidPlatform("failed to parse platform: os.features is no list of texts")
    return Platform(os, architecture, variant, _text(members, "os.version"), tuple(features or ()))


def _text(members: dict[str, Any], key: str) -> str:
    value = members.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise InvalidPlatform(f"failed to parse platform: {key} is no text")
    return value
