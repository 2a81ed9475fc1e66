"""Blobs on their way into a registry, by every way, whatever it takes."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import pytest

from orlop.errors import RegistryError, RegistryUnreachable, SizeMismatch, UnsafeRedirect, UploadLost
from orlop.model.digest import Digest
from orlop.registry.credentials import Credentials
from orlop.registry.messages import BytesBody, Headers, OpenedBody, StreamBody
from orlop.registry.offsets import offset_after
from orlop.registry.pushing import BlobPush, Way, push_bytes
from orlop.testing.registry.quirks import Failure
from tests.unit.faked import LAYER, REPOSITORY, body_of, faked

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orlop.registry.uploads import UploadState
    from tests.unit.faked import Faked

DIGEST = Digest.of(LAYER)
CHUNK = 300_000
WAYS = [Way.MONOLITHIC, Way.STREAMED, Way.CHUNKED]


@pytest.fixture
def fake() -> Iterator[Faked]:
    with faked() as found:
        yield found


def push(fake: Faked, way: Way = Way.AUTO, **more: Any) -> None:
    BlobPush(fake.client, REPOSITORY, DIGEST, body_of(LAYER), way=way, **({"chunk": CHUNK} | more)).run()


def is_there(fake: Faked) -> bool:
    return fake.registry.repository(REPOSITORY).blobs.get(str(DIGEST)) == LAYER


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    "quirks",
    [
        {},
        {"location": "absolute"},
        {"location": "bare"},
        {"location": "store"},
        {"location_query": "?_state=abc%3D%2f&x=%3d"},
        {"location_moves": True},
        {"location_moves": True, "location": "store"},
        {"location_moves": True, "upload_cut": 500_000, "upload_kept": True},
        {"unranged": 400},
        {"unsized": 411},
        {"upload_cut": 500_000, "upload_kept": True, "upload_asked": 404},
        {"upload_cut": 500_000, "upload_kept": True, "upload_asked": 416},
        {"patch": 201},
        {"patch": 204},
        {"patch_range": "missing"},
        {"patch_range": "minus"},
        {"patch": 201, "patch_range": "stuck"},
        {"commit_cut": True},
        {"upload_cut": 500_000},
        {"upload_cut": 500_000, "upload_kept": True},
        {"failures": (Failure(503, methods="POST"), Failure(502, methods="PUT"))},
        {"failures": (Failure(200, hang_up=True, methods="PUT"),)},
    ],
    ids=str,
)
@pytest.mark.parametrize("way", WAYS)
def test_a_blob_arrives_by_every_way(fake: Faked, way: Way, quirks: dict[str, Any]):
    fake.quirks(**quirks)
    push(fake, way)
    assert is_there(fake)
    assert all("authorization" not in one.headers for one in fake.registry.requests)


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("quirks", "way", "methods"),
    [
        # The way that is the most portable, and chunks where there is more than one.
        ({}, Way.MONOLITHIC, "POST PUT"),
        ({}, Way.STREAMED, "POST PATCH PUT"),
        ({}, Way.CHUNKED, "POST PATCH PATCH PATCH PATCH PUT"),
        ({}, Way.AUTO, "POST PATCH PATCH PATCH PATCH PUT"),
        # GHCR takes small chunks only, some registries none.
        ({"chunk_limit": 1000}, Way.CHUNKED, "POST PATCH POST PUT"),
        ({"chunks": 404}, Way.CHUNKED, "POST PATCH POST PUT"),
        ({"chunks": 405}, Way.CHUNKED, "POST PATCH POST PUT"),
        ({"chunks": 501}, Way.CHUNKED, "POST PATCH POST PUT"),
        # Some end with the first one.
        ({"later_chunks": 405}, Way.CHUNKED, "POST PATCH PATCH POST PUT"),
        ({"later_chunks": 416}, Way.CHUNKED, "POST PATCH PATCH POST PUT"),
        ({"later_chunks": 400}, Way.CHUNKED, "POST PATCH PATCH HEAD POST PATCH PATCH POST PUT"),
        ({"later_chunks": 404}, Way.CHUNKED, "POST PATCH PATCH HEAD POST PATCH PATCH POST PUT"),
        ({"chunk_least": 500_000}, Way.CHUNKED, "POST PATCH PATCH PATCH PUT"),
        ({"chunk_most": 250_000}, Way.CHUNKED, "POST PATCH PATCH PATCH PATCH PATCH PUT"),
        ({"takes": 100_000, "location_moves": True}, Way.CHUNKED, "POST PATCH PATCH PATCH PATCH PATCH PUT"),
        ({"takes": 100_000}, Way.CHUNKED, "POST PATCH PATCH PATCH PATCH PATCH PUT"),
    ],
    ids=str,
)
def test_a_registry_gets_what_it_takes(fake: Faked, quirks: dict[str, Any], way: Way, methods: str):
    fake.quirks(**quirks)
    push(fake, way)
    assert is_there(fake)
    assert " ".join(one.method for one in fake.registry.requests) == methods


def test_a_proxy_that_limits_bodies_gets_smaller_ones(fake: Faked, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("orlop.registry.pushing._FALLBACKS", (600_000, 200_000))
    fake.quirks(body_limit=700_000)
    push(fake, Way.MONOLITHIC)
    assert is_there(fake)
    fake.registry.repository(REPOSITORY).blobs.clear()
    fake.quirks(body_limit=250_000)
    push(fake, Way.MONOLITHIC)
    assert is_there(fake)
    fake.quirks(body_limit=1000)
    with pytest.raises(RegistryError, match="413 Too Large"):
        push(fake, Way.MONOLITHIC)


def test_a_session_goes_on_in_another_process_from_what_was_acknowledged(fake: Faked):
    states: list[UploadState | None] = []
    broken = OpenedBody(lambda offset: _Failing(LAYER, offset, 700_000), len(LAYER))
    with pytest.raises(OSError, match="cannot read what was to be sent"):
        BlobPush(fake.client, REPOSITORY, DIGEST, broken, way=Way.CHUNKED, chunk=CHUNK, save=states.append).run()
    last = states[-1]
    assert last is not None
    assert last.offset == 2 * CHUNK
    assert last.location not in repr(last)
    fake.registry.requests.clear()
    upload = fake.client.resume_upload(last)
    states.clear()
    reached: list[int] = []
    again = BlobPush(
        fake.client, REPOSITORY, DIGEST, body_of(LAYER), way=Way.CHUNKED, chunk=CHUNK, save=states.append,
        sent=reached.append,
    )  # fmt: skip
    again.run(upload)
    assert is_there(fake)
    assert sum(one.received for one in fake.registry.requests) == len(LAYER) - 2 * CHUNK
    assert states[-1] is None
    assert reached[-1] == len(LAYER)
    with pytest.raises(UploadLost):
        fake.client.resume_upload(last)


class _Failing(io.BytesIO):
    """A file that cannot be read behind an offset."""

    def __init__(self, content: bytes, offset: int, end: int) -> None:
        super().__init__(content)
        self.seek(offset)
        self._end = end

    def read(self, size: int | None = -1) -> bytes:
        if self.tell() + (size or 0) > self._end:
            raise OSError(5, "Input/output error")
        return super().read(size)


def test_only_what_was_not_acknowledged_is_sent_again_after_a_break(fake: Faked):
    fake.quirks(upload_cut=700_000, upload_kept=True)
    push(fake, Way.CHUNKED)
    assert is_there(fake)
    assert sum(one.received for one in fake.registry.requests) == len(LAYER)
    assert [one.method for one in fake.registry.requests][-5:] == ["HEAD", "GET", "PATCH", "PATCH", "PUT"]


def test_a_commit_whose_answer_is_lost_is_not_repeated(fake: Faked):
    fake.quirks(commit_cut=True)
    push(fake, Way.MONOLITHIC)
    assert [one.method for one in fake.registry.requests] == ["POST", "PUT", "HEAD"]


def test_a_stream_of_unknown_size_is_sent_in_one_piece(fake: Faked):
    upload = fake.client.start_upload(REPOSITORY)
    upload.send(StreamBody(io.BytesIO(LAYER)))
    assert upload.commit(DIGEST) == DIGEST
    assert is_there(fake)
    assert fake.registry.requests[1].headers["transfer-encoding"] == "chunked"


@pytest.mark.parametrize("status", [201, 202])
def test_a_small_blob_takes_one_request_or_two(fake: Faked, status: int):
    fake.quirks(post_digest=status)
    fake.client.post_blob(REPOSITORY, DIGEST, BytesBody(LAYER))
    assert is_there(fake)
    assert len(fake.asked) == (1 if status == 201 else 2)
    push_bytes(fake.client, REPOSITORY, LAYER, DIGEST)
    assert fake.asked[-1].startswith("registry HEAD")
    push_bytes(fake.client, REPOSITORY, b"{}", Digest.of(b"{}"))
    assert fake.client.has_blob(REPOSITORY, Digest.of(b"{}"))


@pytest.mark.parametrize("way", WAYS)
def test_wrong_bytes_are_refused_once(fake: Faked, way: Way):
    wrong = Digest.of(b"something else")
    with pytest.raises(RegistryError, match="DIGEST_INVALID") as raised:
        BlobPush(fake.client, REPOSITORY, wrong, body_of(LAYER), way=way, chunk=CHUNK).run()
    assert raised.value.answered == 400
    assert fake.asked[-1].startswith("registry PUT")
    assert len([one for one in fake.asked if " PUT " in one]) == 1


def test_a_body_that_ends_too_early_is_an_error_of_its_own(fake: Faked):
    short = OpenedBody(lambda _: io.BytesIO(LAYER[:-1]), len(LAYER))
    with pytest.raises(SizeMismatch, match="1 bytes too early"):
        fake.client.start_upload(REPOSITORY).commit(DIGEST, short)


@pytest.mark.sampled(3)
@pytest.mark.parametrize("status", [201, 202, 400, 401, 403, 404, 500])
@pytest.mark.parametrize("source", ["other/app", None])
def test_a_mount_is_done_or_is_an_upload(fake: Faked, status: int, source: str | None):
    fake.registry.add_blob("other/app", LAYER)
    fake.quirks(mount=status)
    upload = fake.client.mount_blob(REPOSITORY, DIGEST, source)
    if status == 201 and source is not None:
        assert upload is None
    else:
        assert upload is not None
        upload.commit(DIGEST, body_of(LAYER))
    assert is_there(fake)
    # The session that a mount opens is the one that is used.
    assert fake.registry.sessions() == []


@pytest.mark.parametrize("status", [404, 416])
def test_a_session_that_is_refused_when_it_is_asked_is_lost(fake: Faked, status: int):
    upload = fake.client.start_upload(REPOSITORY)
    fake.quirks(upload_asked=status)
    with pytest.raises(UploadLost):
        fake.client.resume_upload(upload.state)


def test_requests_without_a_body_say_so(fake: Faked):
    # Proxies refuse a POST without a length (411).
    fake.registry.add_blob("other/app", LAYER)
    fake.quirks(unsized=411, post_digest=202)
    assert fake.client.mount_blob(REPOSITORY, DIGEST, "other/app") is None
    push(fake, Way.CHUNKED)
    fake.client.post_blob(REPOSITORY, DIGEST, BytesBody(LAYER))
    asked = [one for one in fake.registry.requests if one.method == "POST"]
    assert all(one.path == f"/v2/{REPOSITORY}/blobs/uploads/" for one in asked)
    assert all("expect" not in one.headers for one in fake.registry.requests)


def test_a_session_is_cancelled_quietly(fake: Faked):
    upload = fake.client.start_upload(REPOSITORY)
    upload.cancel()
    upload.cancel()
    with pytest.raises(UploadLost):
        upload.commit(DIGEST, body_of(LAYER))


@pytest.mark.parametrize("location", ["http://169.254.169.254/latest", "file:///etc/passwd", "http://10.0.0.1/x", ""])
def test_an_upload_does_not_go_where_nothing_may_go(location: str):
    names = {"registry": "registry.test"}
    with faked(names=names, location=location or "ftp://x.test/") as fake:
        with pytest.raises(UnsafeRedirect):
            fake.client.start_upload(REPOSITORY)
        assert len(fake.asked) == 1


@pytest.mark.parametrize("way", WAYS)
def test_credentials_do_not_go_to_the_host_that_an_upload_leads_to(way: Way):
    me = Credentials(user="me", password="secret")
    for auth in ("basic", "bearer"):
        with faked(me, users={"me": "secret"}, auth=auth, location="store") as fake:
            push(fake, way)
            assert is_there(fake)
            elsewhere = [one for one in fake.registry.requests if one.site == "store"]
            assert elsewhere
            assert not [one for one in elsewhere if "authorization" in one.headers]


def test_an_upload_that_fails_again_and_again_ends(fake: Faked):
    fake.quirks(failures=(Failure(200, hang_up=True),) * 99)
    with pytest.raises(RegistryUnreachable):
        push(fake, Way.CHUNKED)
    assert len(fake.asked) < 60


def test_a_refusal_in_the_middle_of_a_body_is_seen(fake: Faked):
    # More than the sockets between the two hold.
    content = bytes(64 << 20)
    fake.quirks(body_limit=1 << 20)
    with pytest.raises(RegistryError, match="413 Too Large") as raised:
        fake.client.start_upload(REPOSITORY).commit(Digest.of(b"x"), body_of(content))
    assert raised.value.answered == 413
    fake.quirks()
    push(fake, Way.MONOLITHIC)
    assert is_there(fake)


@pytest.mark.parametrize("quirks", [{"takes_each": 1}, {"chunk_most": 1}], ids=str)
def test_a_registry_that_takes_next_to_nothing_at_once_is_given_up(fake: Faked, quirks: dict[str, Any]):
    fake.quirks(**quirks)
    with pytest.raises(RegistryError, match=r"takes|accepts less"):
        push(fake, Way.CHUNKED)
    assert len(fake.asked) < 200


def test_a_range_that_ends_before_it_begins_is_of_nothing():
    assert offset_after(202, Headers([("Range", "0--9")]), 100) == 0
