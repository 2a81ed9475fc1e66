"""Programs that are run for their answer: within bounds of time and size, and for no longer than they are needed."""

from __future__ import annotations

import os
import selectors
import subprocess
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import IO

_TICK: Final = 0.2
"""Seconds after which it is looked whether to go on, and whether the program has ended behind an open pipe."""
_PIECE: Final = 1 << 16


class ProgramTimeout(Exception):
    """A program runs for too long."""


def answer_of(
    argv: Sequence[str],
    *,
    given: bytes = b"",
    environment: Mapping[str, str] | None = None,
    seconds: float,
    most: int,
    check: Callable[[], object] = lambda: None,
) -> tuple[int, bytes]:
    """Return the exit status of a program, and what it writes; of more than so many bytes it is killed with status 0.

    The answer is complete when the program ends, although what it leaves running may keep its output open.

    Args:
        argv: the program and its arguments. No shell reads them.
        given: what it reads on its standard input, if it does.
        environment: what it sees; by default what this process does.
        seconds: for how long it may run.
        most: how many bytes of an answer are read.
        check: called several times a second. What it raises ends the program.

    Raises:
        ProgramTimeout: it was killed. OSError: it cannot be run. What ``check`` raises.
    """
    end = time.monotonic() + seconds
    with (
        subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            env=None if environment is None else dict(environment),
        ) as process,
        selectors.DefaultSelector() as ready,
    ):
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            for pipe, event in ((process.stdin, selectors.EVENT_WRITE), (process.stdout, selectors.EVENT_READ)):
                os.set_blocking(pipe.fileno(), False)
                ready.register(pipe, event)
            rest, said = memoryview(given), bytearray()
            while len(said) <= most:
                check()
                has_ended = process.poll() is not None
                left = end - time.monotonic()
                if left <= 0 and not has_ended:
                    raise ProgramTimeout
                able = [key.fileobj for key, _ in ready.select(0 if has_ended else min(_TICK, left))]
                if process.stdin in able:
                    rest = _written(process.stdin, rest)
                    if not rest:
                        ready.unregister(process.stdin)
                        process.stdin.close()
                if process.stdout not in able:
                    if has_ended:
                        return process.returncode, bytes(said)
                    continue
                piece = os.read(process.stdout.fileno(), _PIECE)
                if not piece:
                    process.stdin.close()
                    return _status_of(process, end, check), bytes(said)
                said += piece
        finally:
            # Nobody reads what it writes any more.
            process.kill()
    return 0, b""


def _written(pipe: IO[bytes], rest: memoryview) -> memoryview:
    """Write some of what a program is given, and return what is left; nothing for one that reads no more.

    One that does not read it may say why.
    """
    try:
        return rest[os.write(pipe.fileno(), rest[:_PIECE]) :]
    except BlockingIOError:
        return rest
    except BrokenPipeError:
        return rest[:0]


def _status_of(process: subprocess.Popen[bytes], end: float, check: Callable[[], object]) -> int:
    """Return the status of a program that has closed its output, and may not have ended yet."""
    while time.monotonic() < end:
        check()
        with suppress(subprocess.TimeoutExpired):
            return process.wait(_TICK)
    raise ProgramTimeout
