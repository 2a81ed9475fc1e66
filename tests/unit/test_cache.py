"""The build cache: what it finds, what it must not find, and what it makes again."""

from __future__ import annotations

import io
import json
from dataclasses import fields, replace
from typing import Any

import pytest

import orlop
from orlop import errors
from orlop.model.container import ContainerConfig, HealthConfig
from orlop.model.digest import Digest, ImageID
from orlop.model.image import Image
from orlop.model.platform import Platform
from orlop.store.backends.memory import MemoryStoreBackend
from orlop.store.cache import ImageCache, LocalImageCache
from orlop.store.images import ImageStore
from orlop.store.local import local_store
from orlop.streams.tar_write import END, member_header
from tests.data_roots import open_images, unpack_images

CONFIG = ContainerConfig(
    hostname="h",
    user="u",
    exposed_ports=frozenset({"80/tcp"}),
    env=("A=1", "B=2"),
    cmd=("/bin/sh", "-c", "#(nop) ", "ENV A=1"),
    healthcheck=HealthConfig(test=("NONE",), interval=5),
    volumes=frozenset({"/v"}),
    working_dir="/w",
    entrypoint=("/e",),
    labels={"a": "b"},
    stop_timeout=3,
    shell=("/bin/sh", "-c"),
)
LINUX = {"os": "linux", "architecture": "amd64"}


@pytest.fixture
def store(tmp_path):
    with local_store(tmp_path / "root") as store:
        yield store


@pytest.fixture
def images(store):
    return ImageStore(MemoryStoreBackend(), store.layers)


def document(**more: object) -> bytes:
    """Make a config; `container` is its container config."""
    container = more.pop("container", CONFIG)
    assert isinstance(container, ContainerConfig)
    base = {"rootfs": {"type": "layers"}, "created": "2026-01-01T00:00:00Z"}
    return json.dumps({**base, "container_config": json.loads(container.to_json()), **LINUX, **more}).encode()


def built(images: ImageStore, raw: bytes, parent: ImageID | None = None) -> ImageID:
    image_id = images.create(raw)
    images.set_built_locally(image_id)
    if parent is not None:
        images.set_parent(image_id, parent)
    return image_id


