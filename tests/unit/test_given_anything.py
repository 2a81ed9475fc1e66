"""Whatever is given to a parameter of a public verb, it is taken, or refused in one sentence that can be printed."""

from __future__ import annotations

import inspect
import io
import os
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pytest

import orlop
from orlop.errors import OrlopError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

TINY = "example/tiny:1.0"


class Text(str):
    """A text of a class of its own, as templates and configurations bring them."""

    __slots__ = ()


class Number:
    """A whole number of a class of its own, as NumPy has them."""

    def __index__(self) -> int:
        return 1


ODD: Mapping[str, Callable[[], Any]] = MappingProxyType(
    {
        "nothing": lambda: None,
        "an empty text": str,
        "half a character": lambda: "a\udcff",
        "NUL": lambda: "a\0b",
        "a newline": lambda: "a\nb",
        "a text of another class": lambda: Text(TINY),
        "bytes": lambda: b"a",
        "true": lambda: True,
        "a descriptor": lambda: 987_654,
        "too large": lambda: 10**30,
        "less than nothing": lambda: -1,
        "a fraction": lambda: 1.5,
        "a number of another class": Number,
        "a path": lambda: Path("nosuch"),
        "half a character in a list": lambda: ["a\udcff"],
        "numbers in a list": lambda: [3],
        "nothing in a list": lambda: [None],
        "a generator": lambda: (each for each in [TINY]),
        "a mapping": lambda: {TINY: 1},
        "an object": object,
    }
)
NEEDED: Mapping[tuple[str, str], Callable[[], Any]] = MappingProxyType(
    {
        ("copy", "source"): lambda: "oci:nosuch:x",
        ("copy", "target"): lambda: "oci:nosuch-either:x",
        ("import_image", "source"): lambda: io.BytesIO(bytes(1024)),
        ("import_registry", "host"): lambda: "registry.example.com",
        ("import_registry", "root"): lambda: "nosuch",
        ("load", "source"): lambda: io.BytesIO(b""),
        ("pull", "name"): lambda: "UPPER",
        ("push", "names"): lambda: ["nosuch"],
        ("sync", "plan"): lambda: "nosuch",
        ("tag", "target"): lambda: "other:1",
        ("", "name"): lambda: TINY,
        ("", "names"): lambda: [TINY],
        ("", "source"): lambda: TINY,
        ("", "target"): io.BytesIO,
    }
)
REACHING = {("pull", "name"), ("push", "names")}
"""Parameters that make a verb ask a registry, if they hold a name."""
NAMES = {"a text of another class", "a generator", "a mapping"}
CALLED = {"begun", "keychain", "progress", "registries", "told"}
"""Parameters for what a caller has written or made himself: Python says where that is not so."""


def verbs(kind: type) -> list[tuple[str, str]]:
    """Return the verbs of a class, each with one of its parameters."""
    return [
        (verb, parameter)
        for verb, work in inspect.getmembers(kind, inspect.isfunction)
        if not verb.startswith("_")
        for parameter in [*inspect.signature(work).parameters][1:]
        if parameter not in CALLED
    ]


def check_sentence(error: OrlopError) -> None:
    """Check that an error says what is wrong in one short sentence that can be printed."""
    sentence = str(error)
    assert "\n" not in sentence
    assert len(sentence) < 1000
    sentence.encode()


def tried(service: object, verb: str, parameter: str, value: object) -> None:
    """Call a verb with one odd value, and otherwise what it needs. A refusal must be one sentence."""
    work = getattr(service, verb)
    given = {
        name: NEEDED.get((verb, name), NEEDED.get(("", name)))
        for name, each in inspect.signature(work).parameters.items()
        if each.default is each.empty and name != parameter
    }
    try:
        found = work(**{name: make() for name, make in given.items() if make is not None}, **{parameter: value})
        if inspect.isgenerator(found) or hasattr(found, "__next__"):
            list(found)
    except OrlopError as error:
        check_sentence(error)


@pytest.fixture(scope="module")
def archive(data: Path) -> Path:
    return data / "dockerd-29-overlay2" / "tiny.tar"


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[orlop.ImageService]:
    with orlop.open(tmp_path_factory.mktemp("given") / "root") as images:
        yield images


@pytest.fixture
def images(opened: orlop.ImageService, archive: Path) -> orlop.ImageService:
    """A store with an image, which another test may have removed."""
    opened.load(archive)
    return opened


