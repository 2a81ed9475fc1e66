"""The image database in a daemon's data root holds what the daemon said that it holds."""

from __future__ import annotations

import hashlib
import json

import pytest

from orlop import errors
from orlop.model.digest import ImageID
from orlop.model.timestamp import Timestamp
from orlop.store.backends.fs import FSStoreBackend
from tests.data_roots import DRIVERS, KnownLayers, open_images, said, unpack_images


@pytest.fixture(params=sorted(DRIVERS))
def engine(request):
    return request.param


@pytest.fixture
def folder(data, engine, tmp_path):
    return unpack_images(data, engine, tmp_path)


@pytest.fixture
def answer(data, engine):
    return {ImageID.parse(image["Id"]): image for image in said(data, engine)}


def parent_of(image: dict[str, str]) -> ImageID | None:
    return ImageID.parse(image["ParentId"]) if image["ParentId"] else None


def test_the_images_and_parents_are_those_that_the_daemon_listed(folder, answer):
    images = open_images(folder)
    assert set(images.map()) == set(images.ids()) == set(answer)
    assert {image_id: image.parent for image_id, image in images.map().items()} == {
        image_id: parent_of(image) for image_id, image in answer.items()
    }
    assert {image_id: image.created.unix for image_id, image in images.map().items()} == {
        image_id: image["Created"] for image_id, image in answer.items()
    }


def test_the_children_and_heads_follow_from_the_parents(folder, answer):
    images = open_images(folder)
    parents = {image_id: parent_of(image) for image_id, image in answer.items()}
    for image_id in answer:
        assert set(images.children(image_id)) == {child for child, parent in parents.items() if parent == image_id}
    assert set(images.heads()) == set(parents) - set(parents.values())
    assert len(set(parents)) > len(images.heads()) > 1


def test_every_image_is_found_by_the_first_digits_that_are_its_own(folder, answer):
    images = open_images(folder)
    digits = sorted(image_id.hex for image_id in answer)
    for image_id in answer:
        length = next(n for n in range(1, 65) if sum(one.startswith(image_id.hex[:n]) for one in digits) == 1)
        assert images.search(image_id.hex[:length]) == images.search(str(image_id)) == image_id


def test_every_tag_of_the_root_points_to_an_image(folder, answer):
    repositories = json.loads((folder / "repositories.json").read_bytes())["Repositories"]
    named = {name: image for names in repositories.values() for name, image in names.items()}
    assert named
    listed = {name: str(image_id) for image_id, image in answer.items() for name in image["RepoTags"] or ()}
    # 20.10 says so where an image has no name.
    listed.pop("<none>:<none>", None)
    assert named == listed


def test_marks_and_times_are_read_as_the_daemon_wrote_them(folder, engine, answer):
    images = open_images(folder)
    updated = {image_id: images.get_last_updated(image_id) for image_id in answer}
    assert all(time is None or Timestamp(1_700_000_000) < time for time in updated.values())
    assert [image_id for image_id, time in updated.items() if time] != []
    built = {image_id for image_id in answer if images.is_built_locally(image_id)}
    # The mark is younger than 20.10. The one that was imported is not marked.
    imported = {image_id for image_id, image in answer.items() if image["RepoTags"] == ["example/imported:latest"]}
    assert built == (set(answer) - imported if "29" in engine else set())


def test_all_layers_are_there_and_are_retained_on_request(folder, answer):
    images = open_images(folder)
    layers = images._layers
    assert isinstance(layers, KnownLayers)
    images.restore()
    assert len(layers.held) == len(answer)
    images.restore()
    assert len(layers.held) == len(answer)
    for image_id in answer:
        images.delete(image_id)
    assert layers.held == []


def test_reading_changes_nothing(folder):
    def state() -> dict[str, tuple[int, bytes]]:
        files = [path for path in folder.rglob("*") if path.is_file()]
        return {str(path): (path.stat().st_mtime_ns, hashlib.sha256(path.read_bytes()).digest()) for path in files}

    before = state()
    images = open_images(folder)
    assert len(images.heads()) > 1
    images.search(next(images.ids()).hex)
    assert state() == before


def test_what_is_written_has_the_daemons_shape(folder, answer):
    images = open_images(folder)
    chain = next(image for image in images.map().values() if len(image.rootfs.diff_ids) > 1)
    raw = json.dumps(json.loads(chain.raw_json) | {"author": "someone"}).encode()
    image_id = images.create(raw)
    images.set_parent(image_id, chain.id)
    images.set_built_locally(image_id)
    images.set_last_updated(image_id)
    content = folder / "imagedb" / "content" / "sha256" / image_id.hex
    metadata = folder / "imagedb" / "metadata" / "sha256" / image_id.hex
    assert content.read_bytes() == raw
    assert (metadata / "parent").read_bytes() == str(chain.id).encode()
    assert (metadata / "builtLocally").read_bytes() == b"\1"
    assert {path.name for path in metadata.iterdir()} == {"parent", "builtLocally", "lastUpdated"}
    assert [oct(path.stat().st_mode & 0o777) for path in (content, metadata, metadata / "parent")] == [
        "0o600",
        "0o700",
        "0o600",
    ]
    assert set(open_images(folder).map()) == {*answer, image_id}


def test_an_image_whose_layers_the_root_lacks_is_refused_and_leaves_no_orphan(folder, answer):
    images = open_images(folder)
    with pytest.raises(errors.LayerNotFound):
        images.create(json.dumps({"rootfs": {"type": "layers", "diff_ids": ["sha256:" + "0" * 64]}}).encode())
    assert set(FSStoreBackend(folder / "imagedb").walk()) == {*open_images(folder)._backend.walk()}
    assert set(images.ids()) == set(answer)
