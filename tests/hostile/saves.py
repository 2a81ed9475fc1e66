"""Lists of what is saved, added to archives, copied between them, loaded alone, pushed and pulled."""

from __future__ import annotations

import io
import json
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import orlop
from orlop.cli.commands.archive_ls import _all_rows
from orlop.service.archive import ArchiveService
from tests.hostile import tars
from tests.hostile.growth import Growing, opened
from tests.hostile.made import config, docker, entry
from tests.unit.artifacts import CHART
from tests.unit.layouts import CONFIG, MANIFEST, Layout, named, unpacked
from tests.unit.pushed import placed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from orlop.service.image_service import ImageService
    from tests.hostile.made import Files

_NAME: Final = "docker.io/example/app"


def one_image(count: int) -> Files:
    """An image of very many tags, in the form of docker."""
    tags = [f"example/app:{number}" for number in range(count)]
    return docker(c__json=config(), manifest__json=json.dumps([entry(RepoTags=tags)]).encode())


def one_manifest(count: int) -> Files:
    """A manifest of very many tags, in a layout."""
    layout = Layout()
    image = layout.image("a")
    return layout.top(*(image | named(f"{_NAME}:{number}") for number in range(count))).files


def one_index(count: int) -> Files:
    """An index of three platforms with very many tags."""
    layout = Layout()
    found = [layout.image(name, platform=True, architecture=name) for name in ("amd64", "arm64", "s390x")]
    index = layout.index(*found)
    return layout.top(*(index | named(f"{_NAME}:{number}") for number in range(count))).files


def many_images(count: int) -> Files:
    """Images without layers, each of one tag."""
    layout = Layout()
    found = []
    for number in range(count):
        kept = layout.document({"rootfs": {"type": "layers"}, "author": str(number)}, CONFIG)
        manifest = layout.document({"schemaVersion": 2, "mediaType": MANIFEST, "config": kept, "layers": []}, MANIFEST)
        found.append(manifest | named(f"{_NAME}:{number}"))
    return layout.top(*found).files


def kept(
    make: Callable[[int], Files], work: Callable[[ImageService, int, Path], object]
) -> Callable[[int, Path], Callable[[], object]]:
    """Work with a store that has all of it."""

    def prepare(count: int, folder: Path) -> Callable[[], object]:
        images = opened(folder)
        images.load(io.BytesIO(tars.tar(tars.files(make(count)))))
        return partial(work, images, count, folder)

    return prepare


def names(count: int) -> list[str]:
    return [f"example/app:{number}" for number in range(count)]


def saved(form: str) -> Callable[[ImageService, int, Path], object]:
    """Save all tags, one by one and as those of a repository."""

    def work(images: ImageService, count: int, folder: Path) -> None:
        images.save(names(count), folder / "named", format=form)
        images.save(["example/app"], folder / "whole", format=form)

    return work


def added(form: str) -> Callable[[int, Path], Callable[[], object]]:
    """Add images of all names to an archive in which others have them."""

    def prepare(count: int, folder: Path) -> Callable[[], object]:
        with_others = opened(folder / "others")
        with_others.load(io.BytesIO(tars.tar(tars.files(many_images(count)))))
        target = folder / "archive"
        append = form != "oci-dir"
        with_others.save(["example/app"], target, format=form)
        images = opened(folder)
        images.load(io.BytesIO(tars.tar(tars.files(one_manifest(count)))))

        def work() -> None:
            for _ in range(2):
                images.save(names(count), target, format=form, append=append)

        return work

    return prepare


def selected(make: Callable[[int], Files]) -> Callable[[int, Path], Callable[[], object]]:
    """Load all names of an archive, each by itself."""

    def prepare(count: int, folder: Path) -> Callable[[], object]:
        source = folder / "archive.tar"
        source.write_bytes(tars.tar(tars.files(make(count))))
        return partial(opened(folder).load, source, only=names(count))

    return prepare


def copied(make: Callable[[int], Files]) -> Callable[[int, Path], Callable[[], object]]:
    """Copy an archive into a layout, and that into an archive."""

    def prepare(count: int, folder: Path) -> Callable[[], object]:
        source = unpacked(make(count), folder / "layout")
        images = opened(folder)

        def work() -> None:
            images.copy(f"oci:{source}", f"oci-archive:{folder / 'packed.tar'}")
            images.copy(f"oci-archive:{folder / 'packed.tar'}", f"oci:{folder / 'again'}")

        return work

    return prepare


