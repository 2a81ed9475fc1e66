"""Registries: from a name to the clients that it is pulled from and pushed to."""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING

from orlop.registry.access import Access
from orlop.registry.client import RegistryClient
from orlop.registry.credentials import NoKeys
from orlop.registry.exchange import Exchange
from orlop.registry.hosts import Hosts
from orlop.registry.patience import Waiting

if TYPE_CHECKING:
    from collections.abc import Callable

    from orlop.model.reference import Reference
    from orlop.registry.credentials import Credentials, Keychain
    from orlop.registry.hosts import Place
    from orlop.registry.messages import Answer, Request, Transport
    from orlop.registry.origin import Origin


class Registries:
    """All registries, as one user sees them. Threads may share it.

    Args:
        transport: carries requests; its owner closes it.
        keychain: where credentials are kept.
        hosts: mirrors, rewrites and blocks.
        waiting: how long, and how often, registries are asked.
        warn: told of a registry's warnings, each once.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        keychain: Keychain | None = None,
        hosts: Hosts | None = None,
        waiting: Waiting | None = None,
        warn: Callable[[str], None] | None = None,
    ) -> None:
        self._transport = transport
        self._keychain = keychain or NoKeys()
        self._hosts = hosts or Hosts()
        self._waiting = waiting or Waiting()
        self._warn = warn
        self._clients: dict[tuple[object, str], RegistryClient] = {}
        self._turn = threading.Lock()

    def as_user(self, keychain: Keychain) -> Registries:
        """Return the same registries as somebody else sees them."""
        return Registries(self._transport, keychain=keychain, hosts=self._hosts, waiting=self._waiting, warn=self._warn)

    def through(self, carry: Callable[[Transport], Transport]) -> Registries:
        """Return the same registries, whose requests are carried by what a function makes of the transport."""
        return Registries(
            carry(self._transport), keychain=self._keychain, hosts=self._hosts, waiting=self._waiting, warn=self._warn
        )

    def to_pull(self, name: Reference) -> tuple[tuple[RegistryClient, str], ...]:
        """Return the clients that a name is pulled with, in order, each with the repository to ask it for.

        Raises:
            RegistryDenied: the configuration blocks it. UnsafeRedirect: a host is not one.
        """
        return tuple((self._client(place), place.repository) for place in self._hosts.to_pull(name))

    def to_push(self, name: Reference) -> tuple[RegistryClient, str]:
        """Return the client that a name is pushed with, and the repository. Raises as `to_pull` does."""
        place = self._hosts.to_push(name)
        return self._client(place), place.repository

    def log_in(self, name: Reference) -> bool:
        """Check the credentials for a name's host with it, and return whether it asked for any.

        Raises:
            InvalidSettings: the configuration asks another host in its place. RegistryDenied: it refuses them.
        """
        return self._client(self._hosts.to_log_in(name)).log_in()

    def _client(self, place: Place) -> RegistryClient:
        # Credentials may belong to a part of a host only.
        key = place.endpoint, place.name.name
        with self._turn:
            found = self._clients.get(key)
            if found is None:
                found = self._clients[key] = self._made(place)
            return found

    def _made(self, place: Place) -> RegistryClient:
        endpoint = place.endpoint

        def access(origin: Origin, send: Callable[[Request], Answer]) -> Access:
            return Access(
                origin,
                send,
                self._waiting.clock,
                find=partial(self._keychain.find, place.name),
                renew=partial(self._renewed, place.name),
                realms=endpoint.token_realms,
            )

        exchange = Exchange(endpoint, self._transport, self._waiting, access, warn=self._warn)
        return RegistryClient(exchange, namespace=endpoint.namespace)

    def _renewed(self, name: Reference) -> Credentials | None:
        self._keychain.forget()
        return self._keychain.find(name)
