"""The front door: arguments in, an exit status out.

| exit status | meaning |
|---|---|
| 0 | done |
| 1 to 7 | an error, see `orlop.errors` |
| 8 | `orlop fsck --repair` has put something right, and nothing is damaged any more |
| 129, 130, 143 | ended by a hang-up, Ctrl-C, or a request to terminate; nothing is left half done |
| 141 | who reads the output has closed it; nothing is said about it |
"""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING, NoReturn

from orlop._version import __version__
from orlop.cli import output
from orlop.cli.session import Session

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

_SIGNALLED = 128
_TICK = 0.25


class Terminated(BaseException):
    """A signal asks the process to end; blocks are left on the way out, so that they clean up."""

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__(number)


def main() -> NoReturn:
    """Run the command line of this process and end it."""
    _fill_standard_descriptors()
    for number in (signal.SIGTERM, signal.SIGHUP):
        # `nohup` ignores one of them on purpose.
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, _terminate)
    _interrupt_waiting()
    status = run(sys.argv[1:])
    if "--debug" not in sys.argv:
        # All is closed and flushed. To take the interpreter apart as well costs more time than most commands do.
        os._exit(status)
    _let_waiting_be()
    sys.exit(status)


def run(arguments: Sequence[str]) -> int:
    """Run one command and give its exit status; whatever goes wrong is explained on the standard error."""
    try:
        return _explained(arguments)
    except BrokenPipeError:
        output.abandon()
        return _SIGNALLED + signal.SIGPIPE
    except KeyboardInterrupt:
        output.abandon()
        return _SIGNALLED + signal.SIGINT
    except Terminated as signalled:
        output.abandon()
        return _SIGNALLED + signalled.number


def _explained(arguments: Sequence[str]) -> int:
    # The arguments themselves may be what goes wrong.
    session = Session(debug="--debug" in arguments)
    try:
        status = _dispatch(session, arguments)
        output.flush()
    except BrokenPipeError:
        raise
    except Exception as error:  # noqa: BLE001 - every error ends as one sentence and a status
        from orlop.cli.failure import report  # noqa: PLC0415 - only where something fails

        status = report(error, debug=session.debug)
        output.settle()
    return status


def _dispatch(session: Session, arguments: Sequence[str]) -> int:
    if list(arguments) == ["--version"]:
        # Programs ask this often, and it needs no parser.
        output.write(f"orlop {__version__}\n")
        return 0
    if "_ORLOP_COMPLETE" in os.environ:
        from orlop.cli.completion import answer  # noqa: PLC0415 - only shells ask for it

        return answer(os.environ["_ORLOP_COMPLETE"])
    from orlop.cli.root import invoke  # noqa: PLC0415 - `--version` needs none of it

    return invoke(session, arguments, os.environ)


def _terminate(number: int, _: FrameType | None) -> NoReturn:
    # A second signal ends the process at once: cleaning up may wait for a disk that does not answer.
    signal.signal(number, signal.SIG_DFL)
    raise Terminated(number)


def _interrupt_waiting() -> None:
    """Let no signal wait for a read: one that comes just before it would be seen when it returns, perhaps never."""
    # Whoever started this process with an alarm wants it to end with it.
    if signal.getsignal(signal.SIGALRM) == signal.SIG_DFL and signal.getitimer(signal.ITIMER_REAL)[0] == 0:
        # A tick interrupts the read, then Python looks for signals and goes on reading.
        signal.signal(signal.SIGALRM, _tick)
        signal.setitimer(signal.ITIMER_REAL, _TICK, _TICK)


def _tick(*_: object) -> None:
    """Do nothing: what the tick interrupts has been interrupted."""


def _let_waiting_be() -> None:
    # An interpreter that takes itself apart handles no signal any more: the next tick would kill the process.
    if signal.getsignal(signal.SIGALRM) is _tick:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _fill_standard_descriptors() -> None:
    """Put something harmless in place of closed standard streams: else a file of the store gets their number."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
