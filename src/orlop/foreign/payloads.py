"""The headers of a tar in base64, as tar-split has them, decoded many at a time.

Theory of operation. To decode base64 takes Python longer than anything else that a layer of small files needs, though
most of these texts are the same: the zeros that fill up the content before, and of the header the half behind its
checksum, which has no more than a group, a link, and the beginning of a long path. So each text is cut into three
parts, counted from its end, at borders of four digits. Beginnings and ends are looked up among those that were met
before; only what lies between, with the name, the size and the checksum, is decoded each time.
"""

from __future__ import annotations

from binascii import Error as BinasciiError
from binascii import a2b_base64
from typing import Final

from orlop.streams.tar_common import Known

# The digits of a header, and of up to three bytes before it, without the zeros at its end that fill up the text.
_HEADER: Final = 688
# Those at its end, from some bytes behind its kind on.
_END: Final = 456
# A beginning of so many may be zeros alone; what is longer is an extended header, and no two are alike.
_ZEROS: Final = 700
_KEPT: Final = 512
# The digits of zeros, and what they are by their number, if that is one of whole groups.
_DIGITS: Final = b"A" * _ZEROS
_FILLING: Final = {length: bytes(length // 4 * 3) for length in range(0, _ZEROS + 1, 4)}


class Payloads:
    """Decodes the payloads of the segments of one layer."""

    def __init__(self) -> None:
        self._beginnings = Known(_full, _KEPT)
        self._ends = Known(_filled_up, _KEPT)

    def decoded(self, texts: list[bytes]) -> list[bytes] | None:
        """Return the bytes of each text, or nothing where one of them is not base64."""
        between = [text[-_HEADER:-_END] for text in texts]
        try:
            # Twice as fast as the strict mode, in which what is not base64 is not passed over: it would be missing.
            middles = list(map(a2b_base64, between))
            if 4 * sum(map(len, middles)) != 3 * sum(map(len, between)):
                return None
            beginnings = self._decoded_beginnings([text[:-_HEADER] for text in texts])
            ends = self._decoded_ends([text[-_END:] for text in texts])
        except BinasciiError:
            return None
        return list(map(b"".join, zip(beginnings, middles, ends, strict=True)))

    def _decoded_beginnings(self, texts: list[bytes]) -> list[bytes]:
        """Return the bytes of the beginnings. Raises `BinasciiError`."""
        lengths = list(map(len, texts))
        if all(map(_DIGITS.startswith, texts)) and _FILLING.keys() >= set(lengths):
            return [_FILLING[length] for length in lengths]
        known = self._beginnings
        return [known[text] if len(text) <= _ZEROS else _full(text) for text in texts]

    def _decoded_ends(self, texts: list[bytes]) -> list[bytes]:
        """Return the bytes of the ends. Raises `BinasciiError`."""
        known, last = self._ends, texts[0]
        data = known[last]
        if texts.count(last) == len(texts):
            return [data] * len(texts)
        return [data if text == last else known[text] for text in texts]


def _full(text: bytes) -> bytes:
    """Return the bytes of a text whose digits all have some. Raises `BinasciiError`."""
    data = a2b_base64(text)
    if 4 * len(data) != 3 * len(text):
        raise BinasciiError
    return data


def _filled_up(text: bytes) -> bytes:
    """Return the bytes of a text that may be filled up. Raises `BinasciiError`."""
    return a2b_base64(text, strict_mode=True)
