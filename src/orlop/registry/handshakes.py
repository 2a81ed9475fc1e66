"""Handshakes of TLS that are waited for in steps, so that a watch can end the wait.

The library makes a handshake within one call, and a thread that is in it hears of nothing else until the socket's own
time-out. Which watch it is belongs to the thread that connects.
"""

from __future__ import annotations

import ssl
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orlop.registry.patience import Watch

_TICK: Final = 0.5


class _OfThread(threading.local):
    watch: Watch | None = None


_here = _OfThread()


@contextmanager
def agreeing(watch: Watch) -> Iterator[None]:
    """Have a watch look at the handshakes of this thread for a block."""
    _here.watch = watch
    try:
        yield
    finally:
        _here.watch = None


class AwaitedTLS(ssl.SSLSocket):
    """A socket whose handshake is waited for in steps, within `agreeing`."""

    def do_handshake(self, block: bool = False) -> None:  # noqa: FBT001, FBT002 - as the library has it
        """Agree on how to encrypt. Raises what ends the wait."""
        watch = _here.watch
        if watch is None:
            super().do_handshake(block)
            return
        limit = self.gettimeout()
        self.settimeout(_TICK)
        try:
            while not self._is_agreed(watch, block):
                pass
        except BaseException:
            # The library closes it after errors of the system alone.
            self.close()
            raise
        self.settimeout(limit)

    def _is_agreed(self, watch: Watch, block: bool) -> bool:  # noqa: FBT001 - as above
        watch.look(is_awaited=True)
        try:
            super().do_handshake(block)
        except TimeoutError:
            return False
        watch.look(is_awaited=False)
        return True
