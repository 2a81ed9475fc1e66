"""Loans across a fork."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from orlop.store.blobs.s3.lending import Loans

if TYPE_CHECKING:
    from collections.abc import Iterator


def test_a_child_has_no_loans_and_waits_for_no_lock_of_its_parent() -> None:
    guard = threading.Lock()

    @contextmanager
    def reading() -> Iterator[None]:
        try:
            yield
        finally:
            with guard:
                pass

    loans = Loans(reading, lambda: 0.0)
    loans.lend(60)
    with guard:
        child = os.fork()
        if not child:
            os._exit(loans.count)
        status = _status_of(child)
    assert os.waitstatus_to_exitcode(status) == 0
    assert loans.count == 1
    loans.close()


def _status_of(child: int) -> int:
    """Return how a child has ended; one that hangs is killed."""
    killing = threading.Timer(10, os.kill, (child, signal.SIGKILL))
    killing.start()
    try:
        return os.waitpid(child, 0)[1]
    finally:
        killing.cancel()
