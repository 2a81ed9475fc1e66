"""The one way in: whatever is an `ImageSource` gets its images into a store, verified, all or none."""

from __future__ import annotations

import ast
import hashlib
import io
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Generic

import pytest

import orlop
from orlop import errors
from orlop.archive.exporter import Exporter, SaveItem
from orlop.intake.commit import commit
from orlop.intake.offer import Offer, OfferedImage, OfferedLayer, read_config
from orlop.intake.platforms import chosen
from orlop.intake.report import FORMATS
from orlop.intake.salvage import salvage
from orlop.intake.source import Found
from orlop.intake.taking import L, measuring, storing
from orlop.intake.words import Words
from orlop.model import gojson
from orlop.model.digest import DiffID, Digest
from orlop.model.progress import LayerDone, LayerExists, LayerProgress
from orlop.store.local import local_store
from orlop.store.upkeep.repair import Wanted
from tests.unit.layouts import layer_tar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from orlop.intake.platforms import PlatformChoice
    from orlop.intake.report import LoadReport
    from orlop.intake.taking import Taking
    from orlop.model.limits import Limits
    from orlop.model.progress import Progress, ProgressEvent
    from orlop.store.blobs.ingest import IngestedLayer, Readable
    from orlop.store.root import Store

ONE, TWO, THREE = (layer_tar(name) for name in ("one", "two", "three"))
IMAGES = {"example/a:1": [ONE, TWO], "example/b:1": [ONE, THREE]}


class DictSource(Generic[L]):
    """Images from a dict: under each name the tars of its layers, bottom first."""

    words = Words("the shelf", "book", "copy", "while the shelf was copied", "look elsewhere", errors.InvalidInput)
    parallel: ClassVar[bool] = True
    remote: ClassVar[bool] = False

    def __init__(self, images: dict[str, list[bytes]], taking: Taking[L]) -> None:
        self.images = images
        self.taking = taking
        self.limits: Limits = taking.limits
        self.progress: Progress | None = taking.progress
        self.books = {str(Digest.of(tar)): tar for tars in images.values() for tar in tars}

    def offer(self, choice: PlatformChoice) -> Offer:
        return Offer(tuple(map(self._image, self.images)), form="a shelf").only(choice, self.words)

    def find(self, layer: OfferedLayer) -> Found | None:
        book = self.books.get(layer.name)
        return None if book is None else Found(layer.name, len(book))

    def missing(self, layer: OfferedLayer) -> errors.InvalidInput:
        return self.words.error(f"the shelf has no book {layer.name}")

    def layer(self, layer: OfferedLayer, *, check: Callable[[], None] | None = None) -> L:
        book = self.books[layer.name]
        return self.taking.layer(self.open(book), label=layer.diff_id.short, total=len(book), check=check)

    def open(self, book: bytes) -> Readable:
        return io.BytesIO(book)

    def _image(self, name: str) -> OfferedImage:
        layers = tuple(OfferedLayer(str(Digest.of(t)), DiffID.of(t), Digest.of(t), len(t)) for t in self.images[name])
        rootfs = {"type": "layers", "diff_ids": [str(layer.diff_id) for layer in layers]}
        config = gojson.dumps({"architecture": "amd64", "os": "linux", "rootfs": rootfs})
        platform = orlop.Platform("linux", "amd64")
        return OfferedImage(read_config(config, self.limits), layers, platform, (orlop.Reference.parse(name),))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with local_store(tmp_path / "root") as store:
        yield store


def copy(store: Store, source: DictSource[IngestedLayer]) -> LoadReport:
    return commit(store, source, source.offer(chosen(None)))


def waiting(store: Store) -> list[str]:
    return [path.name for path in Path(store.root, "ingest").iterdir()]


