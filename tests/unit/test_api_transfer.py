"""Content over HTTP: loads and saves, and clients that hang up in their midst."""

from __future__ import annotations

import gzip
import io
import json
import socket
import tarfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import orlop
from tests.unit.served import served

if TYPE_CHECKING:
    from tests.unit.served import Client

TINY = "example/tiny:1.0"


@pytest.fixture
def images(tmp_path):
    with orlop.open(tmp_path / "root") as images:
        yield images


@pytest.fixture
def client(images, tmp_path):
    with served(images, tmp_path) as client:
        yield client


@pytest.fixture
def archive(data) -> Path:
    archive: Path = data / "dockerd-20.10-overlay2" / "multi.tar"
    return archive


def leftovers(images: orlop.ImageService) -> list[str]:
    """What is on its way in, and what is still relied on."""
    ingests = [path.name for path in (Path(images.root) / "ingest").iterdir()]
    with images._store.metadata.write() as rows:
        return ingests + [str(lease) for lease in rows.leases()]


def until_over(client: Client, route: str) -> None:
    """Wait until a request has come to its end, whatever became of its client."""
    for _ in range(1000):
        if f'_seconds_count{{route="{route}"}}' in client.get("/metrics").body.decode():
            return
        time.sleep(0.05)
    pytest.fail(f"{route} never ends")


def test_an_archive_is_loaded_as_docker_tells_it(client, images, archive, data):
    answer = client.post("/images/load", {"quiet": "1"}, body=archive.read_bytes())
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    expected = data / "dockerd-20.10-overlay2" / "api" / "load-multi.stream.json"
    assert answer.body == expected.read_bytes()
    assert images.inspect(TINY).size == 3108


def test_an_archive_may_come_in_chunks_and_compressed(client, images, archive):
    answer = client.post("/images/load", body=io.BytesIO(gzip.compress(archive.read_bytes())))
    assert {"stream": f"Loaded image: {TINY}\n"} in answer.lines
    assert not leftovers(images)


@pytest.mark.parametrize("content", [b"", b"junk", b"\0" * 10240])
def test_what_is_no_archive_ends_with_an_error_in_the_stream(client, images, content):
    answer = client.post("/images/load", body=content)
    assert answer.status == 200
    (line,) = answer.lines
    assert line["errorDetail"] == {"message": line["error"]}
    assert images.images() == []


@pytest.mark.parametrize(("version", "form"), [("1.41", "docker-20.10"), ("1.43", "docker-20.10"), ("1.44", "docker")])
def test_a_save_gives_the_archive_that_an_engine_of_that_time_gives(client, images, archive, version, form):
    images.load(archive)
    answer = client.get(f"/v{version}/images/{TINY}/get")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/x-tar")
    assert answer.body == b"".join(images.save_chunks([TINY], format=form))


def test_several_images_are_saved_together(client, images, archive):
    images.load(archive)
    names = [TINY, "example/imported"]
    assert client.get("/images/get", {"names": names}).body == b"".join(images.save_chunks(names))


def test_what_cannot_be_saved_is_an_error_and_no_archive(client):
    assert client.get("/images/nosuch/get").status == 404
    assert client.get("/images/get", {"names": ["nosuch"]}).message == "No such image: nosuch"
    assert client.get("/v1.41/images/get", {"names": ["UPPER"]}).status == 500
    assert client.get("/images/get", {"names": ["UPPER"]}).status == 400


def test_a_client_that_hangs_up_in_the_midst_of_a_load_leaves_nothing_behind(client, images, archive):
    content = archive.read_bytes()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(client.path)
        head = f"POST /images/load HTTP/1.1\r\nHost: d\r\nContent-Length: {len(content)}\r\n\r\n"
        connection.sendall(head.encode() + content[:-2048])
    until_over(client, "/images/load")
    assert leftovers(images) == []
    assert images.images() == []


def test_a_chunked_load_that_is_cut_off_is_no_load(client, images, archive):
    content = archive.read_bytes()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(client.path)
        head = b"POST /images/load HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: chunked\r\n\r\n"
        connection.sendall(head + b"%x\r\n" % len(content) + content + b"\r\n")
        # All of the archive is there, but the end of the body is not.
    until_over(client, "/images/load")
    assert leftovers(images) == []
    assert images.images() == []


def big(images: orlop.ImageService, size: int) -> str:
    """An image of one layer of many bytes."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        member = tarfile.TarInfo("big")
        member.size = size
        tar.addfile(member, io.BytesIO(bytes(size)))
    out.seek(0)
    return str(images.import_image(out, "big:1"))


def test_a_client_that_hangs_up_in_the_midst_of_a_save_lets_go_of_everything(client, images):
    big(images, 64 << 20)
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(client.path)
        connection.sendall(b"GET /images/big:1/get HTTP/1.1\r\nHost: d\r\n\r\n")
        assert connection.recv(100000).startswith(b"HTTP/1.1 200 OK\r\n")
        assert leftovers(images)
    until_over(client, "/images/{name}/get")
    assert leftovers(images) == []


def test_a_layer_that_turns_out_damaged_breaks_the_save_off(client, images):
    big(images, 8 << 20)
    (blob,) = (Path(images.root) / "blobs" / "sha256").iterdir()
    blob.chmod(0o600)
    with blob.open("r+b") as file:
        file.seek(-4096, 2)
        file.write(b"x")
    connection = client.connection()
    connection.request("GET", "/images/big:1/get")
    response = connection.getresponse()
    with pytest.raises(Exception, match="IncompleteRead"):
        response.read()
    connection.close()
    until_over(client, "/images/{name}/get")
    assert leftovers(images) == []


def test_many_clients_load_and_save_at_once(client, images, archive):
    content = archive.read_bytes()
    images.load(archive)
    expected = b"".join(images.save_chunks([TINY]))
    wrong: list[object] = []

    def work(own: Client) -> None:
        loaded = own.post("/images/load", body=content)
        saved = own.get(f"/images/{TINY}/get")
        if "error" in json.dumps(loaded.lines) or saved.body != expected:
            wrong.append((loaded, saved))

    threads = [threading.Thread(target=work, args=(client,)) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert leftovers(images) == []
