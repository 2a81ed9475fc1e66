"""Each parameter of each public function and method, with odd values: taken, or refused in one sentence."""

from __future__ import annotations

import inspect
import io
from typing import TYPE_CHECKING, Any, Final

import pytest

import orlop
from orlop import stores
from orlop.errors import OrlopError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

TINY: Final = "example/tiny:1.0"
ODD: Final[tuple[Any, ...]] = (
    None,
    1,
    -1,
    10**30,
    1.5,
    True,
    b"x",
    "",
    "x\0y",
    "\ud800",
    object(),
    [],
    {},
    [None],
    {1: 2},
)
CALLED: Final = {"begun", "keychain", "progress", "registries", "told", "warn"}
"""Parameters for what a caller has written himself, where Python says what is not so."""
INTERNAL: Final = {"rows", "piece", "backend", "layers", "now"}
"""Parameters that only orlop itself passes: what a block of the database returns, and parts of a store."""


def public(thing: object) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Yield the public methods of an object, or the public functions of a module, by their names."""
    names = getattr(thing, "__all__", None) or [name for name in dir(type(thing)) if not name.startswith("_")]
    for name in names:
        # A property is a value, and is not called.
        if not isinstance(getattr(type(thing), name, None), property) and (
            inspect.ismethod(work := getattr(thing, name)) or inspect.isfunction(work)
        ):
            yield name, work


def parameters(work: Callable[..., Any]) -> list[inspect.Parameter]:
    return [one for one in inspect.signature(work).parameters.values() if one.name not in CALLED | INTERNAL]


def given_besides(work: Callable[..., Any], odd: str, known: dict[str, Any]) -> dict[str, Any] | None:
    """Return what a function needs besides one parameter; nothing where that is not known."""
    needed = [
        one.name
        for one in inspect.signature(work).parameters.values()
        if one.default is one.empty and one.name != odd and one.kind not in {one.VAR_POSITIONAL, one.VAR_KEYWORD}
    ]
    return None if any(name not in known for name in needed) else {name: known[name]() for name in needed}


def tried(work: Callable[..., Any], odd: inspect.Parameter, value: object, given: dict[str, Any]) -> str | None:
    """Call a function with one odd value; return what is wrong with how it ends, if something is."""
    values = [*given.values()]
    try:
        found = work(value, *values) if odd.kind is odd.POSITIONAL_ONLY else work(**given, **{odd.name: value})
        if inspect.isgenerator(found):
            list(found)
    except OrlopError as error:
        sentence = str(error)
        if "\n" in sentence or len(sentence) > 700 or not sentence.isprintable():
            return f"not a sentence: {sentence!r}"
    except Exception as error:  # noqa: BLE001 - any other is what is looked for
        return f"{type(error).__name__}: {error}"
    return None


def faults_of(thing: object, known: dict[str, Any]) -> list[str]:
    """Return what is wrong with how functions end that are given odd values."""
    return [
        f"{name}({odd.name}={value!r}) raised {fault}"
        for name, work in public(thing)
        for odd in parameters(work)
        if (given := given_besides(work, odd.name, known)) is not None
        for value in ODD
        if (fault := tried(work, odd, value, given)) is not None
    ]


@pytest.fixture
def images(tmp_path: Path, data: Path) -> Iterator[orlop.ImageService]:
    with orlop.open(tmp_path / "root") as images:
        images.load(data / "dockerd-29-overlay2" / "tiny.tar")
        yield images


def held(images: orlop.ImageService) -> object:
    """Return what a store holds, as a test compares it."""
    store = images.image_store
    return (
        {image: (store.get(image), store.get_parent(image), store.is_pinned(image)) for image in store.ids()},
        images.layer_store.map(),
        [(one.id, one.references) for one in images.images()],
    )


@pytest.mark.parametrize("part", ["image_store", "layer_store", "references"])
def test_the_parts_of_a_store_take_or_refuse_anything_and_change_nothing(images: orlop.ImageService, part: str) -> None:
    image = images.inspect(TINY).image
    known: dict[str, Any] = {
        "image_id": lambda: image.id,
        "image": lambda: image.id,
        "parent": lambda: image.id,
        "reference": lambda: orlop.Reference.parse("other:1"),
        "source": lambda: io.BytesIO(b"not a tar"),
        "chain": image.rootfs.chain_id,
        "lower": lambda: None,
        "partial": lambda: "x",
        "listing": lambda: b"[]",
    }
    before = held(images)
    assert faults_of(getattr(images, part), known) == []
    assert held(images) == before


def test_a_layer_takes_or_refuses_anything(images: orlop.ImageService) -> None:
    chain = images.inspect(TINY).image.rootfs.chain_id()
    assert chain is not None
    layer = images.layer_store.get(chain)
    assert faults_of(layer, {}) == []


@pytest.mark.sampled(3)
def test_the_functions_of_stores_take_or_refuse_anything(
    images: orlop.ImageService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = held(images)
    root = images.root
    images.close()
    known = {"root": lambda: root, "target": lambda: tmp_path / "copy"}
    assert faults_of(stores, known) == []
    with orlop.open(root) as again:
        assert held(again) == before


KNOWN: Final[dict[str, Callable[[], Any]]] = {
    "data": lambda: b"{}",
    "name": lambda: TINY,
    "names": lambda: [TINY],
    "path": lambda: "/etc",
    "raw": lambda: b"{}",
    "text": lambda: "a",
}


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    "kind",
    [one for name in orlop.__all__ if inspect.isclass(one := getattr(orlop, name)) and one is not orlop.Registry],
)
def test_what_makes_a_value_takes_or_refuses_anything(tmp_path: Path, monkeypatch: Any, kind: type) -> None:
    monkeypatch.chdir(tmp_path)
    made = [
        (name, getattr(kind, name))
        for name in dir(kind)
        if not name.startswith("_") and isinstance(inspect.getattr_static(kind, name), (classmethod, staticmethod))
    ]
    assert [
        f"{name}({odd.name}={value!r}) raised {fault}"
        for name, work in made
        for odd in parameters(work)
        if (given := given_besides(work, odd.name, KNOWN)) is not None
        for value in ODD
        if (fault := tried(work, odd, value, given)) is not None
    ] == []


def returned(images: orlop.ImageService, archive: Path) -> Iterator[object]:
    """Yield one of each kind of value that the library returns and that has methods."""
    image = images.inspect(TINY).image
    yield from (image, image.rootfs, image.id, image.platform, image.rootfs.chain_id(), *images.history(TINY)[:1])
    yield from (*image.history[:1], *images.images()[:1], *images.tree()[:1], images.manifests(TINY))
    yield from (images.have(), images.audit(TINY), images.prune(dry_run=True), images.image_usage())
    yield from (orlop.Reference.parse(TINY), orlop.Digest.of(b"x"), orlop.Proxies({"http": "http://a"}))
    yield from (orlop.ContainerConfig(), orlop.V1Image(), orlop.Registry("localhost:1"))
    with orlop.Archive(archive) as opened:
        yield opened
    with images.files(TINY) as files:
        yield files


def test_what_the_library_returns_takes_or_refuses_anything(images: orlop.ImageService, data: Path) -> None:
    before = held(images)
    for value in returned(images, data / "dockerd-29-overlay2" / "tiny.tar"):
        assert faults_of(value, KNOWN) == [], type(value).__name__
    assert held(images) == before
