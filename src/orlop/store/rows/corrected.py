"""Bytes in which one bit is wrong, put right by the digest that names them."""

from __future__ import annotations

import hashlib
from typing import Final

_LONGEST: Final = 16 << 10
"""The largest document in which a wrong bit is looked for: each of them is tried, which takes a second or two."""


def corrected(content: bytes, digest: str) -> bytes | None:
    """Return bytes with the one bit put right that keeps them from having a digest, if there is such a bit."""
    algorithm, _, wanted = digest.partition(":")
    if algorithm not in {"sha256", "sha384", "sha512"} or len(content) > _LONGEST:
        return None
    target = bytes.fromhex(wanted)
    before = hashlib.new(algorithm)
    for at, byte in enumerate(content):
        rest = content[at + 1 :]
        for bit in range(8):
            changed = before.copy()
            changed.update(bytes((byte ^ 1 << bit,)))
            changed.update(rest)
            if changed.digest() == target:
                return content[:at] + bytes((byte ^ 1 << bit,)) + rest
        before.update(content[at : at + 1])
    return None
