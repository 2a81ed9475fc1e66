"""A repository of a registry as a source."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orlop.model.reference import Reference
from orlop.registry.referrers import referring
from orlop.transfer.source import Home, Root

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orlop.model.descriptor import Descriptor
    from orlop.model.digest import Digest
    from orlop.registry.client import RegistryClient
    from orlop.streams.compression import OpenReadable


class RegistrySource:
    """A repository of a registry.

    ``read`` are the manifests that were read, by digest.

    Args:
        client: of the registry.
        repository: its path there.
    """

    def __init__(self, client: RegistryClient, repository: str) -> None:
        self.home = Home(client, repository)
        self.read: dict[Digest, bytes] = {}

    def root(self, name: Reference) -> Root:
        """Return what a tag or digest leads to. Raises `NotInRegistry`, `RegistryError`."""
        client, repository = self.home.client, self.home.repository
        found = client.get_manifest(repository, name.digest or name.with_default_tag().tag or "")
        self.read[found.digest] = found.raw
        tagged = name if name.digest is None or name.tag is not None else None
        tag = None if tagged is None else tagged.with_default_tag().tag
        return Root(found.descriptor, tag, None if tag is None else Reference(name.domain, name.path, tag))

    def manifest(self, want: Descriptor) -> bytes:
        """See `Source.manifest`."""
        if want.digest not in self.read:
            self.read[want.digest] = self.home.client.get_manifest(self.home.repository, want.digest).raw
        return self.read[want.digest]

    def open_blob(self, want: Descriptor, offset: int) -> OpenReadable:
        """See `Source.open_blob`."""
        return self.home.client.open_blob(self.home.repository, want, offset=offset)

    def check_blob(self, want: Descriptor) -> None:
        """See `Source.check_blob`: the registry that took it says whether it is right."""
        del want

    def label(self, want: Descriptor) -> str:
        """See `Source.label`."""
        return want.digest.short

    def homes(self, want: Descriptor) -> Sequence[Home]:
        """See `Source.homes`: it is here."""
        del want
        return (self.home,)

    def referrers(self, subject: Digest) -> Sequence[Root]:
        """See `Source.referrers`: by the registry's list, its fallback, and by the tags of cosign."""
        return [Root(found, tag) for found, tag in referring(self.home.client, self.home.repository, subject)]
