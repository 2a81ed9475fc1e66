"""Platforms in requests: JSON objects as the OCI image spec has them, and the words that an import takes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from orlop.api.engine.versions import V1_42
from orlop.errors import InvalidJSON, InvalidPlatform
from orlop.intake.platforms import host_platform
from orlop.model import gojson
from orlop.model.given import go_quoted
from orlop.model.platform import Platform, processor, spelled

if TYPE_CHECKING:
    from orlop.api.engine.versions import ApiVersion

_OLD_PART: Final = re.compile(r"[A-Za-z0-9_-]+")
_PART: Final = re.compile(r"[A-Za-z0-9_.-]+")
_SYSTEM: Final = re.compile(r"([A-Za-z0-9_-]+)(?:\(([A-Za-z0-9_.%-]*)((?:\+[A-Za-z0-9_.%-]+)*)\))?")
_MOST_PARTS: Final = 3


def parse_platform(text: str) -> Platform:
    """Read a platform such as ``{"os":"linux","architecture":"arm64"}``; members that are not known are passed over.

    Raises:
        InvalidPlatform: it is not JSON object, or names no operating system or no architecture.
    """
    try:
        document = gojson.loads(text.encode("utf-8", "surrogatepass"))
    except InvalidJSON as error:
        raise InvalidPlatform(f"failed to parse platform: {error}") from error
    if not isinstance(document, dict | None):
        raise InvalidPlatform("failed to parse platform: expected a JSON object")
    members = gojson.folded(document or {})
    os, architecture, variant, version = (
        _text(members, key) for key in ("os", "architecture", "variant", "os.version")
    )
    features = members.get("os.features")
    if features is not None and not (isinstance(features, list) and all(isinstance(item, str) for item in features)):
        raise InvalidPlatform("failed to parse platform: os.features is not a list of strings")
    if not os and not architecture and (variant or version or features):
        raise InvalidPlatform("optional platform fields provided, but OS and Architecture are missing")
    if not os or not architecture:
        raise InvalidPlatform("both OS and Architecture must be provided")
    return Platform(os, architecture, variant, version, tuple(features or ()))


def _text(members: dict[str, Any], key: str) -> str:
    value = members.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise InvalidPlatform(f"failed to parse platform: {key} is not a string")
    return value


def parse_words(text: str, version: ApiVersion) -> Platform:
    """Read a platform such as ``linux/arm64``, ``linux`` or ``arm64`` as ``POST /images/create`` has it.

    Args:
        text: what to read.
        version: that of the request, for its words.

    Raises:
        InvalidPlatform: it is not valid, in the words of engines.
    """
    if "*" in text:
        raise _invalid(text, "wildcards not yet supported")
    system, *others = parts = text.split("/", _MOST_PARTS)
    early = version < V1_42
    _check(system, text, *((_OLD_PART, "", "platform") if early else (_SYSTEM, "OS ", "OSAndVersion")))
    for part in others:
        _check(part, text, _OLD_PART if early else _PART, "", "platform")
    name, _, os_version = system.removesuffix(")").partition("(")
    if len(parts) > _MOST_PARTS:
        raise _invalid(text, "cannot parse platform specifier")
    if others:
        return Platform(spelled(name), *processor(*others), os_version)
    try:
        return Platform.parse(name, default=host_platform())
    except InvalidPlatform as error:
        raise _invalid(text, "unknown operating system or architecture") from error


def _check(part: str, text: str, pattern: re.Pattern[str], kind: str, what: str) -> None:
    if pattern.fullmatch(part) is None:
        shown = pattern.pattern.replace("\\", r"\\")
        why = f'{what} specifier component must match "^{shown}$"'
        raise InvalidPlatform(
            f"{go_quoted(part)} is an invalid {kind}component of {go_quoted(text)}: {why}: invalid argument"
        )


def _invalid(text: str, why: str) -> InvalidPlatform:
    return InvalidPlatform(f"{go_quoted(text)}: {why}: invalid argument")