class TestLocal:
    def test_a_build_from_nothing_finds_an_image_without_parent(self, images):
        image = built(images, document())
        assert LocalImageCache(images).get_cache(None, CONFIG) == image
        built_on = built(images, document(author="on"), image)
        assert LocalImageCache(images).get_cache(image, CONFIG) == built_on
        assert LocalImageCache(images).get_cache(built_on, CONFIG) is None

    def test_the_newest_wins(self, images):
        parent = built(images, document(author="parent"))
        ids = [
            built(images, document(created=f"2026-01-0{day}T00:00:00.00000000{nano}Z"), parent)
            for day, nano in ((2, 1), (3, 5), (3, 4), (1, 9))
        ]
        assert LocalImageCache(images).get_cache(parent, CONFIG) == ids[1]

    def test_only_what_was_built_here_counts(self, images):
        images.create(document())
        assert LocalImageCache(images).get_cache(None, CONFIG) is None

    @pytest.mark.parametrize("platform", [{"os": ""}, {"architecture": ""}, {"os": "", "architecture": ""}])
    def test_an_image_that_names_no_platform_never_counts(self, images, platform):
        built(images, document(**platform))
        assert LocalImageCache(images).get_cache(None, CONFIG) is None

    @pytest.mark.parametrize("created", ["0001-01-01T00:00:00Z", None])
    def test_an_image_without_a_time_never_counts(self, images, created):
        built(images, document(created=created))
        assert LocalImageCache(images).get_cache(None, CONFIG) is None

    @pytest.mark.parametrize(
        ("image", "wanted", "fits"),
        [
            ("linux/amd64", "linux/amd64", True),
            ("linux/amd64", "linux/amd64/v1", True),
            ("linux/arm64/v8", "linux/arm64", True),
            ("linux/arm", "linux/arm/v7", True),
            ("linux/arm/v6", "linux/arm", False),
            ("linux/amd64", "linux/arm64", False),
            ("windows/amd64", "linux/amd64", False),
        ],
    )
    def test_the_platform_must_be_the_wanted_one(self, images, image, wanted, fits):
        has = Platform.parse(image)
        found = built(images, document(os=has.os, architecture=has.architecture, variant=has.variant))
        cached = LocalImageCache(images).get_cache(None, CONFIG, Platform.parse(wanted))
        assert cached == (found if fits else None)

    def test_windows_needs_its_own_version(self, images):
        found = built(images, document(os="windows", **{"os.version": "10.0.1"}))
        for version, fits in (("10.0.1", True), ("10.0.2", False), ("", True)):
            wanted = Platform("windows", "amd64", os_version=version)
            assert LocalImageCache(images).get_cache(None, CONFIG, wanted) == (found if fits else None)

    @pytest.mark.sampled(3)
    @pytest.mark.parametrize("name", [field.name for field in fields(ContainerConfig)])
    def test_every_field_counts_but_three(self, images, name):
        # One field that an image may differ in unseen is enough to poison a cache.
        value = getattr(CONFIG, name)
        changes: dict[type, Any] = {
            bool: True,
            str: "other",
            tuple: ("other",),
            frozenset: frozenset({"90/tcp"}),
            dict: {"c": "d"},
        }
        other: Any = changes.get(type(value), ("other",))
        if name == "healthcheck":
            other = HealthConfig(test=("NONE",), interval=6)
        if name == "stop_timeout":
            other = 4
        image = built(images, document())
        wanted = replace(CONFIG, **{name: other})
        expected = image if name in {"image", "hostname", "domainname"} else None
        assert LocalImageCache(images).get_cache(None, wanted) == expected

    def test_nothing_and_empty_are_the_same(self, images):
        bare = ContainerConfig(cmd=("x",))
        image = built(images, document(container=bare))
        empty = replace(bare, env=(), entrypoint=(), labels={}, volumes=frozenset(), exposed_ports=frozenset())
        assert LocalImageCache(images).get_cache(None, empty) == image
        assert LocalImageCache(images).get_cache(None, replace(bare, stop_timeout=0)) is None
        assert LocalImageCache(images).get_cache(None, replace(bare, healthcheck=HealthConfig())) is None

    def test_the_order_of_the_environment_counts(self, images):
        built(images, document())
        assert LocalImageCache(images).get_cache(None, replace(CONFIG, env=("B=2", "A=1"))) is None

    def test_a_damaged_sibling_is_passed_over(self, images, caplog):
        bad, good = (built(images, document(author=name)) for name in "ab")
        backend = images._backend
        assert isinstance(backend, MemoryStoreBackend)
        backend._content[Digest.wrap(bad)] = b"x"
        assert LocalImageCache(images).get_cache(None, CONFIG) == good
        assert str(bad) in caplog.text

    def test_every_image_that_a_daemon_built_is_found_again(self, data, tmp_path):
        images = open_images(unpack_images(data, "dockerd-29-overlay2", tmp_path))
        cache = LocalImageCache(images)
        found = 0
        for image_id, image in images.map().items():
            if images.is_built_locally(image_id):
                cached = cache.get_cache(image.parent, image.container_config, Platform("linux", "amd64"))
                assert cached == image_id
                found += 1
        assert found == 22

    def test_what_an_engine_without_marks_built_is_not_found(self, data, tmp_path):
        images = open_images(unpack_images(data, "dockerd-20.10-overlay2", tmp_path))
        cache = LocalImageCache(images)
        assert not any(cache.get_cache(image.parent, image.container_config) for image in images.map().values())


