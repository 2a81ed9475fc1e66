"""The dialects in which engines read and write an image's JSON."""

from __future__ import annotations

from enum import Enum


class Dialect(Enum):
    """Whose JSON is read and written: the engines differ in a few fields, so in every ID made from them.

    `REFERENCE` is the image package as of Docker Engine 17.06 and the default everywhere.
    """

    REFERENCE = "17.06"
    ENGINE_20_10 = "20.10"
    ENGINE_29 = "29"
