"""Hearing of events: one look at the store for all who listen."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Final

from orlop.errors import ServerBusy
from orlop.store.events import BATCH

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from orlop.api.workers import Client, Workers
    from orlop.service.image_service import ImageService
    from orlop.store.events import Event

INTERVAL: Final = 0.1
"""Seconds between two looks; one costs some dozen microseconds."""

_RECENT: Final = 64
"""How many events are kept for listeners; one that has heard fewer reads the others from the store."""


class EventWatch:
    """The events of a store as they happen, whoever makes them. Belongs to one event loop.

    It looks only while somebody listens.
    """

    def __init__(self, service: ImageService, workers: Workers) -> None:
        self._service = service
        self._workers = workers
        self.listeners = 0
        """How many listen."""
        self._followers = 0
        self._task: asyncio.Task[None] | None = None
        self._recent: deque[Event] = deque(maxlen=_RECENT)
        self._news = asyncio.Event()
        self._failure: Exception | None = None

    @contextmanager
    def seat(self, client: Client, most: int) -> Iterator[None]:
        """Take one of a number of seats for a client, for a block.

        Raises:
            ServerBusy: all are taken.
        """
        if self._followers >= most:
            raise ServerBusy(f"{most} clients follow events already, and no more are allowed; try again later")
        client.keep()
        self._followers += 1
        try:
            yield
        finally:
            self._followers -= 1

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[int]:
        """Listen, for a block, and return the number of the last event before."""
        last = await self._workers.run(self._service.last_event)
        self.listeners += 1
        if self._task is None:
            self._failure = None
            self._task = asyncio.create_task(self._look(last))
        try:
            yield last
        finally:
            self.listeners -= 1
            if self.listeners == 0:
                self._task.cancel()
                self._task = None
                self._recent.clear()

    async def after(self, number: int) -> list[Event]:
        """Wait for events after the one with a number, and return the first of them. Only for listeners.

        Raises:
            StorageError: the store cannot be read any more.
        """
        while True:
            if self._failure is not None:
                raise self._failure
            if self._recent and number + 1 < self._recent[0].number and (missed := await self.read(number)):
                return missed
            if found := next((event for event in self._recent if event.number > number), None):
                return [found]
            await self._news.wait()

    async def read(self, number: int) -> list[Event]:
        """Return the first events after the one with a number, one batch of them, from the store."""
        return [*await self._workers.run(self._service.events, number, most=BATCH)]

    async def _look(self, last: int) -> None:
        while True:
            try:
                events = await self.read(last)
            except Exception as error:  # noqa: BLE001 - told to all who listen
                self._failure = error
                self._tell()
                return
            if events:
                last = events[-1].number
                self._recent.extend(events)
                self._tell()
            await asyncio.sleep(INTERVAL)

    def _tell(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()
