"""A name is read once, wherever it comes in; below the first line of a verb it is a value."""

from __future__ import annotations

import ast
import io
import sys
import threading
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import orlop
from orlop.cli.main import run
from orlop.errors import Conflict, InvalidReference, NotFound, WrongType
from orlop.model import reference as references
from orlop.model.digest import DiffID, Digest
from orlop.model.names import ImageName, NamePattern, image_names, listed_name, tag_name
from orlop.model.reference import Reference
from tests.unit.served import served

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TINY = "example/tiny:1.0"
NEW = "other/tiny:2.0"
PACKAGE = Path(orlop.__file__).parent

VERBS: dict[str, Callable[[Any, Any], object]] = {
    "images": lambda images, name: images.images(name),
    "images with a filter": lambda images, name: images.images(filters=[f"before={name}", f"since={NEW}"]),
    "listed_images": lambda images, name: list(images.listed_images(filters=[f"before={name}"])),
    "inspect": lambda images, name: images.inspect(name),
    "raw_config": lambda images, name: images.raw_config(name),
    "history": lambda images, name: images.history(name),
    "audit": lambda images, name: images.audit(name),
    "manifests": lambda images, name: images.manifests(name),
    "pin": lambda images, name: images.pin(name),
    "unpin": lambda images, name: images.unpin(name),
    "save": lambda images, name: images.save([name], io.BytesIO()),
    "save_chunks": lambda images, name: b"".join(images.save_chunks([name])),
    "tag": lambda images, name: images.tag(name, "new/name"),
    "tag, the name to give": lambda images, name: images.tag(TINY, name),
    "import_image": lambda images, name: images.import_image(io.BytesIO(bytes(1024)), name),
    "remove": lambda images, name: images.remove(name, force=True),
}
ARCHIVED = ("images", "images with a filter", "inspect", "raw_config", "history", "audit")


