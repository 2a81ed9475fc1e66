"""Versions of the Engine API, and which of them are served."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Self

from orlop.errors import UnsupportedVersion

_FORM: Final = re.compile(r"v?([0-9]{1,4})\.([0-9]{1,4})")


@dataclass(frozen=True, slots=True, order=True)
class ApiVersion:
    """A version such as 1.41; ordered by its numbers."""

    major: int
    minor: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``1.41`` or ``v1.41``; raises `UnsupportedVersion` for anything else."""
        match = _FORM.fullmatch(text)
        if match is None:
            raise UnsupportedVersion(f"{text!r} is no version of the API, which looks like {MAXIMUM}")
        return cls(int(match[1]), int(match[2]))

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}"


V1_25: Final = ApiVersion(1, 25)
V1_41: Final = ApiVersion(1, 41)
V1_42: Final = ApiVersion(1, 42)
V1_43: Final = ApiVersion(1, 43)
V1_44: Final = ApiVersion(1, 44)
V1_45: Final = ApiVersion(1, 45)
V1_47: Final = ApiVersion(1, 47)
V1_48: Final = ApiVersion(1, 48)
V1_49: Final = ApiVersion(1, 49)
V1_50: Final = ApiVersion(1, 50)
V1_51: Final = ApiVersion(1, 51)
V1_52: Final = ApiVersion(1, 52)
MINIMUM: Final = ApiVersion(1, 24)
"""The oldest version that is served."""
MAXIMUM: Final = ApiVersion(1, 55)
"""The newest version that is served, and the one of a request that names none."""


def requested(text: str | None) -> ApiVersion:
    """Give the version of a request: that of its path, or `MAXIMUM` where the path names none.

    Raises:
        UnsupportedVersion: it is no version, or none that is served.
    """
    if text is None:
        return MAXIMUM
    version = ApiVersion.parse(text)
    if version < MINIMUM:
        raise UnsupportedVersion(
            f"client version {version} is too old. Minimum supported API version is {MINIMUM},"
            " please upgrade your client to a newer version"
        )
    if version > MAXIMUM:
        raise UnsupportedVersion(f"client version {version} is too new. Maximum supported API version is {MAXIMUM}")
    return version
