"""What the library gives it takes back; what has another type is refused in one sentence."""

from __future__ import annotations

import io
import tempfile
from typing import TYPE_CHECKING, Any

import pytest

import orlop
from orlop.errors import WrongType
from orlop.model.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

TINY = "example/tiny:1.0"
COMMITTED = "registry.example.com:5000/team/committed:2.0"


@pytest.fixture
def archive(data: Path) -> Path:
    return data / "dockerd-29-overlay2" / "multi.tar"


@pytest.fixture
def images(tmp_path: Path, archive: Path) -> Iterator[orlop.ImageService]:
    with orlop.open(tmp_path / "root") as images:
        images.load(archive)
        yield images


VERBS: dict[str, Callable[[Any, Any], object]] = {
    "inspect": lambda images, name: images.inspect(name).image.id,
    "raw_config": lambda images, name: images.raw_config(name),
    "history": lambda images, name: images.history(name),
    "images": lambda images, name: [image.id for image in images.images(name)],
    "iter_images": lambda images, name: [image.id for image in images.iter_images(name)],
    "manifests": lambda images, name: images.manifests(name),
    "pin": lambda images, name: images.pin(name),
    "unpin": lambda images, name: images.unpin(name),
    "tag": lambda images, name: images.tag(name, "again"),
    "save": lambda images, name: images.save([name], io.BytesIO()),
    "save_chunks": lambda images, name: b"".join(images.save_chunks([name])),
    "remove": lambda images, name: images.remove(name, force=True).deleted,
}
LOOKS = ("inspect", "raw_config", "history", "images", "iter_images")


@pytest.mark.parametrize("verb", VERBS)
def test_names_that_the_library_gives_are_taken(images: orlop.ImageService, archive: Path, verb: str):
    details = images.inspect(COMMITTED)
    values: list[Any] = [details.image.id, *details.references, Digest.parse(str(details.image.id))]
    for value in values:
        taken = VERBS[verb](images, value)
        images.load(archive)
        assert taken == VERBS[verb](images, str(value))
        images.load(archive)
    if verb in LOOKS:
        with orlop.ArchiveService(archive) as looked:
            for value in values:
                assert VERBS[verb](looked, value) == VERBS[verb](looked, str(value))


def test_a_reference_is_taken_as_the_name_to_give(images: orlop.ImageService):
    target = orlop.Reference.parse("other/name:7")
    images.tag(images.inspect(TINY).references[0], target)
    assert target in images.inspect(target).references
    made = images.import_image(io.BytesIO(bytes(1024)), target)
    assert images.inspect(target).image.id == made


@pytest.mark.parametrize("wrong", [123, b"example/tiny", 1.5, ["a"], object(), orlop.Platform("linux", "amd64"), True])
def test_what_is_not_a_name_is_refused(images: orlop.ImageService, archive: Path, wrong: Any):
    for verb, work in VERBS.items():
        with pytest.raises(WrongType, match="an image is named by a str, a Reference or an ImageID, not by"):
            work(images, wrong)
        if verb in LOOKS:
            with orlop.ArchiveService(archive) as looked, pytest.raises(WrongType):
                work(looked, wrong)


def test_a_digest_of_another_kind_is_not_a_name(images: orlop.ImageService):
    layer = images.inspect(TINY).image.rootfs.diff_ids[0]
    with pytest.raises(WrongType, match="DiffID"):
        images.inspect(layer)


@pytest.mark.parametrize("wrong", [TINY, b"x", None, 3, orlop.Reference.parse(TINY), Digest.of(b"")])
def test_names_to_save_are_a_list(images: orlop.ImageService, wrong: Any):
    with pytest.raises(WrongType, match=r"the names to save are .*; give a list of names"):
        images.save(wrong, io.BytesIO())


@pytest.mark.parametrize("wrong", [123, None, b"path", io.StringIO("x"), object()])
def test_what_is_neither_a_path_nor_a_binary_file_is_refused(images: orlop.ImageService, wrong: Any):
    for work in (
        lambda: images.load(wrong),
        lambda: images.import_image(wrong),
        lambda: images.save([TINY], wrong),
        lambda: orlop.ArchiveService(wrong),
    ):
        with pytest.raises(WrongType) as refused:
            work()
        assert "\n" not in str(refused.value)
        assert isinstance(refused.value, TypeError)


def test_a_file_in_text_mode_is_refused(images: orlop.ImageService, archive: Path, tmp_path: Path):
    with archive.open(encoding="latin-1") as source, pytest.raises(WrongType, match="binary mode"):
        images.load(source)  # type: ignore[arg-type]
    with tempfile.NamedTemporaryFile("w") as target, pytest.raises(WrongType, match="binary mode"):
        images.save([TINY], target)
    with tempfile.NamedTemporaryFile("wb", dir=tmp_path) as target:
        images.save([TINY], target)


@pytest.mark.parametrize("wrong", [3, b"linux/amd64", ("linux", "amd64")])
def test_what_is_not_a_platform_is_refused(images: orlop.ImageService, archive: Path, wrong: Any):
    for work in (
        lambda: images.load(archive, platform=wrong),
        lambda: images.import_image(io.BytesIO(bytes(1024)), platform=wrong),
        lambda: images.inspect(TINY, platform=wrong),
        lambda: images.history(TINY, platform=wrong),
        lambda: images.remove(TINY, platform=wrong),
        lambda: images.save([TINY], io.BytesIO(), platform=wrong),
    ):
        with pytest.raises(WrongType, match="a platform is a str, such as linux/arm64, or a Platform, not"):
            work()


@pytest.mark.parametrize("wrong", [3, None, ["x"], io.BytesIO()])
def test_what_is_not_a_path_is_refused_as_a_root(wrong: Any):
    with pytest.raises(WrongType, match="the root of a store is a path"):
        orlop.open(wrong)


@pytest.mark.parametrize("wrong", [None, 3, object()])
@pytest.mark.parametrize("verb", ["init", "info", "check", "fsck", "migrate"])
def test_what_is_not_a_path_is_refused_as_the_root_of_a_store(verb: str, wrong: Any):
    with pytest.raises(WrongType, match=r"the root of a store is a path, a str or an os.PathLike, not "):
        getattr(orlop.stores, verb)(wrong)


@pytest.mark.parametrize("wrong", [None, 3, object()])
@pytest.mark.parametrize("verb", ["copy", "backup", "move"])
def test_what_is_not_a_path_is_refused_as_the_place_of_a_copy(images: orlop.ImageService, verb: str, wrong: Any):
    root = images.root
    images.close()
    with pytest.raises(WrongType, match=r"the root of a store is a path, a str or an os.PathLike, not "):
        getattr(orlop.stores, verb)(wrong, root)
    with pytest.raises(WrongType, match=r"the target is a path, a str or an os.PathLike, not "):
        getattr(orlop.stores, verb)(root, wrong)
