"""The image store: what it keeps beside a config and what it retains, over every backend; images that are not right."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

import orlop
from orlop import errors
from orlop.model.digest import Digest, ImageID
from orlop.model.image import Image
from orlop.model.platform import Platform
from orlop.model.reference import Reference
from orlop.model.timestamp import Timestamp
from orlop.store.backends.fs import FSStoreBackend
from orlop.store.backends.memory import MemoryStoreBackend
from orlop.store.backends.sqlite import SQLiteStoreBackend
from orlop.store.images import ImageStore
from orlop.store.local import local_store
from orlop.streams.tar_write import END, member_header, padding

NOW = 1_764_000_000_123_456_780


def layer_tar(text: str) -> bytes:
    body = text.encode()
    return member_header(text, size=len(body), mode=0o644) + body + padding(len(body)) + END


def config(*diff_ids: object, **more: object) -> bytes:
    return json.dumps({"rootfs": {"type": "layers", "diff_ids": [str(one) for one in diff_ids]}} | more).encode()


@pytest.fixture
def store(tmp_path):
    with local_store(tmp_path / "root", now=lambda: NOW) as store:
        yield store


@pytest.fixture(params=["sqlite", "fs", "memory"])
def backend(request, store, tmp_path):
    kinds = {
        "sqlite": lambda: SQLiteStoreBackend(store.metadata),
        "fs": lambda: FSStoreBackend(tmp_path / "imagedb"),
        "memory": MemoryStoreBackend,
    }
    return kinds[request.param]()


@pytest.fixture
def images(backend, store):
    return ImageStore(backend, store.layers, now=lambda: NOW)


class TestWhatLaterEnginesAdded:
    def test_the_last_update_is_kept_to_the_nanosecond(self, images, backend):
        image = images.create(config())
        assert images.get_last_updated(image) is None
        images.set_last_updated(image)
        assert backend.get_metadata(image, "lastUpdated") == b"2025-11-24T16:00:00.12345678Z"
        assert images.get_last_updated(image) == Timestamp(*divmod(NOW, 10**9))

    def test_a_last_update_that_is_no_time_is_told(self, images, backend):
        image = images.create(config())
        backend.set_metadata(image, "lastUpdated", b"yesterday")
        with pytest.raises(errors.InvalidTimestamp):
            images.get_last_updated(image)

    def test_an_image_is_marked_as_built_here_with_one_byte(self, images, backend):
        image = images.create(config())
        assert not images.is_built_locally(image)
        images.set_built_locally(image)
        assert images.is_built_locally(image)
        assert backend.get_metadata(image, "builtLocally") == b"\1"

    @pytest.mark.parametrize(("value", "built"), [(b"", False), (b"\0", False), (b"1", False), (b"\1", True)])
    def test_only_the_byte_1_says_built_here(self, images, backend, value, built):
        image = images.create(config())
        backend.set_metadata(image, "builtLocally", value)
        assert images.is_built_locally(image) is built

    def test_both_need_an_image(self, images):
        nobody = ImageID.of(b"nobody")
        for call in (images.set_last_updated, images.set_built_locally):
            with pytest.raises(errors.ImageNotFound):
                call(nobody)
        assert images.get_last_updated(nobody) is None
        assert not images.is_built_locally(nobody)

    def test_a_platform_has_its_variant(self, images):
        image = images.create(config(os="linux", architecture="arm64", variant="v8"))
        assert images.platform(image) == Platform("linux", "arm64", "v8")
        assert images.get(image).platform == images.platform(image)
        more = {"os": "windows", "architecture": "amd64", "os.version": "10.0", "os.features": ["win32k"]}
        assert images.platform(images.create(config(**more))) == Platform(
            "windows", "amd64", os_version="10.0", os_features=("win32k",)
        )
        with pytest.raises(errors.ImageNotFound):
            images.platform(ImageID.of(b"nobody"))


class TestRetaining:
    def test_an_image_keeps_its_layers_until_it_goes(self, images, store):
        layer = store.layers.register(io.BytesIO(layer_tar("a")))
        image = images.create(config(layer.diff_id))
        assert store.layers.release(layer) == ()
        assert set(store.layers.map()) == {layer.chain_id}
        assert [gone.chain_id for gone in images.delete(image)] == [layer.chain_id]
        assert store.layers.map() == {}

    def test_creating_twice_is_retaining_once(self, images, store):
        layer = store.layers.register(io.BytesIO(layer_tar("a")))
        image = images.create(config(layer.diff_id))
        assert images.create(config(layer.diff_id)) == image
        store.layers.release(layer)
        assert len(images.delete(image)) == 1

    def test_two_images_share_a_layer(self, images, store):
        layer = store.layers.register(io.BytesIO(layer_tar("a")))
        one, other = (images.create(config(layer.diff_id, author=name)) for name in "ab")
        store.layers.release(layer)
        assert images.delete(one) == ()
        assert len(images.delete(other)) == 1

    def test_a_layer_that_cannot_be_given_back_does_not_hide_an_interrupt(self, store, tmp_path):
        root, moved = tmp_path / "root", tmp_path / "moved"

        class Interrupted(MemoryStoreBackend):
            def _set(self, digest, data):
                root.rename(moved)  # every write fails from now on
                raise KeyboardInterrupt

        layer = store.layers.register(io.BytesIO(layer_tar("one")))
        with pytest.raises(KeyboardInterrupt):
            ImageStore(Interrupted(), store.layers).create(config(layer.diff_id))
        moved.rename(root)

    def test_what_was_there_before_is_retained_again(self, images, store, backend):
        layer = store.layers.register(io.BytesIO(layer_tar("a")))
        image = images.create(config(layer.diff_id))
        again = ImageStore(backend, store.layers)
        again.restore()
        if not isinstance(backend, SQLiteStoreBackend):
            store.layers.release(next(iter(images._retained.values())))
        assert store.layers.release(layer) == ()
        assert set(store.layers.map()) == {layer.chain_id}
        assert len(again.delete(image)) == 1

    def test_an_image_that_lost_its_layers_is_skipped_and_can_go(self, store, caplog):
        backend = MemoryStoreBackend()
        lost = ImageID.wrap(backend.set(config(Digest.of(b"lost"))))
        images = ImageStore(backend, store.layers)
        images.restore()
        assert str(lost) in caplog.text
        assert images.delete(lost) == ()
        assert list(backend.walk()) == []


class TestLazyMappings:
    def test_map_and_heads_answer_without_a_walk(self, images, monkeypatch):
        one, two = (images.create(config(author=name)) for name in "ab")
        images.set_parent(two, one)
        assert images.map()[one].author == "a"
        assert one not in images.heads()
        assert images.heads()[two].parent == one
        assert ImageID.of(b"nobody") not in images.map()
        assert {image_id: image.author for image_id, image in images.map().items()} == {one: "a", two: "b"}
        assert [image.author for image in images.heads().values()] == ["b"]
        assert len(images.map().items()) == len(images.map().values()) == 2

    def test_what_vanishes_meanwhile_is_left_out(self, images):
        ids = {images.create(config(author=name)) for name in "abc"}
        seen = []
        for image_id in images.map():
            seen.append(image_id)
            for other in ids - {image_id}:
                images.delete(other)
            ids = {image_id}
        assert len(seen) == 1

    def test_a_damaged_image_is_in_no_mapping(self, store):
        backend = MemoryStoreBackend()
        images = ImageStore(backend, store.layers)
        good, bad = (images.create(config(author=name)) for name in "ab")
        backend._content[Digest.wrap(bad)] = b"other"
        assert list(images.map()) == [good]
        assert list(images.heads()) == [good]
        assert bad not in images.map()


class TestImagesThatAreNotRight:
    def test_a_parent_that_is_missing_breaks_nothing(self, images, backend):
        gone = ImageID.of(b"gone")
        image = images.create(config(history=[{"created_by": "a", "empty_layer": True}] * 3))
        backend.set_metadata(image, "parent", str(gone).encode())
        assert images.get_parent(image) == gone
        assert images.children(gone) == (image,)
        assert list(images.heads()) == [image]
        other = images.create(config(author="other"))
        images.set_parent(other, image)
        images.delete(image)
        assert images.get_parent(other) is None

    def test_the_verbs_take_a_missing_parent_for_none(self, tmp_path):
        with orlop.open(tmp_path / "root") as service:
            steps = [{"created_by": "a", "empty_layer": True}] * 3
            image = service.image_store.create(config(history=steps))
            backend = SQLiteStoreBackend(service.layer_store.metadata)
            backend.set_metadata(image, "parent", str(ImageID.of(b"gone")).encode())
            service.tag(str(image), "orphan:1")
            assert [entry.id for entry in service.history("orphan:1")] == [image, None, None]
            assert service.inspect("orphan:1").image.parent == ImageID.of(b"gone")
            assert service.remove("orphan:1").deleted == (str(image),)
            assert service.images(all=True) == []

    @pytest.mark.parametrize("value", [b"", b"\xff", b"../x", b"sha256:../../x", b"sha256:" + b"A" * 64, b"parent"])
    def test_a_parent_that_is_no_id_is_none(self, images, backend, value):
        image = images.create(config())
        backend.set_metadata(image, "parent", value)
        assert images.get_parent(image) is None
        assert images.get(image).parent is None
        assert list(images.heads()) == [image]

    def test_a_cycle_of_parents_ends_every_walk(self, images, backend):
        ids = [images.create(config(author=name)) for name in "abc"]
        for child, parent in zip(ids, [*ids[1:], ids[0]], strict=True):
            backend.set_metadata(child, "parent", str(parent).encode())
        assert list(images.heads()) == []
        assert images.children(ids[0]) == (ids[2],)
        assert len(images.map()) == 3
        outside = images.create(config(author="d"))
        images.set_parent(outside, ids[0])
        images.set_parent(ids[0], images.create(config(author="e")))
        for image in ids:
            images.delete(image)
        assert images.get_parent(outside) is None

    def test_the_verbs_end_in_a_cycle_of_parents(self, tmp_path):
        with orlop.open(tmp_path / "root") as service:
            backend = SQLiteStoreBackend(service.layer_store.metadata)
            steps = [{"created_by": "a", "empty_layer": True}] * 9
            ids = [service.image_store.create(config(author=name, history=steps)) for name in "ab"]
            for child, parent in zip(ids, reversed(ids), strict=True):
                backend.set_metadata(child, "parent", str(parent).encode())
            assert len(service.history(str(ids[0]))) == 9
            assert service.images() == []
            assert len(service.images(all=True)) == 2
            with pytest.raises(errors.ImageInUse):
                service.remove(str(ids[0]), force=True)

    @pytest.mark.sampled(3)
    def test_a_config_with_forty_thousand_steps_is_one_like_others(self, tmp_path):
        steps = [{"created_by": f"step {number}", "empty_layer": True} for number in range(40_000)]
        with orlop.open(tmp_path / "root") as service:
            image = service.image_store.create(config(history=steps))
            assert len(service.image_store.get(image).history) == 40_000
            assert service.history(str(image))[0].created_by == "step 39999"
        with pytest.raises(errors.InvalidImage), orlop.open(tmp_path / "root") as service:
            service.image_store.create(config(history=[{"created_by": "x"}] * 40_000))

    @pytest.mark.parametrize(
        "text", ["../x", "sha256:../../../x", "sha256:" + "/" * 64, "sha256:" + "0" * 63, "", "x\0"]
    )
    def test_an_id_is_never_a_path(self, images, text, tmp_path):
        image_id = ImageID.unchecked(text)
        real = images.create(config())
        before = {path for path in Path(tmp_path).rglob("*") if path.suffix != ".db-wal"}
        for call in (
            lambda: images.get(image_id),
            lambda: images.delete(image_id),
            lambda: images.set_parent(image_id, real),
            lambda: images.set_parent(real, image_id),
            lambda: images.set_built_locally(image_id),
        ):
            with pytest.raises((errors.ImageNotFound, errors.InvalidDigest)):
                call()
        assert {path for path in Path(tmp_path).rglob("*") if path.suffix != ".db-wal"} == before

    @pytest.mark.parametrize("raw", [b"", b"{}", b"null", b"[]", b"\xff", b'{"rootfs":null}', b"[" * 20_000])
    def test_what_is_no_image_is_not_kept(self, images, backend, raw):
        with pytest.raises(errors.InvalidInput):
            images.create(raw)
        assert list(backend.walk()) == []

    def test_content_that_is_no_image_is_skipped(self, images, backend, caplog):
        noise = ImageID.wrap(backend.set(b"noise"))
        good = images.create(config())
        assert list(images.map()) == [good]
        assert str(noise) in caplog.text
        with pytest.raises(errors.InvalidImage):
            images.get(noise)
        assert images.delete(noise) == ()

    def test_metadata_of_an_image_that_vanished_is_no_image(self, store, tmp_path):
        backend = FSStoreBackend(tmp_path / "imagedb")
        images = ImageStore(backend, store.layers)
        one, two = (images.create(config(author=name)) for name in "ab")
        images.set_parent(two, one)
        (tmp_path / "imagedb" / "content" / "sha256" / two.hex).unlink()
        assert list(images.map()) == [one]
        assert list(images.heads()) == [one]
        assert images.children(one) == ()
        assert images.get_parent(two) is None
        with pytest.raises(errors.ImageNotFound):
            images.get(two)
        images.delete(one)

    def test_names_that_are_no_digest_are_not_walked(self, tmp_path, store):
        backend = FSStoreBackend(tmp_path / "imagedb")
        image = ImageStore(backend, store.layers).create(config())
        folder = tmp_path / "imagedb" / "content" / "sha256"
        for name in (".new-0123", "x", "A" * 64, "0" * 63, f"{image.hex}.bak"):
            (folder / name).write_bytes(b"x")
        assert list(backend.walk()) == [Digest.wrap(image)]


class TestWalkedIndex:
    def test_it_walks_once_while_nothing_changes(self, store):
        walks = []

        class Counting(MemoryStoreBackend):
            def _walk(self):
                walks.append(1)
                return super()._walk()

        images = ImageStore(Counting(), store.layers)
        ids = [images.create(config(author=str(number))) for number in range(5)]
        images.set_parent(ids[1], ids[0])
        walks.clear()
        for _ in range(3):
            assert images.children(ids[0]) == (ids[1],)
            assert len(list(images.heads())) == 4
            assert images.search(str(ids[2])) == ids[2]
        assert len(walks) == 1
        images.set_parent(ids[2], ids[0])
        assert set(images.children(ids[0])) == {ids[1], ids[2]}

    def test_a_change_by_another_program_is_seen(self, tmp_path, store):
        mine = ImageStore(FSStoreBackend(tmp_path / "imagedb"), store.layers)
        theirs = ImageStore(FSStoreBackend(tmp_path / "imagedb"), store.layers)
        one = mine.create(config(author="a"))
        assert list(mine.heads()) == [one]
        two = theirs.create(config(author="b"))
        theirs.set_parent(two, one)
        assert list(mine.heads()) == [two]
        theirs.delete(two)
        assert mine.children(one) == ()
        with pytest.raises(errors.ImageNotFound):
            mine.search(two.hex)

    def test_old_directories_need_no_second_walk(self, tmp_path, store, monkeypatch):
        backend = FSStoreBackend(tmp_path / "imagedb")
        images = ImageStore(backend, store.layers)
        one, two = (images.create(config(author=name)) for name in "ab")
        images.set_parent(two, one)
        assert backend.revision() is None
        monkeypatch.setattr("orlop.store.backends.fs.time.time_ns", lambda: 1 << 62)
        before = backend.revision()
        assert before == backend.revision() is not None
        backend.set_metadata(two, "lastUpdated", b"x")
        assert backend.revision() != before


def test_an_image_without_a_platform_says_so():
    assert Image.from_json(config()).platform == Platform("", "")


def test_names_go_with_an_image_that_is_deleted(store):
    """One that stayed would tell of a loss, for which collections keep every layer."""
    name, other = Reference.parse("a:1"), Reference.parse("b:1")
    image, kept = (store.images.create(config(author=author)) for author in "ab")
    store.references.set(name, image)
    store.references.set(other, kept)
    store.images.delete(image)
    with pytest.raises(errors.ReferenceNotFound):
        store.references.get(name)
    assert store.references.get(other) == kept
    with store.metadata.read() as rows:
        assert not rows.has_lost_images()
