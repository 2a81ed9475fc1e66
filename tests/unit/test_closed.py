"""What was closed refuses, and opens nothing that nobody closes."""

from __future__ import annotations

import copy
import gc
import io
import pickle
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

import orlop
from orlop import errors
from orlop.model.digest import ImageID
from orlop.streams.directory import Directory
from tests.open_files import open_below

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NOBODY = ImageID.parse(f"sha256:{64 * '0'}")
VERBS: dict[str, Callable[[orlop.ImageService], object]] = {
    "load": lambda images: images.load(io.BytesIO(b"")),
    "import": lambda images: images.import_image(io.BytesIO(bytes(1024))),
    "save": lambda images: images.save(["example/tiny:1.0"], io.BytesIO()),
    "save_chunks": lambda images: list(images.save_chunks(["example/tiny:1.0"])),
    "images": lambda images: images.images(),
    "inspect": lambda images: images.inspect("example/tiny:1.0"),
    "raw_config": lambda images: images.raw_config("example/tiny:1.0"),
    "history": lambda images: images.history("example/tiny:1.0"),
    "audit": lambda images: images.audit("example/tiny:1.0"),
    "tag": lambda images: images.tag("example/tiny:1.0", "a"),
    "remove": lambda images: images.remove("example/tiny:1.0"),
    "prune": lambda images: images.prune(),
    "pin": lambda images: images.pin("example/tiny:1.0"),
    "pinned": lambda images: images.pinned(),
    "disk usage": lambda images: images.df(),
    "events": lambda images: images.events(),
    "counts": lambda images: images.counts(),
    "gc": lambda images: images.gc(),
    "the images": lambda images: images.image_store.get(NOBODY),
    "the layers": lambda images: images.layer_store.map(),
    "the references": lambda images: images.references.of_image(NOBODY),
}


@pytest.fixture
def images(tmp_path: Path, data: Path) -> orlop.ImageService:
    service = orlop.open(tmp_path / "root")
    service.load(data / "dockerd-29-overlay2" / "multi.tar")
    return service


@pytest.mark.sampled(3)
@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_of_a_closed_service_is_refused(images: orlop.ImageService, tmp_path: Path, verb: str) -> None:
    images.close()
    before = sorted(path.name for path in (tmp_path / "root").rglob("*"))
    with pytest.raises(errors.StoreClosed, match="closed") as raised:
        VERBS[verb](images)
    assert isinstance(raised.value, ValueError)
    assert open_below(tmp_path / "root" / "metadata.db") == []
    assert sorted(path.name for path in (tmp_path / "root").rglob("*")) == before


def test_closing_twice_is_closing_once(images: orlop.ImageService) -> None:
    images.close()
    images.close()
    with pytest.raises(errors.StoreClosed):
        images.images()


def test_a_block_that_was_left_is_closed(tmp_path: Path) -> None:
    with orlop.open(tmp_path / "root") as images:
        assert images.images() == []
    with pytest.raises(errors.StoreClosed):
        images.images()


def test_an_iterator_of_a_closed_service_ends_in_the_same_error(images: orlop.ImageService) -> None:
    chunks = images.save_chunks(["example/tiny:1.0"])
    next(chunks)
    images.close()
    with pytest.raises(errors.StoreClosed):
        list(chunks)


def test_a_thread_at_work_ends_its_block_and_leaves_nothing_open(images: orlop.ImageService, tmp_path: Path) -> None:
    inside, closed = threading.Event(), threading.Event()
    told: list[object] = []

    def work() -> None:
        with images._store.metadata.read() as rows:
            inside.set()
            closed.wait()
            told.append(len(list(rows.image_ids())))
        try:
            images.images()
        except errors.StoreClosed as error:
            told.append(error.code)

    thread = threading.Thread(target=work)
    thread.start()
    inside.wait()
    images.close()
    closed.set()
    thread.join()
    assert told == [3, "STORE_CLOSED"]
    assert open_below(tmp_path / "root" / "metadata.db") == []


def test_a_layer_of_a_closed_archive_is_refused(data: Path) -> None:
    with orlop.Archive(data / "dockerd-29-overlay2" / "multi.tar") as archive:
        layer = archive.images[0].layers[0]
    with pytest.raises(errors.StoreClosed, match="the archive was closed"):
        layer.verify()


@pytest.mark.sampled(3)
@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, pickle.dumps])
def test_what_is_open_cannot_be_copied_and_goes_on(
    images: orlop.ImageService, data: Path, tmp_path: Path, copied: Callable[[object], object]
) -> None:
    """A copy would have the same descriptors, and would close them when it goes."""
    with (
        orlop.Archive(data / "dockerd-29-overlay2" / "multi.tar") as archive,
        images.files("example/tiny:1.0") as files,
    ):
        opened = [images, archive, files, archive.images[0].layers[0], {"in something else": [images]}]
        for one in [*opened, Directory(str(tmp_path)), images.image_store, images.layer_store]:
            with suppress(TypeError):
                copied(one)
            gc.collect()
        assert len(images.images()) == len(archive.images) == 3
        assert files.listdir("/")
        # A copy would release what they protect, and they would not know.
        layer = images.layer_store.get(next(iter(images.layer_store.map())))
        for one in (layer, images._store.leases.hold([])):
            with pytest.raises(errors.WrongType, match="cannot be copied or pickled"):
                copied(one)
        with pytest.raises(errors.WrongType, match="cannot be copied or pickled"):
            copied(images)
    images.close()


def test_values_can_be_copied_and_pickled(images: orlop.ImageService) -> None:
    with images:
        values = [images.images(), images.inspect("example/tiny:1.0"), images.history("example/tiny:1.0")]
        values += [images.df(), images.prune(dry_run=True), images.gc()]
        for value in values:
            assert pickle.loads(pickle.dumps(value)) == copy.deepcopy(value) == value
