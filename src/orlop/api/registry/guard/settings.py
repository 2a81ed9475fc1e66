"""What guards a registry, as values: everything that the file of access says."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from orlop.api.registry.guard.rights import EVERYTHING

if TYPE_CHECKING:
    from ipaddress import IPv4Network, IPv6Network

    from orlop.api.registry.guard.rights import RepositoryPattern, Rights
    from orlop.api.registry.guard.tokens import Issuer, Verifier

MANIFEST_LIMIT: Final = 4 << 20


@dataclass(frozen=True, slots=True)
class Limits:
    """How much and how often.

    Attributes:
        rate: requests a second of one client or user, or None for any number.
        burst: how many may come at once.
        upload: bytes of one upload, or None for any size.
        manifest: bytes of a manifest.
    """

    rate: float | None = None
    burst: int = 1
    upload: int | None = None
    manifest: int = MANIFEST_LIMIT


@dataclass(frozen=True, slots=True)
class Tokens:
    """How tokens are had and read.

    Attributes:
        realm: the URL where clients get them.
        service: the name of this registry, for which they are issued.
        verifier: reads them.
        issuer: issues them, if this server does so itself.
    """

    realm: str
    service: str
    verifier: Verifier
    issuer: Issuer | None = None


@dataclass(frozen=True, slots=True)
class Webhook:
    """A receiver of events.

    Attributes:
        name: for messages.
        url: where each event is posted.
        queue: the folder that holds events until they are delivered.
        secret: signs each event, if there is one.
        actions: what is told: ``push``, ``delete``, ``pull``, ``mount``.
        repositories: in which repositories.
        most: how many events may wait.
    """

    name: str
    url: str = field(repr=False)
    queue: str
    secret: bytes | None = field(default=None, repr=False)
    actions: frozenset[str] = frozenset({"delete", "push"})
    repositories: tuple[RepositoryPattern, ...] = ()
    most: int = 10_000


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings; without any, anybody may do everything.

    Attributes:
        passwords: hashes of bcrypt by user, or None where nobody has a password.
        rights: who may do what.
        tokens: those of docker's protocol, if they are used; else names and passwords are sent with each request.
        limits: how much and how often.
        proxies: the addresses whose ``X-Forwarded-For`` is believed.
        read_only: nothing may be changed.
        audit: the file for a line about each request, if there is one.
        webhooks: the receivers of events.
    """

    passwords: dict[str, str] | None = field(default=None, repr=False)
    rights: Rights = EVERYTHING
    tokens: Tokens | None = None
    limits: Limits = field(default_factory=Limits)
    proxies: tuple[IPv4Network | IPv6Network, ...] = ()
    read_only: bool = False
    audit: str | None = None
    webhooks: tuple[Webhook, ...] = ()

    @property
    def is_open(self) -> bool:
        """Whether nobody needs to say who they are."""
        return self.passwords is None and self.tokens is None
