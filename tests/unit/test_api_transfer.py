"""Content over HTTP: loads and saves, and clients that hang up in their midst."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import socket
import tarfile
import threading
import time
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from orlop.api.streamed import Streamed
from orlop.api.workers import Workers
from orlop.errors import NoSpace, RequestAborted
from tests.unit.served import is_active, served
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from starlette.types import Message

    import orlop
    from orlop.api.flow import Download, Upload
    from tests.unit.served import Client

TINY = "example/tiny:1.0"


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
    until(lambda: f'_seconds_count{{route="{route}"}}' in client.get("/metrics").body.decode())


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


def test_a_load_that_fails_by_the_store_is_logged_since_no_status_tells_of_it(client, images, archive, caplog):
    client.post("/images/load", body=b"junk")
    assert caplog.records == []
    ingest = Path(images.root, "ingest")
    ingest.rmdir()
    ingest.touch()
    client.post("/images/load", body=archive.read_bytes())
    assert [record.message for record in caplog.records if record.message.startswith("a load failed: ")]


def test_a_store_that_cannot_be_used_is_logged_where_somebody_can_help(client, images, caplog):
    (Path(images.root) / "metadata.db").write_bytes(1000 * b"no database")
    assert client.get("/images/json").status == 500
    assert "GET /images/json failed: " in caplog.text


def test_what_fails_after_the_client_has_hung_up_is_logged(caplog):
    begun = threading.Event()

    def work(download: Download, _: Upload) -> None:
        begun.set()
        while not download.cancelled:
            time.sleep(0.01)
        raise NoSpace("the disk is full")

    async def receive() -> Message:
        await asyncio.to_thread(begun.wait)
        return {"type": "http.disconnect"}

    async def send(_: Message) -> None:
        pytest.fail("nobody is there")

    async def ask() -> None:
        await Streamed(work, Workers(1), media_type="x/y")({}, receive, send)

    with pytest.raises(RequestAborted):
        asyncio.run(ask())
    assert "the disk is full" in caplog.text


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


@pytest.mark.sampled(3)
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


# Imports.


def root_tar() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        member = tarfile.TarInfo("file")
        member.size = 10
        tar.addfile(member, io.BytesIO(bytes(10)))
    return out.getvalue()


def test_a_body_is_imported_with_changes_and_a_name(client, images):
    query = {
        "fromSrc": "-",
        "repo": "made/here",
        "tag": "2",
        "message": "by hand",
        "changes": ["CMD run", "ENV A=b\nEXPOSE 80"],
        "platform": "linux/arm64",
    }
    answer = client.post("/images/create", query, body=root_tar())
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    (line,) = answer.lines
    image = images.inspect("made/here:2").image
    assert line == {"status": str(image.id)}
    assert (image.comment, image.config.env, image.config.exposed_ports) == ("by hand", ("A=b",), {"80/tcp"})
    assert str(image.platform) == "linux/arm64"


@pytest.mark.parametrize(
    ("query", "body", "status"),
    [
        ({}, b"", 400),
        ({"fromSrc": "-"}, b"junk", 400),
        ({"fromSrc": "-", "repo": "UPPER"}, None, 400),
        ({"fromSrc": "-", "changes": "FROB x"}, None, 400),
        ({"fromSrc": "-", "changes": ""}, None, 400),
        ({"fromSrc": "-", "changes": ["\n", "# nothing"]}, None, 400),
        ({"fromSrc": "-", "platform": "a/b/c/d"}, None, 400),
        ({"fromSrc": "http://127.0.0.1:9/nothing"}, b"", 500),
        ({"fromSrc": "127.0.0.1:9/nothing"}, b"", 500),
        ({"fromSrc": "file:///etc/passwd"}, b"", 500),
    ],
)
def test_what_cannot_be_imported_is_refused(client, images, query, body, status):
    answer = client.post("/images/create", query, body=root_tar() if body is None else body)
    assert answer.status == status
    assert answer.message
    assert images.images(all=True) == []
    assert leftovers(images) == []


@contextmanager
def elsewhere(chunks: Callable[[], Iterator[bytes]], length: int) -> Iterator[str]:
    """A server elsewhere that sends something slowly, perhaps."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(length))
            self.end_headers()
            with suppress(OSError):
                for chunk in chunks():
                    self.wfile.write(chunk)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/root.tar"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_what_a_url_names_is_imported(client, images):
    with elsewhere(lambda: iter([root_tar()]), len(root_tar())) as url:
        answer = client.post("/images/create", {"fromSrc": url, "repo": "fetched"})
    image = images.inspect("fetched").image
    assert answer.lines == [{"status": f"Downloading from {url}"}, {"status": str(image.id)}]
    assert image.comment == f"Imported from {url}"


def test_nothing_more_is_fetched_for_a_client_that_hung_up(client, images):
    hung_up = threading.Event()

    def slowly() -> Iterator[bytes]:
        yield root_tar()[:1024]
        hung_up.wait(30)
        for _ in range(600):
            yield bytes(1 << 20)
            time.sleep(0.01)

    with elsewhere(slowly, 1 << 40) as url:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(client.path)
            connection.sendall(f"POST /images/create?fromSrc={url} HTTP/1.1\r\nHost: d\r\n\r\n".encode())
            until(lambda: is_active(client, 2))
        hung_up.set()
        until_over(client, "/images/create")
    assert images.images(all=True) == []
    assert leftovers(images) == []


# Platforms.


def test_an_image_of_another_platform_is_not_given(client, images, archive):
    images.load(archive)
    own, other = ({"platform": json.dumps({"os": "linux", "architecture": name})} for name in ("amd64", "arm64"))
    for target in (f"/images/{TINY}/json", f"/images/{TINY}/history", f"/images/{TINY}/get"):
        assert client.get(target, own).status == 200
        answer = client.get(target, other)
        assert answer.status == 404
        assert "linux/arm64" in answer.message
        # Versions that do not know the parameter ignore it.
        assert client.get(f"/v1.47{target}", other).status == 200
    assert client.get(f"/images/{TINY}/json", {"platform": "linux/amd64"}).status == 400


def test_only_images_of_a_platform_are_loaded(client, images, archive):
    query = {"platform": json.dumps({"os": "linux", "architecture": "arm64"})}
    (line,) = client.post("/images/load", query, body=archive.read_bytes()).lines
    assert "linux/arm64" in line["error"]
    assert images.images() == []
    assert client.post("/v1.41/images/load", query, body=archive.read_bytes()).lines[0]["stream"]


def test_progress_is_told_if_it_is_asked_for(client, archive):
    lines = client.post("/v1.41/images/load", {"quiet": "0"}, body=archive.read_bytes()).lines
    layers = [line for line in lines if line.get("status") == "Loading layer"]
    assert layers
    assert layers[0]["progressDetail"]["current"] > 0
    assert layers[0]["progress"].startswith("[=")
    assert lines[-1] == {"stream": "Loaded image: example/imported:latest\n"}
