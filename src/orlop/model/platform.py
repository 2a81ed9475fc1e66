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
        """Read ``OS/ARCHITECTURE`` or ``OS/ARCHITECTURE/VARIANT``, in lower case.

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
        os, architecture, variant = (*parts, "")[:_MAX_PARTS]
        return cls(os, architecture, variant)

    @classmethod
    def _completed(cls, word: str, default: Platform) -> Self:
        if _SYSTEM.fullmatch(word):
            return cls(word, default.architecture, default.variant)
        if not _PROCESSOR.fullmatch(word):
            raise InvalidPlatform(
                f"{word!r} is neither an operating system nor a processor; give both, as OS/ARCHITECTURE[/VARIANT]"
            )
        return cls(default.os, word, default.variant if word == default.architecture else "")

    def __str__(self) -> str:
        """Return ``OS/ARCHITECTURE``, with ``/VARIANT`` if there is one."""
        return f"{self.os}/{self.architecture}" + (f"/{self.variant}" if self.variant else "")
