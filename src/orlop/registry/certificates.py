"""Certificates: whom encrypted connections trust, and who the client is to the server.

Docker's and podman's directories are read, ``certs.d/HOST[:PORT]/``: each ``*.crt`` is an authority, trusted beside the
system's; each ``*.cert`` with its ``*.key`` is a certificate of the client. A ``*.cert`` without its key, and
a key without its certificate, is an error, as in docker.
"""

from __future__ import annotations

import os
import ssl
import threading
from typing import TYPE_CHECKING

from orlop.errors import InvalidSettings
from orlop.model.values import dataclass
from orlop.registry.handshakes import ClientContext

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from orlop.registry.origin import Origin


def directories(home: str, user: int) -> tuple[str, ...]:
    """Return where the certificates of hosts are kept: the user's own, and podman's and docker's of the machine."""
    podman, docker = (os.path.join(home, ".config", name, "certs.d") for name in ("containers", "docker"))
    machine = ("/etc/containers/certs.d", "/etc/docker/certs.d")
    # Podman and skopeo read root's own, too; docker's are those of a daemon without root.
    return (podman, docker, *machine) if user else (podman, *machine)


@dataclass(frozen=True, slots=True)
class ClientCertificates:
    """Files in PEM: authorities, and pairs of a certificate of the client and its key."""

    authorities: tuple[str, ...] = ()
    pairs: tuple[tuple[str, str], ...] = ()

    @classmethod
    def beside(cls, folders: Sequence[str], authority: str) -> ClientCertificates:
        """Find those of a host. Raises `InvalidSettings` where one half of a pair is missing."""
        authorities: list[str] = []
        pairs: list[tuple[str, str]] = []
        for folder in folders:
            place = os.path.join(folder, authority)
            try:
                names = sorted(os.listdir(place))
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                raise InvalidSettings(f"cannot read {place}: {error.strerror or error}") from error
            for name in names:
                stem, kind = os.path.splitext(name)
                other = {".cert": ".key", ".key": ".cert"}.get(kind)
                if kind == ".crt":
                    authorities.append(os.path.join(place, name))
                elif other is not None and stem + other not in names:
                    raise InvalidSettings(f"{os.path.join(place, name)} needs {stem}{other} beside it")
                elif kind == ".cert":
                    pairs.append((os.path.join(place, name), os.path.join(place, stem + ".key")))
        return cls(tuple(authorities), tuple(pairs))


class HostTrust:
    """Makes what encrypts connections, once for each host, checked or not. Threads may share it.

    Args:
        folders: where the certificates of hosts are kept, see `directories`.
        added: authorities for every host, as files in PEM.
        given: further files for single hosts, named ``HOST[:PORT]``.
        unverified: hosts whose certificates are not checked, named so, too.
    """

    def __init__(
        self,
        folders: Sequence[str] = (),
        *,
        added: Sequence[str] = (),
        given: Mapping[str, ClientCertificates] | None = None,
        unverified: Sequence[str] = (),
    ) -> None:
        self._folders = tuple(folders)
        self._added = tuple(added)
        self._given = dict(given or {})
        self._unverified = frozenset(unverified)
        self._contexts: dict[tuple[str, bool], ClientContext] = {}
        self._turn = threading.Lock()

    def context(self, origin: Origin, *, verify: bool = True) -> ClientContext:
        """Return what encrypts connections to an origin, whose certificate is checked unless the user said otherwise.

        Raises:
            InvalidSettings: a file cannot be used.
        """
        authority = origin.authority
        key = authority, verify and authority not in self._unverified
        with self._turn:
            if key not in self._contexts:
                self._contexts[key] = self._made(*key)
            return self._contexts[key]

    def _made(self, authority: str, verify: bool) -> ClientContext:  # noqa: FBT001 - a part of the key
        context = ClientContext()
        if not verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        found = ClientCertificates.beside(self._folders, authority)
        given = self._given.get(authority, ClientCertificates())
        for path in (*self._added, *given.authorities, *found.authorities):
            _use(path, lambda path=path: context.load_verify_locations(path))
        for certificate, key in (*given.pairs, *found.pairs):
            _use(certificate, lambda certificate=certificate, key=key: context.load_cert_chain(certificate, key, _none))
        return context


def _none() -> str:
    """Return no password: without this, OpenSSL would ask for one on the terminal."""
    return ""


def _use(path: str, load: object) -> None:
    assert callable(load)
    try:
        load()
    except OSError as error:
        raise InvalidSettings(f"cannot use the certificate {path}: {error.strerror or error}") from error
