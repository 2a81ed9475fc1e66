"""Registries for a verb: those that its caller reaches, or any, as anybody."""

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
    from orlop.registry.credentials import Keychain


@contextmanager
def reached(
    registries: Registries | None, proxies: Proxies | None = None, keychain: Keychain | None = None
) -> Iterator[Registries]:
    """Return what a caller gave for a block, or else registries whose connections end with it.

    Args:
        registries: what a caller gave.
        proxies: through which they are reached otherwise.
        keychain: whose credentials they are shown otherwise; by default they see anybody.
    """
    if registries is not None:
        yield registries
        return
    transport = HttpTransport(HostTrust(), proxies=proxies or NO_PROXIES)
    try:
        yield Registries(transport, keychain=keychain)
    finally:
        transport.close()