def listed(make: Callable[[int], Files]) -> Callable[[int, Path], Callable[[], object]]:
    """List an archive, as `orlop archive ls` does."""

    def prepare(count: int, folder: Path) -> Callable[[], object]:
        source = folder / "archive.tar"
        source.write_bytes(tars.tar(tars.files(make(count))))

        def work() -> None:
            with ArchiveService(source) as archive:
                assert len(list(_all_rows(archive.archive, whole=True))) >= count

        return work

    return prepare


def many_blobs(count: int) -> tuple[Layout, dict[str, Any]]:
    """An artifact of very many blobs."""
    layout = Layout()
    blobs = [layout.blob(b"%d" % number, "application/octet-stream") for number in range(count)]
    config = layout.document({"name": "many"}, CHART)
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": blobs}
    return layout, layout.document(manifest, MANIFEST)


def annotated(count: int) -> tuple[Layout, dict[str, Any]]:
    """An image whose manifest and layer have very many annotations."""
    layout = Layout()
    notes = {f"com.example.{number}": "x" * 20 for number in range(count)}
    return layout, layout.image("a", changes={"annotations": notes})


def wide(count: int) -> tuple[Layout, dict[str, Any]]:
    """An index of very many images without layers."""
    layout = Layout()
    found = []
    for number in range(count):
        config = {"architecture": f"a{number}", "os": "linux", "rootfs": {"type": "layers"}}
        kept = layout.document(config, CONFIG)
        manifest = layout.document({"schemaVersion": 2, "mediaType": MANIFEST, "config": kept, "layers": []}, MANIFEST)
        found.append(manifest | {"platform": {"architecture": f"a{number}", "os": "linux"}})
    return layout, layout.index(*found)


def sent(make: Callable[[int], tuple[Layout, dict[str, Any]]]) -> Callable[[int, Path], Callable[[], object]]:
    """Push it to a registry, and pull it from there into another store."""

    def prepare(count: int, folder: Path) -> Callable[[], object]:
        stack = ExitStack()
        place = stack.enter_context(placed(folder / "root"))
        layout, top = make(count)
        name = place.name("example/app:1")
        place.load(layout.top(top | named(name)))

        def work() -> None:
            with stack, orlop.open(folder / "other") as other:
                place.push("example/app:1", platform="all")
                other.pull(name, place.registries, platform="all")

        return work

    return prepare


SAVES: Final = (
    *(Growing(f"tags that are saved as {form}", 300, kept(one_image, saved(form))) for form in ("docker", "oci")),
    Growing("tags that are saved as docker-20.10", 300, kept(one_image, saved("docker-20.10"))),
    Growing("tags of a manifest that are saved", 300, kept(one_manifest, saved("oci-dir"))),
    Growing("tags of an index that are saved", 300, kept(one_index, saved("oci"))),
    Growing("images that are saved", 150, kept(many_images, saved("oci"))),
    Growing("names that move in an archive of docker", 150, added("docker")),
    Growing("names that move in an archive of docker-20.10", 150, added("docker-20.10")),
    Growing("names that move in a layout in a tar", 150, added("oci")),
    Growing("names that move in a layout", 150, added("oci-dir")),
    Growing("tags that are loaded alone", 400, selected(one_image)),
    Growing("tags of an index that are loaded alone", 400, selected(one_index)),
    Growing("images that are loaded alone", 200, selected(many_images)),
    Growing("names that are copied between archives", 150, copied(one_manifest)),
    Growing("images that are copied between archives", 150, copied(many_images)),
    Growing("blobs of an artifact that is pushed and pulled", 100, sent(many_blobs)),
    Growing("annotations of an image that is pushed and pulled", 4000, sent(annotated)),
    Growing("platforms of an index that is pushed and pulled", 80, sent(wide)),
    Growing("names that are listed", 1000, listed(one_manifest)),
    Growing("images that are listed", 400, listed(many_images)),
)
"""These lists."""
