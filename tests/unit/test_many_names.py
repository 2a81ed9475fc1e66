"""What has many names goes in as many statements as what has few: the database may be a network away."""

from __future__ import annotations

import io
import json
import threading
from contextlib import closing, contextmanager
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

import orlop
from orlop.errors import ImageInUse
from orlop.model.digest import Digest, ImageID
from orlop.model.reference import Reference
from orlop.model.store_url import StoreURL
from orlop.service.hosted.registry import HostedRegistry
from orlop.service.hosted.repository import Hosts
from orlop.service.space.remove import Ground, StoreGround
from orlop.store.blobs.memory import MemoryBlobStore
from orlop.store.root import Store
from orlop.store.rows.metadata import Event, ManifestRow, ReferenceRow, TopRow
from orlop.store.rows.postgres.sending import Sending
from orlop.store.rows.sqlite.memory import MemoryMetadata
from orlop.store.rows.values import reference_row
from tests import engines
from tests.postgres import database, opened
from tests.unit.layouts import Layout, named

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from orlop import ImageService
    from orlop.store.rows.metadata import Metadata

FEW, MANY = 3, 400
HOST = "registry.example.com"
NAME = f"{HOST}/team/many"
_RAW = json.dumps({"schemaVersion": 2, "artifactType": "a/b", "layers": []}).encode()
ARTIFACT = ManifestRow(Digest.of(_RAW), "application/vnd.oci.image.manifest.v1+json", _RAW)


def with_image(images: ImageService, many: int) -> None:
    """Load an image, and tag it so many times."""
    layout = Layout()
    images.load(io.BytesIO(layout.top(layout.image("file", **named(f"{NAME}:0"))).pack()))
    for number in range(1, many):
        images.tag(f"{NAME}:0", f"{NAME}:{number}")


def with_artifact(images: ImageService, many: int) -> None:
    with images.store.metadata.write() as rows:
        rows.put_manifest(ARTIFACT, [])
        for number in range(many):
            rows.put_top(TopRow(NAME, f":{number}", ARTIFACT.digest, 1))


def meant(images: ImageService) -> Digest:
    with images.store.metadata.read() as rows:
        row = rows.top(NAME, ":0")
    assert row is not None
    return row.digest


def delete_manifest(images: ImageService) -> None:
    registry = HostedRegistry(images.store, Hosts((HOST,)))
    registry.delete_manifest(registry.repository("team/many"), meant(images))


def remove_image(images: ImageService) -> None:
    with images.store.metadata.read() as rows:
        image = next(rows.image_ids())
    images.remove(str(image), force=True)


def remove_content(images: ImageService) -> None:
    images.remove(str(meant(images)))


