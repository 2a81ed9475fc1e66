"""What is closed at the end of a ``with`` block."""

from __future__ import annotations

from abc import abstractmethod

from orlop.model.given import Single

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self


class Closing(Single):
    """Something that a ``with`` block closes, whatever happened in it."""

    __slots__ = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @abstractmethod
    def close(self) -> None:
        """Release what is held."""