@pytest.mark.sampled(8)
@pytest.mark.parametrize(("verb", "parameter"), verbs(orlop.ImageService))
def test_a_store_takes_or_refuses_anything(
    images: orlop.ImageService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str, parameter: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, make in ODD.items():
        if name not in NAMES or (verb, parameter) not in REACHING:
            tried(images, verb, parameter, make())
    # No number was taken for a file that is open.
    os.fstat(1)


@pytest.mark.sampled(2)
@pytest.mark.parametrize(("verb", "parameter"), verbs(orlop.ArchiveService))
def test_an_archive_takes_or_refuses_anything(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str, parameter: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with orlop.ArchiveService(archive) as looked:
        for make in ODD.values():
            tried(looked, verb, parameter, make())


LOOKS: Mapping[str, Callable[[orlop.ImageFiles, Any], object]] = MappingProxyType(
    {
        "what is at a path": lambda files, odd: files[odd],
        "whether a path is there": lambda files, odd: odd in files,
        "the state of a path": lambda files, odd: files.stat(odd),
        "what is below a path": lambda files, odd: list(files.walk(odd)),
        "what is in a path": lambda files, odd: files.listdir(odd),
        "what fits": lambda files, odd: list(files.glob(odd)),
        "a file": lambda files, odd: files.open(odd),
        "its content": lambda files, odd: files.read(odd),
        "its history": lambda files, odd: files.trace(odd),
        "lines that fit": lambda files, odd: list(files.grep(odd)),
        "lines of a text": lambda files, odd: list(files.grep(odd, fixed=True)),
        "lines at a path": lambda files, odd: list(files.grep("a", odd)),
        "lines of small files": lambda files, odd: list(files.grep("a", max_size=odd)),
    }
)


@pytest.mark.sampled(3)
@pytest.mark.parametrize("look", LOOKS)
def test_a_look_inside_takes_or_refuses_anything(images: orlop.ImageService, look: str) -> None:
    with images.files(TINY) as files:
        for make in [*ODD.values(), lambda: "\ud800", lambda: ["etc"]]:
            try:
                LOOKS[look](files, make())
            except OrlopError as error:
                check_sentence(error)


STORES: Mapping[str, Callable[[orlop.ImageService, Any], object]] = MappingProxyType(
    {
        "a name to set": lambda images, odd: images.references.set(odd, images.inspect(TINY).image.id),
        "an image to name": lambda images, odd: images.references.set(orlop.Reference.parse("a:1"), odd),
        "a name": lambda images, odd: images.references.get(odd),
        "a name to delete": lambda images, odd: images.references.delete(odd),
        "names to delete": lambda images, odd: images.references.delete_all(odd),
        "the beginning of an ID": lambda images, odd: images.image_store.search(odd),
    }
)


@pytest.mark.parametrize("what", STORES)
def test_a_store_below_takes_or_refuses_anything(images: orlop.ImageService, what: str) -> None:
    before = images.images()
    for make in ODD.values():
        try:
            STORES[what](images, make())
        except OrlopError as error:
            check_sentence(error)
    assert images.images() == before


OPENED: Mapping[str, Callable[[Any], object]] = MappingProxyType(
    {
        "an archive": orlop.Archive,
        "the limits of an archive": lambda odd: orlop.Archive(io.BytesIO(bytes(1024)), limits=odd),
        "the limits of a look": lambda odd: orlop.ArchiveService(io.BytesIO(bytes(1024)), limits=odd),
        "a data root": orlop.RootService,
        "the limits of a data root": lambda odd: orlop.RootService("nosuch", limits=odd),
        "a registry": orlop.Registry,
        "a user": lambda odd: orlop.Registry("localhost:1", user=odd),
        "a password": lambda odd: orlop.Registry("localhost:1", password=odd),
        "a repository": lambda odd: orlop.Registry("localhost:1").delete(odd, "UPPER CASE/"),
        "a tag": lambda odd: orlop.Registry("localhost:1").delete("UPPER CASE/", odd),
        "variables": orlop.Proxies.from_variables,
        "a scheme": lambda odd: orlop.Proxies({"http": "http://a"}).for_host(odd, "b"),
        "a host": lambda odd: orlop.Proxies({"http": "http://a"}).for_host("http", odd),
    }
)


@pytest.mark.parametrize("what", OPENED)
def test_what_can_be_opened_takes_or_refuses_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for make in [*ODD.values(), lambda: type]:
        try:
            OPENED[what](make())
        except OrlopError as error:
            check_sentence(error)


def test_a_refusal_shows_no_more_of_a_value_than_people_read(images: orlop.ImageService) -> None:
    values: list[Any] = [70_000 * "x" + "\0", [*range(100_000)], 9999 * "a\0\n"]
    for value in values:
        for work in (orlop.open, orlop.Archive, images.inspect, images.load, orlop.Platform.parse, orlop.Digest.parse):
            with pytest.raises(OrlopError) as refused:
                work(value)
            check_sentence(refused.value)


READ: Mapping[str, Callable[[Any], object]] = MappingProxyType(
    {
        "a digest": orlop.Digest.parse,
        "the digest of content": orlop.Digest.of,
        "a name": orlop.Reference.parse,
        "a platform": orlop.Platform.parse,
        "a config": orlop.Image.from_json,
        "a v1 config": orlop.V1Image.from_json,
        "what is had": orlop.Holdings.read,
        "a sync file": orlop.SyncPlan.parse,
        "the path of a sync file": orlop.SyncPlan.read,
        "the address of a store": orlop.StoreURL.parse,
    }
)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("read", READ)
@pytest.mark.parametrize("odd", ODD)
def test_a_value_is_read_from_anything_or_not(read: str, odd: str) -> None:
    try:
        READ[read](ODD[odd]())
    except OrlopError as error:
        check_sentence(error)
