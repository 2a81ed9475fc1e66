"""CRC-64 of ISO 3309 (CRC-64/GO-ISO), by which tar-split knows the content of files.

Theory of operation. The polynomial has five terms only: P = x^64 + x^4 + x^3 + x + 1. Over two elements a square is
taken term by term, so that for every power of two s

    x^(64 s) = x^(4 s) + x^(3 s) + x^s + 1    (mod P)

Bytes are one number, whose lowest bit is the highest power (the CRC is a reflected one). What lies above x^(64 s) is
thus folded into what lies below it by four shifts, whatever its length; each fold halves the number, and half as large
an s follows. Shifts and exclusive ors of long integers run at the speed of memory, which no loop over bytes would.

The register is inverted before the first byte and after the last one. A state that is handed on is the register itself,
so that a content may come in pieces; `EMPTY` begins, and `finished` ends.
"""

from __future__ import annotations

from typing import Final

_BITS: Final = 64
_MASK: Final = (1 << _BITS) - 1
# More at once would be slower: the number no longer fits into the cache.
_PIECE: Final = 1 << 16

EMPTY: Final = _MASK
"""The state before the first byte."""


def updated(state: int, data: bytes | memoryview) -> int:
    """Return the state after more bytes."""
    view = memoryview(data)
    for start in range(0, len(view), _PIECE):
        piece = view[start : start + _PIECE]
        state = _folded(int.from_bytes(piece, "little") ^ state, len(piece))
    return state


def finished(state: int) -> bytes:
    """Return the CRC, 8 bytes, big-endian."""
    return (state ^ _MASK).to_bytes(8)


def crc64(data: bytes) -> bytes:
    """Return the CRC of bytes, 8 bytes, big-endian."""
    return finished(updated(EMPTY, data))


def _folded(number: int, size: int) -> int:
    """Return a polynomial times x^64, modulo P; it has ``size`` bytes, and its lowest bit is the highest power."""
    bits = 8 * size + _BITS
    scale = 1 << max(0, (bits // _BITS).bit_length() - 1)
    while bits > _BITS:
        low = _BITS * scale
        while (high := bits - low) > 0:
            # The terms x^(4 scale) and below reach over the border by so much; what stays is folded again.
            top = number & ((1 << high) - 1)
            number >>= high
            bits = low
            spare = high - low + 4 * scale
            if spare > 0:
                number <<= spare
                bits += spare
            base = bits - high
            number ^= top << base
            number ^= top << (base - scale)
            number ^= top << (base - 3 * scale)
            number ^= top << (base - 4 * scale)
        scale = scale // 2 or 1
    return number
