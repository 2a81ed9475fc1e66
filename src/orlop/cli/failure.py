"""Errors as people read them: one sentence on the standard error, and an exit status."""

from __future__ import annotations

import os
import sys

from orlop.cli.show import output
from orlop.errors import FileNotThere, OrlopError, sentence

_UNEXPECTED = 1


def report(error: Exception, *, debug: bool) -> int:
    """Explain an error on the standard error and return the exit status for it; with ``debug`` show where it arose."""
    if debug:
        import traceback  # noqa: PLC0415 - only where it is asked for

        for line in traceback.format_exception(error):
            output.complain(line.rstrip("\n"), lines=True)
    # An error of usage comes from click, which is there then.
    if "click" in sys.modules and (status := _usage(error)) is not None:
        return status
    if isinstance(error, FileNotFoundError) and error.filename is None and _is_nowhere():
        error = FileNotThere("the current directory was removed; change to another one")
    if isinstance(error, OSError):
        from orlop.streams.files import explained  # noqa: PLC0415 - only where something fails

        error = explained(error, "read or write", error.filename or "a file or stream")
    if isinstance(error, OrlopError):
        output.complain(f"Error: {error}")
        return error.exit_code
    text = sentence(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)
    hint = "" if debug else "; run the command again as `orlop --debug …` to see where"
    output.complain(f"Error: something unexpected went wrong ({text}){hint}")
    return _UNEXPECTED


def _is_nowhere() -> bool:
    """Return whether the current directory is gone, so that relative paths mean nothing."""
    try:
        os.getcwd()
    except FileNotFoundError:
        return True
    return False


def _usage(error: Exception) -> int | None:
    import click  # noqa: PLC0415 - there already

    if not isinstance(error, click.ClickException):
        return None
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        output.complain(error.format_message(), lines=True)
        return error.exit_code
    context = error.ctx if isinstance(error, click.UsageError) else None
    if context is not None:
        output.complain(context.get_usage(), lines=True)
        output.complain(f"Try '{context.command_path} --help' for help.\n", lines=True)
    # The parser repeats words as they were given, and lists choices on lines of their own.
    words = " ".join(error.format_message().split())
    output.complain(f"Error: {sentence(words)}")
    return error.exit_code
