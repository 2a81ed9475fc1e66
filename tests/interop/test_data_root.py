"""The image database of Docker Engine 20.10, which orlop reads and writes while the daemon is stopped."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from orlop.errors import StoreInUse
from orlop.model.digest import ImageID
from orlop.model.timestamp import Timestamp
from orlop.store.backends.fs import FSStoreBackend
from orlop.store.images import ImageStore
from tests.data_roots import KnownLayers, open_images

if TYPE_CHECKING:
    from pathlib import Path

    from tests.interop.programs import Daemon, Docker

pytestmark = [pytest.mark.interop]

ARCHIVE = "dockerd-20.10-overlay2/multi.tar"
TINY = "example/tiny:1.0"
NOW = 1_764_000_000_123_456_789


@pytest.fixture
def loaded(docker: Docker, data: Path, context: Path) -> Docker:
    """An engine with loaded images, and with some that it built itself, intermediate ones included."""
    docker("load", "-i", data / ARCHIVE)
    docker("build", "--network=none", "-t", "built:1", context / "dup", env={"DOCKER_BUILDKIT": "0"})
    return docker


def all_ids(docker: Docker) -> set[str]:
    return set(docker.lines("images", "-aq", "--no-trunc"))


@pytest.mark.sampled(2)
def test_a_living_daemon_keeps_its_images_to_itself(daemon: Daemon, loaded: Docker) -> None:
    backend = FSStoreBackend(daemon.folder / "root" / "image" / str(daemon.driver) / "imagedb")
    image = next(iter(backend.walk()))
    before = all_ids(loaded)
    for write in (
        lambda: backend.set(b"{}"),
        lambda: backend.delete(image),
        lambda: backend.set_metadata(image, "parent", b""),
        lambda: backend.delete_metadata(image, "parent"),
    ):
        with pytest.raises(StoreInUse):
            write()
    assert {str(digest) for digest in backend.walk()} == all_ids(loaded) == before


@pytest.mark.sampled(2)
def test_what_the_engine_kept_is_read_as_it_lists_it(daemon: Daemon, loaded: Docker) -> None:
    ids = all_ids(loaded)
    parents = {image: loaded.inspect(image)["Parent"] for image in ids}
    assert any(parents.values())
    with daemon.stopped() as folder:
        images = open_images(folder)
        assert set(map(str, images.map())) == ids
        found = {str(image_id): image.parent for image_id, image in images.map().items()}
        assert {image: str(parent or "") for image, parent in found.items()} == parents
        assert set(map(str, images.heads())) == ids - set(parents.values())
    assert all_ids(loaded) == ids


@pytest.mark.sampled(2)
def test_what_orlop_writes_the_engine_shows(daemon: Daemon, loaded: Docker) -> None:
    ids = all_ids(loaded)
    tiny = loaded.inspect(TINY)
    with daemon.stopped() as folder:
        images = ImageStore(FSStoreBackend(folder / "imagedb"), KnownLayers(folder), now=lambda: NOW)
        old = images.get(ImageID.parse(tiny["Id"]))
        new = images.create(json.dumps(json.loads(old.raw_json) | {"author": "é <orlop>"}, sort_keys=True).encode())
        images.set_parent(new, old.id)
        images.set_last_updated(new)
        other = ImageID.parse(next(image for image in sorted(ids) if image != tiny["Id"]))
        images.set_parent(other, new)
    shown = loaded.inspect(str(new))
    assert (shown["Id"], shown["Author"], shown["Parent"]) == (str(new), "é <orlop>", tiny["Id"])
    assert shown["RootFS"] == tiny["RootFS"]
    assert shown["Size"] == tiny["Size"]
    assert shown["Metadata"]["LastTagTime"] == str(Timestamp(*divmod(NOW, 10**9)))
    assert loaded.inspect(str(other))["Parent"] == str(new)
    assert all_ids(loaded) == {*ids, str(new)}
    loaded("tag", str(new), "new:1")
    assert loaded.inspect("new:1")["Id"] == str(new)
    assert loaded.run("save", "new:1").returncode == 0


@pytest.mark.sampled(3)
def test_what_orlop_deletes_the_engine_misses_nothing_of(daemon: Daemon, loaded: Docker) -> None:
    ids = all_ids(loaded)
    parents = {image: loaded.inspect(image)["Parent"] for image in ids}
    gone = next(parent for parent in sorted(parents.values()) if parent)
    with daemon.stopped() as folder:
        open_images(folder).delete(ImageID.parse(gone))
    assert all_ids(loaded) == ids - {gone}
    orphans = [image for image, parent in parents.items() if parent == gone]
    assert [loaded.inspect(image)["Parent"] for image in orphans] == [""] * len(orphans)
