"""Certificates that a token brings along (`x5c`, RFC 7515), checked against authorities that the file of access names.

Docker's token protocol lets an issuer put its certificate into each token, so that its key may change without a word to
any registry. The first certificate has the key that signed the token, and each one after it has issued the one before.
The chain ends at an authority: the last certificate is one, or was issued by one. Nothing is fetched, and nothing else
that a token brings is believed.

- Every certificate must be valid now, and every one that has issued another must be allowed to: it is a CA, with as
  many below it as it allows.
- A certificate with a critical extension that is not understood is refused, and so is one with name constraints: a
  token has no name to compare with them.
- What a key may be used for beyond signatures (extended key usage) is not looked at, as other registries do not. So an
  authority must be one that issues certificates for tokens only.
"""

from __future__ import annotations

import base64
import binascii
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from orlop.api.registry.guard.keys import key_of, require_cryptography
from orlop.errors import InvalidInput, Unauthorized

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

    from orlop.api.registry.guard.keys import PublicKey

_LONGEST: Final = 8
"""How many certificates a token may bring."""
_SMALLEST_RSA: Final = 2048
_HASHES: Final = frozenset({"sha256", "sha384", "sha512"})
_UNKNOWN: Final = "the token's certificates do not lead to an authority that this registry knows"
_WHERE: Final = "the token"


@dataclass(frozen=True, slots=True)
class Authorities:
    """Certificates to which the chain of a token must lead."""

    certificates: tuple[Certificate, ...]

    @classmethod
    def read(cls, text: str, *, where: str) -> Authorities:
        """Return the authorities in a file: any number of certificates in PEM.

        Raises:
            InvalidInput: it has none, or one that is not valid. NotSupported: a package is missing.
        """
        require_cryptography(where)
        from cryptography import x509  # noqa: PLC0415 - few servers have keys of others

        try:
            return cls(tuple(x509.load_pem_x509_certificates(text.encode())))
        except (ValueError, x509.InvalidVersion) as error:
            raise InvalidInput(f"{where} does not hold certificates in PEM") from error

    def key_in(self, chain: object, now: float) -> PublicKey:
        """Return the key of the first certificate of a chain, once the whole chain is checked.

        Args:
            chain: the header ``x5c`` of a token.
            now: seconds since 1970.

        Raises:
            Unauthorized: it is not a chain of certificates that are valid now and lead to an authority.
        """
        from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 - as above

        first, *others = _certificates(chain)
        moment = datetime.fromtimestamp(now, UTC)
        _check(first, moment)
        _check_signs(first)
        self._check_chain(first, others, moment)
        try:
            return key_of(first.public_key(), "", _WHERE)
        except (InvalidInput, UnsupportedAlgorithm, ValueError) as error:
            raise Unauthorized("the token's certificate has a key that cannot be used") from error

    def _check_chain(self, first: Certificate, others: list[Certificate], moment: datetime) -> None:
        subject, below = first, 0
        while subject not in self.certificates:
            # An authority that was renewed is there twice, and one of them may have expired.
            known = (one for one in self.certificates if _is_valid(one, moment) and _has_issued(one, subject))
            issuer = next(known, None)
            is_known = issuer is not None
            if issuer is None and others and _has_issued(others[0], subject):
                issuer = others.pop(0)
            if issuer is None:
                raise Unauthorized(_UNKNOWN)
            _check(issuer, moment)
            _check_issues(issuer, below)
            if is_known:
                return
            subject, below = issuer, below + (issuer.subject != issuer.issuer)


def _certificates(chain: object) -> list[Certificate]:
    from cryptography import x509  # noqa: PLC0415 - as above

    if not isinstance(chain, list) or not 0 < len(chain) <= _LONGEST:
        raise Unauthorized(f"the token must have 1 to {_LONGEST} certificates")
    try:
        return [x509.load_der_x509_certificate(base64.b64decode(one, validate=True)) for one in chain]
    except (TypeError, ValueError, binascii.Error, x509.InvalidVersion) as error:
        raise Unauthorized("the token has an invalid certificate") from error


def _is_valid(certificate: Certificate, moment: datetime) -> bool:
    return certificate.not_valid_before_utc <= moment <= certificate.not_valid_after_utc


def _has_issued(issuer: Certificate, subject: Certificate) -> bool:
    """Return whether a certificate has signed another one, by its name and its key, in a way that still proves it."""
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm  # noqa: PLC0415 - as above

    with suppress(InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError):
        hashed = subject.signature_hash_algorithm
        if hashed is None or hashed.name in _HASHES:
            subject.verify_directly_issued_by(issuer)
            return True
    return False


def _check(certificate: Certificate, moment: datetime) -> None:
    """Check that a certificate is valid at a moment, and has no demand that is not understood."""
    from cryptography import x509  # noqa: PLC0415 - as above

    if not _is_valid(certificate, moment):
        raise Unauthorized("a certificate of the token has expired, or is not valid yet")
    understood = (x509.BasicConstraints, x509.KeyUsage, x509.ExtendedKeyUsage, x509.SubjectAlternativeName)
    try:
        extensions = list(certificate.extensions)
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
        raise Unauthorized("a certificate of the token has an extension that is not valid") from error
    for one in extensions:
        if isinstance(one.value, x509.NameConstraints) or (one.critical and not isinstance(one.value, understood)):
            raise Unauthorized("a certificate of the token has an extension that is not supported")


def _check_signs(certificate: Certificate) -> None:
    """Check that the key of a certificate may sign tokens."""
    from cryptography import x509  # noqa: PLC0415 - as above

    with suppress(x509.ExtensionNotFound):
        if not certificate.extensions.get_extension_for_class(x509.KeyUsage).value.digital_signature:
            raise Unauthorized("the token's certificate is not for signatures")


def _check_issues(certificate: Certificate, below: int) -> None:
    """Check that a certificate may issue others, with so many of those that issue between it and the first."""
    from cryptography import x509  # noqa: PLC0415 - as above
    from cryptography.hazmat.primitives.asymmetric import rsa  # noqa: PLC0415 - as above

    extensions, key = certificate.extensions, certificate.public_key()
    try:
        basic = extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        raise Unauthorized(_UNKNOWN) from None
    if not basic.ca or (basic.path_length is not None and below > basic.path_length):
        raise Unauthorized(_UNKNOWN)
    with suppress(x509.ExtensionNotFound):
        if not extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign:
            raise Unauthorized(_UNKNOWN)
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < _SMALLEST_RSA:
        raise Unauthorized("a certificate of the token has an RSA key that is too short")
