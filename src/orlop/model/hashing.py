"""SHA-256 for commands that take no longer than a moment: of short texts without OpenSSL, of others without the rest.

`hashlib` loads OpenSSL, which takes a quarter of the time in which an interpreter starts, and a command that lists
images hashes a few hundred bytes. Python has the algorithm built in as well (`random` uses it for the same reason). It
is several times slower for each byte: so it hashes the first bytes of a process, and `hashlib` all others.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_FIRST = 1 << 16
"""For about how many bytes the slower code takes half the time in which `hashlib` is imported."""


def _built_in() -> Any:
    """Return the algorithm of Python 3.12 and later, of 3.11, or, where a Python is built without it, of OpenSSL."""
    for name in ("_sha2", "_sha256"):
        try:
            return __import__(name).sha256
        except ImportError:
            continue
    return __import__("hashlib").sha256


def sha256_hex(data: bytes) -> str:
    """Return the SHA-256 of some bytes as hex digits."""
    global _left, _sha256  # noqa: PLW0603 - one import for a process
    if _left >= 0:
        _left -= len(data)
        if _left < 0:
            from hashlib import sha256  # noqa: PLC0415 - see above

            _sha256 = sha256
    return str(_sha256(data).hexdigest())


def sha256() -> Any:
    """Return a hash that is to be fed many bytes: OpenSSL's, without the other algorithms that `hashlib` loads."""
    try:
        return __import__("_hashlib").openssl_sha256()
    except (ImportError, AttributeError, ValueError):  # an OpenSSL may refuse, and `hashlib` knows of others
        return __import__("hashlib").sha256()


_left = _FIRST
_sha256 = _built_in()