class Readings(Counter[str]):
    """How often each text was read as a name; reading one that may be an ID reads it as a name, too."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self._inside = threading.local()
        parse, parse_any = Reference.parse, references.parse_any

        def counted(reads: Callable[..., Any]) -> Callable[..., Any]:
            def read(text: str, **options: Any) -> Any:
                if getattr(self._inside, "depth", 0):
                    return reads(text, **options)
                self[text] += 1
                self._inside.depth = 1
                try:
                    return reads(text, **options)
                finally:
                    self._inside.depth = 0

            return read

        monkeypatch.setattr(Reference, "parse", counted(parse))
        for module in [each for name, each in sys.modules.items() if name.partition(".")[0] == "orlop"]:
            if getattr(module, "parse_any", None) is parse_any:
                monkeypatch.setattr(module, "parse_any", counted(parse_any))


@pytest.fixture
def archive(data: Path) -> Path:
    return data / "dockerd-29-overlay2" / "multi.tar"


@pytest.fixture
def images(tmp_path: Path, archive: Path) -> Iterator[orlop.ImageService]:
    with orlop.open(tmp_path / "root") as images:
        images.load(archive)
        images.tag(TINY, NEW)
        yield images


def attempt(verb: str, images: object, name: object) -> None:
    """Do what a verb does; not every name is one to give, and a name that a filter asks for may not be there."""
    with suppress(InvalidReference, NotFound, Conflict):
        VERBS[verb](images, name)


@pytest.mark.sampled(3)
@pytest.mark.parametrize("kind", ["name", "prefix", "ID"])
@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_reads_a_name_once(
    images: orlop.ImageService, archive: Path, monkeypatch: pytest.MonkeyPatch, verb: str, kind: str
) -> None:
    image_id = images.inspect(TINY).image.id
    text = {"name": TINY, "prefix": image_id.hex[:20], "ID": str(image_id)}[kind]
    readings = Readings(monkeypatch)
    attempt(verb, images, text)
    assert readings[text] - (verb == "tag, the name to give" and text == TINY) == 1
    if verb in ARCHIVED:
        with orlop.ArchiveService(archive) as looked:
            readings.clear()
            attempt(verb, looked, text)
        assert readings[text] == 1


@pytest.mark.sampled(2)
@pytest.mark.parametrize("verb", [verb for verb in VERBS if "filter" not in verb and verb != "listed_images"])
def test_a_value_is_not_read_again(images: orlop.ImageService, monkeypatch: pytest.MonkeyPatch, verb: str) -> None:
    image_id = images.inspect(TINY).image.id
    reference = Reference.parse(NEW)
    values = [reference, image_id, Digest.wrap(image_id), ImageName.parse(NEW), ImageName.parse(image_id.hex[:20])]
    if verb in {"tag, the name to give", "import_image"}:
        values = [reference]
    readings = Readings(monkeypatch)
    for value in values:
        attempt(verb, images, value)
        assert {*readings} <= {TINY, "new/name"}, value


REQUESTS: dict[str, tuple[str, str, dict[str, str]]] = {
    "inspect": ("GET", "/images/{}/json", {}),
    "inspect with manifests": ("GET", "/images/{}/json", {"manifests": "1"}),
    "inspect, of an early version": ("GET", "/v1.41/images/{}/json", {}),
    "history": ("GET", "/images/{}/history", {}),
    "tag": ("POST", "/images/{}/tag", {"repo": "other/name", "tag": "3"}),
    "tag, of an early version": ("POST", "/v1.41/images/{}/tag", {"repo": "other/name", "tag": "3"}),
    "tag, the name to give": ("POST", f"/images/{NEW}/tag", {"repo": "{}"}),
    "import": ("POST", "/images/create", {"fromSrc": "-", "repo": "{}"}),
    "pull": ("POST", "/images/create", {"fromImage": "{}"}),
    "push": ("POST", "/images/{}/push", {}),
    "save": ("GET", "/images/{}/get", {}),
    "save several": ("GET", "/images/get", {"names": "{}"}),
    "list, filtered": ("GET", "/images/json", {"filters": '{{"before":["{}"]}}'}),
    "distribution": ("GET", "/distribution/{}/json", {}),
    "remove": ("DELETE", "/images/{}", {"force": "1"}),
}


@pytest.mark.sampled(18)
@pytest.mark.parametrize("name", [TINY, "is/not:there", "0", "Not/Valid"])
@pytest.mark.parametrize("request_", REQUESTS)
def test_a_request_reads_a_name_once(
    images: orlop.ImageService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request_: str, name: str
) -> None:
    """Whether it succeeds or fails: with a name that is not there, first digits of several IDs, and no name at all."""
    if name == "0":
        while sum(image.id.hex.startswith("0") for image in images.images(all=True)) < 2:
            images.import_image(io.BytesIO(bytes(1024)), message=str(len(images.images(all=True))))
    method, path, query = REQUESTS[request_]
    with served(images, tmp_path) as client:
        readings = Readings(monkeypatch)
        client.ask(method, path.format(name), {key: value.format(name) for key, value in query.items()})
    assert readings[name] == 1


def test_a_name_that_looks_like_a_registry_s_is_given_as_it_was_asked_for(
    images: orlop.ImageService, tmp_path: Path
) -> None:
    """Its familiar form would be read as another name."""
    with served(images, tmp_path) as client:
        client.post(f"/images/{TINY}/tag", {"repo": "docker.io/localhost/x"})
        client.post("/images/create", {"fromSrc": "-", "repo": "docker.io/localhost/y"}, body=bytes(1024))
    found = {str(name) for image in images.images() for name in image.references}
    assert {"docker.io/localhost/x:latest", "docker.io/localhost/y:latest"} <= found


COMMANDS = {
    "images": ["images", "{}"],
    "inspect": ["inspect", "{}"],
    "inspect --raw": ["inspect", "--raw", "{}"],
    "inspect --archive": ["inspect", "--archive", "{archive}", "{}"],
    "history": ["history", "{}"],
    "history --archive": ["history", "--archive", "{archive}", "{}"],
    "save": ["save", "-o", "{target}", "{}"],
    "tag": ["tag", "{}", "other/name"],
    "tag, the name to give": ["tag", NEW, "{}"],
    "pin": ["pin", "{}"],
    "unpin": ["unpin", "{}"],
    "rmi": ["rmi", "{}"],
}


@pytest.mark.sampled(3)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_reads_a_name_once(
    images: orlop.ImageService,
    archive: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfdbinary: pytest.CaptureFixture[bytes],
    command: str,
) -> None:
    # The archive has its names, too.
    name = str(images.inspect(TINY).image.id) if "--archive" in command else TINY
    words = [word.format(name, archive=archive, target=tmp_path / "saved.tar") for word in COMMANDS[command]]
    readings = Readings(monkeypatch)
    assert run(["--root", images.root, *words]) == 0, capfdbinary.readouterr()
    assert readings[name] == 1


@pytest.mark.sampled(2)
def test_below_the_verbs_no_text_names_an_image() -> None:
    """Whatever is called a name is a value in every verb; only `orlop.model.names` reads texts for them."""
    found = set()
    for path in sorted((PACKAGE / "service").rglob("*.py")):
        # Names in the paths of requests, in settings and in directories are texts; each is read once.
        if {"hosted", "proxied", "sync"} & set(path.parts) or path.name == "import_registry.py":
            continue
        tree = ast.parse(path.read_text())
        called = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
        assert not called & {"parse_any", "Reference.parse", "ImageID.parse"}, path
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef) and path.name not in {"host.py", "stores.py"}:
                given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                named = [one for one in given if one.arg in {"name", "names", "reference"} and one.annotation]
                found |= {ast.unparse(one.annotation) for one in named if one.annotation is not None}
    assert {"ImageName", "Name"} <= found
    assert {each for each in found if "str" in each} == {"str | Reference", "str | Reference | None"}


def test_a_name_keeps_what_it_may_be_besides() -> None:
    short, tagged, whole = (ImageName.parse(text) for text in ("abc", "sha256:abc", "a" * 64))
    assert (short.shown, short.digits, short.tagged) == ("abc:latest", "abc", Reference.parse("abc:latest"))
    assert (tagged.shown, tagged.digits) == ("sha256:abc", "abc")
    assert (whole.shown, whole.tagged) == (f"sha256:{'a' * 64}", Digest("sha256", "a" * 64))
    image_id = orlop.ImageID("sha256", "abc" + "0" * 61)
    assert short.begins(image_id)
    assert tagged.begins(image_id)
    assert not whole.begins(image_id)
    # What the library gives as a reference is never the first digits of an ID.
    assert not ImageName.parse(Reference.parse("abc")).begins(image_id)
    assert ImageName.parse(short) is short


@pytest.mark.parametrize("pattern", ["*", "team/*", "a?", "[ab]c", "a\\b"])
def test_a_list_takes_patterns(pattern: str) -> None:
    assert listed_name(pattern) == NamePattern(pattern)
    with pytest.raises(InvalidReference):
        ImageName.parse(pattern)


@pytest.mark.parametrize("wrong", [1, b"a", None, DiffID("sha256", "a" * 64), ["a"]])
def test_other_types_are_refused_in_one_sentence(wrong: Any) -> None:
    for read in (ImageName.parse, listed_name, tag_name):
        with pytest.raises(WrongType, match=r"\Aan image is named by a str, a Reference or an ImageID, not by .*\Z"):
            read(wrong)
    with pytest.raises(WrongType, match=r"\A.*\Z"):
        image_names([wrong])


def test_a_digest_of_any_text_is_read_as_that_text() -> None:
    assert ImageName.parse(Digest.unchecked("abc")).asked == Reference.parse("abc")
    with pytest.raises(InvalidReference):
        ImageName.parse(Digest("sha256", "a/B"))


def test_a_name_to_give_has_no_digest() -> None:
    assert tag_name("a") == tag_name(Reference.parse("a")) == Reference.parse("a:latest")
    with pytest.raises(InvalidReference, match="has a digest, which follows from the image; name a tag only"):
        tag_name(f"a@sha256:{'0' * 64}")
