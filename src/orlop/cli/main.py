"""The front door: arguments in, an exit status out.

The status is 0, that of an error (`orlop.errors`), one of `orlop.cli.statuses`, or 128 plus the number of a signal that
ended the command. ``docs/errors.md`` lists all of them.
"""

from __future__ import annotations

import gc
import os
import sys

from orlop._version import __version__
from orlop.cli.show import output

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

_SIGNALLED = 128
_VERSION = ["--version"]
_OBJECTS = 50_000
"""How many new objects make Python look for circles among them: imports make thousands, and none of these go."""


def main() -> NoReturn:
    """Run the command line of this process and end it."""
    gc.set_threshold(_OBJECTS)
    _fill_standard_descriptors()
    arguments = sys.argv[1:]
    try:
        # What is done in a moment leaves nothing to clean up; completion heeds signals once it opens a store.
        if arguments != _VERSION and "_ORLOP_COMPLETE" not in os.environ:
            from orlop.cli.signals import heed  # noqa: PLC0415 - only what takes longer needs it

            heed()
        status = run(arguments)
    except BaseException as error:  # noqa: BLE001 - a second signal may come while the command ends by the first
        from orlop.cli.signals import let_waiting_be  # noqa: PLC0415 - rare

        let_waiting_be()
        status = _ended_by(error)
    if "--debug" not in arguments:
        # All is closed and flushed. To take the interpreter apart as well costs more time than most commands do.
        os._exit(status)
    from orlop.cli.signals import let_waiting_be  # noqa: PLC0415 - as above

    let_waiting_be()
    sys.exit(status)


def _ended_by(error: BaseException) -> int:
    """Return the status for what ended a command from outside; anything else is raised."""
    from orlop.cli.signals import number_of  # noqa: PLC0415 - most commands run to their end

    number = number_of(error)
    if number is None:
        raise error
    return _SIGNALLED + number


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit status; whatever goes wrong is explained on the standard error."""
    try:
        return _explained(arguments)
    except BaseException as error:  # noqa: BLE001 - what no signal stands for is raised again
        status = _ended_by(error)
        output.abandon()
        return status


def _explained(arguments: Sequence[str]) -> int:
    # The arguments themselves may be what goes wrong.
    debug = "--debug" in arguments
    try:
        status = _dispatch(arguments, debug=debug)
        output.flush()
    except BrokenPipeError:
        raise
    except Exception as error:  # noqa: BLE001 - every error ends as one sentence and a status
        from orlop.cli.failure import report  # noqa: PLC0415 - only where something fails
        from orlop.cli.signals import require_no_signal  # noqa: PLC0415 - as above

        require_no_signal(error)
        status = report(error, debug=debug)
        output.settle()
    return status


def _dispatch(arguments: Sequence[str], *, debug: bool) -> int:
    if list(arguments) == _VERSION:
        # Programs ask this often, and it needs no parser.
        output.write(f"orlop {__version__}\n")
        return 0
    if "_ORLOP_COMPLETE" in os.environ:
        from orlop.cli.shell.completion import answer  # noqa: PLC0415 - only shells ask for it

        return answer(os.environ["_ORLOP_COMPLETE"])
    from orlop.cli.root import invoke  # noqa: PLC0415 - `--version` needs none of it
    from orlop.cli.session import Session  # noqa: PLC0415 - as above
    from orlop.cli.signals import forget  # noqa: PLC0415 - as above

    forget()
    return invoke(Session(debug=debug), arguments, os.environ)


def _fill_standard_descriptors() -> None:
    """Put something harmless in place of closed standard streams: else a file of the store gets their number."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
