"""Programs of Go, which say what they were built from.

Go's linker leaves in each program a block that begins with a mark at a multiple of 16 bytes, and, since Go 1.18, holds
two texts, each after its length: the version of Go, and lines about the module of the program (``path``, ``mod``,
``dep`` and others, with tabs between their fields). The whole program counts for its own module: what the modules that
it depends on take up of it, nobody can say. Programs of older versions have addresses in place of the texts, and
programs that were built without modules have no ``mod``; of the former nothing is read, of the latter the path.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["SMALLEST", "Program"]

SMALLEST: Final = 1 << 18
"""Bytes that every program of Go exceeds."""

_ELF: Final = b"\x7fELF"
_MARK: Final = b"\xff Go buildinf:"
_ALIGNED: Final = 16
_TEXTS: Final = 32  # where the texts begin
_FLAGS: Final = 15
_HAS_TEXTS: Final = 2
_MODULE_BEGINS: Final = bytes.fromhex("3077af0c9274080241e1c107e6d618e6")
_READ: Final = 8 << 10
"""How many bytes of a block are read. The lines that count are the first ones."""


class Program:
    """What may be a program of Go; ``module`` is what it was built from, or empty as long as that is not known."""

    def __init__(self) -> None:
        self.module = ""

    def look_into(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """Yield the chunks of its content, and look for the block in them."""
        data, start = b"", 0
        is_program: bool | None = None
        for chunk in chunks:
            yield chunk
            if is_program is None:
                is_program = chunk.startswith(_ELF)
            if not is_program or self.module:
                continue
            kept = data[-_READ:]
            start += len(data) - len(kept)
            data = kept + chunk
            self._search(data, start, is_last=False)
        if is_program and not self.module:
            self._search(data, start, is_last=True)

    def _search(self, data: bytes, start: int, *, is_last: bool) -> None:
        """Look for the block in some bytes, of which those are looked at later that end too early."""
        end = len(data) if is_last else len(data) - _READ
        at = data.find(_MARK)
        while 0 <= at < end and not self.module:
            # Other places with these bytes are those of programs that look for them.
            if (start + at) % _ALIGNED == 0:
                self.module = _module_of(data[at : at + _READ])
            at = data.find(_MARK, at + 1)


def _module_of(block: bytes) -> str:
    """Return the module, or else the path, that a block tells; nothing if it tells none."""
    if len(block) <= _TEXTS or not block[_FLAGS] & _HAS_TEXTS:
        return ""
    _, after = _text(block, _TEXTS)
    text, _ = _text(block, after)
    if not text.startswith(_MODULE_BEGINS):
        return ""
    facts: dict[bytes, bytes] = {}
    for line in text[len(_MODULE_BEGINS) :].split(b"\n"):
        fields = line.split(b"\t")
        if len(fields) > 1:
            facts.setdefault(fields[0], fields[1])
    return (facts.get(b"mod") or facts.get(b"path") or b"").decode("utf-8", "surrogateescape")


def _text(block: bytes, at: int) -> tuple[bytes, int]:
    """Return the text at a place, as far as it is there, and where it ends. Its length is in groups of seven bits."""
    size = shift = 0
    while at < len(block):
        byte = block[at]
        at += 1
        size |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    return block[at : at + size], at + size
