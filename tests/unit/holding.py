"""A registry that leaves its clients waiting, from a moment on that a test chooses until the test lets them go."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from orlop.testing.registry.fake import FakeRegistry
from orlop.testing.registry.site import HangUp
from tests.waiting import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable

    from orlop.testing.registry.quirks import Quirks
    from orlop.testing.registry.site import Asked, Reply


class Holding(FakeRegistry):
    """A registry that answers as usual, until it is told to hold.

    Whoever only looks from time to time how far a client has come may look when the client is done.
    """

    def __init__(self, quirks: Quirks | None = None) -> None:
        super().__init__(quirks)
        self.holds = threading.Event()
        self._goes_on = threading.Event()
        self._from_when: Callable[[], bool] = lambda: False

    def hold(self, from_when: Callable[[], bool]) -> None:
        """Answer nothing any more once something is so."""
        self._from_when = from_when

    def hold_from(self, size: int) -> None:
        """Answer nothing any more once so many bytes have come."""
        self.hold(lambda: sum(one.received for one in list(self.requests)) >= size)

    def let_go(self) -> None:
        """Break the connections of those who wait, answer all others, and forget what was asked for."""
        self.hold(lambda: False)
        self._goes_on.set()
        self.requests.clear()

    def _registry(self, asked: Asked) -> Reply:
        if self._from_when():
            self.holds.set()
            self._goes_on.wait(PATIENCE)
            raise HangUp
        return super()._registry(asked)
