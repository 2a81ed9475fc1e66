"""Stand-ins for names of `typing`: what they do at run time is what `typing` does."""

from __future__ import annotations

import pickle
import typing
from abc import abstractmethod
from types import SimpleNamespace
from typing import Any

import pytest

from orlop.model import generic

DOORS: list[Any] = [typing, generic]


@pytest.mark.parametrize("door", DOORS)
def test_a_generic_class_is_used_with_and_without_parameters(door: Any) -> None:
    item = door.TypeVar("item")
    other = door.TypeVar("other", bound=str, covariant=True)

    class Boxed(door.Generic[item, other]):  # type: ignore[misc]
        __slots__ = ("held",)

        def __init__(self, held: object) -> None:
            self.held = held

    box: Any = Boxed

    class Small(box[int, str]):  # type: ignore[misc]
        pass

    assert item.__name__ == "item"
    assert box(1).held == box[int, str](1).held == Small(1).held == 1
    assert isinstance(Small(1), Boxed)
    assert not hasattr(box(1), "__dict__")


@pytest.mark.parametrize("door", DOORS)
def test_a_protocol_asks_for_members_where_it_may_be_asked(door: Any) -> None:
    class Named(door.Protocol):  # type: ignore[misc]
        name: str

    @door.runtime_checkable
    class Closing(door.Protocol):  # type: ignore[misc]
        def close(self) -> None: ...

    class Door(Closing):
        pass

    class Stuck(Closing):
        @abstractmethod
        def open(self) -> None: ...

    class Other:
        def close(self) -> None: ...

    assert isinstance(Other(), Closing)
    assert isinstance(SimpleNamespace(close=1), Closing)
    assert not isinstance(SimpleNamespace(), Closing)
    assert isinstance(Door(), Closing)
    assert not isinstance(Other(), Door)
    with pytest.raises(TypeError, match="runtime_checkable"):
        isinstance(Other(), Named)
    with pytest.raises(TypeError, match="abstract"):
        Stuck()


@pytest.mark.parametrize("door", DOORS)
def test_what_only_type_checkers_read_changes_nothing(door: Any) -> None:
    @door.final
    class Last:
        @door.final
        def end(self) -> int:
            return 1

    assert door.cast("Last", 5) == 5
    assert Last().end() == 1


def test_the_exported_names_are_those_of_typing() -> None:
    assert set(generic.__all__) <= set(typing.__all__)
    assert pickle.loads(pickle.dumps(generic.Generic)) is generic.Generic
