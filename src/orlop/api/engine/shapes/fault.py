"""What a request that failed is answered: a status and a sentence, in docker's words where docker has some.

Engines differ in their words and, in two places, in the status. Versions up to 1.41 get those of Engine 20.10, later
ones those of Engine 29.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Final

from orlop.api.engine.shapes.reference_words import reference_words
from orlop.api.engine.versions import V1_42
from orlop.errors import AmbiguousID, DownloadFailed, InvalidReference, NotFound, ReferenceNotFound, RegistryDenied
from orlop.model.reference import DEFAULT_TAG
from orlop.model.urls import scrubbed
from orlop.store.images import not_found

if TYPE_CHECKING:
    from orlop.api.engine.shapes.encoding import Document
    from orlop.api.engine.versions import ApiVersion
    from orlop.errors import OrlopError


class Verb(Enum):
    """What a request wanted, where the answer to its failure depends on that."""

    INSPECT = auto()
    SAVE = auto()
    PUSH = auto()
    TAG_TARGET = auto()
    """The name that a tag asks for, as `tag_target` reads it."""
    LOGIN = auto()
    OTHER = auto()


@dataclass(frozen=True, slots=True)
class Fault:
    """A status and the sentence that goes with it."""

    status: int
    message: str

    @property
    def document(self) -> Document:
        """The body of the answer."""
        return {"message": scrubbed(self.message)}


NO_NAME: Final = "image name cannot be blank"
"""What is said where an image should be named and is not."""
_ALGORITHM: Final = "sha256:"
_UNAUTHORIZED: Final = 401
_NOT_FOUND: Final = 404
_SERVER_ERROR: Final = 500
_PASSED_ON: Final = frozenset({400, 401, 403, 404})
"""What another server answers when it is asked for an archive, and its client is answered, too."""


def fault(error: OrlopError, version: ApiVersion, verb: Verb = Verb.OTHER, name: str | None = None) -> Fault:
    """Return the answer to a request that failed.

    Args:
        error: why it failed.
        version: that of the request.
        verb: what it wanted.
        name: the image that it named, if the error may be about that.
    """
    early = version < V1_42
    status, message = error.http_status, str(error)
    if isinstance(error, InvalidReference):
        if name is not None and verb is not Verb.TAG_TARGET:
            message = reference_words(name, version)
        if early and verb in {Verb.SAVE, Verb.PUSH, Verb.TAG_TARGET}:
            status = _SERVER_ERROR
    elif isinstance(error, DownloadFailed) and error.answered in _PASSED_ON:
        status = error.answered
    elif isinstance(error, RegistryDenied) and verb is Verb.LOGIN:
        status = _UNAUTHORIZED
    elif isinstance(error, ReferenceNotFound):
        message = "reference does not exist"
    elif isinstance(error, AmbiguousID) and name is not None:
        # To a client a prefix of several IDs is one of none: it goes on and looks for a container of that name.
        status, message = _NOT_FOUND, str(not_found(name if name.startswith(_ALGORITHM) else f"{name}:{DEFAULT_TAG}"))
    if early and verb is Verb.INSPECT and isinstance(error, (InvalidReference, NotFound, AmbiguousID)):
        message = f"no such image: {name}: {message}"
    return Fault(status, message)
