"""Public keys of somebody else's token issuer: a JWK set (RFC 7517), or keys and certificates in PEM."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from orlop.errors import InvalidInput, NotSupported

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_SMALLEST_RSA: Final = 2048
_PEM_BEGIN: Final = "-----BEGIN "
_WIDTH: Final = 32
"""How many bytes a number of the curve P-256 has."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key that verifies with one algorithm: ``RS256``, ``ES256`` or ``EdDSA``."""

    algorithm: str
    kid: str
    check: Callable[[bytes, bytes], bool]

    def verifies(self, signature: bytes, signed: bytes) -> bool:
        """Return whether a signature is that of some bytes."""
        return self.check(signature, signed)


def require_cryptography(where: str) -> None:
    """Check that the package which knows keys is there, for those in a file. Raises `NotSupported`."""
    try:
        import cryptography  # noqa: F401, PLC0415 - few servers have keys of others
    except ModuleNotFoundError as error:
        raise NotSupported(f"the keys in {where} need a package; install it with: pip install 'orlop[access]'") from (
            error
        )


def read_keys(text: str, *, where: str) -> tuple[PublicKey, ...]:
    """Return the keys in a file; keys of a JWK set that are for something else are left out.

    Args:
        text: the file: JSON, or PEM with any number of public keys and certificates.
        where: its name, for messages.

    Raises:
        InvalidInput: it is neither, or has no key that can be used. NotSupported: a package is missing.
    """
    require_cryptography(where)
    found = tuple(_of_pem(text, where) if _PEM_BEGIN in text else _of_set(text, where))
    if not found:
        raise InvalidInput(f"{where} has no key that can be used; give an RSA, P-256 or Ed25519 key for signatures")
    return found


def _of_pem(text: str, where: str) -> Iterator[PublicKey]:
    from cryptography import x509  # noqa: PLC0415 - as above
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 - as above
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 - as above

    for block in text.split(_PEM_BEGIN)[1:]:
        pem = (_PEM_BEGIN + block).encode()
        try:
            if block.startswith("CERTIFICATE-----"):
                key: object = x509.load_pem_x509_certificate(pem).public_key()
            else:
                key = serialization.load_pem_public_key(pem)
        except UnsupportedAlgorithm as error:
            raise InvalidInput(f"{where} has a key that cannot be used; give an RSA, P-256 or Ed25519 key") from error
        except ValueError as error:
            raise InvalidInput(f"{where} has a block that is neither a public key nor a certificate") from error
        yield key_of(key, "", where)


def _of_set(text: str, where: str) -> Iterator[PublicKey]:
    try:
        document = json.loads(text)
        entries = document["keys"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InvalidInput(f"{where} is neither PEM nor a JSON Web Key Set") from error
    for entry in entries if isinstance(entries, list) else ():
        if not isinstance(entry, dict) or entry.get("use", "sig") != "sig":
            continue
        try:
            key = _of_entry(entry)
        except (ValueError, KeyError, TypeError) as error:
            raise InvalidInput(f"{where} has a key that is not valid: {error}") from error
        if key is not None:
            made = key_of(key, str(entry.get("kid", "")), where)
            if entry.get("alg", made.algorithm) == made.algorithm:
                yield made


def _of_entry(entry: dict[str, Any]) -> object | None:
    """Return the key of an entry of a set, or None for one of a kind that is not used."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa  # noqa: PLC0415 - as above

    kind, curve = entry.get("kty"), entry.get("crv")
    if kind == "RSA":
        return rsa.RSAPublicNumbers(_number(entry["e"]), _number(entry["n"])).public_key()
    if (kind, curve) == ("EC", "P-256"):
        return ec.EllipticCurvePublicNumbers(_number(entry["x"]), _number(entry["y"]), ec.SECP256R1()).public_key()
    if (kind, curve) == ("OKP", "Ed25519"):
        return ed25519.Ed25519PublicKey.from_public_bytes(_bytes(entry["x"]))
    return None


def _number(text: str) -> int:
    return int.from_bytes(_bytes(text), "big")


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def key_of(key: object, kid: str, where: str) -> PublicKey:
    """Return a key of the package as one that verifies tokens.

    Args:
        key: RSA, P-256 or Ed25519.
        kid: its name, or empty.
        where: it is, for messages.

    Raises:
        InvalidInput: it is another kind of key, or too short.
    """
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - as above
    from cryptography.hazmat.primitives import hashes  # noqa: PLC0415 - as above
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils  # noqa: PLC0415 - as above

    def checked(verify: Callable[[bytes, bytes], None]) -> Callable[[bytes, bytes], bool]:
        def check(signature: bytes, signed: bytes) -> bool:
            try:
                verify(signature, signed)
            except (InvalidSignature, ValueError):
                return False
            return True

        return check

    if isinstance(key, rsa.RSAPublicKey):
        if key.key_size < _SMALLEST_RSA:
            raise InvalidInput(f"{where} has an RSA key of {key.key_size} bits; use one of {_SMALLEST_RSA} or more")
        return PublicKey(
            "RS256", kid, checked(lambda sign, text: key.verify(sign, text, padding.PKCS1v15(), hashes.SHA256()))
        )
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):

        def verify(signature: bytes, signed: bytes) -> None:
            # RFC 7518, 3.4: two numbers of 32 bytes, one after the other.
            if len(signature) != 2 * _WIDTH:
                raise InvalidSignature
            numbers = (int.from_bytes(signature[at : at + _WIDTH], "big") for at in (0, _WIDTH))
            key.verify(utils.encode_dss_signature(*numbers), signed, ec.ECDSA(hashes.SHA256()))

        return PublicKey("ES256", kid, checked(verify))
    if isinstance(key, ed25519.Ed25519PublicKey):
        return PublicKey("EdDSA", kid, checked(key.verify))
    raise InvalidInput(f"{where} has a key that cannot be used; give an RSA, P-256 or Ed25519 key")
