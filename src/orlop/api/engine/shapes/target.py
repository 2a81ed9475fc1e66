"""The query parameters ``repo`` and ``tag``: the name that an image gets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orlop.api.engine.shapes.reference_words import INVALID, reference_words
from orlop.api.engine.versions import V1_42
from orlop.errors import InvalidDigest, InvalidInput, InvalidReference, RequestRefused
from orlop.model.digest import Digest
from orlop.model.reference import Reference

if TYPE_CHECKING:
    from orlop.api.engine.versions import ApiVersion

_NO_DIGEST: Final = "cannot import digest reference"
_NO_TAG: Final = "invalid tag format"
_RESERVED: Final = "scratch"
"""The name of the image without content, which no registry has."""


def tag_target(repo: str | None, tag: str | None, version: ApiVersion) -> Reference:
    """Return the name that ``POST /images/{name}/tag`` asks for.

    Args:
        repo: a repository, perhaps with a tag.
        tag: a tag, which takes the place of the other one.
        version: that of the request, for its words.

    Raises:
        InvalidReference: it is not a name. InvalidInput: it is one that no image may get.
    """
    early = version < V1_42
    name = _target(repo, tag, version, "refusing to create a tag with a digest reference" if early else _NO_DIGEST)
    if name is None:
        raise InvalidReference(INVALID)
    return name


def import_target(repo: str | None, tag: str | None, version: ApiVersion) -> Reference | None:
    """Return the name that ``POST /images/create`` asks for, or nothing where it names no repository.

    Takes and raises what `tag_target` does.
    """
    return _target(repo, tag, version, _NO_DIGEST)


def pushed_target(asked: Reference, tag: str, version: ApiVersion) -> Reference:
    """Return the one tag that is to be pushed of a repository.

    Args:
        asked: the name of the image, perhaps with another tag.
        tag: the tag.
        version: of the API: later engines take no digest beside a tag.

    Raises:
        InvalidReference: the tag is not valid. InvalidInput: there is a digest.
    """
    if asked.digest is not None and version >= V1_42:
        raise InvalidInput(_NO_DIGEST)
    return _tagged(asked, tag)


def pull_target(image: str, tag: str, version: ApiVersion) -> Reference:
    """Return what is to be pulled; without a tag or a digest that is all of a repository.

    Args:
        image: its name.
        tag: a tag or a digest, which takes the place of that in the name.
        version: of the API, which decides the words of an error.

    Raises:
        InvalidReference: the name, the tag or the digest is not valid. RequestRefused: the name is reserved.
    """
    try:
        reference = Reference.parse(image.removesuffix(":"))
    except InvalidReference as error:
        raise InvalidReference(reference_words(image, version)) from error
    if ":" in tag:
        try:
            reference = Reference(reference.domain, reference.path, None, Digest.parse(tag))
        except InvalidDigest as error:
            raise InvalidReference(_NO_TAG) from error
    elif tag:
        reference = _tagged(reference, tag)
    if reference.familiar_name == _RESERVED:
        raise RequestRefused(f"'{_RESERVED}' is a reserved name")
    return reference


def _target(repo: str | None, tag: str | None, version: ApiVersion, no_digest: str) -> Reference | None:
    if not repo:
        return None
    try:
        reference = Reference.parse(repo)
    except InvalidReference as error:
        raise InvalidReference(reference_words(repo, version)) from error
    if reference.digest is not None:
        raise InvalidInput(no_digest)
    if reference.familiar_name == "sha256":
        raise InvalidInput("refusing to create an ambiguous tag using digest algorithm as name")
    if not tag:
        return reference.with_default_tag()
    return _tagged(reference, tag)


def _tagged(reference: Reference, tag: str) -> Reference:
    try:
        return reference.with_tag(tag)
    except InvalidReference as error:
        raise InvalidReference(_NO_TAG) from error