def test_images_of_a_toy_source_are_kept(store: Store) -> None:
    with storing(store) as taking:
        report = copy(store, DictSource(IMAGES, taking))
    assert [tuple(map(str, image.references)) for image in report.images] == [
        ("docker.io/example/a:1",),
        ("docker.io/example/b:1",),
    ]
    assert report.found()[0] == "found a shelf with 2 images"
    images = orlop.ImageService(store)
    for name, tars in IMAGES.items():
        details = images.inspect(name)
        assert details.image.rootfs.diff_ids == tuple(map(DiffID.of, tars))
        for tar in tars:
            assert b"".join(store.layers.tar_chunks(DiffID.of(tar))) == tar
    assert waiting(store) == []


def test_what_the_store_has_is_not_asked_for(store: Store) -> None:
    with storing(store) as taking:
        copy(store, DictSource(IMAGES, taking))
    events: list[ProgressEvent] = []
    with storing(store, progress=events.append) as taking:
        source = DictSource(IMAGES, taking)
        source.books.clear()
        report = copy(store, source)
    assert {image.created for image in report.images} == {False}
    assert sorted(event.layer for event in events) == sorted(DiffID.of(tar).short for tar in (ONE, TWO, THREE))
    assert {type(event) for event in events} == {LayerExists}


def test_other_bytes_than_promised_are_refused(store: Store) -> None:
    """Everything is as it was, and the message speaks of this source."""
    for book, message in (
        (layer_tar("other"), r"the shelf's book 'sha256:[0-9a-f]{64}' has the digest sha256:.* it is damaged"),
        (TWO + bytes(512), rf"the shelf's layer '.*' has {len(TWO) + 512} bytes, but its manifest says {len(TWO)}"),
    ):
        with storing(store) as taking:
            source = DictSource(IMAGES, taking)
            source.books[str(Digest.of(TWO))] = book
            with pytest.raises(errors.IntegrityError, match=message):
                copy(store, source)
        assert set(orlop.ImageService(store).counts().values()) == {0}
        assert waiting(store) == []


def test_a_size_that_is_known_only_afterwards_is_compared_too(store: Store) -> None:
    class Unmeasured(DictSource[L]):
        def find(self, layer: OfferedLayer) -> Found | None:
            return Found(layer.name) if layer.name in self.books else None

        def _image(self, name: str) -> OfferedImage:
            (layer,) = super()._image(name).layers
            wrong = OfferedLayer(layer.name, layer.diff_id, size=len(ONE) + 1)
            return OfferedImage(super()._image(name).image, (wrong,), orlop.Platform("linux", "amd64"))

    with storing(store) as taking, pytest.raises(errors.SizeMismatch, match="the shelf's layer"):
        copy(store, Unmeasured({"a:1": [ONE]}, taking))


def test_a_layer_that_is_not_there_is_named_by_its_source(store: Store) -> None:
    with storing(store) as taking:
        source = DictSource(IMAGES, taking)
        del source.books[str(Digest.of(THREE))]
        with pytest.raises(errors.InvalidInput, match="the shelf has no book sha256:"):
            copy(store, source)
    assert set(orlop.ImageService(store).counts().values()) == {0}


def test_a_platform_that_is_not_there_is_told_in_the_words_of_the_source(store: Store) -> None:
    with storing(store) as taking, pytest.raises(errors.PlatformNotFound, match="the shelf holds no image for linux/s"):
        DictSource(IMAGES, taking).offer(chosen("linux/s390x"))


def test_progress_is_told_of_every_byte(store: Store) -> None:
    events: list[ProgressEvent] = []
    with storing(store, progress=events.append) as taking:
        copy(store, DictSource({"a:1": [ONE]}, taking))
    label = DiffID.of(ONE).short
    assert LayerProgress(label, len(ONE), len(ONE)) in events
    assert events[-1] == LayerDone(label)


def test_whoever_hears_of_progress_may_end_it(store: Store) -> None:
    def stop(event: ProgressEvent) -> None:
        if isinstance(event, LayerDone):
            raise KeyboardInterrupt

    with storing(store, progress=stop) as taking, pytest.raises(KeyboardInterrupt):
        copy(store, DictSource(IMAGES, taking))
    assert waiting(store) == []


