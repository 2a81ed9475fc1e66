"""What is closed at the end of a ``with`` block."""

from __future__ import annotations

from abc import abstractmethod

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import NoReturn, Self


class Single:
    """Something that holds descriptors or the like, which a copy of it would release."""

    __slots__ = ()

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        """Raise `WrongType`: `copy` and `pickle` ask for this."""
        from orlop.errors import WrongType  # noqa: PLC0415 - nobody copies what is open

        del protocol
        raise WrongType(f"{type(self).__name__} objects cannot be copied or pickled; open another one")


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
