"""Which images of a source are wanted, by their platform, and which of several one name stands for."""

from __future__ import annotations

import os

from orlop.errors import PlatformNotFound, WrongType
from orlop.model.digest import ImageID
from orlop.model.given import brief
from orlop.model.manifest import Index, parse_manifest
from orlop.model.platform import Platform, processor, spelled
from orlop.model.values import dataclass, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import Final

    from orlop.intake.words import Words
    from orlop.model.descriptor import Descriptor
    from orlop.model.digest import Digest
    from orlop.store.root import Store
    from orlop.store.rows.metadata import Rows

_UNKNOWN: Final = "unknown"


@dataclass(frozen=True, slots=True)
class PlatformChoice:
    """What to take of a source: the images of ``asked``, or all; ``host`` is preferred where a name has several."""

    asked: Platform | None
    host: Platform

    def keeps(self, platform: Platform) -> bool:
        """Return whether an image of this platform is wanted."""
        return self.asked is None or matches(self.asked, platform)

    def first(self, platforms: Sequence[Platform]) -> int:
        """Return the number of the one that a name of all of them stands for: the host's, else the first.

        One of just the host's variant goes before others, as other programs take no other.
        """
        host = plain(self.host)
        fitting = [number for number, platform in enumerate(platforms) if matches(self.host, platform)]
        return next(
            (number for number in fitting if plain(platforms[number]).variant == host.variant), (*fitting, 0)[0]
        )

    def nothing(self, platforms: Iterable[Platform], words: Words) -> PlatformNotFound:
        """Make the error for a source that holds none that was asked for."""
        held = ", ".join(sorted({str(platform).rstrip("/") for platform in platforms}))
        return PlatformNotFound(f"{words.name} holds no image for {self.asked}; it holds {held}")


def matches(wanted: Platform, found: Platform) -> bool:
    """Return whether an image of the platform ``found`` serves one who wants ``wanted``.

    A variant or a version of the operating system counts only where it is wanted.
    """
    wanted, found = plain(wanted), plain(found)
    if found.architecture == "arm" and not found.variant:
        found = replace(found, variant="v7")
    return (
        (wanted.os, wanted.architecture) == (found.os, found.architecture)
        and wanted.variant in {"", found.variant}
        and wanted.os_version in {"", found.os_version}
    )


def chosen(asked: Platform | str | None) -> PlatformChoice:
    """Return the choice of one platform, or of all; this machine's completes a word alone. Raises `InvalidPlatform`."""
    host = host_platform()
    if isinstance(asked, str):
        asked = Platform.parse(asked, default=host)
    elif not isinstance(asked, Platform | None):
        raise WrongType(f"a platform is a str, such as linux/arm64, or a Platform, not {brief(asked)}")
    return PlatformChoice(asked, host)


def first_image(store: Store, images: Sequence[ImageID]) -> ImageID:
    """Return which of several images a name stands for, in the order of `images_in`: see `PlatformChoice.first`."""
    return images[chosen(None).first([store.images.get(one).platform for one in images])]


def images_in(rows: Rows, digest: Digest) -> list[ImageID]:
    """Return the images of a manifest or an index that are here, in the order in which programs look for a platform.

    That is the order of the index, with those first whose descriptor names a platform.
    """
    found = [*_images_below(rows, digest), *map(ImageID.wrap, rows.images_of(digest))]
    return [image for image in dict.fromkeys(found) if rows.image_row(image) is not None]


def _images_below(rows: Rows, digest: Digest) -> Iterator[ImageID]:
    seen: set[Digest] = set()
    waiting = [digest]
    # What clients push one by one may be nested to any depth.
    while waiting:
        one = waiting.pop()
        row = None if one in seen else rows.manifest(one)
        if row is None:
            continue
        seen.add(one)
        document = parse_manifest(row.raw)
        if isinstance(document, Index):
            order = sorted(document.manifests, key=lambda child: not names_platform(child))
            waiting += [child.digest for child in reversed(order)]
        else:
            yield from map(ImageID.wrap, rows.images_of(one))


def names_platform(descriptor: Descriptor) -> bool:
    """Return whether a descriptor says for which platform its image is; that of an attestation says that none is."""
    platform = descriptor.platform
    return platform is not None and {platform.os, platform.architecture}.isdisjoint({"", _UNKNOWN})


def host_platform() -> Platform:
    """Return the platform of containers on this machine."""
    machine = os.uname().machine
    if machine.startswith("armv"):
        return Platform("linux", "arm", machine[3:5])
    return Platform("linux", spelled(machine))


def plain(platform: Platform) -> Platform:
    """Return a platform in the one form that it has to other programs, so that two can be compared."""
    architecture, variant = processor(platform.architecture, platform.variant)
    # Every 64-bit processor of Arm is a v8 at least: programs leave it out as often as not.
    if (architecture, variant) == ("arm64", "v8"):
        variant = ""
    return replace(platform, os=platform.os.lower(), architecture=architecture, variant=variant)
