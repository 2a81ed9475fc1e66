"""Bytes in a bucket whose server and whose connections fail: right bytes, or one clear error."""

from __future__ import annotations

import dataclasses
import random
import re
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from urllib3 import HTTPResponse

from orlop.errors import (
    BucketUnavailable,
    ContentNotFound,
    IntegrityError,
    NoSpace,
    OrlopError,
    PermissionDenied,
    StorageError,
)
from orlop.store.blobs.s3 import ingest
from orlop.store.blobs.s3.client import Pieces
from orlop.store.blobs.s3.ingest import path_of
from orlop.store.blobs.s3.reclaim import init_bucket
from orlop.store.blobs.s3.settings import Credentials, S3Settings
from orlop.store.blobs.s3.store import S3BlobStore
from orlop.store.rows.memory_keys import MemoryKeys, MemoryObjects
from orlop.store.rows.sqlite.memory import MemoryMetadata
from orlop.testing.blob_store import Opened, row_of
from tests.ports import free_port
from tests.s3_strict import ACCESS, SECRET, Kept, Pending, Trouble, strict_s3

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from orlop.store.blobs.s3.sending import Sending
    from tests.s3_strict import Asked, StrictS3

_PART = 600_000
_DATA = random.Random(1).randbytes(3_200_000)
_SMALL = _DATA[:500_000]


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the data have several parts."""
    monkeypatch.setattr(ingest, "part_size", lambda number, first, *, equal: _PART)  # noqa: ARG005 - its names


class Time:
    """A clock that only pauses move."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Rig(NamedTuple):
    """A strict server, and a store over it."""

    s3: StrictS3
    objects: MemoryObjects
    opened: Opened
    time: Time

    @property
    def blobs(self) -> S3BlobStore:
        assert isinstance(self.opened.blobs, S3BlobStore)
        return self.opened.blobs


@pytest.fixture
def rig() -> Iterator[Rig]:
    with strict_s3(smallest=_PART) as s3:
        yield rigged(s3)


def rigged(s3: StrictS3, **how: Any) -> Rig:
    """Return a store over a server; takes what `StrictS3.settings` takes."""
    objects, time = MemoryObjects(), Time()
    blobs = S3BlobStore(s3.settings(**how), MemoryKeys(objects), clock=time, sleep=time.sleep)
    init_bucket(blobs.bucket, blobs.keys)
    s3.asked.clear()
    return Rig(s3, objects, Opened(blobs, MemoryMetadata()), time)


def first(count: int, trouble: Trouble, **wanted: str) -> Callable[[Asked], Trouble | None]:
    """Return a plan: trouble for the first requests of a method, or with a query."""
    left = [count]

    def plan(asked: Asked) -> Trouble | None:
        fits = wanted.get("method", asked.method) == asked.method and wanted.get("query", "") in ("", *asked.query)
        if not fits or left[0] <= 0:
            return None
        left[0] -= 1
        return trouble

    return plan


_PASSING = [
    Trouble(),
    Trouble(done=True),
    Trouble(500, "InternalError"),
    Trouble(500, "InternalError", done=True),
    Trouble(502),
    Trouble(503, "SlowDown"),
    Trouble(504),
    Trouble(429, "TooManyRequests"),
    Trouble(409, "OperationAborted"),
    Trouble(409, "ConditionalRequestConflict"),
    Trouble(400, "RequestTimeout"),
    Trouble(200, "InternalError"),
]
_NAMES = [f"{one.status}-{one.code}-{'done' if one.done else 'undone'}" for one in _PASSING]


@pytest.mark.sampled(18)
@pytest.mark.parametrize("data", [b"", _SMALL, _DATA], ids=["nothing", "one-request", "parts"])
@pytest.mark.parametrize("trouble", _PASSING, ids=_NAMES)
def test_what_passes_is_not_noticed_when_writing(rig: Rig, trouble: Trouble, data: bytes) -> None:
    for method, query in (("PUT", ""), ("POST", "uploads"), ("POST", "uploadId")):
        rig.s3.plan = first(2, trouble, method=method, query=query)
        row = rig.opened.keep(data)
        rig.s3.plan = lambda _: None
        assert rig.opened.read(row) == data
        with rig.opened.metadata.write() as rows:
            rig.blobs.remove(rows, [row.digest])
        assert list(rig.s3.objects) == ["pre/fix/orlop-store.json"]


