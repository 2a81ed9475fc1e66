"""What a forked child does before it uses anything of its parent: it gives up locks, connections, and what waits.

Python tells a child of the forks that it makes itself. A program in C that runs Python may fork without a word, as may
a library that is called. So whoever uses what a child must not have asks before that whether the process is still the
one that it was.
"""

from __future__ import annotations

import os
import threading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class _Process:
    """The process, as it is known."""

    def __init__(self) -> None:
        self.answers: list[Callable[[], object]] = []
        self.begin()

    def begin(self) -> None:
        self.id = os.getpid()
        self.guard = threading.RLock()


_here = _Process()


def in_child(answer: Callable[[], object]) -> None:
    """Call a function in each child that is forked from now on, before it uses anything; it may be called again."""
    _here.answers.append(answer)


def notice_fork() -> None:
    """Call what is to be called in a child, where this process has become one without being told."""
    if _here.id != os.getpid():
        # Another thread of the child may be about to do the same.
        with _here.guard:
            if _here.id != os.getpid():
                _answer()


def _answer() -> None:
    for answer in [*_here.answers]:
        answer()
    _here.begin()


os.register_at_fork(after_in_child=_answer)
