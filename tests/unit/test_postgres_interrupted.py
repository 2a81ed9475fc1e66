"""A signal that comes while PostgreSQL is waited for: whoever asked hears of that, and not of what follows from it."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from threading import Timer, main_thread
from typing import TYPE_CHECKING

import pytest

from orlop.store.rows.postgres.passing import PassingRows
from tests.postgres import database, opened, tag, tags

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from orlop.store.rows.postgres.database import PostgresMetadata

_SLOW = "SELECT pg_sleep(1)"


class Ended(BaseException):
    """What a program raises that wants to end."""


class Late(Exception):
    """What a program raises that has waited for too long."""


@contextmanager
def _raising(kind: type[BaseException]) -> Iterator[None]:
    """Raise something in the main thread, by a signal, while a block waits."""
    main = main_thread().ident
    assert main is not None

    def end(*_: object) -> None:
        raise kind

    before = signal.signal(signal.SIGUSR1, end)
    sender = Timer(0.3, lambda: signal.pthread_kill(main, signal.SIGUSR1))
    sender.start()
    try:
        with pytest.raises(kind):
            yield
    finally:
        sender.join()
        signal.signal(signal.SIGUSR1, before)


def _alone(rows: object) -> None:
    assert isinstance(rows, PassingRows)
    rows.run(_SLOW)


def _with_others(rows: object) -> None:
    assert isinstance(rows, PassingRows)
    rows.later(_SLOW, ())
    rows.run("SELECT 1")


KINDS = [Ended, KeyboardInterrupt, Late, TimeoutError]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ask", [_alone, _with_others])
def test_a_question_that_is_interrupted_raises_what_interrupts_it(
    kind: type[BaseException], ask: Callable[[object], None]
) -> None:
    with opened(database()) as metadata:
        tag(metadata, "1")
        with _raising(kind), metadata.read() as rows:
            ask(rows)
        assert tags(metadata) == ["1"]
        with _raising(kind), metadata.write() as rows:
            ask(rows)
        tag(metadata, "2")
        assert tags(metadata) == ["1", "2"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_commit_that_is_interrupted_raises_what_interrupts_it(kind: type[BaseException]) -> None:
    with opened(database()) as metadata:
        done: list[bool] = []
        with _raising(kind):
            _commit_slowly(metadata, done)
        tag(metadata, "2")
        # What was made is known, although nobody waited for it.
        assert tags(metadata) == ["1", "2"] if done == [True] else ["2"]
        assert len(done) == 1


def _commit_slowly(metadata: PostgresMetadata, done: list[bool]) -> None:
    with metadata.write() as rows:
        assert isinstance(rows, PassingRows)
        rows.after_commit(lambda: done.append(True))
        rows.after_rollback(lambda: done.append(False))
        tag(metadata, "1")
        rows.later(_SLOW, ())
