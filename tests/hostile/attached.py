"""Lists of what belongs to one image: what refers to it, and what is attached to it by a tag."""

from __future__ import annotations

import io
import json
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

from orlop.intake.beside_images import Top, with_artifacts
from orlop.intake.platforms import chosen
from orlop.model.digest import Digest
from orlop.model.reference import Reference
from orlop.service.hosted.registry import HostedRegistry
from orlop.service.hosted.repository import Hosts
from orlop.store.rows.metadata import ManifestRow, TopRow
from tests.hostile.growth import Growing, opened
from tests.unit.artifacts import chart, signature
from tests.unit.layouts import MANIFEST, Layout, named

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from orlop.service.image_service import ImageService

NAME: Final = "example/app:1"
HOST: Final = "localhost:5000"


def referred_to(count: int) -> Layout:
    """An image with very many signatures that refer to it."""
    layout = Layout()
    image = layout.image("a")
    found = [signature(layout, image, b"%d" % number) for number in range(count)]
    return layout.top(image | named(f"docker.io/{NAME}"), *found)


def tagged(count: int) -> Layout:
    """An image to which tags in very many repositories attach something."""
    layout = Layout()
    image = layout.image("a")
    tag = image["digest"].replace(":", "-") + ".sig"
    found = [chart(layout, b"%d" % number) | named(f"docker.io/example/r{number}:{tag}") for number in range(count)]
    return layout.top(image | named(f"docker.io/{NAME}"), *found)


def kept(
    make: Callable[[int], Layout], work: Callable[[ImageService, Path], object]
) -> Callable[[int, Path], Callable[[], object]]:
    """Work with a store that has all of it."""

    def prepare(count: int, folder: Path) -> Callable[[], object]:
        images = opened(folder)
        images.load(io.BytesIO(make(count).pack()))
        return partial(work, images, folder)

    return prepare


def paged(
    work: Callable[[HostedRegistry, str], Sequence[str]], *, tags: bool
) -> Callable[[int, Path], Callable[[], object]]:
    """Go through very many tags, or repositories with one each, of a registry, page by page."""

    def prepare(count: int, folder: Path) -> Callable[[], object]:
        images = opened(folder)
        registry = HostedRegistry(images.store, Hosts((HOST,)))
        raw = json.dumps({"schemaVersion": 2, "artifactType": "a/b", "layers": []}).encode()
        with images.store.metadata.write() as rows:
            rows.put_manifest(ManifestRow(Digest.of(raw), MANIFEST, raw), [])
            for number in range(count):
                name, tag = ("", f":{number}") if tags else (f"{number}", ":1")
                rows.put_top(TopRow(f"{HOST}/a{name}", tag, Digest.of(raw), 1))

        def run() -> None:
            after, number = "", 0
            while page := work(registry, after):
                after, number = page[-1], number + len(page)
            assert number == count

        return run

    return prepare


def seen(images: ImageService, _: Path) -> None:
    """Look at all of it, and collect garbage, of which there is none."""
    images.tree()
    images.tag(NAME, "example/app:2")
    images.gc()
    images.df()


def saved(images: ImageService, folder: Path) -> None:
    """Save the image with what belongs to it."""
    images.save([NAME], folder / "saved.tar", format="oci")


def gone(images: ImageService, _: Path) -> None:
    """Remove the image, and collect what is left of it."""
    images.remove(NAME)
    images.gc()


def entries_of_one(count: int, _: Path) -> Callable[[], object]:
    """One manifest under very many tags, and texts that are none: what reading each of them costs is left out."""
    node: Any = SimpleNamespace(digest=Digest.parse(f"sha256:{0:064}"), others=(), children=(), row=None)
    reader: Any = SimpleNamespace(images=lambda _: (), count=lambda _: None)
    tags = [Reference.parse(f"example/r{number}:1") for number in range(count)]
    tops = [Top(node, (tag,), f"{tag.path}.sig") for tag in tags]
    return partial(with_artifacts, reader, tops, (), {}, chosen(None))


ATTACHED: Final = (
    Growing("entries of a layout for one manifest", 3000, entries_of_one),
    Growing(
        "pages of tags",
        4000,
        paged(lambda registry, after: registry.tags(registry.repository("a"), after=after, most=20), tags=True),
    ),
    Growing(
        "pages of repositories",
        4000,
        paged(lambda registry, after: registry.repositories(HOST, after=after, most=20), tags=False),
    ),
    Growing("signatures that are looked at", 150, kept(referred_to, seen)),
    Growing("signatures that are saved", 150, kept(referred_to, saved)),
    Growing("signatures that go", 150, kept(referred_to, gone)),
    Growing("attaching tags that are looked at", 150, kept(tagged, seen)),
    Growing("attaching tags that stay", 150, kept(tagged, gone)),
)
"""These lists."""
