"""How long the source of an import may take, which has a turn of the transfers meanwhile."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from orlop.api.pace import Pace
from orlop.errors import RequestAborted

if TYPE_CHECKING:
    from orlop.api.engine.call import Context
    from orlop.api.flow import Download


class SourcePatience:
    """The patience with a server that content is fetched from: that with a client, as long as there is a client.

    Args:
        download: what the client gets.
        context: how slow a client may be.
    """

    def __init__(self, download: Download, context: Context) -> None:
        self._download = download
        self._context = context
        self._pace = Pace(context.bounds.rate)

    def look(self, moved: int, *, is_awaited: bool) -> None:
        """See whether the source is to be waited for, see `orlop.streams.awaited.Patience`.

        Raises:
            RequestAborted: the client has hung up. TimeoutError: the source is too slow.
        """
        if self._download.cancelled:
            raise RequestAborted("the client hung up before everything was fetched")
        patience = self._context.workers.patience(self._context.bounds.patience)
        if self._pace.look(time.monotonic(), moved, is_awaited=is_awaited) > patience:
            raise TimeoutError(f"it was too slow for {patience:g} seconds")
