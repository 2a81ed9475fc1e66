"""What a registry refuses, or where it fails, cannot be reached, or may not be asked."""

from __future__ import annotations

from orlop.errors import InvalidInput, NotFound, OrlopError


class _FromRegistry(Exception):
    """A registry's answer: its host, the status, and pairs of a code and a message from the registry.

    ``missing`` has the digests of blobs that a manifest names and the registry does not have.
    """

    missing: tuple[str, ...] = ()

    def __init__(
        self,
        message: str = "",
        *,
        registry: str = "",
        answered: int | None = None,
        said: tuple[tuple[str, str], ...] = (),
    ) -> None:
        super().__init__(message)
        self.registry, self.answered, self.said = registry, answered, said


class RegistryError(_FromRegistry, OrlopError):
    """A registry refused a request, or failed."""

    code = "REGISTRY_ERROR"
    http_status = 502


class RegistryUnreachable(RegistryError):
    """A registry did not answer: there was no connection, no trust in its certificate, or it stopped sending.

    ``speaks_tls`` tells whether a server was there that answered in TLS.
    """

    speaks_tls = False
    code = "REGISTRY_UNREACHABLE"


class RegistryDenied(RegistryError):
    """A registry does not allow a request: without credentials, with these, or at all."""

    code = "REGISTRY_DENIED"
    http_status = 403


class RegistryBusy(RegistryError):
    """A registry asks to wait longer than allowed; ``wait`` is the number of seconds, if it says so."""

    code = "REGISTRY_BUSY"
    http_status = 429
    wait: float | None = None


class RegistryUnsupported(RegistryError):
    """A registry does not support what was asked for."""

    code = "REGISTRY_UNSUPPORTED"
    http_status = 501


class InvalidAnswer(RegistryError):
    """A registry's answer does not follow the protocol, or is too large."""

    code = "INVALID_ANSWER"


class UnsafeRedirect(RegistryError):
    """A registry leads to a location where nothing may be sent, or not with these credentials."""

    code = "UNSAFE_REDIRECT"


class UploadLost(RegistryError):
    """A registry has forgotten an upload, which must start again."""

    code = "UPLOAD_LOST"


class NotInRegistry(_FromRegistry, NotFound):
    """A registry has no such repository, tag, manifest or blob."""

    code = "NOT_IN_REGISTRY"


class InvalidSettings(InvalidInput):
    """A file of credentials, certificates or registries, or a credential helper, cannot be used."""

    code = "INVALID_SETTINGS"
