"""Versions of the Engine API, and which of them are served."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

from orlop.errors import UnsupportedVersion

_LARGEST: Final = (1 << 63) - 1
_DIGITS: Final = len(str(_LARGEST))


@dataclass(frozen=True, slots=True, order=True)
class ApiVersion:
    """A version such as 1.41; ordered by its numbers, of which there may be more than two."""

    major: int
    minor: int
    others: tuple[int, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read digits and points as engines do: a number that is missing is 0, and one too large the largest."""
        major, minor, *others = (*map(_number, text.split(".")), 0)
        while others and not others[-1]:
            others.pop()
        return cls(major, minor, tuple(others))

    def __str__(self) -> str:
        return ".".join(map(str, (self.major, self.minor, *self.others)))


def _number(digits: str) -> int:
    return min(int(digits or "0"), _LARGEST) if len(digits) <= _DIGITS else _LARGEST


V1_25: Final = ApiVersion(1, 25)
V1_32: Final = ApiVersion(1, 32)
V1_41: Final = ApiVersion(1, 41)
V1_42: Final = ApiVersion(1, 42)
V1_43: Final = ApiVersion(1, 43)
V1_44: Final = ApiVersion(1, 44)
V1_45: Final = ApiVersion(1, 45)
V1_46: Final = ApiVersion(1, 46)
V1_47: Final = ApiVersion(1, 47)
V1_48: Final = ApiVersion(1, 48)
V1_49: Final = ApiVersion(1, 49)
V1_50: Final = ApiVersion(1, 50)
V1_51: Final = ApiVersion(1, 51)
V1_52: Final = ApiVersion(1, 52)
V1_54: Final = ApiVersion(1, 54)
MINIMUM: Final = ApiVersion(1, 24)
"""The oldest version that is served."""
MAXIMUM: Final = ApiVersion(1, 55)
"""The newest version that is served, and the one of a request that names none."""


def check_version(version: ApiVersion, text: str) -> None:
    """Raise `UnsupportedVersion` for a version that is not served.

    Args:
        version: that of a request.
        text: as the request has it.
    """
    if version < MINIMUM:
        raise UnsupportedVersion(
            f"client version {text} is too old. Minimum supported API version is {MINIMUM},"
            " please upgrade your client to a newer version"
        )
    if version > MAXIMUM:
        raise UnsupportedVersion(f"client version {text} is too new. Maximum supported API version is {MAXIMUM}")
