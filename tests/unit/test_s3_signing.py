"""Signatures of S3, against the examples in its documentation, and what must never be shown."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from orlop.errors import InvalidInput
from orlop.store.blobs.s3.settings import Credentials, Place, S3Settings
from orlop.store.blobs.s3.signing import EMPTY, query_string, signed_headers, signed_url

_CREDENTIALS = Credentials("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
_NOW = datetime(2013, 5, 24, tzinfo=UTC).timestamp()
_HOST = "examplebucket.s3.amazonaws.com"


def _signature(method: str, path: str, query: dict[str, str], headers: dict[str, str], payload: str = EMPTY) -> str:
    found = signed_headers(
        method,
        path,
        query,
        {"host": _HOST, **headers},
        payload=payload,
        credentials=_CREDENTIALS,
        region="us-east-1",
        now=_NOW,
    )
    return found["authorization"].rpartition("Signature=")[2]


@pytest.mark.parametrize(
    ("method", "path", "query", "headers", "payload", "wanted"),
    [
        (
            "GET",
            "/test.txt",
            {},
            {"range": "bytes=0-9"},
            EMPTY,
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        ),
        (
            "PUT",
            "/test%24file.text",
            {},
            {"date": "Fri, 24 May 2013 00:00:00 GMT", "x-amz-storage-class": "REDUCED_REDUNDANCY"},
            "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072",
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
        ),
        ("GET", "/", {"lifecycle": ""}, {}, EMPTY, "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
        (
            "GET",
            "/",
            {"prefix": "J", "max-keys": "2"},
            {},
            EMPTY,
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
        ),
    ],
)
def test_requests_are_signed_as_in_the_documentation(
    method: str, path: str, query: dict[str, str], headers: dict[str, str], payload: str, wanted: str
) -> None:
    assert _signature(method, path, query, headers, payload) == wanted


def test_urls_are_signed_as_in_the_documentation() -> None:
    place = Place("https", _HOST, "/")
    url = signed_url(place, "test.txt", expires=86400, credentials=_CREDENTIALS, region="us-east-1", now=_NOW)
    assert url.startswith(f"https://{_HOST}/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256&")
    assert url.endswith("&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404")


@pytest.mark.parametrize("expires", [0, -1, 604_801])
def test_urls_are_good_for_a_week_at_most(expires: int) -> None:
    with pytest.raises(InvalidInput):
        signed_url(Place("https", _HOST, "/"), "k", expires=expires, credentials=_CREDENTIALS, region="r", now=_NOW)


def test_queries_are_sorted_and_quoted() -> None:
    assert query_string({"b": "a b/c", "a": "~x+"}) == "a=~x%2B&b=a%20b%2Fc"


def test_nothing_is_signed_without_credentials() -> None:
    found = signed_headers(
        "GET", "/", {}, {"host": _HOST}, payload=EMPTY, credentials=Credentials(), region="r", now=_NOW
    )
    assert "authorization" not in found
    url = signed_url(Place("https", _HOST, "/"), "k", expires=5, credentials=Credentials(), region="r", now=_NOW)
    assert url == f"https://{_HOST}/k"


def test_secrets_are_not_shown() -> None:
    credentials = Credentials("AKID", "the-secret", "the-token")
    shown = repr(credentials) + repr(S3Settings("bucket", credentials=credentials))
    assert "the-secret" not in shown
    assert "the-token" not in shown


@pytest.mark.parametrize(
    ("settings", "host", "path"),
    [
        (S3Settings("bucket", region="eu-west-1"), "bucket.s3.eu-west-1.amazonaws.com", "/"),
        (S3Settings("a.bucket", region="eu-west-1"), "s3.eu-west-1.amazonaws.com", "/a.bucket/"),
        (S3Settings("bucket", endpoint="https://s3.example.com:9000"), "s3.example.com:9000", "/bucket/"),
        (S3Settings("bucket", endpoint="https://h.example", virtual_host=True), "bucket.h.example", "/"),
    ],
)
def test_buckets_are_named_in_the_host_or_the_path(settings: S3Settings, host: str, path: str) -> None:
    assert settings.inside() == Place("https", host, path)
    assert settings.outside() == settings.inside()


@pytest.mark.parametrize(
    "wrong",
    [
        {"bucket": "Bucket"},
        {"bucket": "a"},
        {"bucket": "a/b"},
        {"prefix": "/x"},
        {"prefix": "x/"},
        {"prefix": "a/../b"},
        {"prefix": "a b"},
        {"endpoint": "http://plain.example"},
        {"endpoint": "https://user:secret@h.example"},
        {"endpoint": "https://h.example/path"},
        {"endpoint": "https://h.example?x=secret"},
        {"endpoint": "ftp://h.example"},
        {"endpoint": "https://h.example:99999"},
        {"endpoint": "https://"},
        {"public_endpoint": "http://plain.example"},
        {"region": "x\r\ny"},
        {"sse": "rot13"},
        {"part_size": 1 << 20},
    ],
)
def test_settings_that_cannot_be_used_are_refused(wrong: dict[str, object]) -> None:
    values: dict[str, object] = {"bucket": "bucket", **wrong}
    with pytest.raises(InvalidInput) as caught:
        S3Settings(**values)  # type: ignore[arg-type]
    assert "secret" not in str(caught.value)