class TestHistory:
    def steps(self, image: Image) -> list[ContainerConfig]:
        return [ContainerConfig(cmd=tuple(step.created_by.split(" "))) for step in image.history]

    @pytest.mark.sampled(2)
    @pytest.mark.parametrize("name", ["tiny", "dup", "multi"])
    @pytest.mark.parametrize("engine", ["dockerd-20.10-overlay2", "dockerd-29-overlay2"])
    def test_a_loaded_image_is_built_again_step_by_step(self, data, tmp_path, engine, name):
        with orlop.open(tmp_path / "root") as service:
            loaded = service.load(data / engine / f"{name}.tar").images
            images = service.image_store
            source = images.get(loaded[0].id)
            cache = ImageCache(images, docker_version="1")
            cache.populate(source)
            parent = None
            for number, config in enumerate(self.steps(source), start=1):
                made = cache.get_cache(parent, config)
                assert made is not None
                image = images.get(made)
                assert image.parent == parent
                assert image.history == source.history[:number]
                assert image.rootfs.diff_ids == source.rootfs.diff_ids[: len(image.rootfs.diff_ids)]
                layers = sum(not step.empty_layer for step in image.history)
                assert len(image.rootfs.diff_ids) == layers
                if made != source.id:
                    assert (image.os, image.architecture, image.docker_version) == ("linux", "amd64", "1")
                    assert image.config == config
                    assert image.created == source.history[number - 1].created
                parent = made
            assert parent == source.id
            assert cache.get_cache(parent, ContainerConfig(cmd=("more",))) is None

    def source(self, images: ImageStore, *commands: str, **more: object) -> Image:
        history = [{"created_by": command, "empty_layer": True} for command in commands]
        return images.get(images.create(document(history=history, **more)))

    def test_another_step_is_not_found(self, images):
        cache = ImageCache(images)
        cache.populate(self.source(images, "a b", "c"))
        assert cache.get_cache(None, ContainerConfig(cmd=("a", "c"))) is None
        assert cache.get_cache(None, ContainerConfig()) is None
        assert ImageCache(images).get_cache(None, ContainerConfig(cmd=("a", "b"))) is None

    def test_an_image_of_one_step_is_its_own_answer(self, images):
        cache = ImageCache(images)
        source = self.source(images, "a")
        cache.populate(source)
        assert cache.get_cache(None, ContainerConfig(cmd=("a",))) == source.id
        assert len(list(images.ids())) == 1

    def test_the_first_source_that_fits_is_followed(self, images):
        one, two = self.source(images, "a", "b", "c"), self.source(images, "a", "b", "d")
        cache = ImageCache(images)
        cache.populate(one)
        cache.populate(two)
        first = cache.get_cache(None, ContainerConfig(cmd=("a",)))
        second = cache.get_cache(first, ContainerConfig(cmd=("b",)))
        assert second is not None
        assert cache.get_cache(second, ContainerConfig(cmd=("d",))) is None
        assert cache.get_cache(second, ContainerConfig(cmd=("c",))) == one.id
        assert images.get_parent(one.id) == second

    @pytest.mark.parametrize("difference", ["history", "time", "layers", "length"])
    def test_a_parent_that_differs_is_not_continued(self, images, store, difference):
        layer = store.layers.register(io.BytesIO(member_header("x", mode=0o644) + END))
        rootfs = {"rootfs": {"type": "layers", "diff_ids": [str(layer.diff_id)]}}
        cache = ImageCache(images)
        cache.populate(self.source(images, "a", "b"))
        parents = {
            "history": self.source(images, "x"),
            "time": images.get(
                images.create(
                    document(history=[{"created_by": "a", "empty_layer": True, "created": "2026-01-01T00:00:00Z"}])
                )
            ),
            "layers": self.source(images, "a", **rootfs),
            "length": self.source(images, "a", "b", "c"),
        }
        assert cache.get_cache(parents[difference].id, ContainerConfig(cmd=("b",))) is None

    def test_a_zero_time_is_no_time(self, images):
        parent = images.create(
            document(history=[{"created_by": "a", "empty_layer": True, "created": "0001-01-01T00:00:00Z"}])
        )
        source = self.source(images, "a", "b")
        cache = ImageCache(images)
        cache.populate(source)
        assert cache.get_cache(parent, ContainerConfig(cmd=("b",))) == source.id

    def test_what_was_built_here_counts_where_a_source_descends_from_it(self, images):
        here = built(images, document())
        cache = ImageCache(images)
        source = self.source(images, "a")
        cache.populate(source)
        assert cache.get_cache(None, CONFIG) is None
        images.set_parent(source.id, here)
        assert cache.get_cache(None, CONFIG) == here

    def test_a_source_of_another_platform_is_passed_over(self, images):
        cache = ImageCache(images)
        cache.populate(self.source(images, "a", "b"))
        assert cache.get_cache(None, ContainerConfig(cmd=("a",)), Platform("linux", "arm64")) is None
        assert cache.get_cache(None, ContainerConfig(cmd=("a",)), Platform("linux", "amd64")) is not None

    def test_unknown_parents_and_impossible_sources_are_told(self, images):
        cache = ImageCache(images)
        with pytest.raises(errors.ImageNotFound):
            cache.get_cache(ImageID.of(b"nobody"), CONFIG)
        with pytest.raises(errors.InvalidImage):
            cache.populate(Image.from_json(document(history=[{"created_by": "a"}])))

    def test_a_cycle_of_parents_ends(self, images):
        one, two = self.source(images, "a"), self.source(images, "b")
        for child, parent in ((one, two), (two, one)):
            images._backend.set_metadata(child.id, "parent", str(parent.id).encode())
        built(images, document())
        cache = ImageCache(images)
        cache.populate(one)
        assert cache.get_cache(None, CONFIG) is None
