"""A part of a file as the body of an answer, which the kernel copies to the socket (``sendfile(2)``).

Theory of operation. A thread sends the file, from descriptors of its own, beside the event loop: where nobody waits
for the answer any more, the loop goes on at once, and the thread ends at its next look. The descriptors are taken
before the answer begins: a server that can have no more of them says so, and breaks no answer off. They belong to the
block that asked for them until the thread begins, and to the thread from then on; whoever has them closes them.
"""

from __future__ import annotations

import os
import select
import threading
from typing import TYPE_CHECKING, Final

from orlop.errors import ReadFailed, RequestAborted
from orlop.streams.files import is_unreadable

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

_AT_ONCE: Final = 1 << 20
"""How much of a file the kernel is asked to send at once."""
_TICK: Final = 250
"""For how many milliseconds the thread waits before it looks whether to go on."""


class Copying:
    """A file that is sent to a client; use it in a ``with`` block.

    Args:
        file: its descriptor.
        socket: the client's.
        sent: told how many bytes were sent.
        is_over: returns whether nobody takes them any more.
    """

    def __init__(self, file: int, socket: int, sent: Callable[[int], object], is_over: Callable[[], bool]) -> None:
        self._sent = sent
        self._is_over = is_over
        self._guard = threading.Lock()
        self._is_taken = False
        self._file = os.dup(file)
        try:
            self._socket = os.dup(socket)
        except OSError:
            os.close(self._file)
            raise

    def run(self, first: int, end: int, stop: threading.Event) -> None:
        """Send a part of the file, in the thread of the caller, after all that was written before.

        Args:
            first: the number of bytes before the part.
            end: the number of bytes up to its end.
            stop: set once nobody waits for it any more.

        Raises:
            RequestAborted: nobody takes it. ReadFailed: the file ends too early, or cannot be read.
        """
        if not self._take():
            return
        try:
            ready = select.poll()
            ready.register(self._socket, select.POLLOUT)
            while first < end:
                if stop.is_set() or self._is_over():
                    raise RequestAborted("the client hung up before it had everything")
                sent = self._some(first, end, ready)
                first += sent
                self._sent(sent)
        finally:
            self._close()

    def _some(self, first: int, end: int, ready: select.poll) -> int:
        """Send some bytes, and return how many, which are none where the client takes none for now."""
        try:
            sent = os.sendfile(self._socket, self._file, first, min(end - first, _AT_ONCE))
        except BlockingIOError:
            ready.poll(_TICK)
            return 0
        except OSError as error:
            # Of a socket the system says no such thing.
            if is_unreadable(error):
                raise ReadFailed(f"a file that is sent cannot be read: {error.strerror}; run `orlop fsck`") from error
            raise RequestAborted("the client hung up before it had everything") from error
        if not sent:
            raise ReadFailed("a file that is sent has become shorter; run `orlop fsck`")
        return sent

    def _take(self) -> bool:
        with self._guard:
            was_taken, self._is_taken = self._is_taken, True
        return not was_taken

    def _close(self) -> None:
        os.close(self._file)
        os.close(self._socket)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file, unless it is being sent."""
        if self._take():
            self._close()
