"""Which images of a source are wanted, by their platform, and which of several one name stands for."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from orlop.errors import PlatformNotFound, WrongType
from orlop.model.platform import Platform
from orlop.model.values import dataclass, replace

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from orlop.intake.words import Words

# How the kernel calls what Go calls otherwise.
_ARCHITECTURES: Final = {
    "aarch64": "arm64",
    "i386": "386",
    "i686": "386",
    "loongarch64": "loong64",
    "x86_64": "amd64",
    "x86-64": "amd64",
}
_SYSTEMS: Final = {"macos": "darwin"}
# A variant that is the same as none.
_PLAIN: Final = {("amd64", "v1"), ("arm64", "8"), ("arm64", "v8")}


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
        raise WrongType(f"a platform is a str, such as linux/arm64, or a Platform, not {asked!r}")
    return PlatformChoice(asked, host)


def host_platform() -> Platform:
    """Return the platform of containers on this machine."""
    machine = os.uname().machine
    if machine.startswith("armv"):
        return Platform("linux", "arm", machine[3:5])
    return Platform("linux", _ARCHITECTURES.get(machine, machine))


def spelled(word: str) -> str:
    """Return an operating system or a processor as Go spells it; other words only get lower case."""
    word = word.lower()
    return _SYSTEMS.get(word) or _ARCHITECTURES.get(word, word)


def plain(platform: Platform) -> Platform:
    """Return a platform in the one form that it has to other programs, so that two can be compared."""
    architecture = _ARCHITECTURES.get(platform.architecture.lower(), platform.architecture.lower())
    variant = platform.variant.lower()
    if (architecture, variant) in _PLAIN:
        variant = ""
    elif architecture == "arm":
        variant = f"v{variant.removeprefix('v')}" if variant else ""
    return replace(platform, os=platform.os.lower(), architecture=architecture, variant=variant)
