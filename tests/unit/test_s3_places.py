"""Where a bucket may be, and what is done where it is elsewhere."""

from __future__ import annotations

import base64
import socket
from typing import TYPE_CHECKING, Any

import pytest

from orlop.errors import InvalidInput, PermissionDenied, StorageError
from orlop.store.blobs.s3 import ingest
from orlop.store.blobs.s3.bucket import Bucket
from orlop.store.blobs.s3.client import Pieces, S3Client
from orlop.store.blobs.s3.reclaim import init_bucket
from orlop.store.blobs.s3.settings import S3Settings
from orlop.store.blobs.s3.store import S3BlobStore
from orlop.store.rows.memory_keys import MemoryKeys
from orlop.store.rows.sqlite.memory import MemoryMetadata
from orlop.testing.blob_store import Opened
from tests.needs import missing
from tests.s3_strict import Trouble, strict_s3

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.s3_strict import StrictS3

_KEY = base64.b64encode(bytes(32)).decode()


@pytest.fixture
def s3() -> Iterator[StrictS3]:
    with strict_s3() as found:
        yield found


def works(s3: StrictS3, **how: Any) -> None:
    """Use every kind of request once."""
    client = S3Client(s3.settings(**how))
    there = Bucket(client)
    there.put("blobs/a", Pieces([b"bytes"]))
    assert there.read("blobs/a") == b"bytes"
    assert [one.key for one in there.objects("blobs/")] == ["blobs/a"]
    there.abort("blobs/b", there.begin_parts("blobs/b"))
    there.delete(["blobs/a"])
    assert there.size("blobs/a") is None
    client.close()


def test_a_server_may_have_an_address_of_version_6() -> None:
    try:
        with socket.socket(socket.AF_INET6) as one:
            one.bind(("::1", 0))
    except OSError:
        missing("this machine has no IPv6")
    with strict_s3(six=True) as s3:
        works(s3)
        assert s3.asked[0].headers["host"] == f"[::1]:{s3.port}"


def test_a_bucket_may_be_named_in_the_host(s3: StrictS3, monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(_host: str, port: int, *_: object, **__: object) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    s3.host, s3.virtual = "s3.test", True
    works(s3, virtual_host=True)
    assert {one.headers["host"] for one in s3.asked} == {f"strict.s3.test:{s3.port}"}
    s3.virtual = False
    works(s3)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:9000", "[::1]", "[::1]:9000"])
def test_a_bucket_is_not_named_in_front_of_an_address(host: str) -> None:
    with pytest.raises(InvalidInput, match="use the name of the host"):
        S3Settings("images", endpoint=f"https://{host}", virtual_host=True)
    S3Settings("images", endpoint=f"https://{host}")


@pytest.mark.parametrize(("status", "code"), [(301, "PermanentRedirect"), (307, "TemporaryRedirect")])
def test_nothing_is_sent_to_where_a_redirect_leads(s3: StrictS3, status: int, code: str) -> None:
    """Signatures, and with some servers credentials, are for the endpoint that was named."""
    with strict_s3() as other:
        s3.elsewhere, s3.home = other.endpoint, "eu-west-1"
        s3.plan = lambda _: Trouble(status, code)
        client = S3Client(s3.settings(region="us-east-1"))
        there = Bucket(client)
        for action in (
            lambda: there.put("blobs/a", Pieces([b"bytes"])),
            lambda: there.read("blobs/a"),
            lambda: there.size("blobs/a"),
            lambda: list(there.objects("blobs/")),
        ):
            with pytest.raises(StorageError, match="another region; set AWS_REGION to eu-west-1"):
                action()
        client.close()
        assert other.asked == []
        assert len(s3.asked) == 4


def test_an_error_says_what_the_server_calls_the_request(s3: StrictS3) -> None:
    client = S3Client(s3.settings())
    there = Bucket(client)
    s3.plan = lambda _: Trouble(403, "AccessDenied")
    # What a HEAD does not say, another request is told.
    for action, requests in ((lambda: there.put("blobs/a", Pieces([b"bytes"])), 1), (lambda: there.size("blobs/a"), 2)):
        with pytest.raises(PermissionDenied, match=rf"403 AccessDenied, request TX{len(s3.asked) + requests}; "):
            action()
    client.close()


def test_objects_may_be_encrypted_with_a_key_of_ones_own(s3: StrictS3, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which every request for an object has, and nobody else."""
    monkeypatch.setattr(ingest, "part_size", lambda number, first, *, equal: 1 << 20)  # noqa: ARG005 - its names
    s3.smallest = 1 << 20
    key, data = base64.b64encode(bytes(range(32))).decode(), bytes(range(256)) * (9 << 10)
    keys, metadata = MemoryKeys(), MemoryMetadata()

    def opened(**how: Any) -> Opened:
        return Opened(S3BlobStore(s3.settings(**how), keys), metadata)

    mine = opened(sse_c_key=key)
    assert isinstance(mine.blobs, S3BlobStore)
    init_bucket(mine.blobs.bucket, keys)
    rows = [mine.keep(one) for one in (data, b"small")]
    for row, content in zip(rows, (data, b"small"), strict=True):
        assert mine.read(row) == content
        assert mine.blobs.url_of(row, seconds=60) is None
    assert mine.blobs.read_range(rows[0], 5, 70_000) == data[5:70_005]
    assert key not in repr(mine.blobs.settings)
    for other in ("", base64.b64encode(bytes(32)).decode()):
        with pytest.raises(StorageError) as caught:
            opened(sse_c_key=other).read(rows[0])
        assert key not in str(caught.value)
    with metadata.write() as changed:
        mine.blobs.remove(changed, [row.digest for row in rows])
    assert len(s3.objects) == 1


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"sse_c_key": "c2hvcnQ="}, "32 bytes"),
        ({"sse_c_key": "not base64!"}, "32 bytes"),
        ({"sse_c_key": _KEY, "sse": "AES256"}, "exclude each other"),
        ({"sse_c_key": _KEY, "endpoint": "http://s3.example.com", "allow_http": True}, "without encryption"),
        ({"sse_c_key": _KEY, "endpoint": "http://10.0.0.1:9000", "allow_http": True}, "without encryption"),
    ],
)
def test_a_key_that_cannot_be_used_is_one_error(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInput, match=words) as caught:
        S3Settings("images", **wrong)
    assert wrong["sse_c_key"] not in str(caught.value)


@pytest.mark.parametrize("endpoint", ["", "https://s3.example.com", "http://127.0.0.1:9000", "http://localhost:1"])
def test_a_key_goes_where_nobody_else_hears_it(endpoint: str) -> None:
    assert S3Settings("images", endpoint=endpoint, allow_http=True, sse_c_key=_KEY).key_headers()
