"""Calls that nothing can interrupt, such as a search for a host's addresses, and what is to end a wait for them."""

from __future__ import annotations

import errno
import os
import select
import stat
import threading
import time
from contextlib import suppress
from queue import Empty, SimpleQueue

from orlop.model.generic import TypeVar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from io import FileIO
    from typing import Final, TypeAlias

T = TypeVar("T")
Started: TypeAlias = threading.Thread
"""A thread that `started` has started."""
_TICK: Final = 0.2
_FILLED: Final = 15.0
"""Seconds within which a pipe is filled that stands in the place of a file."""


def awaited(work: Callable[[], T], look: Callable[[], object], *, every: float) -> T:
    """Return what a call returns that nothing can interrupt, and look around while it goes on.

    Args:
        work: what is called, in a thread of its own; what it raises is raised.
        look: called at first, and then again and again. What it raises ends the wait: the work is left alone then, and
            does not keep the process alive.
        every: how many seconds lie between two looks.
    """
    done: SimpleQueue[tuple[T] | Exception] = SimpleQueue()

    def run() -> None:
        try:
            done.put((work(),))
        except Exception as error:  # noqa: BLE001 - raised below
            done.put(error)

    threading.Thread(target=run, name="orlop-awaited", daemon=True).start()
    while True:
        look()
        with suppress(Empty):
            answer = done.get(timeout=every)
            break
    if isinstance(answer, Exception):
        raise answer
    return answer[0]


def content_of(
    path: str,
    most: int,
    *,
    judge: Callable[[os.stat_result], object] = lambda _: None,
    look: Callable[[], object] = lambda: None,
    seconds: float = _FILLED,
) -> bytes:
    """Return the first bytes of a file: settings, or a secret. It may be a pipe that a program fills in time.

    Args:
        path: of the file.
        most: how many bytes.
        judge: called with the state of the file that was opened, whatever the path leads to by now. What it raises ends
            everything before a byte is read.
        look: called while a pipe is waited for. What it raises ends the wait.
        seconds: for how long a pipe is waited for.

    Raises:
        OSError: it cannot be read; `TimeoutError` where nobody fills and closes the pipe.
    """
    with open(path, "rb", buffering=0, opener=_without_waiting) as file:
        state = os.fstat(file.fileno())
        judge(state)
        if not stat.S_ISFIFO(state.st_mode):
            os.set_blocking(file.fileno(), True)
            return b"".join(_pieces(file, most))
        return _from_pipe(file, path, most, look, time.monotonic() + seconds)


def _without_waiting(path: str, _flags: int) -> int:
    return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)


def _from_pipe(file: FileIO, path: str, most: int, look: Callable[[], object], end: float) -> bytes:
    """Return what is written into a pipe until it is closed. One that nobody has opened yet is not at its end."""
    waiting = select.poll()
    waiting.register(file, select.POLLIN)
    found = b""
    while len(found) < most:
        look()
        if time.monotonic() > end:
            raise TimeoutError(errno.ETIMEDOUT, "it is not a file, and nobody fills it", path)
        if not waiting.poll(_TICK * 1000):
            continue
        # None: somebody has it open, and has written nothing yet.
        piece = file.read(most - len(found))
        if piece == b"":
            break
        found += piece or b""
    return found


def _pieces(file: FileIO, most: int) -> Iterator[bytes]:
    while most > 0 and (piece := file.read(most)):
        most -= len(piece)
        yield piece


def started(work: Callable[[], object], *, name: str) -> Started:
    """Start work in a thread of its own, which others may join, and which does not keep the process from ending."""
    thread = threading.Thread(target=work, name=name, daemon=True)
    thread.start()
    return thread
