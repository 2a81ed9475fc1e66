"""A registry for programs: its repositories, tags, manifests and blobs, by a few methods on plain values."""

from __future__ import annotations

import io
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from orlop.errors import InvalidReference
from orlop.model.closing import Closing
from orlop.model.descriptor import Descriptor
from orlop.model.digest import Digest
from orlop.model.given import check_text
from orlop.model.proxies import NO_PROXIES
from orlop.model.reference import Reference
from orlop.registry import referrers
from orlop.registry.certificates import HostTrust
from orlop.registry.configs import read_small
from orlop.registry.credentials import Credentials, GivenKeys, host_of_key
from orlop.registry.messages import OpenedBody
from orlop.registry.pushing import BlobPush
from orlop.registry.registries import Registries
from orlop.registry.transport import HttpTransport
from orlop.streams.verify import VerifyingReader

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    from orlop.model.proxies import Proxies
    from orlop.registry.client import RegistryClient
    from orlop.registry.fetched import FetchedManifest

_OCTETS: Final = "application/octet-stream"


class Registry(Closing):
    """A client for one registry. Use it as a context manager, which closes its connections. Threads may share it.

    A repository is the path of a name (``team/app``; ``library/alpine`` on Docker Hub). A reference is a tag, or a
    digest, as a `Digest` or as text. Content is verified against its digest when it is read. Every method raises
    `NotInRegistry` or `RegistryError` with the registry's own code and message.

    Args:
        host: the registry's host, with a port if it needs one; ``docker.io`` for Docker Hub.
        user: the user name. Default: anonymous.
        password: the user's password. Both are sent only to this registry, and to a token server of its own site.
        proxies: the proxies to use.
        registries: mirrors, credential files and certificates to use; all other arguments except ``host`` are then
            ignored.
    """

    def __init__(
        self,
        host: str,
        *,
        user: str = "",
        password: str = "",
        proxies: Proxies | None = None,
        registries: Registries | None = None,
    ) -> None:
        for value, what in ((host, "the host of a registry"), (user, "a user"), (password, "a password")):
            check_text(value, what)
        self.host = host_of_key(host)
        self._transport: HttpTransport | None = None
        if Reference.parse(f"{self.host}/a/b").domain != self.host:
            raise InvalidReference(f"{host!r} is not a registry: expected HOST[:PORT], with a dot or a port in it")
        if registries is None:
            credentials = Credentials(user=user, password=password, source="the caller") if user else None
            self._transport = HttpTransport(HostTrust(), proxies=proxies or NO_PROXIES)
            registries = Registries(self._transport, keychain=GivenKeys(self.host, credentials))
        self._registries = registries

    def repositories(self) -> Iterator[str]:
        """Yield the paths of its repositories, page by page; many registries show them to nobody."""
        return self._at("catalog/all")[0].catalog()

    def tags(self, repository: str) -> Iterator[str]:
        """Yield the tags of a repository as the registry lists them, page by page."""
        client, path = self._at(repository)
        return client.tags(path)

    def head(self, repository: str, reference: str | Digest) -> Descriptor:
        """Return the type, digest and size of a manifest or an index without fetching it, where that is possible."""
        client, path = self._at(repository)
        return client.head_manifest(path, _reference(reference))

    def manifest(self, repository: str, reference: str | Digest) -> FetchedManifest:
        """Return a manifest or an index: its type, its digest, its exact bytes, and their parsed form (``parsed()``).

        Raises:
            DigestMismatch: the registry sent another one. InvalidManifest: it can be read in two ways.
        """
        client, path = self._at(repository)
        return client.get_manifest(path, _reference(reference))

    @contextmanager
    def blob(self, repository: str, want: Descriptor) -> Iterator[VerifyingReader]:
        """Return, for a block, a reader of a blob, which fails before its last byte where the content is another one.

        A connection that breaks is made anew, and the download goes on where it was.

        Raises:
            DigestMismatch, SizeMismatch: what comes is something else, told by the reader.
        """
        client, path = self._at(repository)
        with client.open_blob(path, want) as reader:
            yield VerifyingReader(reader, digest=want.digest, size=want.size)

    def read_blob(self, repository: str, want: Descriptor) -> bytes:
        """Return the bytes of a small blob, such as a config, verified. Raises `InvalidAnswer` beyond 8 MiB."""
        client, path = self._at(repository)
        return read_small(client, path, want)

    def push_blob(self, repository: str, content: bytes, media_type: str = _OCTETS) -> Descriptor:
        """Push a blob, unless it is there, and return its descriptor."""

        def opened(offset: int) -> BinaryIO:
            return io.BytesIO(content[offset:])

        client, path = self._at(repository)
        found = Descriptor(media_type, Digest.of(content), len(content))
        if not client.has_blob(path, found.digest):
            BlobPush(client, path, found.digest, OpenedBody(opened, len(content))).run()
        return found

    def push_manifest(
        self, repository: str, raw: bytes, media_type: str, reference: str | Digest | None = None
    ) -> Digest:
        """Push a manifest or an index whose content is there, under a tag, or under its digest alone.

        It becomes a referrer of its ``subject``, even if the registry keeps no list of referrers.

        Raises:
            InvalidManifest: it is none. RegistryError: something that it names is missing (``missing``).
        """
        client, path = self._at(repository)
        digest = referrers.put(client, path, raw, media_type).digest
        if reference is not None and _reference(reference) != digest:
            client.put_manifest(path, _reference(reference), raw, media_type)
        return digest

    def delete(self, repository: str, reference: str | Digest) -> None:
        """Delete a tag alone, or a manifest by its digest with all its tags.

        Raises:
            RegistryUnsupported: the registry cannot delete, or cannot delete tags.
        """
        client, path = self._at(repository)
        found = _reference(reference)
        if isinstance(found, Digest):
            client.delete_manifest(path, found)
        else:
            client.delete_tag(path, found)

    def referrers(self, repository: str, subject: str | Digest, artifact_type: str = "") -> tuple[Descriptor, ...]:
        """Return what refers to a manifest, of one type or of any: signatures, SBOMs, attestations."""
        client, path = self._at(repository)
        return client.referrers(path, Digest.parse(str(subject)), artifact_type)

    def close(self) -> None:
        """Close the connections, except those of ``registries``."""
        if self._transport is not None:
            self._transport.close()

    def _at(self, repository: str) -> tuple[RegistryClient, str]:
        check_text(repository, "a repository")
        name = Reference.parse(f"{self.host}/{repository}")
        if name.tag is not None or name.digest is not None:
            raise InvalidReference(f"{repository!r} is not a repository: name the tag or digest apart from it")
        return self._registries.to_push(name)


def _reference(reference: str | Digest) -> str | Digest:
    """Return a tag or a digest; a digest is what has a colon."""
    if isinstance(reference, Digest):
        return reference
    check_text(reference, "a tag or a digest")
    return Digest.parse(reference) if ":" in reference else reference
