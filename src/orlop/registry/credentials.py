"""Credentials: who somebody is to a registry. No text or ``repr`` of a value shows a secret."""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING, Final, Protocol

from orlop.errors import InvalidSettings
from orlop.model.values import dataclass, field

if TYPE_CHECKING:
    from orlop.model.reference import Reference

DOCKER_HUB: Final = "docker.io"
HUB_KEY: Final = "https://index.docker.io/v1/"
"""What Docker Hub is called in files of credentials, and by helpers."""
_HUB_HOSTS: Final = frozenset({DOCKER_HUB, "index.docker.io", "registry-1.docker.io", "registry.hub.docker.com"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What a registry, or its token server, knows somebody by.

    Attributes:
        user: a name; empty with tokens alone.
        password: what goes with it.
        identity_token: a token that gets further tokens (OAuth 2's refresh token), instead of a password.
        registry_token: a token that is sent as it is.
        source: where these were found, for messages.
    """

    user: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    registry_token: str = field(default="", repr=False)
    source: str = ""

    def __post_init__(self) -> None:
        texts = (self.user, self.password, self.identity_token, self.registry_token)
        if any("\ud800" <= one <= "\udfff" for text in texts for one in text):
            raise InvalidSettings(f"the credentials of {self.source or 'this login'} are not valid UTF-8")

    @property
    def basic(self) -> str | None:
        """The header for a server that asks for a name and a password, or None where there are none."""
        secret = self.password or self.identity_token
        return basic(self.user, secret) if self.user and secret else None


class Keychain(Protocol):
    """Where credentials are kept."""

    def find(self, name: Reference) -> Credentials | None:
        """Return the credentials for a repository, or None where there are none.

        Raises:
            InvalidSettings: what is kept for it cannot be used.
        """

    def forget(self) -> None:
        """Look anew from now on: what was found may have grown old."""


class NoKeys:
    """A keychain without credentials."""

    def find(self, name: Reference) -> Credentials | None:
        """Return nothing."""
        del name
        return None

    def forget(self) -> None:
        """Do nothing."""


def basic(user: str, password: str) -> str:
    """Return the value of ``Authorization`` for a name and a password."""
    return f"Basic {b64encode(f'{user}:{password}'.encode()).decode()}"


class GivenKeys:
    """A keychain with the credentials that somebody gave for one registry, and for no other.

    Args:
        host: the registry's host and port; ``docker.io`` for Docker Hub.
        credentials: those; None for anybody.
    """

    def __init__(self, host: str, credentials: Credentials | None) -> None:
        self._host = host
        self._credentials = credentials

    def find(self, name: Reference) -> Credentials | None:
        """Return them for a repository of that registry."""
        return self._credentials if name.domain == self._host else None

    def forget(self) -> None:
        """Do nothing: they are still the same."""


def host_of_key(key: str) -> str:
    """Return the host, with its port, that a key of a file of credentials stands for.

    Old files write keys as URLs. Docker Hub has several names, and is called ``docker.io`` here.
    """
    bare = key.partition("://")[2] or key
    host = bare.partition("/")[0].lower()
    return DOCKER_HUB if host in _HUB_HOSTS else host


def is_key_of(key: str, host: str) -> bool:
    """Return whether a key of a file of credentials stands for the whole of a host, which `host_of_key` returned.

    It does as a host, as a URL, and as a host with the version of the API that old files have behind it.
    """
    bare = key.partition("://")[2] or key
    path = bare.partition("/")[2].strip("/")
    return host_of_key(key) == host and ("://" in key or path in {"", "v1", "v2"})


def helper_name(host: str) -> str:
    """Return what a credential helper calls a host: the very text that was given at login."""
    return HUB_KEY if host == DOCKER_HUB else host