@pytest.mark.parametrize("parallel", [True, False])
def test_layers_come_at_once_only_where_the_source_allows_it(
    store: Store, monkeypatch: pytest.MonkeyPatch, *, parallel: bool
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    meeting = threading.Barrier(3, timeout=30)
    threads: set[int] = set()

    class Meeting(DictSource[L]):
        def open(self, book: bytes) -> Readable:
            threads.add(threading.get_ident())
            if self.parallel:
                # Three layers, none of which goes on before all are there.
                meeting.wait()
            return super().open(book)

    monkeypatch.setattr(Meeting, "parallel", parallel)
    with storing(store) as taking:
        copy(store, Meeting(IMAGES, taking))
    assert len(threads) == (3 if parallel else 1)
    assert (threading.get_ident() in threads) is not parallel


def test_a_source_can_be_read_without_a_store() -> None:
    with measuring(orlop.Limits()) as taking:
        source = DictSource(IMAGES, taking)
        (first, _), _ = (image.layers for image in source.offer(chosen(None)).images)
        assert source.layer(first).diff.diff_id == DiffID("sha256", hashlib.sha256(ONE).hexdigest())


def test_a_damaged_store_is_repaired_from_any_source(store: Store) -> None:
    with storing(store) as taking:
        copy(store, DictSource(IMAGES, taking))
    blob = Path(store.root, "blobs", "sha256", Digest.of(ONE).hex)
    blob.unlink()
    nothing: frozenset[orlop.ImageID] = frozenset()
    wanted = Wanted(frozenset({DiffID.of(ONE)}), frozenset({Digest.of(ONE)}), nothing, nothing, frozenset())
    with storing(store) as taking:
        done = salvage(store, DictSource(IMAGES, taking), wanted)
    assert blob.read_bytes() == ONE
    assert [repair.message for repair in done.repairs] == [
        f"the layer {DiffID.of(ONE)} was taken from the shelf as the blob {Digest.of(ONE)}"
    ]
    with storing(store) as taking:
        source = DictSource(IMAGES, taking)
        source.books[str(Digest.of(ONE))] = TWO
        blob.unlink()
        (failure,) = salvage(store, source, wanted).failures
    assert str(failure).startswith("the shelf's book 'sha256:")
    assert not blob.exists()
    assert waiting(store) == []


def test_the_exporter_of_the_go_package_loads_and_saves_as_the_verbs_do(data: Path, tmp_path: Path) -> None:
    archive = data / "dockerd-29-overlay2" / "multi.tar"
    with orlop.open(tmp_path / "verbs") as images:
        lines = images.load(archive).messages()
        expected = b"".join(images.save_chunks(["example/tiny:1.0"]))
    with orlop.open(tmp_path / "exporter") as images:
        exporter = Exporter(images._store)
        assert exporter.load(archive).messages() == lines
        image_id = images.inspect("example/tiny:1.0").image.id
        parent = images.image_store.get_parent(image_id)
        item = SaveItem(images.image_store.get(image_id), (orlop.Reference.parse("example/tiny:1.0"),), parent)
        assert b"".join(exporter.save([item])) == expected
    with pytest.raises(errors.InvalidInput, match="the archive format 'tar' is not known"):
        Exporter(images._store, "tar")


def test_no_message_of_intake_speaks_of_one_kind_of_source() -> None:
    """What a message calls the source comes from its words; the names of formats of archives are names."""
    for path in sorted(Path(commit.__code__.co_filename).parent.glob("*.py")):
        tree = ast.parse(path.read_text())
        docs = {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        texts = (node for node in ast.walk(tree) if isinstance(node, ast.Constant) and node not in docs)
        found = {node.value for node in texts if isinstance(node.value, str) and "archive" in node.value}
        assert found <= set(FORMATS.values()), path
