"""Handshakes of TLS that are waited for in steps, so that a watch can end the wait.

The library makes a handshake within one call, and a thread that is in it hears of nothing else until the socket's own
time-out. Which watch it is belongs to the thread that connects.

The authorities of the system, a hundred certificates and more, are read once a server has begun to answer in TLS: a
server that speaks plain HTTP never shows a certificate, and is asked in a third of the time. A handshake without them
trusts nobody, so nothing is weaker where they come late.
"""

from __future__ import annotations

import select
import socket
import ssl
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orlop.registry.patience import Watch

_TICK: Final = 0.5
# The first byte of an answer in TLS: a message of the handshake, or an alert, which ends it.
_HANDSHAKE: Final = b"\x16"
_TLS: Final = frozenset({_HANDSHAKE, b"\x15"})


class _OfThread(threading.local):
    watch: Watch | None = None


_here = _OfThread()


class CameEarly(OSError):
    """A certificate was there before the authorities of the system were; a new connection can be made now."""


@contextmanager
def agreeing(watch: Watch) -> Iterator[None]:
    """Have a watch look at the handshakes of this thread for a block."""
    _here.watch = watch
    try:
        yield
    finally:
        _here.watch = None


class ClientContext(ssl.SSLContext):
    """What encrypts connections to servers. Those who verify them need `trust_system` before a certificate comes."""

    def __new__(cls) -> Self:
        """Make one for clients."""
        return super().__new__(cls, ssl.PROTOCOL_TLS_CLIENT)

    def __init__(self) -> None:
        super().__init__()
        self.minimum_version = ssl.TLSVersion.TLSv1_2
        self._is_ready = False
        self._turn = threading.Lock()

    @property
    def is_ready(self) -> bool:
        """Whether the authorities of the system were read, where they are needed."""
        return self._is_ready or self.verify_mode == ssl.CERT_NONE

    def trust_system(self) -> None:
        """Trust the authorities of the system, which are read the first time. Threads may share this."""
        with self._turn:
            if not self._is_ready and self.verify_mode != ssl.CERT_NONE:
                self.load_default_certs()
            self._is_ready = True


class AwaitedTLS(ssl.SSLSocket):
    """A socket whose handshake is waited for in steps, within `agreeing`; its context is a `ClientContext`."""

    context: ClientContext

    def do_handshake(self, block: bool = False) -> None:  # noqa: FBT001, FBT002 - as the library has it
        """Agree on how to encrypt. Raises what ends the wait."""
        watch = _here.watch
        if watch is None:
            self.context.trust_system()
            super().do_handshake(block)
            return
        limit = self.gettimeout()
        is_trusting = self.context.is_ready
        try:
            if not self._is_agreed_at_once():
                watch.speaks_tls, is_handshake = self._answered(watch)
                if is_handshake:
                    self.context.trust_system()
                    is_trusting = True
                self.settimeout(_TICK)
                while not self._is_agreed(watch, block):
                    pass
        except BaseException as error:
            # What broke off within the first step may have begun with TLS, and nobody has looked yet.
            watch.speaks_tls = watch.speaks_tls or self.cipher() is not None
            # The library closes it after errors of the system alone.
            self.close()
            if isinstance(error, ssl.SSLCertVerificationError):
                watch.speaks_tls = True
                if not is_trusting:
                    self.context.trust_system()
                    raise CameEarly from error
            raise
        watch.speaks_tls = True
        self.settimeout(limit)

    def _is_agreed_at_once(self) -> bool:
        """Begin the handshake. Return whether it is over: servers nearby answer in the midst of this step."""
        self.settimeout(0)
        try:
            super().do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

    def _answered(self, watch: Watch) -> tuple[bool, bool]:
        """Wait for an answer. Return whether it is TLS, and whether it goes on with the handshake."""
        answered = select.poll()
        answered.register(self, select.POLLIN)
        while not answered.poll(_TICK * 1000):
            watch.look(is_awaited=True)
        watch.look(is_awaited=False)
        # Of encrypted sockets the library lets nobody peek. There is a cipher once the first message was read already.
        first, is_begun = socket.socket.recv(self, 1, socket.MSG_PEEK), self.cipher() is not None
        return is_begun or first in _TLS, is_begun or first == _HANDSHAKE

    def _is_agreed(self, watch: Watch, block: bool) -> bool:  # noqa: FBT001 - as above
        watch.look(is_awaited=True)
        try:
            super().do_handshake(block)
        except TimeoutError:
            return False
        watch.look(is_awaited=False)
        return True
