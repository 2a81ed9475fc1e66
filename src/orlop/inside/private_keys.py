"""Private keys: how each kind is written in a text, and whether it is encrypted.

An encrypted key tells nothing without its password, so none is reported. Most kinds say so in their head; those
of OpenSSH and OpenPGP only in their body, which is parsed so far.
"""

from __future__ import annotations

import re
from base64 import b64encode
from binascii import Error, a2b_base64
from typing import Final

from orlop.inside.secret_rule import EXPLAINED, Rule, is_varied

__all__ = ["BASE64", "IN_BASE64", "KEYS"]

_LONGEST: Final = 400
# In JSON, the ends of lines are escaped, and slashes may be; once more if the JSON is in a string of JSON. In YAML,
# lines are indented, and in a variable they may be joined by spaces or by nothing. In sources, each may be a text of
# its own, or a comment.
_BETWEEN: Final = rb"\s|\\{1,3}[rnt]|&#(?:10|13|x[AaDd]);|[\"'#>,]|\\(?=\s)"
_PEM: Final = (
    rb"-----BEGIN (?:RSA |EC |DSA |OPENSSH )?PRIVATE KEY-----(?:" + _BETWEEN + rb"|[+](?=\s)){0,80}+(?=\w)"
    rb"(?:[A-Za-z0-9+/=]|" + _BETWEEN + rb"|\\{1,3}/){64,14000}+-----END "
)
_LINES: Final = re.compile(rb"-----(?:[\r\n]|\\{1,3}[rn]){1,4}(?:[A-Za-z0-9+/=\r\n]|\\{1,3}[rn/])++-----END ")
_PEM_FORM: Final = re.compile(_PEM)
IN_BASE64: Final = b64encode(b"-----BEGIN P")[:14]
"""How a private key and much else begins in base64, with 10 bytes of it."""
BASE64: Final = IN_BASE64 + rb"(?:[A-Za-z0-9+/]|[\r\n]++[ \t]{0,40}+|\\{1,3}[rn]){120,14000}+"
_ENDS: Final = re.compile(_BETWEEN + rb"|\+(?=\s)|\\(?=/)|&#\w{2,3};")
_ENDS_IN_BASE64: Final = re.compile(rb"\s|\\{1,3}[rn]")
_OPENSSH: Final = b64encode(b"openssh-key-v1\0\0\0\0\4no")  # the beginning of the name of the cipher "none"
_DIFFERING: Final = 20


def _is_key(token: bytes, around: bytes) -> bool:
    """Return whether a private key is in a text, and is not encrypted.

    The text may be in base64, as a secret of Kubernetes is, with certificates before the key.
    """
    if b"\0" in around:
        return False
    if token.startswith(IN_BASE64):
        return any(_is_key(found[0], b"") for found in _PEM_FORM.finditer(_decoded(_ENDS_IN_BASE64.sub(b"", token))))
    head, _, body = token.partition(b"PRIVATE KEY")
    bare = _ENDS.sub(b"", body[: 2 * _LONGEST].lstrip(b"-"))[:_LONGEST]
    if EXPLAINED.match(bare):
        return False
    if b"OPENSSH" in head:
        return bare.startswith(_OPENSSH)
    # Others are sequences of ASN.1, which begin with the same bits. Words of a text could be joined by spaces, too.
    return _LINES.match(body) is not None or (bare.startswith(b"M") and len({*bare}) >= _DIFFERING)


def _decoded(text: bytes) -> bytes:
    return a2b_base64(text[: len(text) & -4])


_PGP_HEAD: Final = rb"-----BEGIN PGP PRIVATE KEY BLOCK-----"
_PGP_LINE: Final = re.compile(rb"\A\s*+[A-Za-z0-9+/][A-Za-z0-9+/=]*+\s*+\Z")
_PGP_BREAK: Final = re.compile(rb"\r?\n|\\{1,3}n")
_PGP_SECRET: Final = 5  # the tag of a packet with a secret key
_NEW_PACKET: Final = 0xC0
_OLD_PACKET: Final = 0x80
_PGP_VERSION: Final = 4
_NUMBERS: Final = {1: 2, 2: 2, 3: 2, 16: 3, 17: 4, 18: 1, 19: 1, 22: 1}
"""How many numbers the public half has, by the algorithm."""
_CURVES: Final = (18, 19, 22)
_ECDH: Final = 18
_FIXED: Final = {25: 32, 26: 56, 27: 32, 28: 57}
"""How many bytes the public half has, by the algorithm."""


