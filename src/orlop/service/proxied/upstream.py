"""Upstreams: which registries a cache stands for, as a user writes them."""

from __future__ import annotations

from typing import Self
from urllib.parse import urlsplit

from orlop.errors import InvalidInput, InvalidSettings
from orlop.model.reference import Reference
from orlop.model.values import dataclass
from orlop.registry.hosts import Rule, Server


@dataclass(frozen=True, slots=True)
class Upstream:
    """A registry that is cached: its ``host``, as in names of images, and the ``server`` that is asked for it."""

    host: str
    server: Server

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``HOST=URL``, or ``HOST`` alone, whose server is the host itself.

        Raises:
            InvalidInput: it is neither, such as ``docker.io`` or ``docker.io=https://registry-1.docker.io``.
        """
        host, equals, url = text.partition("=")
        try:
            is_host = Reference.parse(f"{host}/a/b").domain == host and bool(host)
            parts = urlsplit(url) if equals else None
            if not is_host or (parts is not None and (parts.scheme not in {"http", "https"} or _has_more(url))):
                raise InvalidSettings("expected HOST or HOST=URL, such as docker.io=https://mirror.example.com")
            if parts is None:
                return cls(host, Server(location=host))
            location = f"{parts.netloc}{parts.path}".rstrip("/")
            return cls(host, Server(location=location, plain_http=parts.scheme == "http"))
        except (InvalidInput, ValueError) as error:
            # What stands before an @ may be a password.
            raise InvalidInput(f"{host[:80]!r} cannot be a registry that is cached: {error}") from error

    @property
    def rule(self) -> Rule:
        """What leads to the server: its mirrors are not asked, since this may be one of them."""
        return Rule(prefix=self.host, server=self.server)


def _has_more(url: str) -> bool:
    return any(mark in url for mark in "@?#")
