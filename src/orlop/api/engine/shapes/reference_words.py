"""Why a text is not a name of an image, in docker's words."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from orlop.api.engine.versions import V1_42
from orlop.model.reference import MAX_NAME, split_domain

if TYPE_CHECKING:
    from orlop.api.engine.versions import ApiVersion

INVALID: Final = "invalid reference format"
"""What docker says where it has nothing better."""
_IDENTIFIER: Final = re.compile(r"[0-9a-f]{64}")


def reference_words(name: str, version: ApiVersion) -> str:
    """Return why a name is none: up to version 1.41 as Engine 20.10 does, from then on as Engine 29."""
    early = version < V1_42
    if _IDENTIFIER.fullmatch(name):
        return f"invalid repository name ({name}), cannot specify 64-byte hexadecimal strings"
    domain, remainder = split_domain(name, upper_case_is_domain=not early)
    path = remainder.partition(":")[0]
    if path != path.lower():
        shown = "" if early else f"({path}) "
        return f"{INVALID}: repository name {shown}must be lowercase"
    if len(f"{domain}/{path}" if early else path) > MAX_NAME:
        return f"repository name must not be more than {MAX_NAME} characters"
    return INVALID
