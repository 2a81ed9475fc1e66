"""Looks into registries: tags, manifests, and what a manifest and its config say of an image.

Nothing is kept, and no layer is fetched: sizes of layers are those that the manifest promises, compressed as they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from orlop.errors import ImageNotFound
from orlop.intake.platforms import chosen
from orlop.intake.taking import measuring
from orlop.model.limits import DEFAULT_LIMITS
from orlop.model.reference import Reference
from orlop.model.values import dataclass
from orlop.registry.places import Places
from orlop.registry.source import RegistrySource
from orlop.service.listing.history import steps
from orlop.service.listing.inspect import ImageDetails
from orlop.service.listing.summaries import ImageSummary

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orlop.model.digest import Digest
    from orlop.model.image import Image
    from orlop.model.limits import Limits
    from orlop.model.platform import Platform
    from orlop.registry.registries import Registries
    from orlop.service.listing.history import HistoryEntry


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


@dataclass(frozen=True, slots=True)
class RemoteImage:
    """An image in a registry, as its documents tell of it.

    Attributes:
        image: its config.
        raw: the exact bytes of that.
        references: the name that leads to it, and the digest that this name has.
        sizes: the bytes of its layers as the registry has them, bottom first.
        manifests: the digests of its manifest, and of the index that it is in.
    """

    image: Image
    raw: bytes
    references: tuple[Reference, ...]
    sizes: tuple[int, ...]
    manifests: tuple[Digest, ...]

    @property
    def details(self) -> ImageDetails:
        """What an inspection shows. Its size is that of the layers as the registry has them."""
        return ImageDetails(self.image, self.references, sum(self.sizes), None, tuple(map(str, self.manifests)))

    @property
    def summary(self) -> ImageSummary:
        """What a list shows, with the same size."""
        created = self.image.created
        return ImageSummary(
            self.image.id, self.references, created.unix, sum(self.sizes), None, nanosecond=created.nanosecond
        )

    @property
    def history(self) -> list[HistoryEntry]:
        """The steps by which it was made, newest first, with the same sizes."""
        return steps(self.image, iter(self.sizes), iter([(self.image.id, self.references[:1])]))


def images_of(
    registries: Registries,
    name: Reference,
    platform: Platform | str | None = None,
    *,
    every: bool = False,
    limits: Limits = DEFAULT_LIMITS,
) -> list[RemoteImage]:
    """Return the image that a name leads to, or, of an index, one for each platform.

    It costs a request for each manifest, index and config; no layer is fetched.

    Args:
        registries: where to look.
        name: with a tag or a digest.
        platform: of an index, the image for this one; by default the one for this machine.
        every: return the images of all platforms.
        limits: how large the documents may be.

    Raises:
        ImageNotFound: the name leads to something else than an image. What `manifest_of` raises.
    """
    with measuring(limits) as taking:
        source = RegistrySource(name, Places(registries.to_pull(name)), taking, every=every)
        offer = source.offer(chosen(platform))
    if not offer.images:
        raise ImageNotFound(f"{name.familiar} is an artifact, and not an image; `orlop manifest` shows what it names")
    tagged = () if name.tag is None else (Reference(name.domain, name.path, name.tag),)
    references = (*tagged, Reference(name.domain, name.path, None, source.digest))
    return [
        RemoteImage(
            entry.image,
            entry.image.raw_json,
            references,
            tuple(layer.size or 0 for layer in entry.layers),
            tuple(dict.fromkeys([source.digest, *([] if entry.manifest is None else [entry.manifest])])),
        )
        for entry in offer.images
    ]
