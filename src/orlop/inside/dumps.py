"""Dumps of the memory of programs, which they left behind when they crashed.

What a program had in memory is in its dump, keys and passwords included. The name only says which files to look into,
since kernels are told to name dumps in many ways: what counts is how they begin. Dumps that systemd and Ubuntu keep are
compressed, or wrapped in a report, and are known by where they lie.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["Dump", "dump_of"]

_KEPT: Final = re.compile(r"/var/(?:lib/systemd/coredump/core\.|crash/[^/]+\.crash\Z)")
_NAMED: Final = re.compile(r"(?<![A-Za-z])(?:v[gm])?core(?:dump)?(?![A-Za-z])")
_ENDINGS: Final = (".hprof", ".dmp", ".hdmp", ".mdmp", ".heapsnapshot")
_ELF: Final = b"\x7fELF"
_BIG: Final = b"\2"  # the byte order of an ELF file
_CORE: Final = b"\4\0"  # the type of an ELF file, low byte first
_TYPE: Final = slice(16, 18)
_OTHERS: Final = (b"JAVA PROFILE 1.0.", b"MDMP", b"PAGEDU", b'{"snapshot":{')
_READ: Final = 32


class Dump:
    """A file that may be a dump: ``is_one`` tells so once its content was looked into."""

    def __init__(self, *, is_one: bool) -> None:
        self.is_one = is_one

    def look_into(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """Yield the chunks of its content, and look at how it begins."""
        head = b""
        for chunk in chunks:
            head += chunk[: _READ - len(head)]
            yield chunk
        self.is_one = self.is_one or head.startswith(_OTHERS) or _is_core(head)


def _is_core(head: bytes) -> bool:
    kind = head[_TYPE] if head[5:6] != _BIG else head[_TYPE][::-1]
    return head.startswith(_ELF) and kind == _CORE


def dump_of(path: str) -> Dump | None:
    """Return what a file with a path, from the root, may be; None for most."""
    if _KEPT.match(path):
        return Dump(is_one=True)
    name = path[path.rfind("/") + 1 :]
    # Nearly all names end here.
    if not (name.endswith(_ENDINGS) or ("core" in name and _NAMED.search(name))):
        return None
    return Dump(is_one=False)
