"""How connections over TCP are encrypted: certificates, which may be read again while a server works."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from orlop.errors import ListenFailed

if TYPE_CHECKING:
    from ssl import MemoryBIO, SSLObject, SSLSession


@dataclass(frozen=True, slots=True)
class Certificates:
    """Files in PEM for TLS: the server's certificate and key, and that of the authority for clients' certificates.

    With ``authority`` only clients are let in that show a certificate which it has signed.
    """

    certificate: str
    key: str
    authority: str | None = None

    def context(self) -> ssl.SSLContext:
        """Read the files.

        Raises:
            ListenFailed: one cannot be read, or does not fit.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_cert_chain(self.certificate, self.key)
            if self.authority is not None:
                context.load_verify_locations(self.authority)
                context.verify_mode = ssl.CERT_REQUIRED
        except OSError as error:
            files = ", ".join(filter(None, (self.certificate, self.key, self.authority)))
            raise ListenFailed(f"cannot use the files for TLS ({files}): {error.strerror or error}") from error
        return context


class RenewableContext(ssl.SSLContext):
    """Encrypts each new connection with the certificates as they were read last.

    A context of its own for each reading: to one that is in use an authority can be added, but none taken away.
    """

    def __new__(cls, certificates: Certificates) -> Self:
        """Make what a listener asks for connections."""
        del certificates
        return super().__new__(cls, ssl.PROTOCOL_TLS_SERVER)

    def __init__(self, certificates: Certificates) -> None:
        """Read the certificates. Raises `ListenFailed` as `Certificates.context` does."""
        self._certificates = certificates
        self._context = certificates.context()

    def renew(self) -> None:
        """Read the certificates again.

        Raises:
            ListenFailed: they cannot be used; new connections get the old ones.
        """
        self._context = self._certificates.context()

    def wrap_bio(
        self,
        incoming: MemoryBIO,
        outgoing: MemoryBIO,
        server_side: bool = False,  # noqa: FBT001, FBT002 - the signature is the standard library's
        server_hostname: str | bytes | None = None,
        session: SSLSession | None = None,
    ) -> SSLObject:
        """Begin a connection."""
        return self._context.wrap_bio(incoming, outgoing, server_side, server_hostname, session)
