"""What callers call an image by: a text, or the values that the library gives them. For the first line of a verb."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from orlop.errors import WrongType
from orlop.model.digest import Digest, ImageID
from orlop.model.reference import Reference

if TYPE_CHECKING:
    from collections.abc import Iterable

Name: TypeAlias = str | Reference | Digest
"""What an image is called by: a text as users write it, a reference, an image ID or another digest."""

_NAMES: Final = "an image is named by a str, a Reference or an ImageID"


def name_text(name: Name) -> str:
    """Return what an image is called by as a text.

    Raises:
        WrongType: it is something else.
    """
    if isinstance(name, str):
        return name
    if isinstance(name, Reference) or type(name) in {Digest, ImageID}:
        return str(name)
    raise WrongType(f"{_NAMES}, not by {shown(name)}")


def name_texts(names: Iterable[Name]) -> list[str]:
    """Return what several images are called by as texts.

    Raises:
        WrongType: they are not such a list, or one of them is something else.
    """
    if isinstance(names, str | bytes | Reference | Digest):
        raise WrongType(f"the names to save are {shown(names)}; give a list of names")
    try:
        found = list(names)
    except TypeError as error:
        raise WrongType(f"the names to save are {shown(names)}; give a list of names") from error
    return [name_text(name) for name in found]


def shown(value: object) -> str:
    """Return a value with its type, for an error."""
    return f"{type(value).__name__} {value!r}"
