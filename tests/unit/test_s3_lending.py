"""Loans across a fork."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from orlop.errors import LeaseLost
from orlop.store.blobs.s3.lending import Loans
from tests.waiting import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Iterator


class Keys:
    """A session that may be replaced, and what it keeps."""

    def __init__(self) -> None:
        self.session = "first"
        self.dead = ""
        self.kept: list[str] = []

    def require(self, session: str) -> None:
        if session == self.dead:
            raise LeaseLost("it is dead")

    @contextmanager
    def reading(self) -> Iterator[None]:
        self.kept.append(self.session)
        yield


def test_a_url_does_not_rely_on_a_session_that_was_replaced() -> None:
    keys = Keys()
    loans = Loans(keys, lambda: 0.0)
    loans.lend(60)
    loans.lend(60)
    keys.session = "second"
    loans.lend(60)
    loans.lend(60)
    assert (keys.kept, loans.count) == (["first", "second"], 2)
    loans.close()


def test_nothing_is_lent_by_a_session_that_is_known_to_be_dead() -> None:
    keys = Keys()
    loans = Loans(keys, lambda: 0.0)
    loans.lend(60)
    keys.dead = "first"
    with pytest.raises(LeaseLost):
        loans.lend(60)
    loans.close()


def test_a_child_has_no_loans_and_waits_for_no_lock_of_its_parent() -> None:
    guard = threading.Lock()

    class Guarded(Keys):
        @contextmanager
        def reading(self) -> Iterator[None]:
            try:
                yield
            finally:
                with guard:
                    pass

    loans = Loans(Guarded(), lambda: 0.0)
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
    killing = threading.Timer(PATIENCE, os.kill, (child, signal.SIGKILL))
    killing.start()
    try:
        return os.waitpid(child, 0)[1]
    finally:
        killing.cancel()
