"""Pins, and when an image was last used."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest

import orlop
from orlop import errors
from orlop.cli.main import run
from orlop.service.image_service import ImageService
from orlop.store.local import local_store
from orlop.streams.tar_write import END, member_header, padding

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from orlop.model.digest import ImageID

TINY = "example/tiny:1.0"


def root(content: bytes = b"hi\n") -> io.BytesIO:
    return io.BytesIO(member_header("f", size=len(content), mode=0o644) + content + padding(len(content)) + END)


class Clock:
    """A clock that is set by hand, in nanoseconds since 1970."""

    def __init__(self) -> None:
        self.time = 1_795_000_000_000_000_000

    def __call__(self) -> int:
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def images(tmp_path: Path, data: Path, clock: Clock) -> Iterator[ImageService]:
    with ImageService(local_store(tmp_path / "root", now=clock)) as images:
        images.load(data / "dockerd-20.10-overlay2" / "multi.tar")
        yield images


def last_used(images: ImageService, image: ImageID) -> int:
    found = images.image_store.get_last_used(image)
    assert found is not None
    return found.unix * 10**9 + found.nanosecond


def test_a_pinned_image_is_listed_until_it_is_unpinned(images: ImageService) -> None:
    assert images.pinned() == []
    image = images.pin(TINY)
    assert images.pin(str(image)) == image
    (found,) = images.pinned()
    assert (found.id, [name.familiar for name in found.repo_tags]) == (image, [TINY])
    assert images.unpin(image.short) == image
    assert images.unpin(TINY) == image
    assert images.pinned() == []


def test_a_pin_stays_with_the_image_and_not_with_its_name(images: ImageService) -> None:
    image = images.pin(TINY)
    images.tag("example/imported", TINY)
    (found,) = images.pinned()
    assert (found.id, found.references) == (image, ())


def test_who_names_a_pinned_image_removes_it(images: ImageService) -> None:
    image = images.import_image(root(), "pinned")
    images.pin("pinned")
    assert str(image) in images.remove("pinned").deleted
    assert images.pinned() == []
    assert images.import_image(root(b"other")) != image


def test_a_pinned_image_is_not_pruned_with_or_without_a_name(images: ImageService) -> None:
    dangling = images.import_image(root())
    images.pin(str(dangling))
    kept = images.pin(TINY)
    images.prune(all=True)
    assert {image.id for image in images.images(all=True)} == {dangling, kept}
    images.unpin(str(dangling))
    assert str(dangling) in images.prune().deleted
    assert images.images(TINY)


def test_a_pinned_parent_stays_when_its_last_child_is_removed(images: ImageService) -> None:
    child = images.image_store.create(b'{"rootfs":{"type":"layers","diff_ids":[]},"author":"child"}')
    for author in ("pinned", "not pinned"):
        parent = images.image_store.create(f'{{"rootfs":{{"type":"layers"}},"author":"{author}"}}'.encode())
        images.image_store.set_parent(child, parent)
        if author == "pinned":
            images.pin(str(parent))
        report = images.remove(str(child))
        assert report.deleted == (str(child),) if author == "pinned" else (str(child), str(parent))
        child = images.image_store.create(b'{"rootfs":{"type":"layers","diff_ids":[]},"author":"child"}')


@pytest.mark.parametrize("verb", ["pin", "unpin"])
def test_what_is_not_there_cannot_be_pinned(images: ImageService, verb: str) -> None:
    with pytest.raises(errors.ImageNotFound):
        getattr(images, verb)("nosuch")
    with pytest.raises(errors.ImageNotFound):
        getattr(images.image_store, verb)(orlop.ImageID.of(b"nobody"))


def load_again(images: ImageService, data: Path) -> object:
    return images.load(data / "dockerd-20.10-overlay2" / "tiny.tar")


@pytest.mark.parametrize(
    "use",
    [
        load_again,
        lambda images, _: images.tag(TINY, "other"),
        lambda images, _: list(images.save_chunks([TINY])),
        lambda images, _: images.save([TINY], io.BytesIO()),
    ],
    ids=["load", "tag", "chunks", "save"],
)
def test_a_load_a_name_and_a_save_are_uses(
    images: ImageService, clock: Clock, data: Path, use: Callable[[ImageService, Path], object]
) -> None:
    image = images.inspect(TINY).image.id
    assert last_used(images, image) == clock.time
    clock.time += 12_345
    use(images, data)
    assert last_used(images, image) == clock.time
    assert last_used(images, images.inspect("example/imported").image.id) == clock.time - 12_345


def test_an_import_is_a_use(images: ImageService, clock: Clock) -> None:
    image = images.import_image(root())
    clock.time += 1
    assert images.import_image(root()) != image
    assert last_used(images, image) == clock.time - 1


def test_to_look_at_an_image_is_no_use(images: ImageService, clock: Clock) -> None:
    image = images.inspect(TINY).image.id
    before, clock.time = clock.time, clock.time + 1
    chunks = images.save_chunks([TINY])
    next(chunks)
    chunks.close()
    images.images(all=True)
    images.history(TINY)
    images.raw_config(TINY)
    images.pin(TINY)
    assert last_used(images, image) == before


def test_an_image_that_went_while_it_was_saved_is_saved_all_the_same(images: ImageService) -> None:
    chunks = images.save_chunks([TINY, "example/imported"])
    first = next(chunks)
    gone = images.inspect("example/imported").image.id
    images.remove("example/imported")
    saved = io.BytesIO(first + b"".join(chunks))
    assert images.image_store.get_last_used(gone) is None
    assert gone in {image.id for image in images.load(saved).images}


# The command line


@pytest.fixture
def call(
    images: ImageService, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> Callable[..., tuple[int, str, str]]:
    monkeypatch.setenv("ORLOP_ROOT", images.root)

    def call(*arguments: str) -> tuple[int, str, str]:
        status = run(arguments)
        out, err = capsysbinary.readouterr()
        return status, out.decode(), err.decode()

    return call


def test_pin_tells_the_id_and_lists_as_images_does(
    images: ImageService, call: Callable[..., tuple[int, str, str]]
) -> None:
    image = images.inspect(TINY).image.id
    assert call("pin", TINY, "nosuch", TINY) == (4, f"{image}\n{image}\n", "Error: No such image: nosuch:latest\n")
    assert call("pin", "-q") == (0, f"{image.short}\n", "")
    assert call("pin", "-q", "--no-trunc") == (0, f"{image}\n", "")
    assert call("pin", "--format", "{{.Repository}}:{{.Tag}}") == (0, f"{TINY}\n", "")
    assert call("pin") == call("images", TINY)
    assert call("unpin", "nosuch", TINY) == (4, f"{image}\n", "Error: No such image: nosuch:latest\n")
    assert call("pin", "-q") == (0, "", "")


@pytest.mark.parametrize("arguments", [("pin", "-q", TINY), ("pin", "--format", "json", TINY), ("unpin",)])
def test_a_list_and_names_are_two_things(call: Callable[..., tuple[int, str, str]], arguments: tuple[str, ...]) -> None:
    assert call(*arguments)[:2] == (2, "")
