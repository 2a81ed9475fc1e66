"""Offsets of an upload: how far a registry got, as its answers say it, which differ."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final

from orlop.errors import UploadLost
from orlop.model.regex import regex

if TYPE_CHECKING:
    from orlop.registry.messages import Headers

_RANGE: Final = regex(r"(?:bytes[ =])?0-(-?[0-9]{1,18})")
_CREATED: Final = 201
_UNSATISFIABLE: Final = 416


class Unknown(Enum):
    """Where an answer does not say how far the registry got."""

    ASK = "ask"


def offset_after(status: int, headers: Headers, sent: int) -> int | Unknown:
    """Return from where an upload goes on after a chunk.

    Args:
        status: of the answer to the chunk.
        headers: of that answer.
        sent: how many bytes of the blob were sent, this chunk included.

    Raises:
        UploadLost: the registry does not know the upload, or has more of it than was sent.
    """
    found = _RANGE.fullmatch((headers.get("Range") or "").strip())
    # "0-0" stands for one byte and for none.
    last = None if found is None else max(-1, int(found[1]))
    if status == _UNSATISFIABLE:
        return Unknown.ASK if last is None else last + 1 if last > 0 else 0
    if status >= 400:
        raise UploadLost(f"the registry has forgotten the upload ({status})", answered=status)
    if last is None or sent <= 1 or status == _CREATED:
        # Registries that answer 201 to a chunk do not move the range.
        return sent
    if last + 1 > sent:
        raise UploadLost("the registry has more of the upload than was sent", answered=status)
    return last + 1


def offset_asked(headers: Headers) -> int:
    """Return how far a registry got, as it says when it is asked.

    Nothing came where the range cannot be read, and where it ends at 0, which is said of one byte and of none.
    """
    found = _RANGE.fullmatch((headers.get("Range") or "").strip())
    last = 0 if found is None else int(found[1])
    return last + 1 if last > 0 else 0
