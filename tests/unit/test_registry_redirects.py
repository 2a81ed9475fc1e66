"""Blobs that clients of the registry fetch from the object store themselves, over real engines."""

from __future__ import annotations

import io
import urllib.error
import urllib.request
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import pytest

import orlop
from orlop.api.log import AccessLog
from orlop.api.server import Options, Serves
from orlop.errors import NotSupported
from orlop.model.store_url import StoreURL
from orlop.service.hosted.registry import LENT, HostedRegistry
from orlop.service.hosted.repository import Hosts
from tests import engines
from tests.seaweed import CREDENTIALS
from tests.unit.hosted import RegistryClient, digest_of
from tests.unit.served import serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.unit.served import Answer

_LARGE = bytes(range(256)) * 1024
_SMALL = b"small"
_FROM = 1000


@contextmanager
def redirecting(log: io.StringIO | None = None, **more: str) -> Iterator[tuple[orlop.ImageService, RegistryClient]]:
    """Serve a new store beyond this machine as a registry that redirects pulls, and push two blobs to it."""
    url = StoreURL.parse(engines.new_url(), engines.variables() | more)
    with orlop.open(url) as images:
        hosted = HostedRegistry(images.store, Hosts(("localhost:5000",)), redirect=_FROM)
        options = Options(registry=hosted, log=None if log is None else AccessLog(log))
        with serving(images, "tcp://127.0.0.1:0", options=options, serves=Serves.REGISTRY) as places:
            client = RegistryClient(int(places[0].rpartition(":")[2]))
            client.push_blob("team/app", _LARGE)
            client.push_blob("team/app", _SMALL)
            yield images, client


@pytest.fixture
def client() -> Iterator[RegistryClient]:
    with redirecting() as (_, found):
        yield found


def get(client: RegistryClient, content: bytes, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.get(f"/v2/team/app/blobs/{digest_of(content)}", headers=named)


def fetched(url: str, **headers: str) -> tuple[int, bytes]:
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=60) as answer:
        return answer.status, answer.read()


def refused(url: str) -> int:
    with pytest.raises(urllib.error.HTTPError) as caught:
        fetched(url)
    with caught.value as error:
        return error.code


def test_a_large_blob_is_fetched_from_the_object_store(client: RegistryClient) -> None:
    answer = get(client, _LARGE)
    assert (answer.status, answer.body) == (307, b"")
    assert answer.headers["docker-content-digest"] == digest_of(_LARGE)
    assert answer.headers["cache-control"] == "no-store"
    assert fetched(answer.headers["location"]) == (200, _LARGE)


def test_a_range_is_asked_of_the_object_store_as_well(client: RegistryClient) -> None:
    answer = get(client, _LARGE, Range="bytes=10-19")
    assert answer.status == 307
    assert fetched(answer.headers["location"], Range="bytes=10-19") == (206, _LARGE[10:20])


def test_a_url_is_good_for_minutes_and_holds_no_secret(client: RegistryClient) -> None:
    location = get(client, _LARGE).headers["location"]
    query = parse_qs(urlsplit(location).query)
    assert query["X-Amz-Expires"] == [str(LENT)]
    assert CREDENTIALS.secret_key not in location
    assert refused(location.replace("X-Amz-Signature=", "X-Amz-Signature=0")) == 403


