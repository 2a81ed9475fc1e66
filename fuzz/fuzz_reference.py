"""Names, digests and platforms, given any text: they are read, and then written so that they are read as the same.

`check` is what a fuzzer calls; `mutate` leaves its changes as they are. `fuzz/run.py` runs both.
"""

# ruff: noqa: INP001 -- a script beside its seeds, loaded by its path

from __future__ import annotations

from orlop.errors import InvalidDigest, InvalidPlatform, InvalidReference
from orlop.model.dialect import Dialect
from orlop.model.digest import Digest
from orlop.model.platform import Platform
from orlop.model.reference import DEFAULT_DOMAIN, Reference, parse_any, split_domain

_DIALECTS = (Dialect.REFERENCE, Dialect.ENGINE_29)


def check(data: bytes) -> bool:
    """Return whether ``data`` is a name. Raises AssertionError where it is read in two ways, and what it should not."""
    text = data.decode("utf-8", "surrogateescape")
    _check_digest(text)
    _check_platform(text)
    found = [_check_name(text, dialect) for dialect in _DIALECTS]
    return any(found)


def mutate(data: bytes) -> bytes:
    """Return the bytes as they are."""
    return data


def _check_name(text: str, dialect: Dialect) -> bool:
    try:
        name = Reference.parse(text, dialect=dialect)
    except InvalidReference as error:
        _assert(str(error).isprintable() and len(str(error)) < 1000, error)
        return False
    _assert(Reference.parse(str(name), dialect=dialect) == name, name)
    # As in docker, a path on docker.io that begins like a registry does not lead back from what people write.
    like, later = f"{name.path.partition('/')[0]}/x", dialect is Dialect.ENGINE_29
    is_plain = split_domain(like, upper_case_is_domain=later) == (DEFAULT_DOMAIN, like)
    if name.domain != DEFAULT_DOMAIN or is_plain:
        _assert(Reference.parse(name.familiar, dialect=dialect) == name, name)
    _assert(str(name).isascii() and "//" not in str(name) and ".." not in name.path.split("/"), name)
    _assert(name.with_default_tag().is_name_only is False, name)
    found = parse_any(text, dialect=dialect)
    _assert(isinstance(found, Digest) or found == name, found)
    return True


def _check_digest(text: str) -> None:
    try:
        digest = Digest.parse(text)
    except InvalidDigest:
        _assert(not Digest.unchecked(text).is_valid, text)
        return
    _assert(str(digest) == text and "/" not in text and text.isascii(), text)


def _check_platform(text: str) -> None:
    try:
        platform = Platform.parse(text)
    except InvalidPlatform:
        return
    _assert(Platform.parse(str(platform)) == platform, platform)


def _assert(fact: object, about: object) -> None:
    if not fact:
        raise AssertionError(repr(about))
