"""Messages to the engines of a store beyond one machine, and what happens to a process before one of them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from orlop.store.blobs.s3.client import S3Client
from orlop.store.rows.postgres.pool import Pool
from orlop.store.rows.postgres.sending import Sending

if TYPE_CHECKING:
    import signal
    from collections.abc import Callable
    from typing import Any


def signal_before(moment: int, which: signal.Signals) -> None:
    """Have a signal sent to this process before its n-th message to an engine from here on."""
    left = moment

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), which)
            return function(*arguments, **options)

        return call

    for kind, name in ((S3Client, "send"), (Sending, "execute"), (Pool, "begun")):
        setattr(kind, name, counted(getattr(kind, name)))
