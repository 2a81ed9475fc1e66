"""A field of a list."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

Row = TypeVar("Row")


class Field(Generic[Row]):
    """A field of a list: its heading in tables, and its text for one row."""

    __slots__ = ("heading", "text")

    def __init__(self, heading: str, text: Callable[[Row], str]) -> None:
        self.heading = heading
        self.text = text
