"""Registries as anybody sees them: for programs that have not said who they are."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from orlop.model.proxies import NO_PROXIES
from orlop.registry.certificates import HostTrust
from orlop.registry.registries import Registries
from orlop.registry.transport import HttpTransport

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orlop.model.proxies import Proxies


@contextmanager
def anonymous(proxies: Proxies | None = None) -> Iterator[Registries]:
    """Open registries for a block, without credentials, mirrors or certificates of one's own."""
    transport = HttpTransport(HostTrust(), proxies=proxies or NO_PROXIES)
    try:
        yield Registries(transport)
    finally:
        transport.close()
