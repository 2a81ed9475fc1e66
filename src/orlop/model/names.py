"""The names by which callers mean an image, parsed once into a value. For the first line of a verb."""

from __future__ import annotations

from orlop.errors import InvalidReference, WrongType
from orlop.model.digest import Digest, ImageID
from orlop.model.given import shown
from orlop.model.reference import Reference, parse_any
from orlop.model.values import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Final, Self, TypeAlias

_NAMES: Final = "an image is named by a str, a Reference or an ImageID"
_ALGORITHM: Final = "sha256:"
_WILDCARDS: Final = frozenset("*?[\\")


@dataclass(frozen=True, slots=True)
class ImageName:
    """The name by which a caller means an image. Make one with `parse`.

    ``asked`` is a reference, or the digest that is a whole ID. A short text may be both a name and the first digits of
    an ID. Only a store can tell which, so the name also keeps its ``text``, which messages show.
    """

    text: str
    asked: Reference | Digest

    @classmethod
    def parse(cls, name: Name) -> Self:
        """Parse the name of an image; a value that the library returned is taken as it is.

        Raises:
            InvalidReference: the text is neither a reference nor an image ID. WrongType: it is of another type.
        """
        if type(name) is cls:
            return name
        if isinstance(name, Reference):
            return cls(str(name), name)
        text = _text(name)
        # A digest may consist of any text.
        return cls(text, name if isinstance(name, Digest) and name.is_valid else parse_any(text))

    @property
    def tagged(self) -> Reference | Digest:
        """The name, where the bare name of a repository stands for its tag ``latest``."""
        return self.asked if isinstance(self.asked, Digest) else self.asked.with_default_tag()

    @property
    def shown(self) -> str:
        """The name as it is shown if no image has it."""
        asked = self.tagged
        return str(asked) if isinstance(asked, Digest) else asked.familiar

    @property
    def digits(self) -> str:
        """The text without the algorithm: the first digits of an ID, if the name is one."""
        return self.text.removeprefix(_ALGORITHM)

    def begins(self, image_id: ImageID) -> bool:
        """Return whether the name is an image's ID or the beginning of it, with or without its algorithm."""
        return bool(self.text) and str(image_id).startswith((self.text, f"{_ALGORITHM}{self.text}"))


@dataclass(frozen=True, slots=True)
class NamePattern:
    """A pattern for the names of images, where a list takes a name or a pattern; it is parsed with the filters."""

    text: str


Name: TypeAlias = str | Reference | Digest | ImageName
"""A name of an image: a text as users write it, a reference, an image ID or another digest, or an `ImageName` that was
parsed from one of these."""


def image_names(names: Iterable[Name]) -> list[ImageName]:
    """Parse the names of several images.

    Raises:
        WrongType: the argument is not a list of names, or one of them has another type. InvalidReference: one is not
            valid.
    """
    if isinstance(names, str | bytes | Reference | Digest | ImageName):
        raise WrongType(f"the names to save are {shown(names)}; give a list of names")
    try:
        found = list(names)
    except TypeError as error:
        raise WrongType(f"the names to save are {shown(names)}; give a list of names") from error
    return [ImageName.parse(name) for name in found]


def listed_name(name: Name) -> ImageName | NamePattern:
    """Parse the argument of a list of images: a name, or a pattern of names. Raises what `ImageName.parse` raises."""
    # No reference and no ID has a wildcard.
    if isinstance(name, str) and not _WILDCARDS.isdisjoint(name):
        return NamePattern(name)
    return ImageName.parse(name)


def tag_name(name: str | Reference) -> Reference:
    """Parse a new name for an image, with the tag ``latest`` if it has none.

    Raises:
        InvalidReference: it is not a valid name, or has a digest. WrongType: it has another type.
    """
    reference = name if isinstance(name, Reference) else Reference.parse(_text(name))
    if reference.digest is not None:
        msg = f"{str(name)!r} has a digest, which follows from the image; name a tag only"
        raise InvalidReference(msg)
    return reference.with_default_tag()


def pulled_name(name: str | Reference) -> Reference:
    """Read a name that is to be pulled, with the tag ``latest`` where it has neither tag nor digest.

    Raises:
        InvalidReference: it is not a name, or could be an image ID. WrongType: it is of another type.
    """
    reference = name if isinstance(name, Reference) else Reference.parse(_text(name))
    if reference.is_id_like:
        msg = f"{reference.familiar!r} could be an image ID, and registries know images by names; name one"
        raise InvalidReference(msg)
    return reference.with_default_tag()


def _text(name: object) -> str:
    if isinstance(name, str):
        return name
    if type(name) in {Digest, ImageID}:
        return str(name)
    raise WrongType(f"{_NAMES}, not by {shown(name)}")
