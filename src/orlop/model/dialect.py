"""The dialects in which engines read and write an image's JSON."""

from __future__ import annotations

from enum import Enum

from orlop.errors import WrongType
from orlop.model.given import shown


class Dialect(Enum):
    """The engine whose JSON is read and written: engines differ in a few fields, and so in every ID made from them.

    `REFERENCE` is the image package of Docker Engine 17.06, and the default everywhere.
    """

    REFERENCE = "17.06"
    ENGINE_20_10 = "20.10"
    ENGINE_29 = "29"


def check_dialect(dialect: object) -> None:
    """Raise `WrongType` unless a value is a dialect."""
    if not isinstance(dialect, Dialect):
        raise WrongType(f"a dialect is a Dialect, not {shown(dialect)}")
