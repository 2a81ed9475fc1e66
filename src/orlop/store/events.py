"""Events: what happened to images, kept in the store so that whoever asks may hear of it, in whichever process.

They are rows like all others: written in the transaction of what they tell of, so that there is neither an event
without its deed nor a deed without its event. Only the newest are kept, and each has a bounded size: an event tells the
labels of an image only where these are short. Readers take events in batches, since an older orlop may have kept longer
ones.
"""

from __future__ import annotations

from orlop.model import plain_json
from orlop.model.given import check_number
from orlop.store.rows.metadata import Event

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Final

    from orlop.model.digest import ImageID
    from orlop.model.reference import Reference
    from orlop.store.rows.metadata import Metadata

__all__ = ["BATCH", "KEPT", "LABELS", "Event", "EventLog"]

KEPT: Final = 1000
"""How many events a store keeps."""
LABELS: Final = 32 << 10
"""How many bytes the labels of an image may have, as JSON, that its events tell; of one with more they tell none."""
BATCH: Final = 64 << 10
"""About how many bytes of events are read at once."""
_NEWEST: Final = (1 << 63) - 1
"""The number after which no database counts further."""


class EventLog:
    """The newest events of a store, oldest first.

    Args:
        metadata: the rows. now: the clock, in nanoseconds since 1970.
    """

    def __init__(self, metadata: Metadata, now: Callable[[], int]) -> None:
        self._metadata = metadata
        self._now = now

    def image(
        self,
        action: str,
        image: ImageID,
        *,
        name: str | None = None,
        labels: Mapping[str, str] | None = None,
        times: int = 1,
    ) -> None:
        """Record what happened to an image, inside the write that does it, if there is one.

        Args:
            action: docker's word, such as ``tag``.
            image: the image.
            name: what it is called; else its ID.
            labels: its own, as far as it is still there. They are left out where they have more than `LABELS` bytes.
            times: how many times it happened.
        """
        told = labels if labels and _are_short(labels) else {}
        self._put("image", action, str(image), {**told, "name": name or str(image)}, times)

    def moved(self, action: str, name: Reference, labels: Mapping[str, str] | None = None) -> None:
        """Record that a name was pulled or pushed: engines tell that of it, and not of the image that it leads to.

        Args:
            action: docker's word, such as ``pull``.
            name: with its tag or digest.
            labels: those of the image, as `image` takes them.
        """
        told = labels if labels and _are_short(labels) else {}
        self._put("image", action, name.familiar, {**told, "name": name.familiar_name})

    def pruned(self, reclaimed: int) -> None:
        """Record that images were pruned, and how many bytes that freed."""
        self._put("image", "prune", "", {"reclaimed": str(reclaimed)})

    def since(self, number: int = 0, *, most: int | None = None) -> tuple[Event, ...]:
        """Return the events after the one with a number, as far as they are kept; nothing is locked for it.

        Args:
            number: that of an event.
            most: about how many bytes of them to read, and one event at least; by default all.
        """
        check_number(number, "the number of an event")
        if most is not None:
            check_number(most, "the size of the events to read")
        with self._metadata.read() as rows:
            return tuple(rows.events(max(0, min(number, _NEWEST)), most=most))

    def last(self) -> int:
        """Return the number of the newest event, 0 where there was none."""
        with self._metadata.read() as rows:
            return rows.last_event()

    def _put(self, kind: str, action: str, actor: str, attributes: Mapping[str, str], times: int = 1) -> None:
        with self._metadata.write() as rows:
            rows.put_event(Event(0, self._now(), kind, action, actor, attributes), keep=KEPT, times=times)


def _are_short(labels: Mapping[str, str]) -> bool:
    """Return whether labels have few bytes as JSON, without writing out long ones."""
    if sum(len(name) + len(value) for name, value in labels.items()) > LABELS:
        return False
    return len(plain_json.dumps(labels)) <= LABELS