def _is_open_pgp(token: bytes, around: bytes) -> bool:
    """Return whether a private key of OpenPGP or GnuPG is not encrypted."""
    del around
    if not token.startswith(b"-----"):
        return True
    lines = [line for line in _PGP_BREAK.split(token[len(_PGP_HEAD) :]) if _PGP_LINE.match(line)]
    try:
        packet = _decoded(b"".join(b"".join(lines).split()))
        return _is_open_packet(packet)
    except (Error, IndexError, KeyError):
        return False


def _is_open_packet(packet: bytes) -> bool:
    """Return whether the first packet is a secret key that no password encrypts (RFC 9580, 5.5.3)."""
    tag = packet[0]
    if tag >= _NEW_PACKET:
        kind, place = tag & 0x3F, 2 if packet[1] < 192 else 3 if packet[1] < 224 else 6
    else:
        kind, place = (tag & 0x3C) >> 2, 1 + (1 << (tag & 3))
    if tag < _OLD_PACKET or kind != _PGP_SECRET or packet[place] != _PGP_VERSION:
        return False
    algorithm, place = packet[place + 5], place + 6
    if algorithm in _FIXED:
        return packet[place + _FIXED[algorithm]] == 0
    if algorithm in _CURVES:
        place += 1 + packet[place]
    for _ in range(_NUMBERS[algorithm]):
        place += 2 + (int.from_bytes(packet[place : place + 2]) + 7) // 8
    if algorithm == _ECDH:
        place += 1 + packet[place]
    return packet[place] == 0


# All up to the next name of the same kind, so each beginning is passed over once. Python 3.11.2 ends a possessive group
# of alternatives too early.
_JWK_REST: Final = rb"(?:(?!\"(?:d|k|kty)\\{0,3}\")[^{}]){0,6000}"
_JWK_NAMED: Final = rb"\\{0,3}\"\s{0,9}:\s{0,9}\\{0,3}\""
_JWK_VALUE: Final = rb"\"[dk]" + _JWK_NAMED + rb"[A-Za-z0-9_-]{22,1400}+"
_JWK_VALUES: Final = re.compile(_JWK_VALUE)
_JWK_KIND: Final = rb"\"kty" + _JWK_NAMED + rb"(?:RSA|EC|OKP|oct)"

KEYS: Final = {
    "private-key": Rule(
        "a private key without a password",
        (b"PRIVATE KEY-----", IN_BASE64),
        re.compile(_PEM + b"|" + BASE64),
        _is_key,
    ),
    "pgp-key": Rule(
        "a private key of OpenPGP without a password",
        (_PGP_HEAD, b"private-key"),
        # Libraries for cryptography have formats of such keys in them, and whole ones that they test themselves with.
        re.compile(
            _PGP_HEAD + rb"(?:[^-]|-(?!----)){100,8000}+|Key:[ \t\r\n]{1,9}\(private-key[ \r\n]{0,9}\([a-z]"
            # What follows tells keys apart.
            rb"[\t\r\n -~]{0,2000}+|\(11:private-key\([0-9]{1,2}:[a-z][\s\S]{0,300}+"
        ),
        _is_open_pgp,
    ),
    "putty-key": Rule(
        "a private key of PuTTY without a password",
        (b"PuTTY-User-Key-File-",),
        re.compile(
            rb"PuTTY-User-Key-File-[123]: [a-z0-9@.-]{3,60}+\r?\nEncryption: none\r?\nComment:[^\r\n]{0,400}+\r?\n"
            rb"Public-Lines: [0-9]{1,3}\r?\n(?:[A-Za-z0-9+/=]{1,80}+\r?\n){1,200}Private-Lines: [0-9]{1,3}\r?\n"
            rb"[A-Za-z0-9+/=]{24,80}+"
        ),
    ),
    "json-web-key": Rule(
        "a private or secret key in JSON (JWK)",
        (b'"kty',),
        re.compile(_JWK_KIND + _JWK_REST + _JWK_VALUE + b"|" + _JWK_VALUE + _JWK_REST + _JWK_KIND),
        lambda token, _: all(is_varied(value) for value in _JWK_VALUES.findall(token)),
    ),
    "wireguard-key": Rule(
        "a private key of WireGuard",
        (b"PrivateKey",),
        re.compile(rb"PrivateKey\s{0,9}=\s{0,9}[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=(?![A-Za-z0-9+/=])"),
        lambda token, _: is_varied(token.rstrip(b"=")),
    ),
}
