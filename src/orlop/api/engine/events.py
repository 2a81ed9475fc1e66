"""``GET /events``: what happened, and what happens from now on."""

from __future__ import annotations

import asyncio
import re
import time
from typing import TYPE_CHECKING, Final

from starlette.responses import Response

from orlop.api.engine.call import Endpoint
from orlop.api.engine.shapes.event import event_line, is_wanted
from orlop.api.engine.shapes.filters import parse_filters
from orlop.api.engine.watch import INTERVAL
from orlop.api.streamed import hung_up
from orlop.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from starlette.types import Receive, Scope, Send

    from orlop.api.engine.call import Call
    from orlop.store.events import Event

_TIME: Final = re.compile(r"([-+]?\d{1,12})(?:\.(\d{1,9})\d*)?", re.ASCII)
_SECOND: Final = 1_000_000_000


async def _events(call: Call) -> Response:
    since_text, until_text = call.parameters.get("since"), call.parameters.get("until")
    since, until = _time(since_text), _time(until_text)
    if since is not None and until is not None and until < since:
        raise InvalidInput(f"`since` time ({since_text}) cannot be after `until` time ({until_text})")
    filters = parse_filters(call.parameters.get("filters"))
    return _Stream(call, since, until, filters)


def _time(text: str) -> int | None:
    """Read seconds since 1970, perhaps with a fraction, as nanoseconds; -1 is how engines write that there are none."""
    if not text:
        return None
    match = _TIME.fullmatch(text)
    if match is None:
        raise InvalidInput(f"{text!r} is not a time in seconds since 1970")
    if int(match[1]) == -1:
        return None
    return int(match[1]) * _SECOND + int((match[2] or "").ljust(9, "0"))


class _Stream(Response):
    """A line for each event, until the client hangs up, the time is over, or the server ends."""

    def __init__(
        self, call: Call, since: int | None, until: int | None, filters: Mapping[str, Collection[str]]
    ) -> None:
        super().__init__(media_type="application/json")
        del self.headers["content-length"]
        self._call = call
        self._since = since
        self._until = until
        self._filters = filters
        self._left = None if until is None else (until - time.time_ns()) / _SECOND

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events."""
        context = self._call.context
        with context.watch.seat(scope["orlop.client"], context.bounds.followers):
            await self._follow(scope, receive, send)

    async def _follow(self, scope: Scope, receive: Receive, send: Send) -> None:
        # The client must see the head at once, since the first event may be long in coming.
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        work = asyncio.ensure_future(self._send_all(send))
        # Whoever closes its half of the connection listens no more: engines end the stream then, too.
        signs = [hung_up(receive), scope["orlop.client"].left.wait(), self._call.context.ending.wait()]
        ends = [asyncio.ensure_future(sign) for sign in signs]
        # What happens just before the end of the time is heard of a moment later.
        patience = None if self._only_past or self._left is None else self._left + 2 * INTERVAL
        try:
            await asyncio.wait([work, *ends], timeout=patience, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                await work
        finally:
            for task in (work, *ends):
                task.cancel()
            await asyncio.gather(work, *ends, return_exceptions=True)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    @property
    def _only_past(self) -> bool:
        return self._left is not None and self._left <= 0

    async def _send_all(self, send: Send) -> None:
        context = self._call.context
        async with context.watch.listening() as newest:
            if self._since is not None or self._until is not None:
                last: int | None = 0
                while last is not None and last < newest:
                    last = await self._tell(send, await context.watch.read(last), newest)
            last = newest
            while last is not None and not self._only_past:
                last = await self._tell(send, await context.watch.after(last))

    async def _tell(self, send: Send, events: list[Event], newest: int | None = None) -> int | None:
        """Send events up to the newest that is wanted, if there is one, and return the number of the last, if any."""
        last = events[-1].number if events else None
        lines = [
            event_line(event, self._call.version)
            for event in events
            if (newest is None or event.number <= newest) and self._is_asked_for(event)
        ]
        # A client may be slow, and lines take much less memory.
        events.clear()
        for line in lines:
            await send({"type": "http.response.body", "body": line, "more_body": True})
        return last

    def _is_asked_for(self, event: Event) -> bool:
        if self._since is not None and event.time < self._since:
            return False
        return (self._until is None or event.time <= self._until) and is_wanted(event, self._filters)


ENDPOINTS = (Endpoint("GET", "/events", _events),)