@pytest.mark.sampled(6)
@pytest.mark.parametrize(
    ("content", "headers", "status"),
    [
        (_SMALL, {}, 200),
        (_LARGE, {"Range": "bytes=0-1,5-9"}, 200),
        (_LARGE, {"Range": "lines=1-2"}, 200),
        (_LARGE, {"Range": "bytes=99999999-"}, 416),
        (_LARGE, {"Range": "bytes=0-1", "If_Range": f'"{digest_of(_LARGE)}"'}, 206),
        (_LARGE, {"Range": "bytes=0-1", "If_Range": '"other"'}, 200),
        (_LARGE, {"If_None_Match": f'"{digest_of(_LARGE)}"'}, 304),
        (_LARGE, {"If_None_Match": '"other"'}, 200),
        (_LARGE, {"If_Match": f'"{digest_of(_LARGE)}"'}, 200),
        (_LARGE, {"If_Modified_Since": "Fri, 01 Jan 2100 00:00:00 GMT"}, 200),
        (_LARGE, {"If_Unmodified_Since": "Thu, 01 Jan 1970 00:00:00 GMT"}, 200),
    ],
)
def test_what_the_object_store_would_answer_otherwise_comes_from_here(
    client: RegistryClient, content: bytes, headers: dict[str, str], status: int
) -> None:
    answer = get(client, content, **headers)
    assert answer.status == status
    assert "location" not in answer.headers
    if status == 200:
        assert answer.body == content


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("seen_at", "host", "headers", "status"),
    [
        ("127.0.0.1", "127.0.0.1:1", {"Authorization": "Basic eDp5"}, 200),
        ("127.0.0.1", "127.0.0.1:1", {"Cookie": "a=b"}, 200),
        ("s3.localhost", "Localhost", {"Authorization": "Bearer x"}, 200),
        ("s3localhost", "localhost:1", {"Authorization": "Bearer x"}, 307),
        ("localhost", "127.0.0.1:1", {"Authorization": "Bearer x"}, 307),
        ("127.0.0.1", "127.0.0.1:1", {}, 307),
    ],
)
def test_clients_that_may_send_credentials_on_get_the_bytes_from_here(
    seen_at: str, host: str, headers: dict[str, str], status: int
) -> None:
    with redirecting(ORLOP_S3_PUBLIC_ENDPOINT=f"http://{seen_at}:9") as (_, client):
        answer = get(client, _LARGE, Host=host, **headers)
        assert answer.status == status
        assert answer.body == (_LARGE if status == 200 else b"")


def test_a_question_about_a_blob_is_answered_here(client: RegistryClient) -> None:
    answer = client.head(f"/v2/team/app/blobs/{digest_of(_LARGE)}")
    assert (answer.status, answer.headers["content-length"]) == (200, str(len(_LARGE)))


def test_clients_are_sent_to_the_address_that_they_see() -> None:
    port = urlsplit(engines.variables()["AWS_ENDPOINT_URL"]).port
    with redirecting(ORLOP_S3_PUBLIC_ENDPOINT=f"http://localhost:{port}") as (_, client):
        location = get(client, _LARGE).headers["location"]
        assert location.startswith(f"http://localhost:{port}/")
        assert fetched(location) == (200, _LARGE)


def test_what_is_deleted_after_a_redirect_can_still_be_fetched() -> None:
    with redirecting() as (images, client):
        location = get(client, _LARGE).headers["location"]
        assert client.delete(f"/v2/team/app/blobs/{digest_of(_LARGE)}").status == 202
        url = StoreURL.parse(str(images.store.root), engines.variables())
        with orlop.open(url) as elsewhere:
            elsewhere.gc()
            elsewhere.gc()
        assert get(client, _LARGE).status == 404
        assert fetched(location) == (200, _LARGE)
    with orlop.open(url) as elsewhere:
        elsewhere.gc()
    assert refused(location) in {403, 404}


def test_the_log_of_requests_has_the_redirect_and_not_the_url() -> None:
    log = io.StringIO()
    with redirecting(log) as (_, client):
        get(client, _LARGE)
    (line,) = [one for one in log.getvalue().splitlines() if '"GET ' in one]
    assert '" 307 ' in line
    assert "X-Amz" not in log.getvalue()


def test_a_directory_has_nothing_to_redirect_to(tmp_path: object) -> None:
    with orlop.open(str(tmp_path)) as images, pytest.raises(NotSupported):
        HostedRegistry(images.store, redirect=0)
