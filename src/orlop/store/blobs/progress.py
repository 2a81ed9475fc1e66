"""How far the work on one blob is, told to whoever listens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orlop.model.progress import LayerDone, LayerExists, LayerProgress

if TYPE_CHECKING:
    from collections.abc import Callable

    from orlop.model.progress import Progress
    from orlop.store.rows.metadata import BlobRow

__all__ = ["BlobProgress"]


class BlobProgress:
    """Reports the progress of a blob, and ends the work where it is in vain. One thread works on a blob.

    Args:
        blob: what is worked on; for listeners it is a layer. progress: the listener, if there is one. check: called
            with each step; what it raises ends the work.
    """

    def __init__(self, blob: BlobRow, progress: Progress | None, check: Callable[[], None]) -> None:
        self._label = blob.digest.short
        self._total = blob.size
        self._progress = progress
        self._check = check
        self._current = 0

    def __call__(self, size: int) -> None:
        """Report that so many more bytes are done."""
        self._check()
        self._current += size
        if self._progress is not None:
            self._progress(LayerProgress(self._label, self._current, self._total))

    def again(self) -> None:
        """Begin anew."""
        self._current = 0

    def done(self) -> None:
        """Report that the blob is done."""
        if self._progress is not None:
            self._progress(LayerDone(self._label))

    def exists(self) -> None:
        """Report that the blob was there already."""
        if self._progress is not None:
            self._progress(LayerExists(self._label))
