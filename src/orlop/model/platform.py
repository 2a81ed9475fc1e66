"""Platforms: what an image runs on (OCI image spec, "Image Index", ``platform``)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Self

from orlop.errors import InvalidPlatform

_PART: Final = re.compile(r"[A-Za-z0-9_.-]+")
_MIN_PARTS, _MAX_PARTS = 2, 3


@dataclass(frozen=True, slots=True, order=True)
class Platform:
    """An operating system and a processor, named as Go names them (``linux``, ``arm64``, variant ``v8``).

    Texts that are not known are empty. Hashable, immutable.
    """

    os: str
    architecture: str
    variant: str = ""
    os_version: str = ""
    os_features: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``OS/ARCHITECTURE`` or ``OS/ARCHITECTURE/VARIANT``, in lower case; raises `InvalidPlatform`."""
        parts = text.split("/")
        if not _MIN_PARTS <= len(parts) <= _MAX_PARTS or not all(_PART.fullmatch(part) for part in parts):
            raise InvalidPlatform(
                f"invalid platform {text!r}: expected OS/ARCHITECTURE[/VARIANT], such as linux/arm64/v8"
            )
        os, architecture, variant = [part.lower() for part in (*parts, "")][:_MAX_PARTS]
        return cls(os, architecture, variant)

    def __str__(self) -> str:
        """Give ``OS/ARCHITECTURE`` with ``/VARIANT`` where there is one."""
        return f"{self.os}/{self.architecture}" + (f"/{self.variant}" if self.variant else "")
