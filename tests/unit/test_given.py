"""What the library gives it takes back; what has another type is refused in one sentence."""

from __future__ import annotations

import io
import tempfile
from typing import TYPE_CHECKING, Any

import pytest

import orlop
from orlop import stores
from orlop.errors import InvalidInput, WrongType
from orlop.model.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.sampled(3)

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
    "audit": lambda images, name: images.audit(name),
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
LOOKS = ("inspect", "raw_config", "history", "audit", "images", "iter_images")


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
        lambda: images.save([TINY], io.BytesIO(), format="oci", platform=wrong),
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


@pytest.mark.parametrize("wrong", [3, 1.5, "label=x", b"x", object(), [b"label=x"], [None], lambda: 0])
def test_filters_and_changes_are_lists_of_texts(images: orlop.ImageService, archive: Path, wrong: Any):
    works: list[Callable[[], object]] = [
        lambda: images.prune(filters=wrong),
        lambda: images.images(filters=wrong),
        lambda: images.listed_images(filters=wrong),
        lambda: images.import_image(io.BytesIO(bytes(1024)), changes=wrong),
    ]
    with orlop.ArchiveService(archive) as looked:
        works.append(lambda: looked.images(filters=wrong))
        for work in works:
            with pytest.raises(WrongType, match=r"(filters|changes) are (a list|texts)"):
                work()


@pytest.mark.parametrize("wrong", ["3", b"4", 1.5, float("nan"), float("inf"), True, [], object()])
def test_a_number_is_an_int(images: orlop.ImageService, wrong: Any):
    for work in (
        lambda: images.prune(keep_last=wrong),
        lambda: images.prune(max_size=wrong, dry_run=True),
        lambda: images.files(TINY, layer=wrong),
        lambda: images.files(TINY, up_to=wrong),
        lambda: orlop.Limits(members=wrong),
        lambda: orlop.Limits(ratio=wrong),
    ):
        with pytest.raises(WrongType, match="is an int, not"):
            work()


def test_a_limit_that_is_not_a_number_limits_nothing_and_is_refused(images: orlop.ImageService, archive: Path):
    """No comparison with it holds, so that it would let everything through."""
    with pytest.raises(WrongType):
        images.load(archive, limits=orlop.Limits(members=float("nan")))  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="negative"):
        orlop.Limits(members=-1)


@pytest.mark.parametrize("wrong", [-1, "members=3", {"members": 3}, object()])
def test_limits_are_limits(images: orlop.ImageService, archive: Path, tmp_path: Path, wrong: Any):
    for work in (
        lambda: images.load(archive, limits=wrong),
        lambda: images.import_image(io.BytesIO(bytes(1024)), limits=wrong),
        lambda: orlop.open(tmp_path / "other", limits=wrong),
        lambda: stores.fsck(tmp_path / "root", limits=wrong),
    ):
        with pytest.raises(WrongType, match="limits are Limits, not"):
            work()


@pytest.mark.parametrize("wrong", ["a\0b", "\ud800", b"c\0d"])
def test_a_path_that_no_file_can_have_is_refused(images: orlop.ImageService, tmp_path: Path, wrong: Any):
    works: list[Callable[[], object]] = [
        lambda: orlop.open(wrong),
        lambda: stores.info(wrong),
        lambda: stores.fsck(wrong),
        lambda: stores.init(wrong),
        lambda: stores.copy(tmp_path / "root", wrong),
        lambda: stores.move(wrong, tmp_path / "moved"),
    ]
    if isinstance(wrong, str):
        works += [
            lambda: images.load(wrong),
            lambda: images.import_image(wrong),
            lambda: images.save([TINY], wrong),
            lambda: orlop.ArchiveService(wrong),
            lambda: stores.fsck(tmp_path / "root", repair=True, sources=[wrong]),
        ]
    for work in works:
        with pytest.raises(InvalidInput, match=r"null character|cannot be encoded"):
            work()


@pytest.mark.parametrize("wrong", [None, 3, "archive.tar", b"other.tar"])
def test_archives_to_repair_from_are_a_list(images: orlop.ImageService, tmp_path: Path, wrong: Any):
    with pytest.raises(WrongType, match="archives to repair from are a list"):
        stores.fsck(tmp_path / "root", repair=True, sources=wrong)


@pytest.mark.parametrize("wrong", [None, 3, b"x", ["x"], object()])
def test_values_are_parsed_from_text(wrong: Any):
    for kind in (orlop.Digest, orlop.DiffID, orlop.ChainID, orlop.ImageID, orlop.Reference, orlop.Platform):
        with pytest.raises(WrongType, match="is a str, not"):
            kind.parse(wrong)


@pytest.mark.parametrize("wrong", [None, 3, "x", ["x"]])
def test_a_digest_is_of_bytes(wrong: Any):
    with pytest.raises(WrongType, match="a digest is of bytes"):
        Digest.of(wrong)


@pytest.mark.parametrize(
    "group",
    [1.5, b"root", ["root"], "a\0b", "nobody has this name", True, -1, 2**32 - 1, 2**32, 10**30, "9" * 5000, "٣"],
)
def test_a_group_is_a_name_or_a_number(tmp_path: Path, group: Any):
    with pytest.raises(InvalidInput, match="group"):
        stores.init(tmp_path / "root", group=group)
    assert not (tmp_path / "root").exists()
