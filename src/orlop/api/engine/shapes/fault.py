"""What a request that failed is answered: a status and a sentence, in docker's words where docker has some.

Engines differ in their words and, in two places, in the status. Versions up to 1.41 get those of Engine 20.10, later
ones those of Engine 29.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Final

from orlop.api.engine.versions import V1_42
from orlop.errors import InvalidReference, NotFound
from orlop.model.reference import MAX_NAME, split_domain

if TYPE_CHECKING:
    from orlop.api.engine.shapes.encoding import Document
    from orlop.api.engine.versions import ApiVersion
    from orlop.errors import OrlopError


class Verb(Enum):
    """What a request wanted, where the answer to its failure depends on that."""

    INSPECT = auto()
    SAVE = auto()
    TAG = auto()
    OTHER = auto()


@dataclass(frozen=True, slots=True)
class Fault:
    """A status and the sentence that goes with it."""

    status: int
    message: str

    @property
    def document(self) -> Document:
        """The body of the answer."""
        return {"message": self.message}


_SERVER_ERROR: Final = 500
_IDENTIFIER: Final = re.compile(r"[0-9a-f]{64}")


def fault(error: OrlopError, version: ApiVersion, verb: Verb = Verb.OTHER, name: str | None = None) -> Fault:
    """Give the answer to a request that failed.

    Args:
        error: why it failed.
        version: that of the request.
        verb: what it wanted.
        name: the image that it named, if it named one.
    """
    early = version < V1_42
    status, message = error.http_status, str(error)
    if isinstance(error, InvalidReference) and name is not None:
        message = _reference_fault(name, early=early)
        if early and verb in {Verb.SAVE, Verb.TAG}:
            status = _SERVER_ERROR
    if early and verb is Verb.INSPECT and isinstance(error, (InvalidReference, NotFound)):
        message = f"no such image: {name}: {message}"
    return Fault(status, message)


def _reference_fault(name: str, *, early: bool) -> str:
    """Say in docker's words why a name is none."""
    if _IDENTIFIER.fullmatch(name):
        return f"invalid repository name ({name}), cannot specify 64-byte hexadecimal strings"
    domain, remainder = split_domain(name, upper_case_is_domain=not early)
    path = remainder.partition(":")[0]
    if path != path.lower():
        shown = "" if early else f"({path}) "
        return f"invalid reference format: repository name {shown}must be lowercase"
    if len(f"{domain}/{path}" if early else path) > MAX_NAME:
        return f"repository name must not be more than {MAX_NAME} characters"
    return "invalid reference format"
