"""A field of a list."""

from __future__ import annotations

from orlop.model.generic import Generic, TypeVar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

Row = TypeVar("Row")


class Field(Generic[Row]):
    """A field of a list: its heading in tables, and its text for one row.

    ``is_known`` says whether the row has a value at all; where it has none, JSON has null.
    """

    __slots__ = ("heading", "is_known", "text")

    def __init__(
        self, heading: str, text: Callable[[Row], str], is_known: Callable[[Row], bool] = lambda _: True
    ) -> None:
        self.heading = heading
        self.text = text
        self.is_known = is_known

    def value(self, row: Row) -> str | None:
        """Return the value in JSON."""
        return self.text(row) if self.is_known(row) else None
