"""Platforms: what an image runs on (OCI image spec, "Image Index", ``platform``)."""

from __future__ import annotations

from orlop.errors import InvalidPlatform
from orlop.model.given import check_text
from orlop.model.regex import regex
from orlop.model.values import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final, Self

_PART: Final = regex(r"[A-Za-z0-9_.-]+")
_MIN_PARTS, _MAX_PARTS = 2, 3
# What a word alone may be.
_SYSTEM: Final = regex(
    "aix|android|darwin|dragonfly|freebsd|illumos|ios|js|linux|netbsd|openbsd|plan9|solaris|wasip1|windows|zos"
)
_PROCESSOR: Final = regex("386|amd64|arm|arm64|loong64|mips|mips64|mips64le|mipsle|ppc64|ppc64le|riscv64|s390x|wasm")
# What the kernel and distributions call otherwise than Go.
_ARCHITECTURES: Final = {
    "aarch64": "arm64",
    "i386": "386",
    "i686": "386",
    "loongarch64": "loong64",
    "x86_64": "amd64",
    "x86-64": "amd64",
}
_SYSTEMS: Final = {"macos": "darwin"}
_ARM: Final = {"armel": "v6", "armhf": "v7"}
"""Other words for processors of one architecture."""


def spelled(word: str) -> str:
    """Return an operating system or a processor as Go spells it; other words only get lower case."""
    word = word.lower()
    return _SYSTEMS.get(word) or _ARCHITECTURES.get(word, word)


def processor(word: str, given: str = "") -> tuple[str, str]:
    """Return an architecture and its variant as Go's library of platforms names them; without one there is no v7."""
    architecture, variant = spelled(word), given.lower()
    if architecture in _ARM:
        architecture, variant = "arm", _ARM[architecture]
    elif architecture == "arm" and variant in {"5", "6", "7", "8"}:
        variant = f"v{variant}"
    elif (architecture, variant) == ("arm64", "8"):
        variant = "v8"
    elif (architecture, variant) == ("amd64", "v1") or architecture == "386":
        variant = ""
    return architecture, "" if (architecture, variant, given) == ("arm", "v7", "") else variant


@dataclass(frozen=True, slots=True, order=True)
class Platform:
    """An operating system and a processor, named as Go names them (``linux``, ``arm64``, variant ``v8``).

    Unknown parts are empty. Hashable, immutable.
    """

    os: str
    architecture: str
    variant: str = ""
    os_version: str = ""
    os_features: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str, *, default: Platform | None = None) -> Self:
        """Read ``OS/ARCHITECTURE`` or ``OS/ARCHITECTURE/VARIANT``, as containerd does.

        Letters become small, and other words for a processor those of Go: ``linux/aarch64`` is ``linux/arm64``.

        Args:
            text: what to read.
            default: what completes a single word such as ``linux`` or ``arm64``; without it both parts are required.

        Raises:
            InvalidPlatform: it is none of these.
        """
        check_text(text, "a platform")
        parts = text.lower().split("/")
        if len(parts) == 1 and default is not None and parts[0]:
            return cls._completed(parts[0], default)
        if not _MIN_PARTS <= len(parts) <= _MAX_PARTS or not all(_PART.fullmatch(part) for part in parts):
            raise InvalidPlatform(
                f"invalid platform {text!r}: expected OS/ARCHITECTURE[/VARIANT], such as linux/arm64/v8"
            )
        return cls(spelled(parts[0]), *processor(*parts[1:]))

    @classmethod
    def _completed(cls, word: str, default: Platform) -> Self:
        system, (architecture, variant) = spelled(word), processor(word)
        if _SYSTEM.fullmatch(system):
            return cls(system, default.architecture, default.variant)
        if not _PROCESSOR.fullmatch(architecture):
            raise InvalidPlatform(
                f"{word!r} is neither an operating system nor a processor; give both, as OS/ARCHITECTURE[/VARIANT]"
            )
        is_own = word not in _ARM and architecture == default.architecture
        return cls(default.os, architecture, default.variant if is_own else variant)

    def __str__(self) -> str:
        """Return ``OS/ARCHITECTURE``, with ``/VARIANT`` if there is one."""
        return f"{self.os}/{self.architecture}" + (f"/{self.variant}" if self.variant else "")
