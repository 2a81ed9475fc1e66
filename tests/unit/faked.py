"""A client of a fake registry, for tests: without waits, and with every host on this machine."""

from __future__ import annotations

import io
import json
import socket
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from orlop.model.descriptor import Descriptor
from orlop.model.digest import Digest
from orlop.model.manifest import OCI_CONFIG, OCI_LAYER_GZIP, OCI_MANIFEST
from orlop.model.proxies import NO_PROXIES
from orlop.registry.access import Access
from orlop.registry.certificates import HostTrust
from orlop.registry.client import RegistryClient
from orlop.registry.exchange import Exchange
from orlop.registry.hosts import Endpoint
from orlop.registry.messages import OpenedBody
from orlop.registry.origin import Origin
from orlop.registry.patience import Clock, Patience, Waiting
from orlop.registry.transport import HttpTransport
from orlop.testing.registry.fake import FakeRegistry
from orlop.testing.registry.quirks import Quirks

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator

    from orlop.model.proxies import Proxies
    from orlop.registry.credentials import Credentials

REPOSITORY = "team/app"
CONFIG = b'{"architecture":"amd64","os":"linux"}'
LAYER = bytes(range(256)) * 4096  # 1 MiB


class Pauses:
    """A clock whose pauses take no time, and are remembered."""

    def __init__(self) -> None:
        self.taken: list[float] = []
        self._ahead = 0.0

    def clock(self) -> Clock:
        return Clock(
            monotonic=lambda: time.monotonic() + self._ahead,
            now=lambda: 1_800_000_000.0 + self._ahead,
            sleep=self._sleep,
            chance=lambda: 1.0,
        )

    def _sleep(self, seconds: float) -> None:
        self.taken.append(seconds)
        self._ahead += seconds

    @property
    def total(self) -> float:
        return sum(self.taken)


class Faked:
    """A fake registry and its client."""

    def __init__(
        self, registry: FakeRegistry, client: RegistryClient, pauses: Pauses, transport: HttpTransport
    ) -> None:
        self.registry = registry
        self.client = client
        self.pauses = pauses
        self.transport = transport
        self.warnings: list[str] = []

    @property
    def asked(self) -> list[str]:
        """Every request so far: site, method and path."""
        return [f"{one.site} {one.method} {one.path}" for one in self.registry.requests]

    def quirks(self, **changes: Any) -> None:
        """Have the registry be otherwise from now on."""
        self.registry.quirks = Quirks(**changes)
        self.registry.requests.clear()

    def image(self, *, tag: str = "1", **more: Any) -> tuple[bytes, Digest]:
        """Put an image of one layer into the registry, and return its manifest."""
        config, layer = (Digest.parse(self.registry.add_blob(REPOSITORY, one)) for one in (CONFIG, LAYER))
        raw = manifest(config, layer, **more)
        return raw, Digest.parse(self.registry.add_manifest(REPOSITORY, raw, OCI_MANIFEST, tag=tag))


def manifest(config: Digest, layer: Digest, **more: Any) -> bytes:
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": Descriptor(OCI_CONFIG, config, len(CONFIG)).to_dict(),
        "layers": [Descriptor(OCI_LAYER_GZIP, layer, len(LAYER)).to_dict()],
    }
    return json.dumps(document | more).encode()


def everywhere(host: str, port: int) -> list[Any]:
    """Return the address of any host: this machine."""
    del host
    return socket.getaddrinfo("127.0.0.1", port, type=socket.SOCK_STREAM)


@contextmanager
def faked(
    credentials: Credentials | None = None,
    *,
    users: dict[str, str] | None = None,
    names: dict[str, str] | None = None,
    tls: ssl.SSLContext | None = None,
    trust: HostTrust | None = None,
    realms: tuple[str, ...] = (),
    proxies: Proxies = NO_PROXIES,
    patience: Patience | None = None,
    check: Callable[[], None] = lambda: None,
    may_be_plain: bool = False,
    namespace: str = "",
    real_time: bool = False,
    resolve: Any = None,
    **quirks: Any,
) -> Iterator[Faked]:
    pauses = Pauses()
    clock = Clock() if real_time else pauses.clock()
    waiting = Waiting(patience=patience or Patience(), clock=clock, check=check)
    transport = HttpTransport(trust or HostTrust(), proxies=proxies, waiting=waiting, resolve=resolve or everywhere)
    with FakeRegistry(Quirks(**quirks), users=users, tls=tls, names=names) as registry:
        scheme = "https" if may_be_plain or tls is not None else "http"
        origin = Origin.of(f"{scheme}://{registry.authority}")
        endpoint = Endpoint(origin=origin, may_be_plain=may_be_plain, token_realms=realms)

        def access(origin: Origin, send: Any) -> Access:
            return Access(origin, send, clock, find=lambda: credentials, realms=realms)

        warnings: list[str] = []
        exchange = Exchange(endpoint, transport, waiting, access, warn=warnings.append)
        found = Faked(registry, RegistryClient(exchange, namespace=namespace), pauses, transport)
        found.warnings = warnings
        try:
            yield found
        finally:
            transport.close()


def body_of(content: bytes) -> OpenedBody:
    def opener(offset: int) -> io.BytesIO:
        stream = io.BytesIO(content)
        stream.seek(offset)
        return stream

    return OpenedBody(opener, len(content))


def read_all(client: RegistryClient, content: bytes, *, offset: int = 0, urls: tuple[str, ...] = ()) -> bytes:
    want = Descriptor(OCI_LAYER_GZIP, Digest.of(content), len(content), urls=urls)
    found = bytearray()
    with client.open_blob(REPOSITORY, want, offset=offset) as reader:
        while piece := reader.read(1 << 16):
            found += piece
    return bytes(found)
