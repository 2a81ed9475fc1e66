"""Classes of `orlop.model.values` behave as dataclasses, those of `orlop.model.tuples` as named tuples of `typing`."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import operator
import pickle
import sys
import typing
from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from importlib import import_module
from threading import Barrier
from types import SimpleNamespace
from typing import Any

import pytest

from orlop.model import tuples, values
from orlop.model.limits import Limits


def classes_of(of: Any) -> SimpleNamespace:
    """Return the same classes, made by `dataclasses` or by what stands for it."""

    @of.dataclass(frozen=True, slots=True, order=True)
    class Point:
        """A place."""

        KIND: typing.ClassVar[str] = "point"

        x: int
        y: tuple[int, ...] = ()
        note: str = of.field(default="n", repr=False, compare=False)

        def __post_init__(self) -> None:
            if self.x < 0:
                raise ValueError(self.x)

        @property
        def twice(self) -> int:
            return 2 * self.x

    class Named(Point):
        __slots__ = ()

    class Other(Point):
        __slots__ = ()

    @of.dataclass(frozen=True, slots=True, kw_only=True)
    class Base(ABC):
        version: int = 2
        more: dict[str, int] = of.field(default_factory=dict)
        _seen: Any = of.field(default=None, init=False, repr=False, compare=False)

        @abstractmethod
        def content(self) -> str: ...

    @of.dataclass(frozen=True, slots=True)
    class Leaf(Base):
        version: int = 3
        name: str = "n"

        def content(self) -> str:
            return self.name

        def __repr__(self) -> str:
            return "leaf"

    @of.dataclass(frozen=True, slots=True)
    class One:
        only: str

        def __str__(self) -> str:
            return self.only

    return SimpleNamespace(**{one.__name__: one for one in (Point, Named, Other, Base, Leaf, One)})


KINDS = {"ours": classes_of(values), "python's": classes_of(dataclasses)}


def outcome(act: typing.Callable[[SimpleNamespace], object], kind: str) -> object:
    """Return what comes of something done with classes, as text: values, or the type and the sentence of an error."""
    try:
        return repr(act(KINDS[kind])).replace("classes_of.<locals>.", "")
    except Exception as error:  # noqa: BLE001 - all are compared
        return type(error), str(error).replace("classes_of.<locals>.", "")


def with_attribute(value: Any, name: str) -> object:
    setattr(value, name, 1)
    return value


def without_attribute(value: Any, name: str) -> object:
    delattr(value, name)
    return value


def matched(value: Any, kinds: SimpleNamespace) -> object:
    match value:
        case kinds.One(only):
            return only
        case kinds.Point(x, y, note):
            return x, y, note
    return None


ACTS: dict[str, typing.Callable[[SimpleNamespace], object]] = {
    "made": lambda of: of.Point(1, (2,), "z"),
    "named": lambda of: of.Point(note="z", x=1),
    "text": lambda of: (str(of.One("a")), of.One("a"), of.Named(1), of.Leaf(name="a")),
    "none given": lambda of: of.Point(),
    "too many": lambda of: of.Point(1, (), "", 4),
    "unknown": lambda of: of.Point(1, z=2),
    "by position": lambda of: of.Leaf(4, "a", {}),
    "abstract": lambda of: of.Base(),
    "refused": lambda of: of.Point(-1),
    "inherited": lambda of: [
        getattr(of.Leaf(name="n", more={"a": 1}), name) for name in ("name", "version", "more", "_seen")
    ],
    "not shared": lambda of: of.Leaf(name="a").more is of.Leaf(name="a").more,
    "equal": lambda of: [of.Point(1) == of.Point(1, note="m"), of.Point(1) == of.Point(2), of.Point(1) == 1],
    "equal kinds": lambda of: [of.Named(1) == of.Named(1), of.Named(1) == of.Other(1), of.Named(1) == of.Point(1)],
    "hash": lambda of: [hash(of.Point(1, (3,))), hash(of.One("a")) == hash(("a",)), len({of.Point(1), of.Point(1)})],
    "no hash": lambda of: hash(of.Leaf(name="a")),
    "order": lambda of: sorted([of.Point(2), of.Point(1, (2,)), of.Point(1, (1,))]),
    "compared": lambda of: [
        act(of.Point(1), of.Point(2)) for act in (operator.lt, operator.le, operator.gt, operator.ge)
    ],
    "order of kinds": lambda of: of.Named(1) < of.Other(2),
    "no order": lambda of: of.One("a") < of.One("b"),
    "set": lambda of: with_attribute(of.Point(1), "x"),
    "set of a subclass": lambda of: with_attribute(of.Named(1), "x"),
    "deleted": lambda of: without_attribute(of.Point(1), "x"),
    "copied": lambda of: [copy.copy(of.Point(1, (2,), "z")), copy.deepcopy(of.Leaf(name="a", more={"b": 1})).more],
    "replaced": lambda of: dataclasses.replace(of.Point(1, (2,), "z"), x=5).note,
    "replaced what is checked": lambda of: dataclasses.replace(of.Point(1), x=-5),
    "replaced what cannot be": lambda of: dataclasses.replace(of.Leaf(name="a"), _seen=1),
    "fields": lambda of: [
        (one.name, one.type, one.default is dataclasses.MISSING, one.init, one.repr, one.compare, one.kw_only)
        for kind in (of.Point, of.Named, of.Leaf, of.One)
        for one in dataclasses.fields(kind)
    ],
    "as a dictionary": lambda of: [dataclasses.asdict(of.Leaf(name="a")), dataclasses.astuple(of.Point(1))],
    "is one": lambda of: [dataclasses.is_dataclass(of.Point), dataclasses.is_dataclass(of.Named(1))],
    "arguments": lambda of: [of.Point.__match_args__, of.Leaf.__match_args__],
    "matched": lambda of: [matched(of.One("a"), of), matched(of.Named(1), of)],
    "slots": lambda of: [hasattr(of.Point(1), "__dict__"), of.Point.__slots__, of.Leaf.__slots__],
    "attributes": lambda of: [of.Point.KIND, of.Point(3).twice, of.Point.__doc__, of.Point.__qualname__],
    "signature": lambda of: str(inspect.signature(of.Point)),
}


@pytest.mark.sampled(3)
@pytest.mark.parametrize("act", ACTS)
def test_a_class_of_values_behaves_as_a_dataclass(act: str) -> None:
    assert outcome(ACTS[act], "ours") == outcome(ACTS[act], "python's")


def test_a_value_takes_no_other_attribute() -> None:
    # Python's own raises a TypeError about its insides here.
    with pytest.raises(dataclasses.FrozenInstanceError, match="cannot assign to field 'z'"):
        with_attribute(KINDS["ours"].One("a"), "z")


def test_a_dataclass_may_inherit_from_a_class_of_values() -> None:
    @dataclasses.dataclass(frozen=True)
    class More(KINDS["ours"].Point):  # type: ignore[misc]
        z: int = 3

    assert [one.name for one in dataclasses.fields(More)] == ["x", "y", "note", "z"]
    assert More(1).z == 3


def test_threads_may_describe_a_class_at_once() -> None:
    """As many replace fields of the first values of a class by the function of `dataclasses`."""

    def replaced(value: object) -> object:
        waiting.wait()
        return dataclasses.replace(value, x=5)  # type: ignore[type-var]

    waiting = Barrier(4)
    usual = sys.getswitchinterval()
    # So often that threads meet in the middle of nearly everything.
    sys.setswitchinterval(1e-6)
    with ThreadPoolExecutor(4) as threads, ExitStack() as after:
        after.callback(sys.setswitchinterval, usual)
        for _ in range(50):

            @values.dataclass(frozen=True, slots=True)
            class Fresh:
                x: int
                y: int = 2

            assert [*threads.map(replaced, [Fresh(1)] * 4)] == [Fresh(5)] * 4


def test_replace_of_the_module_is_that_of_dataclasses() -> None:
    point, leaf = KINDS["ours"].Point(1, (2,), "z"), KINDS["ours"].Leaf(name="a")
    assert values.replace(point, x=5) == dataclasses.replace(point, x=5)
    with pytest.raises(ValueError, match="init=False"):
        values.replace(leaf, _seen=1)
    assert [one.name for one in values.fields(point)] == [one.name for one in dataclasses.fields(point)]


class Plain(typing.NamedTuple):
    name: str
    size: int = 0
    more: tuple[str, ...] = ()

    @property
    def twice(self) -> int:
        return 2 * self.size


class Quick(tuples.NamedTuple):
    name: str
    size: int = 0
    more: tuple[str, ...] = ()

    @property
    def twice(self) -> int:
        return 2 * self.size


TUPLE_ACTS: dict[str, typing.Callable[[Any], object]] = {
    "made": lambda kind: kind("a", 1, ("b",)),
    "named": lambda kind: kind(size=2, name="a"),
    "compared": lambda kind: [kind("a") == ("a", 0, ()), hash(kind("a")) == hash(("a", 0, ())), kind("a") < kind("b")],
    "read": lambda kind: [kind("a", 3).twice, kind("a", 3).size, kind("a")[0], [*kind("a")], len(kind("a"))],
    "replaced": lambda kind: kind("a")._replace(size=4),
    "as a dictionary": lambda kind: kind("a")._asdict(),
    "made of others": lambda kind: kind._make(["a", 2, ()]),
    "class": lambda kind: [kind._fields, kind._field_defaults, kind.__match_args__, kind.__bases__, type(kind)],
    "copied": lambda kind: [copy.copy(kind("a")), copy.deepcopy(kind("a")), pickle.loads(pickle.dumps(kind("a", 7)))],
    "no dictionary": lambda kind: hasattr(kind("a"), "__dict__"),
    "set": lambda kind: with_attribute(kind("a"), "name"),
    "none given": lambda kind: kind(),
    "too many": lambda kind: kind("a", 1, (), 4),
    "twice": lambda kind: kind("a", name="b"),
    "unknown": lambda kind: kind("a", other="b"),
    "replaced unknown": lambda kind: kind("a")._replace(other="b"),
    "made of too many": lambda kind: kind._make(["a"] * 4),
}


@pytest.mark.parametrize("act", TUPLE_ACTS)
def test_a_quick_named_tuple_behaves_as_one_of_typing(act: str) -> None:
    def come_of(kind: Any) -> object:
        try:
            return repr(TUPLE_ACTS[act](kind)).replace(kind.__name__, "")
        except (TypeError, ValueError):
            # Versions of Python differ in which of the two it is.
            return "refused"
        except AttributeError:
            return "no attribute"

    assert come_of(Quick) == come_of(Plain)


@pytest.mark.parametrize("name", ["image", "reference", "digest", "timestamp", "platform", "manifest", "limits"])
def test_values_survive_pickling(name: str) -> None:
    module = import_module(f"orlop.model.{name}")
    made = {
        "image": lambda: module.Image(raw_json=b"{}"),
        "reference": lambda: module.Reference.parse("alpine:3"),
        "digest": lambda: module.ImageID.of(b"x"),
        "timestamp": lambda: module.Timestamp(5, 6, 7),
        "platform": lambda: module.Platform("linux", "arm64", "v8"),
        "manifest": lambda: module.Manifest(config=None, annotations={"a": "b"}),
        "limits": lambda: module.Limits(members=4),
    }[name]()
    again = pickle.loads(pickle.dumps(made))
    assert (again, type(again), repr(again)) == (made, type(made), repr(made))


def test_a_class_variable_is_none_of_the_fields_though_its_name_is_there_for_type_checkers_alone() -> None:
    assert dataclasses.replace(Limits(), layers=7) == Limits(layers=7)
    assert "UNLIMITED" not in {one.name for one in dataclasses.fields(Limits)}
