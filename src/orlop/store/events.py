"""Events: what happened to images, kept in the store so that whoever asks may hear of it, in whichever process.

They are rows like all others: written in the transaction of what they tell of, so that there is neither an event
without its deed nor a deed without its event. Only the newest are kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orlop.store.metadata import Event

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from orlop.model.digest import ImageID
    from orlop.store.metadata import Metadata

__all__ = ["KEPT", "Event", "EventLog"]

KEPT: Final = 1000
"""How many events a store keeps."""


class EventLog:
    """The newest events of a store, oldest first.

    Args:
        metadata: the rows. now: the clock, in nanoseconds since 1970.
    """

    def __init__(self, metadata: Metadata, now: Callable[[], int]) -> None:
        self._metadata = metadata
        self._now = now

    def image(
        self, action: str, image: ImageID, *, name: str | None = None, labels: Mapping[str, str] | None = None
    ) -> None:
        """Tell what happened to an image, inside the write that does it, if there is one.

        Args:
            action: docker's word, such as ``tag``.
            image: the image.
            name: what it is called; else its ID.
            labels: its own, as far as it is still there.
        """
        self._put("image", action, str(image), {**(labels or {}), "name": name or str(image)})

    def pruned(self, reclaimed: int) -> None:
        """Tell that images were pruned, and how many bytes that freed."""
        self._put("image", "prune", "", {"reclaimed": str(reclaimed)})

    def since(self, number: int = 0) -> tuple[Event, ...]:
        """Give the events after the one with a number, as far as they are kept; nothing is locked for it."""
        with self._metadata.read() as rows:
            return tuple(rows.events(number))

    def last(self) -> int:
        """Give the number of the newest event, 0 where there was none."""
        with self._metadata.read() as rows:
            return rows.last_event()

    def _put(self, kind: str, action: str, actor: str, attributes: Mapping[str, str]) -> None:
        with self._metadata.write() as rows:
            rows.put_event(Event(0, self._now(), kind, action, actor, attributes), keep=KEPT)