def counted(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> list[str]:
    """Return the statements that this thread sends for something; others may be keeping a session alive."""
    sent: list[str] = []
    real, mine = Sending.execute, threading.get_ident()

    def execute(self: Sending, statement: str, values: Any) -> Any:
        if threading.get_ident() == mine:
            sent.append(statement)
        return real(self, statement, values)

    with monkeypatch.context() as patch:
        patch.setattr(Sending, "execute", execute)
        act()
    return sent


@pytest.mark.sampled(8, daily=False)
@pytest.mark.parametrize(
    ("put", "remove"),
    [
        (with_image, delete_manifest),
        (with_image, remove_image),
        (with_artifact, delete_manifest),
        (with_artifact, remove_content),
    ],
)
def test_many_names_go_in_as_many_statements_as_few(
    put: Callable[[ImageService, int], None],
    remove: Callable[[ImageService], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counts = []
    with orlop.open(StoreURL.parse(engines.new_url(), engines.variables())) as images:
        for many in (FEW, FEW, MANY):
            put(images, many)
            with images.store.metadata.read() as before:
                last, names = before.last_event(), len(before.references(name=NAME))
                assert len(before.tags(NAME)) == many
            counts.append(len(counted(monkeypatch, lambda: remove(images))))
            with images.store.metadata.read() as after:
                assert after.tags(NAME) == []
                assert after.counts()["manifests"] == after.counts()["images"] == 0
                if put is with_image:
                    untagged = [one for one in after.events(last) if one.action == "untag"]
                    assert after.last_event() == last + names + 1
                    assert len(untagged) == names
    assert counts[1] == counts[2] <= counts[0]


@pytest.fixture(params=["sqlite", "postgresql"])
def rows_of(request: pytest.FixtureRequest) -> Iterator[Metadata]:
    if request.param == "sqlite":
        with closing(MemoryMetadata()) as metadata:
            yield metadata
    else:
        with opened(database()) as metadata:
            yield metadata


@pytest.mark.sampled(2)
def test_of_what_happened_many_times_the_newest_is_kept(rows_of: Metadata) -> None:
    with rows_of.write() as rows:
        rows.put_event(Event(0, 1, "image", "tag", "a", {}), keep=5)
        rows.put_event(Event(0, 2, "image", "untag", "a", {}), keep=5, times=3)
        assert [(one.number, one.action) for one in rows.events(0)] == [(1, "tag"), *((n, "untag") for n in (2, 3, 4))]
        rows.put_event(Event(0, 3, "image", "untag", "b", {}), keep=5, times=9)
        rows.put_event(Event(0, 4, "image", "delete", "b", {}), keep=5)
        assert [(one.number, one.time) for one in rows.events(0)] == [(10, 3), (11, 3), (12, 3), (13, 3), (14, 4)]


def test_names_are_forgotten_at_once_and_what_others_mean_stays(rows_of: Metadata) -> None:
    image = ImageID.of(b"{}")
    with rows_of.write() as rows:
        rows.put_manifest(ARTIFACT, [])
        for suffix in (":1", ":2", ":3"):
            rows.put_top(TopRow(NAME, suffix, ARTIFACT.digest, 1))
            rows.put_reference(ReferenceRow(f"{NAME}/image", suffix, image, 1))
            rows.put_top(TopRow(f"{NAME}/image", suffix, ARTIFACT.digest, 1))
        assert [row.suffix for row in rows.references_in(f"{NAME}/image", [":1", ":4", ":3"])] == [":1", ":3"]
        assert rows.delete_tops([(NAME, ":1"), (NAME, ":2"), (NAME, ":4"), ("no", ":1")]) == 2
        assert rows.delete_tops([]) == 0
        assert rows.manifest(ARTIFACT.digest) is not None
        assert rows.delete_references([(f"{NAME}/image", suffix) for suffix in (":1", ":2", ":3", ":4")]) == 3
        assert [row.suffix for row in rows.tops()] == [":3"]
        assert rows.references() == []
        assert rows.manifest(ARTIFACT.digest) is not None
        assert rows.delete_tops([(NAME, ":3")]) == 1
        assert rows.manifest(ARTIFACT.digest) is None


def test_only_the_first_names_are_returned_where_few_are_asked_for(rows_of: Metadata) -> None:
    image, other = ImageID.of(b"{}"), ImageID.of(b"[]")
    with rows_of.write() as rows:
        for name, suffix in (("b", ":2"), ("b", f"@{ARTIFACT.digest}"), ("a", ":3"), ("b", ":1"), ("c", ":4")):
            rows.put_reference(ReferenceRow(name, suffix, other if name == "c" else image, 1))
        assert [row.suffix for row in rows.references(image, "b", most=3)] == [":1", ":2", f"@{ARTIFACT.digest}"]
        assert [(row.name, row.suffix) for row in rows.references(image, most=2)] == [("a", ":3"), ("b", ":1")]
        assert rows.references(image, most=0) == []
        assert len(rows.references(image, most=9)) == 4
        assert [row.name for row in rows.references(most=9)] == ["a", "b", "b", "b", "c"]


def test_what_refers_to_something_is_returned_in_parts(rows_of: Metadata) -> None:
    subject = {"digest": str(ARTIFACT.digest), "mediaType": ARTIFACT.media_type, "size": 2}
    made = [json.dumps(json.loads(_RAW) | {"subject": subject, "n": number}).encode() for number in range(5)]
    digests = sorted(Digest.of(raw) for raw in made)
    with rows_of.write() as rows:
        for raw in made:
            rows.put_manifest(ManifestRow(Digest.of(raw), ARTIFACT.media_type, raw), [])
            rows.put_top(TopRow(NAME, f"@{Digest.of(raw)}", Digest.of(raw), 1))
        assert rows.referring(ARTIFACT.digest, after="", most=3) == digests[:3]
        assert rows.referring(ARTIFACT.digest, after=str(digests[2]), most=3) == digests[3:]
        assert rows.referring(digests[0], after="", most=3) == []


@pytest.fixture
def images() -> Iterator[ImageService]:
    with closing(MemoryMetadata()) as metadata, orlop.ImageService(Store(metadata, MemoryBlobStore())) as images:
        yield images


@contextmanager
def reads(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[ReferenceRow]]:
    """Note the names that are read in a block."""
    read: list[ReferenceRow] = []

    def noted(*values: Any) -> ReferenceRow:
        read.append(reference_row(*values))
        return read[-1]

    with monkeypatch.context() as patch:
        patch.setattr("orlop.store.rows.sqlite.rows.reference_row", noted)
        yield read


def test_one_name_goes_without_a_look_at_all_others(images: ImageService, monkeypatch: pytest.MonkeyPatch) -> None:
    with_image(images, MANY)
    for number in range(MANY):
        images.tag(f"{NAME}:0", f"{HOST}/other{number}:1")
    for name in (f"{NAME}:7", f"{HOST}/other7:1"):
        with reads(monkeypatch) as read:
            assert images.remove(name).untagged == (name,)
        assert 0 < len(read) < 12
    with reads(monkeypatch) as read, pytest.raises(ImageInUse):
        images.remove(str(images.images()[0].id))
    assert len(read) < 5 * MANY


def test_what_goes_with_a_name_does_not_depend_on_how_many_are_read(
    images: ImageService, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = Layout()
    packed = layout.top(layout.image("file", **named("a.test/a:0"))).pack()
    digests = [f"sha256:{digit * 64}" for digit in "ab"]
    parts = [
        *(f"a.test/{name}:{tag}" for name in "bcd" for tag in "12"),
        "a.test/b@{0}",
        "a.test/c@{0}",
        "a.test/c@{1}",
    ]
    chance = Random(7)
    for _ in range(60):
        kept = [Reference.parse(one.format(*digests)) for one in chance.sample(parts, chance.randint(1, len(parts)))]
        name = chance.choice(kept)
        went = []
        for is_whole in (True, False):
            images.load(io.BytesIO(packed))
            image = images.images()[0].id
            for one in kept:
                images.store.references.set(one, image)
            images.store.references.delete_all(
                [one for one in images.store.references.of_image(image) if one not in kept]
            )
            with monkeypatch.context() as patch:
                if is_whole:
                    patch.setattr(StoreGround, "names_beside", Ground.names_beside)
                went.append((images.remove(name).lines, images.store.references.of_image(image)))
            images.remove(str(image), force=True) if images.images(all=True) else None
        assert went[0] == went[1], (kept, name)
