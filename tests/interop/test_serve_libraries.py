"""`orlop serve` and the libraries that speak to Docker: docker-py as its documentation shows, and python-on-whales."""

from __future__ import annotations

import io
import json
import tarfile
import threading
from typing import TYPE_CHECKING, Any

import docker
import pytest
from docker.errors import APIError, ImageLoadError, ImageNotFound
from python_on_whales import DockerClient
from python_on_whales.exceptions import NoSuchImage

from tests.interop.served import serve
from tests.needs import need

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.interop.served import Served

# Of the versions that a client may speak.
pytestmark = [pytest.mark.interop, pytest.mark.sampled(4)]

TINY, COMMITTED = "example/tiny:1.0", "registry.example.com:5000/team/committed:2.0"
IMPORTED = "example/imported:latest"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Served]:
    with serve(tmp_path / "root") as server:
        yield server


@pytest.fixture(params=["auto", "1.25", "1.41"])
def client(server: Served, request: pytest.FixtureRequest) -> Iterator[Any]:
    """docker-py before an empty store, with the newest version that it knows, and with older ones."""
    client = docker.DockerClient(base_url=server.host, version=request.param)
    yield client
    client.close()


@pytest.fixture
def archive(data: Path) -> bytes:
    """Three images."""
    return (data / "dockerd-20.10-overlay2" / "multi.tar").read_bytes()


