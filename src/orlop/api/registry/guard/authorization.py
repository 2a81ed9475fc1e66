"""What a client says about itself: the header ``Authorization``, parsed once."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from orlop.errors import Unauthorized

if TYPE_CHECKING:
    from collections.abc import Iterable

_LONGEST: Final = 16 << 10
"""How long the header may be: tokens of many scopes take some kilobytes."""
_LONGEST_NAME: Final = 256


@dataclass(frozen=True, slots=True)
class Login:
    """A name and a password."""

    user: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Bearer:
    """A token."""

    token: str = field(repr=False)


def authorization_in(headers: Iterable[tuple[bytes, bytes]]) -> Login | Bearer | None:
    """Return what the headers of a request say, or None for nothing.

    A Basic authorization with neither name nor password is nothing too: some clients answer a challenge with it when
    they have no credentials.

    Args:
        headers: names in lower case, and values.

    Raises:
        Unauthorized: it is not valid, too long, there are several, or it is of another scheme.
    """
    values = [value for name, value in headers if name == b"authorization"]
    if not values:
        return None
    if len(values) > 1:
        raise Unauthorized("the request has several Authorization headers; send one")
    if len(values[0]) > _LONGEST:
        raise Unauthorized(f"the Authorization header is longer than {_LONGEST} bytes")
    scheme, _, rest = values[0].decode("latin-1").strip().partition(" ")
    rest = rest.strip()
    if scheme.lower() == "basic":
        return _login(rest)
    if scheme.lower() == "bearer":
        if not rest or not rest.isascii() or not rest.isprintable() or " " in rest:
            raise Unauthorized("the token in the Authorization header is not valid")
        return Bearer(rest)
    raise Unauthorized("the Authorization header is neither Basic nor Bearer")


def _login(text: str) -> Login | None:
    try:
        decoded = base64.b64decode(text, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError) as error:
        raise Unauthorized("the Basic authorization is not Base64 of a name and a password in UTF-8") from error
    user, colon, password = decoded.partition(":")
    if not colon:
        raise Unauthorized("the Basic authorization has no colon between name and password")
    if not user and not password:
        return None
    return login(user, password)


def login(user: str, password: str) -> Login:
    """Return a name and a password that a client has sent. Raises `Unauthorized` if they cannot be anybody's."""
    if not user or len(user) > _LONGEST_NAME or not user.isprintable() or "\0" in password:
        raise Unauthorized("the user name or password is wrong")
    return Login(user, password)
