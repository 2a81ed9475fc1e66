"""The standard streams: text goes out as UTF-8 whatever the locale is, whole, and harmless to a terminal."""

from __future__ import annotations

import io
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from typing import BinaryIO

    from orlop.errors import OrlopError
    from orlop.model.progress import Progress

_NAME = "the standard output"
_LONGEST = 5000
"""The characters of a line for people: a path and a sentence have fewer."""


def is_terminal() -> bool:
    """Return whether the standard output is a terminal."""
    # A process that starts with a closed descriptor has no stream for it.
    return sys.stdout is not None and sys.stdout.isatty()


def write(data: str | bytes) -> None:
    """Write text or bytes to the standard output.

    Raises:
        BrokenPipeError: nobody reads any more. NoSpace, WriteFailed, StorageError: it cannot be written.
    """
    if isinstance(data, str):
        data = data.encode("utf-8", "replace")
    rest = memoryview(data)
    stream = binary()
    try:
        # Without a buffer (PYTHONUNBUFFERED), a stream takes what the system takes at once, perhaps a part.
        while rest:
            rest = rest[stream.write(rest) :]
    except BrokenPipeError:
        raise
    except OSError as error:
        raise _explained(error) from error


def binary() -> BinaryIO:
    """Return the standard output as a binary stream. Raises `WriteFailed` where it is closed."""
    stream = _stdout()
    if stream is None:
        from orlop.errors import WriteFailed  # noqa: PLC0415 - only where something fails

        msg = f"{_NAME} is closed; redirect it to a file or a pipe"
        raise WriteFailed(msg)
    return stream


def flush() -> None:
    """Hand everything to the system, and hear whether it has taken all of it. Raises what `write` raises."""
    stream = _stdout()
    if stream is None:
        return
    try:
        stream.flush()
        _close_copy(stream)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise _explained(error) from error


def progress(*, quiet: bool) -> AbstractContextManager[Progress | None]:
    """Return, for a block, what draws progress where somebody sees it, or nothing."""
    if quiet or sys.stderr is None or not sys.stderr.isatty():
        from contextlib import nullcontext  # noqa: PLC0415 - few commands draw progress

        return nullcontext()
    from orlop.cli.show.progress import drawn  # noqa: PLC0415 - only for a terminal

    return drawn()


def settle() -> None:
    """Hand everything to the system if that is possible; what it does not take is forgotten."""
    try:
        stream = _stdout()
        if stream is not None:
            stream.flush()
    except OSError:
        abandon()


def abandon() -> None:
    """Abandon the standard output: what waits in its buffer would fail once more when the process ends."""
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
    except (OSError, ValueError, AttributeError):
        return


def bounded(line: str) -> str:
    """Return a line without the middle of it where it is longer than any path or name: a damaged row holds anything."""
    left_out = len(line) - _LONGEST
    if left_out <= 0:
        return line
    half = _LONGEST // 2
    return f"{line[:half]}… ({left_out:,} characters) …{line[-half:]}"


def complain(text: str, *, lines: bool = False) -> None:
    """Write a line, or where it is ``lines`` several, to the standard error, after what the standard output has so far.

    It may quote what others wrote: nothing in it controls a terminal or begins another line, and a very long one is
    `bounded`. URLs in it lose their names and passwords. What the standard output does not take stays in its buffer,
    so that the last `flush` raises the error.
    """
    from contextlib import suppress  # noqa: PLC0415 - most commands have nothing to complain about

    if "@" in text:
        from orlop.model.urls import scrubbed  # noqa: PLC0415 - few lines have one

        text = scrubbed(text)
    if not text.isprintable():
        from orlop.cli.show.terminal import harmless, harmless_lines  # noqa: PLC0415 - most lines are plain

        text = harmless_lines(text) if lines else harmless(text)
    text = "\n".join(map(bounded, text.split("\n")))
    with suppress(OSError):
        stream = _stdout()
        if stream is not None:
            stream.flush()
    with suppress(OSError, AttributeError):
        sys.stderr.buffer.write(text.encode("utf-8", "replace") + b"\n")
        sys.stderr.flush()


def _stdout() -> BinaryIO | None:
    stream = sys.stdout
    return None if stream is None else stream.buffer


def _close_copy(stream: BinaryIO) -> None:
    """Close a copy of the descriptor: NFS, CIFS and many file systems of FUSE tell only then what they did not take."""
    try:
        descriptor = stream.fileno()
    except io.UnsupportedOperation:
        return  # a stream in memory
    os.close(os.dup(descriptor))


def _explained(error: OSError) -> OrlopError:
    from orlop.streams.files import explained  # noqa: PLC0415 - only where something fails

    return explained(error, "write", _NAME)