@pytest.mark.sampled(6)
@pytest.mark.parametrize("trouble", _PASSING[:-1], ids=_NAMES[:-1])
def test_what_passes_is_not_noticed_when_reading(rig: Rig, trouble: Trouble) -> None:
    row = rig.opened.keep(_DATA)
    rig.s3.plan = first(3, trouble, method="GET")
    assert rig.opened.read(row) == _DATA
    rig.s3.plan = first(3, trouble, method="GET")
    assert rig.blobs.read_range(row, 100, 2_000_000) == _DATA[100:2_000_100]


@pytest.mark.sampled(3)
def test_a_connection_that_ends_at_any_byte_is_not_noticed(rig: Rig) -> None:
    row = rig.opened.keep(_DATA)
    dice = random.Random(2)
    for _ in range(100):
        rig.s3.plan = first(3, Trouble(200, cut=dice.choice([0, 1, dice.randrange(len(_DATA))])), method="GET")
        assert rig.opened.read(row) == _DATA
        start, size = dice.randrange(len(_DATA)), dice.randrange(1, 1 << 20)
        rig.s3.plan = first(2, Trouble(200, cut=dice.randrange(size)), method="GET")
        assert rig.blobs.read_range(row, start, size) == _DATA[start : start + size]


@pytest.mark.sampled(3)
def test_a_bad_line_is_no_matter_as_long_as_bytes_come(rig: Rig) -> None:
    """Each answer ends after 20 KB: far more repetitions than a patience that counts all of them allows."""
    row = rig.opened.keep(_DATA)
    rig.s3.plan = lambda asked: Trouble(200, cut=20_000) if asked.method == "GET" else None
    assert rig.opened.read(row) == _DATA
    assert len(rig.s3.asked) > 100


