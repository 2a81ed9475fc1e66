"""Signals that end a command: blocks are left on the way out, so that they clean up.

Python ignores what is raised where it finalizes an object, also what a signal's handler raises there. That is kept, and
the next tick of the alarm raises it where it counts. Where the alarm is somebody else's, a thread sends another signal
until it is raised: one that does nothing by default, so that it harms nothing where it comes too late.
"""

from __future__ import annotations

import _thread
import signal
import sys
import threading
import time
from contextlib import suppress

from orlop.streams.interruption import hasten

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sys import UnraisableHookArgs
    from types import FrameType
    from typing import NoReturn

_TICK = 0.25
ENDING = (signal.SIGTERM, signal.SIGHUP)
"""What asks a process to end."""
_PATIENCE = 0.4
"""Seconds for which a process that a signal ends waits for what it needs to clean up; others may have it for longer."""
_URGE = signal.SIGURG
"""What is sent in the place of an alarm."""
_heard = set[int]()
_ignored: list[BaseException] = []


class Terminated(BaseException):
    """A signal asks the process to end; blocks are left on the way out, so that they clean up."""

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__(number)


def heed() -> None:
    """Install the handlers with which signals end this process as described above."""
    for number in ENDING:
        # `nohup` ignores one of them on purpose.
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, _terminate)
    if signal.getsignal(signal.SIGINT) == signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)
    if sys.unraisablehook is sys.__unraisablehook__:
        sys.unraisablehook = _unraisable
    _interrupt_waiting()


def forget() -> None:
    """Forget signals that have come: they ended an earlier command of this process."""
    _heard.clear()
    _ignored.clear()
    hasten(None)


def require_no_signal(error: Exception) -> None:
    """Raise `Terminated` where a signal has come: an import that it breaks off may call that an `ImportError`."""
    if _heard:
        raise Terminated(max(_heard)) from error


def number_of(error: BaseException) -> int | None:
    """Return the number of the signal that an exception stands for, if it does for one."""
    if isinstance(error, BrokenPipeError):
        return signal.SIGPIPE
    if isinstance(error, KeyboardInterrupt):
        return signal.SIGINT
    return error.number if isinstance(error, Terminated) else None


def _interrupt(number: int, _: FrameType | None) -> NoReturn:
    _heard.add(number)
    hasten(_PATIENCE)
    raise KeyboardInterrupt


def _terminate(number: int, _: FrameType | None) -> NoReturn:
    _heard.add(number)
    hasten(_PATIENCE)
    # A second signal ends the process at once: cleaning up may wait for a disk that does not answer.
    signal.signal(number, signal.SIG_DFL)
    raise Terminated(number)


def _unraisable(told: UnraisableHookArgs) -> None:
    """Keep the end that a signal asks for where Python would ignore it, see above."""
    if isinstance(told.exc_value, KeyboardInterrupt | Terminated):
        _ignored.append(told.exc_value)
        _urge()
    elif not _heard:  # objects that a signal left half made cannot be finalized
        sys.__unraisablehook__(told)


def _urge() -> None:
    """Have what was ignored raised, where no alarm ticks."""
    # Handlers can be set in the main thread alone, which is the one that hears signals.
    with suppress(ValueError):
        if signal.getsignal(signal.SIGALRM) is not _tick:
            if signal.getsignal(_URGE) == signal.SIG_DFL:
                signal.signal(_URGE, _tick)
            if signal.getsignal(_URGE) is _tick:
                # A `threading.Thread` takes locks as it starts, which what is finalized here may have.
                _thread.start_new_thread(_keep_urging, ())


def _keep_urging() -> None:
    while _ignored:
        time.sleep(_TICK)
        if _ignored and (main := threading.main_thread().ident) is not None:
            signal.pthread_kill(main, _URGE)


def _interrupt_waiting() -> None:
    """Interrupt reads regularly: a signal that comes just before one would be seen when it returns, perhaps never."""
    # Whoever started this process with an alarm wants it to end with it.
    if signal.getsignal(signal.SIGALRM) == signal.SIG_DFL and signal.getitimer(signal.ITIMER_REAL)[0] == 0:
        # A tick interrupts the read, then Python looks for signals and goes on reading.
        signal.signal(signal.SIGALRM, _tick)
        signal.setitimer(signal.ITIMER_REAL, _TICK, _TICK)


def _tick(*_: object) -> None:
    """Do nothing, as what the tick interrupts has been interrupted, or raise what was ignored."""
    if _ignored:
        raise _ignored.pop()


def let_waiting_be() -> None:
    """End what `heed` has begun, before the interpreter takes itself apart."""
    # An interpreter that takes itself apart handles no signal any more: the next tick would kill the process.
    if signal.getsignal(signal.SIGALRM) is _tick:
        signal.setitimer(signal.ITIMER_REAL, 0)