def layer() -> bytes:
    """Make a root file system with one file."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        member = tarfile.TarInfo("f")
        member.size = 1000
        tar.addfile(member, io.BytesIO(bytes(1000)))
    return out.getvalue()


# docker-py: client.images


def test_docker_py_loads_lists_and_gets(client, archive):
    loaded = client.images.load(archive)
    assert sorted(name for image in loaded for name in image.tags) == [IMPORTED, TINY, COMMITTED]
    assert {image.id for image in client.images.list()} == {image.id for image in loaded}
    assert [image.tags for image in client.images.list("example/tiny")] == [[TINY]]
    assert [image.tags for image in client.images.list(filters={"reference": "*/imp*"})] == [[IMPORTED]]
    assert client.images.list(filters={"dangling": True}) == []
    assert {image.id for image in loaded} <= {image.id for image in client.images.list(all=True)}
    tiny = client.images.get(TINY)
    assert tiny == client.images.get(tiny.id) == client.images.get(tiny.short_id)
    assert tiny.labels == tiny.attrs["Config"]["Labels"]
    assert next(step["Tags"] for step in tiny.history()) == [TINY]


def test_docker_py_saves_in_chunks_what_it_can_load_again(client, archive):
    client.images.load(archive)
    tiny = client.images.get(TINY)
    chunks = list(tiny.save(chunk_size=4096, named=True))
    assert len(chunks) > 2
    client.images.remove(TINY)
    with pytest.raises(ImageNotFound):
        client.images.get(TINY)
    (again,) = client.images.load(iter(chunks))
    assert (again.id, again.tags) == (tiny.id, [TINY])
    # Without a name an archive has none either.
    with tarfile.open(fileobj=io.BytesIO(b"".join(again.save()))) as tar:
        member = tar.extractfile("manifest.json")
        assert member is not None
        assert not json.load(member)[0]["RepoTags"]


def test_docker_py_names_and_removes(client, archive):
    client.images.load(archive)
    tiny = client.images.get(TINY)
    assert tiny.tag("registry.example.com/other", tag="1")
    assert tiny.tag("registry.example.com/other")
    tiny.reload()
    assert tiny.tags == [TINY, "registry.example.com/other:1", "registry.example.com/other:latest"]
    assert client.images.get(IMPORTED).tag("second:name")
    with pytest.raises(APIError, match="must be forced") as conflict:
        client.images.remove(client.images.get(IMPORTED).id)
    assert conflict.value.status_code == 409
    client.images.remove("registry.example.com/other:1")
    client.images.get(IMPORTED).remove(force=True, noprune=True)
    with pytest.raises(ImageNotFound, match=r"[Nn]o such image"):
        client.images.remove(IMPORTED)
    with pytest.raises(APIError, match="invalid reference format"):
        tiny.tag("UPPER")


def test_docker_py_prunes(client, archive):
    client.images.load(archive)
    assert client.images.prune() == {"ImagesDeleted": None, "SpaceReclaimed": 0}
    pruned = client.images.prune(filters={"dangling": False})
    assert pruned["SpaceReclaimed"] > 3000
    assert {"Untagged": TINY} in pruned["ImagesDeleted"]
    assert client.images.list(all=True) == []


def test_docker_py_is_told_what_orlop_does_not_do(client):
    for work in (
        lambda: client.images.build(fileobj=io.BytesIO(b"FROM scratch\n")),
        lambda: client.containers.run("alpine"),
    ):
        with pytest.raises(APIError, match="orlop"):
            work()
    assert client.containers.list() == client.volumes.list() == []
    assert [network.name for network in client.networks.list()] == ["bridge"]


def test_docker_py_learns_that_an_archive_is_none(client):
    with pytest.raises(ImageLoadError, match="not an image archive"):
        client.images.load(b"junk")
    # An answer with an error of the daemon is not an archive either.
    with pytest.raises(ImageNotFound):
        list(client.api.get_image("nosuch"))


def test_docker_py_asks_who_is_there(client, archive):
    assert client.ping()
    assert client.version()["MinAPIVersion"] == "1.24"
    assert client.info()["Driver"] == "orlop"
    client.images.load(archive)
    usage = client.df()
    assert {image["Id"] for image in usage["Images"]} == {image.id for image in client.images.list()}
    assert usage["LayersSize"] > 0


def test_docker_py_hears_events_of_another(client, server, archive):
    events = client.events(decode=True, filters={"type": "image"})
    # It listens once it has got the head of the answer.
    orlop = server.orlop
    heard: list[Any] = []
    listener = threading.Thread(target=lambda: heard.extend(event for _, event in zip(range(5), events, strict=False)))
    listener.start()
    orlop("load", "-q", stdin=archive)
    orlop("tag", TINY, "other:1")
    orlop("rmi", "other:1")
    listener.join(60)
    events.close()
    assert [event["Action"] for event in heard] == ["load", "load", "load", "tag", "untag"]
    assert heard[3]["Actor"]["Attributes"]["name"] == "other:1"


# docker-py: the low-level client


def test_docker_py_s_low_level_client_does_the_same(server, archive, tmp_path):
    api = docker.APIClient(base_url=server.host)
    lines = list(api.load_image(archive, quiet=False))
    assert [line["stream"] for line in lines if "stream" in line][-1] == f"Loaded image: {IMPORTED}\n"
    assert any("progressDetail" in line for line in lines)
    assert len(api.images()) == 3
    assert len(api.images(quiet=True, all=True)) >= 3
    tiny = api.inspect_image(TINY)
    assert api.history(TINY)[0]["Id"] == tiny["Id"]
    with (tmp_path / "saved.tar").open("wb") as file:
        file.writelines(api.get_image(TINY, chunk_size=None))
    with tarfile.open(tmp_path / "saved.tar") as tar:
        member = tar.extractfile("manifest.json")
        assert member is not None
        assert [entry["RepoTags"] for entry in json.load(member)] == [[TINY]]
    assert api.tag(TINY, "other", "1", force=True)
    assert api.remove_image("other:1") == [{"Untagged": "other:1"}]
    assert api.prune_images({"dangling": True})["SpaceReclaimed"] == 0
    api.close()


def test_docker_py_imports_from_bytes_and_from_files(server, tmp_path):
    api = docker.APIClient(base_url=server.host)
    changes = ["CMD run", "ENV A=b"]
    first = json.loads(api.import_image_from_data(layer(), repository="from/data", tag="1", changes=changes))
    made = api.inspect_image("from/data:1")
    assert first == {"status": made["Id"]}
    assert (made["Config"]["Env"], made["Size"]) == (["A=b"], 1000)
    (tmp_path / "layer.tar").write_bytes(layer())
    api.import_image(str(tmp_path / "layer.tar"), repository="from/file")
    api.import_image_from_file(str(tmp_path / "layer.tar"), repository="from/file", tag="2")
    # A stream whose length nobody knows.
    api.import_image_from_stream(iter([layer()]), repository="from/stream")
    names = {name for image in api.images() for name in image["RepoTags"]}
    assert names == {"from/data:1", "from/file:latest", "from/file:2", "from/stream:latest"}
    api.close()


# python-on-whales, which calls docker's command


@pytest.fixture
def whales(server: Served) -> DockerClient:
    return DockerClient(host=server.host, client_call=[need("docker")])


@pytest.mark.sampled(2)
# It leaves the pipes to docker open when it streams, which Python tells when it collects them.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_python_on_whales_works_with_images(whales, archive, data, tmp_path):
    image = whales.image
    assert sorted(image.load(data / "dockerd-20.10-overlay2" / "multi.tar")) == [IMPORTED, TINY, COMMITTED]
    assert sorted(image.load(archive)) == [IMPORTED, TINY, COMMITTED]
    assert sorted(name for one in image.list() for name in one.repo_tags) == [IMPORTED, TINY, COMMITTED]
    assert [one.repo_tags for one in image.list(TINY)] == [[TINY]]
    assert [one.repo_tags for one in image.list(filters=[("reference", "*/imp*")])] == [[IMPORTED]]
    tiny = image.inspect(TINY)
    assert (tiny.os, tiny.architecture, tiny.id) == ("linux", "amd64", image.inspect(tiny.id).id)
    assert image.exists(TINY)
    assert not image.exists("nosuch")
    with pytest.raises(NoSuchImage):
        image.inspect("nosuch")
    tiny.tag("other:1")
    image.save("other:1", output=tmp_path / "saved.tar")
    assert b"".join(image.save("other:1")) == (tmp_path / "saved.tar").read_bytes()
    image.remove("other:1")
    assert image.load(tmp_path / "saved.tar") == ["other:1"]
    image.remove([TINY, "other:1"], force=True)
    assert not image.exists(TINY)
    (tmp_path / "layer.tar").write_bytes(layer())
    made = image.import_(tmp_path / "layer.tar", tag="made:1", changes=["CMD run"])
    assert (made.repo_tags, made.size) == (["made:1"], 1000)
    assert "Total reclaimed space" in image.prune(all=True)
    assert image.list() == []


def test_python_on_whales_asks_who_is_there(whales, archive):
    whales.image.load(archive)
    assert whales.version().server.api_version == "1.55"
    assert whales.info().driver == "orlop"
    usage = whales.system.disk_free()
    assert usage.images.total_count == 3
    assert whales.container.list(all=True) == []