@pytest.mark.sampled(3)
def test_a_bad_line_is_no_matter_where_a_break_takes_along_what_came(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in what niquests puts in the place of urllib3: a piece comes whole, or not at all."""
    usual = HTTPResponse.read

    def read(self: HTTPResponse, amt: int, **options: Any) -> bytes:
        found = b""
        while len(found) < amt and (more := usual(self, amt - len(found), **options)):
            found += more
        return found

    row = rig.opened.keep(_DATA)
    monkeypatch.setattr(HTTPResponse, "read", read)
    rig.s3.plan = lambda asked: Trouble(200, cut=20_000) if asked.method == "GET" else None
    assert rig.opened.read(row) == _DATA


def test_silence_ends_a_connection_and_not_the_read() -> None:
    with strict_s3(smallest=_PART) as s3:
        rig = rigged(s3, timeout=0.3)
        row = rig.opened.keep(_SMALL)
        s3.plan = first(2, Trouble(200, cut=200_000, stall=1.0), method="GET")
        assert rig.opened.read(row) == _SMALL


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    "trouble", [Trouble(), Trouble(503, "SlowDown"), Trouble(200, cut=0)], ids=["cut", "503", "empty"]
)
def test_what_does_not_pass_is_one_clear_error(rig: Rig, trouble: Trouble) -> None:
    row = rig.opened.keep(_SMALL)
    rig.s3.plan = lambda _: trouble
    reading, writing = partial(rig.opened.read, row), partial(rig.opened.keep, _DATA)
    for action in (reading, partial(rig.blobs.read_range, row, 0, 9), writing):
        with pytest.raises(BucketUnavailable) as caught:
            action()
        clear(caught.value)
    rig.s3.plan = lambda _: None
    assert rig.opened.read(row) == _SMALL
    assert rig.opened.read(rig.opened.keep(_DATA)) == _DATA


def clear(error: OrlopError) -> None:
    """Assert that an error is one sentence which shows neither a signed query nor a dump."""
    text = str(error)
    assert len(text) < 400
    assert "\n" not in text
    assert not re.search(r"X-Amz|Signature|Traceback|object at 0x|HTTPConnection", text)
    assert SECRET not in text


@pytest.mark.parametrize(
    ("trouble", "kind"),
    [
        (Trouble(403, "AccessDenied"), PermissionDenied),
        (Trouble(403, "InvalidAccessKeyId"), PermissionDenied),
        (Trouble(403, "QuotaExceeded"), NoSpace),
        (Trouble(507, "XMinioStorageFull"), NoSpace),
        (Trouble(507), NoSpace),
        (Trouble(404, "NoSuchBucket"), StorageError),
        (Trouble(400, "InvalidArgument"), StorageError),
        (Trouble(501, "NotImplemented"), StorageError),
        (Trouble(301, "PermanentRedirect"), StorageError),
        (Trouble(412, "PreconditionFailed"), OrlopError),
    ],
)
def test_what_repetition_does_not_change_is_not_repeated(rig: Rig, trouble: Trouble, kind: type[OrlopError]) -> None:
    row = rig.opened.keep(_SMALL)
    rig.s3.plan = lambda _: trouble
    for action in (partial(rig.opened.read, row), partial(rig.opened.keep, b"other")):
        before = len(rig.s3.asked)
        with pytest.raises(kind) as caught:
            action()
        clear(caught.value)
        assert len(rig.s3.asked) == before + 1


def test_a_server_that_is_away_is_one_clear_error() -> None:
    settings = S3Settings(
        "strict",
        endpoint=f"http://127.0.0.1:{free_port()}",
        credentials=Credentials(ACCESS, SECRET),
        allow_http=True,
        patience=3.0,
    )
    time = Time()
    blobs = S3BlobStore(settings, MemoryKeys(), clock=time, sleep=time.sleep)
    with pytest.raises(BucketUnavailable) as caught:
        Opened(blobs, MemoryMetadata()).keep(_DATA)
    clear(caught.value)
    assert time.now <= 3.0


def test_a_server_without_tls_is_told_at_once() -> None:
    with strict_s3() as s3:
        settings = dataclasses.replace(s3.settings(), endpoint=s3.settings().endpoint.replace("http:", "https:"))
        time = Time()
        blobs = S3BlobStore(settings, MemoryKeys(), clock=time, sleep=time.sleep)
        with pytest.raises(BucketUnavailable, match=r"127\.0\.0\.1:\d+ does not speak TLS; use http") as caught:
            Opened(blobs, MemoryMetadata()).keep(_DATA)
        clear(caught.value)
        assert time.now == Time().now
        blobs.close()


def test_an_object_that_is_replaced_while_it_is_read_is_never_mixed(rig: Rig) -> None:
    row = rig.opened.keep(_DATA)
    other = bytes(len(_DATA))

    def plan(asked: Asked) -> Trouble | None:
        if "range" not in asked.headers:
            return Trouble(200, cut=2_500_000)
        [key] = [key for key in rig.s3.objects if "/blobs/" in key]
        rig.s3.objects[key] = rig.s3.objects[key]._replace(data=other, etag='"other"')
        return None

    rig.s3.plan = plan
    with pytest.raises(IntegrityError), rig.blobs.open_unverified(row) as file:
        file.read()


def test_an_object_that_goes_while_it_is_read_is_told(rig: Rig) -> None:
    row = rig.opened.keep(_DATA)

    def plan(asked: Asked) -> Trouble | None:
        if "range" not in asked.headers:
            return Trouble(200, cut=2_500_000)
        rig.s3.objects.clear()
        return None

    rig.s3.plan = plan
    with pytest.raises(ContentNotFound), rig.blobs.open_unverified(row) as file:
        file.read()


PAGES = [b"<html><body>Welcome</body></html>", b"<?xml version='1.0'?><html><p>Log in</p></html>", b"{}", b""]


@pytest.mark.sampled(3)
@pytest.mark.parametrize("page", PAGES)
def test_what_is_not_an_object_store_is_not_taken_for_one(rig: Rig, page: bytes) -> None:
    """A proxy or a portal answers everything with success: nothing is stored then, and no list is empty."""
    kept = rig.opened.keep(_DATA)
    bucket = rig.blobs.bucket
    rig.s3.plan = lambda _: Trouble(200, page=page or b" ")
    for action in (
        partial(rig.opened.keep, b"small"),
        partial(rig.opened.keep, _DATA[::-1]),
        lambda: list(bucket.objects("blobs/")),
        lambda: list(bucket.uploads("blobs/")),
        partial(bucket.delete, ["blobs/a"]),
        partial(bucket.put_new, "new", Pieces([b"1"])),
        partial(bucket.complete, "blobs/a", "1", [], 10),
    ):
        with pytest.raises(StorageError) as caught:
            action()
        clear(caught.value)
    rig.s3.plan = lambda _: None
    assert rig.opened.read(kept) == _DATA


def test_an_odd_answer_to_the_end_of_an_upload_is_looked_after(rig: Rig) -> None:
    """What was made is there: the size tells it."""
    rig.s3.plan = lambda asked: (
        Trouble(200, page=b"<odd/>") if "uploadId" in asked.query and asked.method == "POST" else None
    )
    with pytest.raises(StorageError, match="not one of S3"):
        rig.opened.keep(_DATA)


@pytest.mark.parametrize("tokens", ["a", "ab", "abc"])
def test_a_list_that_leads_to_where_it_has_been_ends(rig: Rig, tokens: str) -> None:
    """One page after another says that there is more, under tokens that come again."""

    def page(asked: Asked) -> Trouble | None:
        if asked.query.get("list-type") != "2":
            return None
        before = asked.query.get("continuation-token", tokens[-1])
        token = tokens[(tokens.index(before) + 1) % len(tokens)]
        found = f"<IsTruncated>true</IsTruncated><NextContinuationToken>{token}</NextContinuationToken>"
        return Trouble(200, page=f"<ListBucketResult>{found}</ListBucketResult>".encode())

    rig.s3.plan = page
    with pytest.raises(StorageError, match="not one of S3"):
        list(rig.blobs.bucket.objects("blobs/"))


@pytest.mark.parametrize("method", ["HEAD", "GET", "PUT"])
def test_a_wrong_region_is_told_with_the_right_one(rig: Rig, method: str) -> None:
    row = rig.opened.keep(_SMALL)
    rig.s3.home = "eu-west-1"
    actions: dict[str, Callable[[], object]] = {
        "HEAD": partial(rig.blobs.bucket.size, "blobs/a"),
        "GET": partial(rig.opened.read, row),
        "PUT": partial(rig.opened.keep, b"other"),
    }
    with pytest.raises(StorageError, match="set AWS_REGION to eu-west-1") as caught:
        actions[method]()
    clear(caught.value)


def test_a_clock_that_is_wrong_is_set_right_by_a_request_without_a_body(rig: Rig) -> None:
    row = rig.opened.keep(_SMALL)
    key = rig.blobs.keys.find(str(row.digest))
    assert key is not None
    rig.s3.offset = 5000.0
    assert rig.blobs.bucket.size(path_of(key.key)) == len(_SMALL)


def test_objects_of_others_may_have_any_name(rig: Rig) -> None:
    names = ["a\x01b", "c d+e%2B", "<f>&", "g\n", "ü/\u2028"]
    for number, name in enumerate(names):
        rig.s3.objects[f"pre/fix/blobs/{name}"] = Kept(b"x", '"x"', {})
        rig.s3.pending[str(number)] = Pending(f"pre/fix/blobs/{name}", {})
    row = rig.opened.keep(_SMALL)
    found = {one.key for one in rig.blobs.bucket.objects("blobs/")}
    assert found >= {f"blobs/{name}" for name in names}
    assert len(found) == len(names) + 1
    assert {key for key, _ in rig.blobs.bucket.uploads("blobs/")} == {f"blobs/{name}" for name in names}
    assert rig.opened.read(row) == _SMALL


def test_a_clock_that_is_wrong_is_set_right_by_the_server(rig: Rig) -> None:
    for offset in (7200.0, -90_000.0):
        rig.s3.offset = offset
        row = rig.opened.keep(_SMALL)
        assert rig.opened.read(row) == _SMALL
        with rig.opened.metadata.write() as rows:
            rig.blobs.remove(rows, [row.digest])


def test_credentials_that_expire_are_asked_for_again() -> None:
    fresh: list[bool] = []

    def credentials(expired: bool) -> Credentials:  # noqa: FBT001 - as the hook is called
        if expired:
            fresh.append(True)
        return Credentials(ACCESS, SECRET, "token-2" if fresh else "token-1")

    with strict_s3(smallest=_PART) as s3:
        s3.token = "token-2"
        rig = rigged(s3, credentials=credentials)
        row = rig.opened.keep(_DATA)
        assert rig.opened.read(row) == _DATA
        assert fresh


def test_an_object_is_looked_for_again_with_credentials_that_have_not_expired() -> None:
    """The answer to a HEAD has no body, and does not say what is wrong."""
    fresh: list[bool] = []

    def credentials(expired: bool) -> Credentials:  # noqa: FBT001 - as above
        if expired:
            fresh.append(True)
        return Credentials(ACCESS, SECRET, f"token-{len(fresh)}")

    with strict_s3(smallest=_PART) as s3:
        s3.token = "token-0"
        bucket = rigged(s3, credentials=credentials).blobs.bucket
        bucket.put("some", Pieces([b"bytes"]))
        bucket.put("none", Pieces())
        s3.token = "token-1"
        assert bucket.size("some") == 5
        s3.token = "token-2"
        assert bucket.size("none") == 0


def test_credentials_that_expired_and_cannot_be_renewed_are_told_at_once(rig: Rig) -> None:
    row = rig.opened.keep(_SMALL)
    rig.s3.token = "a later one"
    looking = partial(rig.blobs.bucket.size, "some")
    for action, requests in ((partial(rig.opened.read, row), 1), (partial(rig.opened.keep, b"other"), 1), (looking, 2)):
        before = len(rig.s3.asked)
        with pytest.raises(PermissionDenied, match=r"ExpiredToken.* get new ones") as caught:
            action()
        clear(caught.value)
        assert len(rig.s3.asked) == before + requests


@pytest.mark.sampled(2)
@pytest.mark.parametrize("code", ["InvalidAccessKeyId", "AccessDenied"])
def test_credentials_that_are_revoked_in_the_middle_are_one_error(rig: Rig, code: str) -> None:
    """What was begun is removed once somebody may remove it, and the work succeeds when it is repeated."""
    row = rig.opened.keep(_DATA)
    answers = iter([Trouble(200, cut=len(_DATA) // 2)])
    rig.s3.plan = lambda _: next(answers, Trouble(403, code))
    with pytest.raises(PermissionDenied) as told:
        rig.opened.read(row)
    clear(told.value)
    for spared in range(1, 6):
        left = [spared]

        def revoking(asked: Asked, left: list[int] = left) -> Trouble | None:
            left[0] -= asked.method in {"PUT", "POST"}
            return Trouble(403, code) if left[0] < 0 else None

        rig.s3.plan = revoking
        with pytest.raises(PermissionDenied) as caught, rig.blobs.begin() as ingest:  # noqa: PT012 - one upload
            ingest.write(_DATA[::-1] * 2)
            ingest.sync()
        clear(caught.value)
        rig.blobs._senders.close()
        rig.s3.plan = lambda _: None
        rig.blobs.reclaim()
        assert rig.s3.pending == {}
        assert len(rig.s3.objects) == 2
    assert rig.opened.read(row) == _DATA


def test_what_fails_leaves_no_upload_behind(rig: Rig) -> None:
    """A write that ends by an error aborts what it began, and dooms its key."""
    for method, query in (("PUT", "partNumber"), ("POST", "uploadId")):
        rig.s3.plan = first(99, Trouble(400, "InvalidArgument"), method=method, query=query)
        with pytest.raises(StorageError), rig.blobs.begin() as ingest:  # noqa: PT012 - the block is what is tested
            ingest.write(_DATA)
            ingest.sync()
        rig.s3.plan = lambda _: None
        rig.blobs.close()
        assert rig.s3.pending == {}
        assert list(rig.blobs.unfinished()) == []


def test_a_reader_may_be_sought_in(rig: Rig) -> None:
    row = rig.opened.keep(_DATA)
    dice = random.Random(3)
    with rig.blobs.open_unverified(row) as file:
        for _ in range(40):
            place, size = dice.randrange(len(_DATA)), dice.randrange(2 << 20)
            assert file.seek(place) == place
            assert file.read(size) == _DATA[place : place + size]
            assert file.tell() == min(place + size, len(_DATA))
        assert file.seek(0, 2) == len(_DATA)
        assert file.read(5) == b""
        file.seek(-5, 2)
        assert file.read() == _DATA[-5:]
        file.seek(7)
        assert file.read(3) + file.read(0) + file.read(2) == _DATA[7:12]
    file.close()
    with pytest.raises(ValueError, match="closed"):
        file.read(1)


def test_an_upload_needs_few_requests(rig: Rig) -> None:
    rig.opened.keep(_DATA)
    assert len(rig.s3.asked) <= -(-len(_DATA) // _PART) + 3
    before = len(rig.s3.asked)
    rig.opened.keep(_SMALL)
    assert len(rig.s3.asked) == before + 1
    row = row_of(_SMALL)
    before = len(rig.s3.asked)
    assert rig.opened.read(row) == _SMALL
    assert len(rig.s3.asked) == before + 1


def test_patience_is_for_failures_and_not_for_slow_callers(rig: Rig) -> None:
    """However long a caller takes, and whatever failed before, each request is repeated anew."""
    submitted: list[Sending[Any]] = []
    submit = rig.blobs._senders.submit

    def noted(size: int, work: Callable[[], Any]) -> Sending[Any]:
        submitted.append(submit(size, work))
        return submitted[-1]

    rig.blobs._senders.submit = noted  # type: ignore[method-assign]
    with rig.blobs.begin() as begun:
        for at in range(0, len(_DATA), 100_000):
            rig.s3.plan = first(2, Trouble(503, "SlowDown"), method="PUT")
            begun.write(_DATA[at : at + 100_000])
            # A request that is under way sees no other time than its own.
            for one in submitted:
                one.result()
            rig.time.now += 30
        begun.sync()
        with rig.opened.metadata.write() as rows:
            begun.commit(rows, row_of(_DATA))
    rig.s3.plan = lambda _: None
    with rig.blobs.open_unverified(row_of(_DATA)) as file:
        assert file.read(100) == _DATA[:100]
        rig.time.now += 3600
        file.seek(0)
        rig.s3.plan = first(3, Trouble(200, cut=1000), method="GET")
        assert file.read() == _DATA


@pytest.mark.parametrize("region", ["us-east-1", "eu-central-1"])
def test_a_missing_bucket_is_made_in_its_region(region: str) -> None:
    with strict_s3() as s3:
        s3.exists, s3.region = False, "" if region == "us-east-1" else region
        blobs = S3BlobStore(s3.settings(region=region), MemoryKeys())
        with pytest.raises(StorageError, match="NoSuchBucket"):
            init_bucket(blobs.bucket, blobs.keys)
        blobs.bucket.ensure()
        init_bucket(blobs.bucket, blobs.keys)
        made = [one for one in s3.asked if one.method == "PUT" and not one.key]
        blobs.bucket.ensure()
        assert made == [one for one in s3.asked if one.method == "PUT" and not one.key]
        assert len(made) == 1
