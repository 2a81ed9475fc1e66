"""Comparing a table of contents with its layer, while the layer passes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from orlop.errors import InvalidCompression, TocDamaged
from orlop.streams.tar_scan import END_RECORD
from orlop.streams.toc import toc_records

if TYPE_CHECKING:
    from orlop.streams.compression import DecompressingReader, Readable

__all__ = ["TocComparer"]

_TRAILER_MAX: Final = 1 << 20


class TocComparer:
    """Compares the bytes from a `TarScanner` with a table of contents; pass its `add` to the scanner as ``headers``.

    After `TarScanner.close`, `right` is whether the table is that of the layer, to the byte, except for the clause that
    says why a table is partial.
    """

    def __init__(self, source: Readable) -> None:
        """Compare with the table in ``source``, which the caller closes.

        Raises nothing if the table is damaged or cannot be read: the table is not right, but the layer may be.
        """
        self._records: DecompressingReader | None = None
        self._same = self._ended = False
        self.error: OSError | None = None
        """Why the table could not be read, if that is so: it may be right all the same."""
        try:
            self._records = toc_records(source)
            self._same = True
        except TocDamaged:
            pass
        except OSError as error:
            self.error = error

    @property
    def right(self) -> bool:
        """Whether everything was the same, to the end."""
        return self._same and self._ended

    def add(self, headers: bytes) -> None:
        """Take the bytes that should come next in the table."""
        if not self._same:
            return
        try:
            if headers.startswith(END_RECORD):
                self._ended = True
                self._same = _summary(headers) == _summary(self._take(_TRAILER_MAX))
            else:
                self._same = self._take(len(headers)) == headers
        except InvalidCompression:
            self._same = False
        except OSError as error:
            self._same, self.error = False, error

    def _take(self, size: int) -> bytes:
        """Return that many bytes of the table, or fewer at its end."""
        parts: list[bytes] = []
        while size and self._records is not None and (data := self._records.read(size)):
            parts.append(data)
            size -= len(data)
        return b"".join(parts)


def _summary(trailer: bytes) -> object:
    """Return the summary at the end of a table without its clause for people; the bytes if it is not a summary."""
    try:
        summary = json.loads(trailer.removeprefix(END_RECORD))
    except ValueError:
        return trailer
    if not trailer.startswith(END_RECORD) or not isinstance(summary, dict):
        return trailer
    return {name: value for name, value in summary.items() if name != "reason"}
