"""Signed tokens: JSON Web Signatures in compact form (RFC 7515), with claims (RFC 7519).

The key decides the algorithm, never the token: each key is for one algorithm, and a token whose header names another
one is refused before anything is computed. So a token with ``none``, or one whose HMAC was made with somebody's public
key, is not valid. Headers that ask for keys from elsewhere (``jku``, ``x5u``, ``jwk``) are ignored, and so is ``x5c``
unless there are authorities to check it against. A header with ``crit`` is refused, as RFC 7515 asks of those who do
not know what is critical.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

from orlop.errors import Unauthorized

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_LONGEST: Final = 16 << 10
_LEEWAY: Final = 60
"""Seconds by which clocks may differ."""
_PART: Final = re.compile(r"[A-Za-z0-9_-]*", re.ASCII)


class Key(Protocol):
    """Verifies signatures of one algorithm. ``kid`` is its name in headers, or empty for a key without one."""

    @property
    def algorithm(self) -> str:
        """The algorithm, such as ``ES256``."""

    @property
    def kid(self) -> str:
        """The key's name, or empty."""

    def verifies(self, signature: bytes, signed: bytes) -> bool:
        """Return whether a signature is that of some bytes."""


@dataclass(frozen=True, slots=True)
class SecretKey:
    """A secret that signs and verifies with HMAC-SHA256."""

    secret: bytes = field(repr=False)
    algorithm: str = "HS256"

    @property
    def kid(self) -> str:
        """A name that tells nothing of the secret."""
        return hashlib.sha256(b"orlop kid\0" + self.secret).hexdigest()[:16]

    def sign(self, claims: Mapping[str, object]) -> str:
        """Return a token with these claims."""
        header = {"alg": self.algorithm, "kid": self.kid, "typ": "JWT"}
        signed = b".".join(_encoded(json.dumps(one, separators=(",", ":")).encode()) for one in (header, claims))
        return b".".join((signed, _encoded(self._signature(signed)))).decode()

    def verifies(self, signature: bytes, signed: bytes) -> bool:
        """Return whether a signature is that of some bytes, in constant time."""
        return hmac.compare_digest(signature, self._signature(signed))

    def _signature(self, signed: bytes) -> bytes:
        return hmac.digest(self.secret, signed, "sha256")


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token says, once its signature has been verified."""

    document: Mapping[str, Any]

    @property
    def subject(self) -> str:
        """Whom the token is for, or empty."""
        found = self.document.get("sub")
        return found if isinstance(found, str) else ""

    def check(self, *, issuer: str, audience: str, now: float, ignore_end: bool = False) -> None:
        """Check who issued the token, for which service, and when it is valid.

        Args:
            issuer: who must have issued it.
            audience: the service that it must be for.
            now: seconds since 1970.
            ignore_end: whether a token that was valid once is still good.

        Raises:
            Unauthorized: it is not valid here or now.
        """
        if self.document.get("iss") != issuer:
            raise Unauthorized("the token is from another issuer")
        audiences = self.document.get("aud")
        if audience not in (audiences if isinstance(audiences, list) else [audiences]):
            raise Unauthorized("the token is for another service")
        end = self._moment("exp")
        if end is None:
            raise Unauthorized("the token has no expiry time")
        if not ignore_end and now >= end + _LEEWAY:
            raise Unauthorized("the token has expired")
        for name in ("nbf", "iat"):
            begin = self._moment(name)
            if begin is not None and now < begin - _LEEWAY:
                raise Unauthorized("the token is not valid yet")

    def _moment(self, name: str) -> float | None:
        value = self.document.get(name)
        if value is None:
            return None
        # A larger number is not a date, and may not fit into a float.
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1 << 40:
            raise Unauthorized(f"{name} in the token is not a time")
        return float(value)


def claims_in(token: str, keys: Sequence[Key], brought: Callable[[object], Key] | None = None) -> Claims:
    """Return what a token says, if one of the keys has signed it.

    A token that names a key is compared with the key of this name, and with those without a name.

    Args:
        token: as the client sent it.
        keys: those that are known.
        brought: returns the key of the certificates that a token brings (``x5c``), or raises `Unauthorized`; such a
            token is good by that key alone. None where they are ignored.

    Raises:
        Unauthorized: the token is not valid.
    """
    parts = token.split(".")
    if len(token) > _LONGEST or len(parts) != 3:
        raise Unauthorized("the token is not signed")
    header, body = (_document(part) for part in parts[:2])
    if "crit" in header:
        raise Unauthorized("the token's header has an extension that is not supported")
    if brought is not None and "x5c" in header:
        keys = (brought(header["x5c"]),)
    kid = header.get("kid") or ""
    signature, signed = _decoded(parts[2]), ".".join(parts[:2]).encode()
    fitting = [one for one in keys if one.algorithm == header.get("alg") and (not (kid and one.kid) or kid == one.kid)]
    if not any(one.verifies(signature, signed) for one in fitting):
        raise Unauthorized("the token is not signed with a key that this registry knows")
    return Claims(body)


def _document(part: str) -> dict[str, Any]:
    try:
        document = json.loads(_decoded(part))
    except (ValueError, RecursionError) as error:
        raise Unauthorized("the token is not signed") from error
    if not isinstance(document, dict):
        raise Unauthorized("the token is not signed")
    return document


def _decoded(part: str) -> bytes:
    if _PART.fullmatch(part) is None:
        raise Unauthorized("the token is not signed")
    try:
        return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except (binascii.Error, ValueError) as error:
        raise Unauthorized("the token is not signed") from error


def _encoded(content: bytes) -> bytes:
    return base64.urlsafe_b64encode(content).rstrip(b"=")
