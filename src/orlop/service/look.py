"""Looks into registries: tags and manifests. Nothing is kept, and no layer is fetched."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orlop.intake.platforms import chosen
from orlop.intake.taking import measuring
from orlop.model.limits import DEFAULT_LIMITS
from orlop.registry.places import Places
from orlop.registry.source import RegistrySource

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orlop.model.limits import Limits
    from orlop.model.platform import Platform
    from orlop.model.reference import Reference
    from orlop.registry.registries import Registries


def tags_of(registries: Registries, name: Reference) -> Iterator[str]:
    """Yield the tags of a repository, as its registry lists them; a mirror is not asked, as it need not have all.

    Raises:
        NotInRegistry: there is no such repository. RegistryError: the registry refuses, or fails.
    """
    client, repository = registries.to_pull(name)[-1]
    return client.tags(repository)


def manifest_of(
    registries: Registries, name: Reference, platform: Platform | str | None = None, *, limits: Limits = DEFAULT_LIMITS
) -> bytes:
    """Return the bytes of the manifest or index that a name leads to, or of the manifest for a platform.

    Args:
        registries: where to look.
        name: with a tag or a digest.
        platform: that of the manifest; by default it is what the name leads to.
        limits: how large the documents may be.

    Raises:
        NotInRegistry: there is none. PlatformNotFound: nor for the platform. RegistryError: the registry refuses, or
            fails. InvalidManifest, DigestMismatch, LimitExceeded: what it sends is refused.
    """
    places = Places(registries.to_pull(name))
    with measuring(limits) as taking:
        source = RegistrySource(name, places, taking)
        return source.top() if platform is None else source.manifest(chosen(platform))
