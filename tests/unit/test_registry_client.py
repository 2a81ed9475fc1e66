"""A client of a registry that does everything otherwise, a switch at a time."""

from __future__ import annotations

import gzip
import itertools
import json
import re
import socket
import threading
import time
import zlib
from contextlib import contextmanager, suppress
from dataclasses import fields, replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from orlop.errors import (
    DigestMismatch,
    InvalidAnswer,
    InvalidManifest,
    InvalidReference,
    NotInRegistry,
    RegistryBusy,
    RegistryDenied,
    RegistryError,
    RegistryUnreachable,
    RegistryUnsupported,
    SizeMismatch,
    UnsafeRedirect,
    UploadLost,
)
from orlop.model.descriptor import Descriptor
from orlop.model.digest import Digest
from orlop.model.manifest import DOCKER_MANIFEST, OCI_INDEX, OCI_LAYER_GZIP, OCI_MANIFEST
from orlop.model.reference import Reference
from orlop.registry import referrers
from orlop.registry.blobs import BlobReader
from orlop.registry.certificates import HostTrust
from orlop.registry.credentials import Credentials
from orlop.registry.fetched import digest_of
from orlop.registry.links import Turning
from orlop.registry.messages import Answer, Headers
from orlop.registry.patience import Clock, Patience, Waiting
from orlop.registry.pushing import BlobPush, Way, push_bytes
from orlop.registry.registries import Registries
from orlop.registry.transport import HttpTransport
from orlop.testing.registry.quirks import Failure, Quirks
from orlop.testing.registry.site import Reply
from tests.unit.faked import CONFIG, LAYER, REPOSITORY, body_of, faked, manifest, read_all

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from orlop.testing.registry.site import Asked
    from tests.unit.faked import Faked


@pytest.fixture
def fake() -> Iterator[Faked]:
    with faked() as found:
        yield found


# Manifests.


def test_a_manifest_is_what_its_bytes_are(fake: Faked):
    raw, digest = fake.image()
    for reference in ("1", digest):
        found = fake.client.get_manifest(REPOSITORY, reference)
        assert (found.raw, found.digest, found.media_type) == (raw, digest, OCI_MANIFEST)
        assert fake.client.head_manifest(REPOSITORY, reference) == Descriptor(OCI_MANIFEST, digest, len(raw))
    # Every connection but the first request's is kept.
    assert fake.registry.registry.connections == 1
    assert {one.headers["accept-encoding"] for one in fake.registry.requests} == {"identity"}


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("quirks", "asked"),
    [
        ({"strict_accept": True}, 1),
        ({"digest_header": "missing"}, 2),
        ({"head": 405}, 2),
        ({"head": 403}, 2),
        ({"head": 400}, 2),
        ({"head_length": False}, 2),
        ({"manifest_type": "application/octet-stream"}, 2),
        ({"manifest_type": "text/plain"}, 2),
        ({"manifest_suffix": "; charset=utf-8"}, 1),
        ({"head": 501}, 2),
        ({"encoded_documents": True}, 2),
    ],
)
def test_a_manifest_is_looked_at_whatever_the_registry_leaves_out(fake: Faked, quirks: dict[str, Any], asked: int):
    raw, digest = fake.image()
    fake.quirks(**quirks)
    assert fake.client.head_manifest(REPOSITORY, "1") == Descriptor(OCI_MANIFEST, digest, len(raw))
    assert len(fake.asked) == asked
    found = fake.client.get_manifest(REPOSITORY, "1")
    assert (found.raw, found.digest, found.media_type) == (raw, digest, OCI_MANIFEST)


@pytest.mark.parametrize("sent", ["application/json", "text/plain", "application/octet-stream", ""])
def test_a_manifest_that_names_no_type_is_what_it_looks_like(fake: Faked, sent: str):
    named, _ = fake.image()
    document = {name: value for name, value in json.loads(named).items() if name != "mediaType"}
    index = {"schemaVersion": 2, "manifests": [Descriptor(OCI_MANIFEST, Digest.of(named), len(named)).to_dict()]}
    for content, kind in ((document, OCI_MANIFEST), (index, OCI_INDEX)):
        raw = json.dumps(content).encode()
        fake.registry.add_manifest(REPOSITORY, raw, sent, tag="plain")
        assert fake.client.get_manifest(REPOSITORY, "plain").media_type == kind
        assert fake.client.head_manifest(REPOSITORY, "plain") == Descriptor(kind, Digest.of(raw), len(raw))


@pytest.mark.parametrize("status", [400, 403, 405, 501])
def test_why_a_look_is_refused_is_told(fake: Faked, status: int):
    # The answer to HEAD has no body, in which that would be.
    body = b'{"errors":[{"code":"DENIED","message":"this address is blocked"}]}'
    fake.quirks(head=status, failures=(Failure(status, (), body, methods="GET"),))
    with pytest.raises(RegistryError, match="this address is blocked"):
        fake.client.head_manifest(REPOSITORY, "1")


def test_what_a_registry_says_the_digest_is_does_not_count(fake: Faked):
    raw, digest = fake.image()
    fake.quirks(digest_header="wrong")
    assert fake.client.get_manifest(REPOSITORY, "1").digest == digest
    assert fake.client.get_manifest(REPOSITORY, digest).raw == raw
    fake.registry.repository(REPOSITORY).manifests[str(digest)] = (OCI_MANIFEST, raw + b" ")
    with pytest.raises(DigestMismatch):
        fake.client.get_manifest(REPOSITORY, digest)


@pytest.mark.parametrize(
    ("document", "media_type", "kind"),
    [
        # CVE-2021-41190: two programs would see two images.
        ({"manifests": [], "mediaType": OCI_INDEX}, OCI_INDEX, InvalidManifest),
        ({"manifests": []}, OCI_INDEX, InvalidManifest),
        ({}, OCI_INDEX, InvalidManifest),
        ({}, DOCKER_MANIFEST, InvalidManifest),
        ({"mediaType": OCI_INDEX}, OCI_MANIFEST, InvalidManifest),
        ({}, "image/png", InvalidAnswer),
        ({"fsLayers": [], "schemaVersion": 1}, "text/plain", RegistryUnsupported),
        ({}, "application/vnd.docker.distribution.manifest.v1+prettyjws", RegistryUnsupported),
    ],
)
def test_a_manifest_that_two_programs_read_differently_is_refused(
    fake: Faked, document: dict[str, Any], media_type: str, kind: type[Exception]
):
    raw, _ = fake.image(**document)
    digest = fake.registry.add_manifest(REPOSITORY, raw, media_type, tag="odd")
    for reference in ("odd", Digest.parse(digest)):
        with pytest.raises(kind):
            fake.client.get_manifest(REPOSITORY, reference)


def test_a_signed_manifest_of_schema_1_is_named_by_its_digest_too(fake: Faked):
    # Its digest is that of the payload, so that the bytes that come always have another one.
    payload = json.dumps({"schemaVersion": 1, "name": REPOSITORY, "fsLayers": [], "history": []}).encode()
    signed = payload[:-1] + b', "signatures": []}'
    media_type = "application/vnd.docker.distribution.manifest.v1+prettyjws"
    for sent in (media_type, "application/json"):
        fake.registry.repository(REPOSITORY).manifests[str(Digest.of(payload))] = (sent, signed)
        with pytest.raises(RegistryUnsupported, match="schema version 1"):
            fake.client.get_manifest(REPOSITORY, Digest.of(payload))


def test_documents_are_read_though_a_proxy_compresses_them():
    me = Credentials(user="me", password="secret")
    with faked(me, users={"me": "secret"}, auth="bearer", encoded_documents=True) as fake:
        raw, digest = fake.image()
        assert fake.client.get_manifest(REPOSITORY, digest).raw == raw
        assert list(fake.client.tags(REPOSITORY)) == ["1"]
        assert fake.client.referrers(REPOSITORY, digest) == ()
        with pytest.raises(NotInRegistry, match="MANIFEST_UNKNOWN"):
            fake.client.get_manifest(REPOSITORY, "2")


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (gzip.compress(b" " * (5 << 20)), "larger than 4194304 bytes"),
        (gzip.compress(b"{}")[:10] + b"\xff" * 20, "not encoded as it says"),
        (gzip.compress(b"{}")[:-9], "cannot be read"),
    ],
    ids=["bomb", "junk", "cut"],
)
def test_a_document_whose_encoding_is_wrong_is_an_error(fake: Faked, body: bytes, why: str):
    fake.quirks(failures=(Failure(200, (("Content-Encoding", "gzip"), ("Content-Type", OCI_MANIFEST)), body),))
    with pytest.raises((InvalidAnswer, InvalidManifest), match=why):
        fake.client.get_manifest(REPOSITORY, "1")


def test_a_size_is_not_that_of_what_a_proxy_compressed(fake: Faked):
    fake.registry.add_blob(REPOSITORY, LAYER)
    fake.quirks(encoding="real")
    assert fake.client.head_blob(REPOSITORY, Digest.of(LAYER)) is None
    fake.quirks()
    assert fake.client.head_blob(REPOSITORY, Digest.of(LAYER)) == len(LAYER)


@pytest.mark.parametrize("raw", [b"", b"<html>Log in</html>", b'{"schemaVersion":2,'])
def test_what_is_not_a_manifest_is_told_with_where_it_came_from(fake: Faked, raw: bytes):
    fake.registry.add_manifest(REPOSITORY, raw, OCI_MANIFEST, tag="odd")
    with pytest.raises(InvalidManifest, match=rf"{fake.client.host}/{REPOSITORY}:odd cannot be read: .*not a registry"):
        fake.client.get_manifest(REPOSITORY, "odd")


def test_a_manifest_is_read_up_to_a_limit(fake: Faked):
    fake.registry.add_manifest(REPOSITORY, b" " * (4 << 20) + b"{}", OCI_MANIFEST, tag="huge")
    with pytest.raises(InvalidAnswer, match="larger than 4194304 bytes"):
        fake.client.get_manifest(REPOSITORY, "huge")
    head = b'{"schemaVersion":2,"mediaType":"%s","manifests":[]' % OCI_INDEX.encode()
    raw = head + b" " * ((4 << 20) - len(head) - 1) + b"}"
    fake.registry.add_manifest(REPOSITORY, raw, OCI_INDEX, tag="large")
    assert fake.client.get_manifest(REPOSITORY, "large").raw == raw


@pytest.mark.parametrize(
    "reference", ["../../x", "a/b", "", "x" * 200, Digest.unchecked("sha256:../x"), Digest.unchecked("sha256:AB")]
)
def test_a_reference_that_is_none_becomes_no_path(fake: Faked, reference: str | Digest):
    with pytest.raises(ValueError, match="invalid"):
        fake.client.get_manifest(REPOSITORY, reference)
    # CVE-2024-3727: a digest of a stranger's document is a part of paths.
    with pytest.raises(ValueError, match="invalid"):
        fake.client.head_blob(REPOSITORY, Digest.unchecked("sha256:../../../x"))
    for repository in ("../x", "a/../b", "A", "a//b", "a?x", "a%2fb", ""):
        with pytest.raises(InvalidReference):
            fake.client.get_manifest(repository, "1")
    assert fake.asked == []


def test_a_manifest_is_pushed_by_tag_and_by_digest(fake: Faked):
    raw, digest = fake.image()
    for reference in ("2", digest, digest_of(raw, "sha512")):
        pushed = fake.client.put_manifest(REPOSITORY, reference, raw, OCI_MANIFEST)
        assert pushed.digest == (reference if isinstance(reference, Digest) else digest)
    fake.quirks(digest_header="missing")
    assert fake.client.put_manifest(REPOSITORY, "3", raw, OCI_MANIFEST).digest == digest
    assert list(fake.client.tags(REPOSITORY)) == ["1", "2", "3"]


def test_a_push_tells_which_blobs_are_missing(fake: Faked):
    raw, _ = fake.image()
    fake.quirks(missing_blob_once=True)
    with pytest.raises(RegistryError) as raised:
        fake.client.put_manifest(REPOSITORY, "2", raw, OCI_MANIFEST)
    assert raised.value.missing == (str(Digest.of(LAYER)),)
    assert raised.value.said[0][0] == "MANIFEST_BLOB_UNKNOWN"
    fake.client.put_manifest(REPOSITORY, "2", raw, OCI_MANIFEST)


def test_what_is_deleted_is_gone(fake: Faked):
    _, digest = fake.image()
    fake.image(tag="2", annotations={"a": "b"})
    fake.client.delete_tag(REPOSITORY, "2")
    assert list(fake.client.tags(REPOSITORY)) == ["1"]
    fake.client.delete_manifest(REPOSITORY, digest)
    fake.client.delete_blob(REPOSITORY, Digest.of(LAYER))
    for gone in (
        lambda: fake.client.get_manifest(REPOSITORY, digest),
        lambda: fake.client.delete_tag(REPOSITORY, "1"),
        lambda: fake.client.head_blob(REPOSITORY, Digest.of(LAYER)),
    ):
        with pytest.raises(NotInRegistry):
            gone()


@pytest.mark.parametrize("status", [400, 405])
def test_a_registry_that_deletes_no_tags_says_so(fake: Faked, status: int):
    _, digest = fake.image()
    fake.quirks(delete_tag=status, delete=405)
    with pytest.raises(RegistryUnsupported, match="cannot delete the tag 1 alone"):
        fake.client.delete_tag(REPOSITORY, "1")
    with pytest.raises(RegistryUnsupported) as raised:
        fake.client.delete_manifest(REPOSITORY, digest)
    assert (raised.value.said[0][0], raised.value.answered) == ("UNSUPPORTED", 405)


# Blobs.


@pytest.mark.sampled(6)
@pytest.mark.parametrize(
    "quirks",
    [
        {},
        {"length": False},
        {"redirect": 307},
        {"redirect": 301},
        {"redirect": 302},
        {"redirect": 303},
        {"redirect": 308},
        {"redirect": 307, "redirect_expired": 1},
        {"redirect": 307, "redirect_challenge": True},
        {"encoding": "label"},
        {"encoding": "label", "length": False},
        {"encoding": "real"},
        {"encoding": "real", "length": False},
        {"ranges": "ignored"},
        {"ranges": "wrong"},
        {"ranges": "none"},
        {"ranges": "total"},
        {"ranges": "unsaid"},
        {"ranges": "multipart"},
        {"cut": 700_000, "ranges": "multipart"},
        {"redirect": 307, "ranges": "ignored"},
        {"cut": 700_000},
        {"cut": 700_000, "ranges": "ignored"},
        {"cut": 700_000, "ranges": "wrong"},
        {"cut": 700_000, "ranges": "none"},
        {"cut": 0, "cuts": 3},
        {"cut": 300_000, "cuts": 9},
        {"cut": 300_000, "length": False},
        {"cut": 300_000, "redirect": 307, "redirect_expired": 1},
        {"cut": 1000, "encoding": "real"},
        {"failures": (Failure(503), Failure(502), Failure(500))},
        {"failures": (Failure(200, hang_up=True),)},
    ],
    ids=str,
)
@pytest.mark.parametrize("offset", [0, 12345, len(LAYER) - 1, len(LAYER)])
def test_a_blob_is_read_whatever_lies_in_the_way(fake: Faked, quirks: dict[str, Any], offset: int):
    fake.registry.add_blob(REPOSITORY, LAYER)
    fake.quirks(**quirks)
    assert read_all(fake.client, LAYER, offset=offset) == LAYER[offset:]


def test_what_was_read_before_a_break_is_not_sent_again(fake: Faked):
    fake.registry.add_blob(REPOSITORY, LAYER)
    fake.quirks(cut=700_000, cuts=1)
    assert read_all(fake.client, LAYER) == LAYER
    _, second = fake.registry.requests
    begun = int(second.headers["range"].removeprefix("bytes=").removesuffix("-"))
    assert 0 < begun <= 700_000
    assert second.sent == len(LAYER) - begun


@pytest.mark.parametrize("quirks", [{}, {"etag": "changing"}, {"redirect": 307, "etag": "changing"}], ids=str)
def test_a_range_is_asked_for_whatever_the_etag_is(fake: Faked, quirks: dict[str, Any]):
    # Hosts behind one name give a blob other tags; its digest says whether both parts are of one.
    fake.registry.add_blob(REPOSITORY, LAYER)
    fake.quirks(cut=700_000, **quirks)
    assert read_all(fake.client, LAYER) == LAYER
    assert all("if-range" not in one.headers for one in fake.registry.requests)
    assert [one.status for one in fake.registry.requests if one.status != 307] == [200, 206]


def test_a_refusal_of_a_range_whose_body_never_ends_is_not_waited_for():
    # distribution 2.8 announces the length of the blob, sends a short error, and keeps the connection.
    begun = time.monotonic()

    def check() -> None:
        assert time.monotonic() < begun + 30

    content = LAYER[:1000]
    with faked(check=check) as fake:
        fake.registry.add_blob(REPOSITORY, content)
        fake.quirks(ranges="none")
        assert read_all(fake.client, content, offset=500) == content[500:]
        assert [one.status for one in fake.registry.requests] == [416, 200]


@pytest.mark.parametrize(
    ("quirks", "kind", "why"),
    [
        ({"longer": 1}, SizeMismatch, "more than 1048576 bytes"),
        ({"longer": 1 << 22, "length": False}, SizeMismatch, "more than 1048576 bytes"),
        ({"cut": 10, "cuts": 99}, RegistryUnreachable, "connection"),
        ({"redirect": 307, "redirect_expired": 9}, RegistryDenied, "403"),
        ({"redirect": 307, "redirect_loop": True}, InvalidAnswer, "redirects more than 10 times"),
        ({"failures": (Failure(503),) * 9}, RegistryError, "503"),
    ],
    ids=str,
)
def test_a_blob_that_cannot_be_had_is_one_error(fake: Faked, quirks: dict[str, Any], kind: type[Exception], why: str):
    fake.registry.add_blob(REPOSITORY, LAYER)
    fake.quirks(**quirks)
    with pytest.raises(kind, match=why):
        read_all(fake.client, LAYER)
    assert len(fake.asked) <= 30


def test_a_blob_that_is_shorter_than_it_should_be_is_an_error(fake: Faked):
    fake.registry.repository(REPOSITORY).blobs[str(Digest.of(LAYER))] = LAYER[:-1]
    with pytest.raises(SizeMismatch, match="ends after 1048575 of 1048576 bytes"):
        read_all(fake.client, LAYER)


def test_wrong_bytes_of_the_right_size_are_for_whoever_keeps_them(fake: Faked):
    fake.registry.add_blob(REPOSITORY, LAYER)
    fake.quirks(corrupt=True)
    assert Digest.of(read_all(fake.client, LAYER)) != Digest.of(LAYER)


def test_an_empty_blob_is_read(fake: Faked):
    fake.registry.add_blob(REPOSITORY, b"")
    assert read_all(fake.client, b"") == b""
    assert fake.client.head_blob(REPOSITORY, Digest.of(b"")) == 0


def test_a_layer_from_elsewhere_gets_no_credentials(fake: Faked):
    # CVE-2020-15157: a manifest of a stranger names the place.
    fake.registry.add_blob("other", LAYER)
    url = f"{fake.registry.store.url}/objects/{Digest.of(LAYER)}"
    assert read_all(fake.client, LAYER, urls=("ftp://store.test/x", url)) == LAYER
    fake.quirks(redirect_challenge=True)
    with pytest.raises(RegistryDenied):
        read_all(fake.client, LAYER, urls=(url,))
    assert not [one for one in fake.registry.requests if one.site == "auth"]
    with pytest.raises(NotInRegistry):
        read_all(fake.client, LAYER)


# Lists.


@pytest.mark.sampled(3)
@pytest.mark.parametrize("link", ["relative", "absolute", "cursor", "bare"])
@pytest.mark.parametrize("page", [0, 1, 3])
def test_tags_are_listed_page_by_page(fake: Faked, link: str, page: int):
    for tag in ("a", "b", "c", "d", "latest"):
        fake.image(tag=tag)
    fake.quirks(link=link, page=page)
    assert list(fake.client.tags(REPOSITORY)) == ["a", "b", "c", "d", "latest"]
    assert len(fake.asked) == {0: 1, 1: 5, 3: 2}[page]
    assert list(fake.client.catalog()) == [REPOSITORY]


@pytest.mark.parametrize(
    ("link", "kind"),
    [
        ("loop", InvalidAnswer),
        ("circle", InvalidAnswer),
        ("https://evil.test/v2/x", UnsafeRedirect),
        ("file:///etc/passwd", UnsafeRedirect),
        ("//evil.test/x", UnsafeRedirect),
    ],
)
def test_pages_that_lead_nowhere_end(fake: Faked, link: str, kind: type[Exception]):
    for tag in "abc":
        fake.image(tag=tag)
    fake.quirks(link=link, page=1)
    with pytest.raises(kind):
        list(fake.client.tags(REPOSITORY))
    assert len(fake.asked) <= 3


def test_lists_may_be_null_missing_or_forbidden(fake: Faked):
    fake.registry.repository(REPOSITORY)
    fake.quirks(tags_null=True)
    assert list(fake.client.tags(REPOSITORY)) == []
    with pytest.raises(NotInRegistry, match="NAME_UNKNOWN"):
        list(fake.client.tags("no/where"))
    for status, kind in ((404, RegistryUnsupported), (403, RegistryUnsupported)):
        fake.quirks(catalog=status)
        with pytest.raises(kind):
            list(fake.client.catalog())


SIGNATURE = "application/vnd.example.signature"


def pushed_referrer(fake: Faked, subject: Digest, artifact_type: str, note: str) -> Descriptor:
    """Push an artifact about an image, as a pusher does."""
    raw = manifest(
        Digest.of(CONFIG), Digest.of(LAYER), subject=Descriptor(OCI_MANIFEST, subject, 7).to_dict(),
        artifactType=artifact_type, annotations={"note": note},
    )  # fmt: skip
    return referrers.put(fake.client, REPOSITORY, raw, OCI_MANIFEST)


@pytest.mark.parametrize("kind", ["right", "unfiltered", "none", "html"])
def test_what_refers_to_an_image_is_found(fake: Faked, kind: str):
    _, subject = fake.image()
    fake.quirks(referrers=kind)
    assert fake.client.referrers(REPOSITORY, subject) == ()
    first = pushed_referrer(fake, subject, SIGNATURE, "one")
    second = pushed_referrer(fake, subject, "application/vnd.example.sbom", "two")
    assert fake.client.referrers(REPOSITORY, subject) == (first, second)
    assert fake.client.referrers(REPOSITORY, subject, SIGNATURE) == (first,)
    tag = f"sha256-{subject.hex}"
    assert (tag in fake.registry.repository(REPOSITORY).tags) == (kind in {"none", "html"})


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    "failure",
    [
        Failure(400),
        Failure(404, (("Content-Type", "text/plain"),), b"404 page not found"),
        Failure(405),
        Failure(501),
        Failure(200, (("Content-Type", "application/json"),), b"{}"),
        Failure(200, (("Content-Type", OCI_INDEX),), b"<html>log in</html>"),
        Failure(200, (("Content-Type", OCI_INDEX),), b""),
        Failure(307, (("Location", "/v2/"),)),
    ],
    ids=str,
)
def test_what_is_no_list_of_referrers_is_none(fake: Faked, failure: Failure):
    _, subject = fake.image()
    fake.quirks(referrers="none")
    one = pushed_referrer(fake, subject, SIGNATURE, "one")
    fake.quirks(failures=(replace(failure, path="/referrers/"),))
    assert fake.client.referrers(REPOSITORY, subject) == (one,)
    assert "/referrers/" in fake.asked[0]


@pytest.mark.parametrize("status", [200, 404, 500])
def test_a_list_of_referrers_that_breaks_off_is_not_taken_for_all(fake: Faked, status: int):
    _, subject = fake.image()
    one = pushed_referrer(fake, subject, SIGNATURE, "one")
    answer = fake.registry.registry.answer

    def broken(asked: Asked) -> Reply:
        if asked.query.get("last"):
            reply = answer(asked)
            reply.status, reply.headers, reply.body = status, [("Content-Type", "text/html")], b"<p>"
            return reply
        reply = answer(asked)
        if "/referrers/" in asked.path:
            reply.headers.append(("Link", f'<{asked.path}?last={one.digest}>; rel="next"'))
        return reply

    fake.registry.registry.answer = broken
    with pytest.raises(InvalidAnswer, match="the rest"):
        fake.client.referrers(REPOSITORY, subject)


def test_the_fallback_tag_is_kept_as_it_should_be(fake: Faked):
    _, subject = fake.image()
    fake.quirks(referrers="none")
    first, second = (pushed_referrer(fake, subject, SIGNATURE, note) for note in ("one", "two"))
    fake.registry.requests.clear()
    referrers.add(fake.client, REPOSITORY, subject, first)
    assert {one.method for one in fake.registry.requests} == {"GET"}
    referrers.remove(fake.client, REPOSITORY, subject, first.digest)
    assert fake.client.referrers(REPOSITORY, subject) == (second,)
    # Somebody else writes in between.
    fake.quirks(referrers="none", failures=(Failure(412, methods="PUT"),))
    referrers.add(fake.client, REPOSITORY, subject, first)
    assert fake.client.referrers(REPOSITORY, subject) == (second, first)
    assert [one.headers.get("if-match") for one in fake.registry.requests if one.method == "PUT"]


def test_the_first_entry_of_the_fallback_tag_replaces_nothing(fake: Faked):
    _, subject = fake.image()
    fake.quirks(referrers="none")
    answer, conditions = fake.registry.registry.answer, list[str | None]()

    def meanwhile(asked: Asked) -> Reply:
        if asked.method == "PUT" and asked.path.endswith(f"sha256-{subject.hex}"):
            conditions.append(asked.headers.get("if-none-match"))
            if len(conditions) == 1:
                pushed_referrer(fake, subject, SIGNATURE, "meanwhile")
        return answer(asked)

    fake.registry.registry.answer = meanwhile
    mine = pushed_referrer(fake, subject, SIGNATURE, "mine")
    assert [one.annotations["note"] for one in fake.client.referrers(REPOSITORY, subject)] == ["meanwhile", "mine"]
    assert mine in fake.client.referrers(REPOSITORY, subject)
    assert conditions == ["*", "*", None]


STRANGE = f"blake3:{'7' * 64}"


def test_what_refers_to_an_image_by_an_unknown_algorithm_is_passed_over_and_stays(
    fake: Faked, caplog: pytest.LogCaptureFixture
):
    _, subject = fake.image()
    fake.quirks(referrers="none")
    first, second = (pushed_referrer(fake, subject, SIGNATURE, note) for note in ("one", "two"))
    strange = b'{"mediaType":"%s", "digest":"%s","size":1,"x":[ ]}' % (OCI_MANIFEST.encode(), STRANGE.encode())
    entries = b",".join((strange, first.to_json()))
    raw = b'{"schemaVersion":2,"mediaType":"%s","manifests":[%s]}' % (OCI_INDEX.encode(), entries)
    tag = referrers.fallback_tag(subject)
    fake.registry.add_manifest(REPOSITORY, raw, OCI_INDEX, tag=tag)
    assert fake.client.referrers(REPOSITORY, subject) == (first,)
    assert [one.getMessage() for one in caplog.records if STRANGE in one.getMessage()]
    answer, taken = fake.registry.registry.answer, list[bytes]()

    def taking(asked: Asked) -> Reply:
        """Take a list without a look at what is in it."""
        if asked.method == "PUT":
            taken.append(asked.read())
            fake.registry.add_manifest(REPOSITORY, taken[-1], OCI_INDEX, tag=tag)
            return Reply(201)
        return answer(asked)

    fake.registry.registry.answer = taking
    referrers.add(fake.client, REPOSITORY, subject, second)
    referrers.remove(fake.client, REPOSITORY, subject, first.digest)
    assert fake.client.referrers(REPOSITORY, subject) == (second,)
    assert [strange in one for one in taken] == [True, True]


def test_a_list_of_a_registry_may_have_digests_by_unknown_algorithms(fake: Faked, caplog: pytest.LogCaptureFixture):
    _, subject = fake.image()
    known = pushed_referrer(fake, subject, SIGNATURE, "one")
    answer = fake.registry.registry.answer

    def listing(asked: Asked) -> Reply:
        reply = answer(asked)
        if "/referrers/" in asked.path:
            document = json.loads(reply.body)
            document["manifests"].insert(0, document["manifests"][0] | {"digest": STRANGE})
            reply.body = json.dumps(document).encode()
        return reply

    fake.registry.registry.answer = listing
    assert [one.digest for one in fake.client.referrers(REPOSITORY, subject)] == [known.digest]
    assert [one.getMessage() for one in caplog.records if STRANGE in one.getMessage()]


def test_a_fallback_tag_that_leads_to_the_image_itself_says_nothing(fake: Faked):
    _, subject = fake.image()
    fake.quirks(referrers="none", subject_tag=True)
    assert fake.client.referrers(REPOSITORY, subject) == ()
    raw = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}).encode()
    index = Digest.parse(fake.registry.add_manifest(REPOSITORY, raw, OCI_INDEX))
    assert fake.client.referrers(REPOSITORY, index) == ()


@pytest.mark.parametrize(
    ("digest", "tag"),
    [
        (Digest("sha256", "a" * 64), f"sha256-{'a' * 64}"),
        (Digest("sha512", "b" * 128), f"sha512-{'b' * 64}"),
    ],
)
def test_the_fallback_tag_is_made_of_the_digest(digest: Digest, tag: str):
    assert referrers.fallback_tag(digest) == tag


def test_what_refers_to_a_long_digest_is_looked_for_by_no_tag_that_is_too_long(fake: Faked):
    fake.quirks(referrers="none")
    assert referrers.referring(fake.client, REPOSITORY, Digest("sha512", "b" * 128)) == ()


# Limits and errors.


@pytest.mark.parametrize(
    ("failures", "pauses"),
    [
        ((Failure(429, (("Retry-After", "7"),)),), 7),
        ((Failure(429, (("Retry-After", "0"),)),), 0),
        ((Failure(429, (("Retry-After", "1.5"),)),), 2),
        ((Failure(429, (("Retry-After", "Fri, 15 Jan 2027 08:00:10 GMT"),)),), 10),
        ((Failure(429, (("Retry-After", "soon"),)),), 0.5),
        ((Failure(429),), 0.5),
        ((Failure(503), Failure(503)), 1.5),
        ((Failure(499), Failure(522), Failure(408)), 3.5),
        ((Failure(200, hang_up=True), Failure(200, hang_up=True)), 0.5),
    ],
    ids=str,
)
def test_a_registry_that_asks_to_wait_is_waited_for(fake: Faked, failures: tuple[Failure, ...], pauses: float):
    raw, _ = fake.image()
    fake.client.ping()  # a connection that is kept may break without a pause
    fake.quirks(failures=failures)
    assert fake.client.get_manifest(REPOSITORY, "1").raw == raw
    assert fake.pauses.total == pytest.approx(pauses, abs=0.2)


@pytest.mark.parametrize(
    ("headers", "wait", "why"),
    [
        ({"Retry-After": "86400"}, 86400, "asks to wait 86400 s"),
        ({"RateLimit-Limit": "100;w=21600", "RateLimit-Remaining": "0;w=21600"}, None, "100 in 6 h"),
    ],
)
def test_a_quota_is_not_waited_for(fake: Faked, headers: dict[str, str], wait: float | None, why: str):
    fake.image()
    fake.quirks(failures=(Failure(429, tuple(headers.items())),) * 3)
    with pytest.raises(RegistryBusy, match=why) as raised:
        fake.client.get_manifest(REPOSITORY, "1")
    assert raised.value.wait == wait
    assert len(fake.asked) == 1


def busy(status: int, *headers: tuple[str, str], code: str = "TOOMANYREQUESTS") -> Failure:
    return Failure(status, headers, json.dumps({"errors": [{"code": code, "message": "slow down"}]}).encode())


@pytest.mark.parametrize(
    ("failures", "pauses"),
    [
        ((busy(403),), 0.5),
        ((busy(400), busy(404)), 1.5),
        ((busy(403, ("Retry-After", "7")),), 7),
    ],
    ids=str,
)
def test_a_registry_that_asks_to_wait_in_words_is_waited_for(fake: Faked, failures: tuple[Failure, ...], pauses: float):
    raw, _ = fake.image()
    fake.quirks(failures=failures)
    assert fake.client.get_manifest(REPOSITORY, "1").raw == raw
    assert fake.pauses.total == pytest.approx(pauses, abs=0.2)


@pytest.mark.parametrize(
    ("failure", "most"),
    [(busy(403), 5), (busy(429), 5), (busy(403, ("Retry-After", "3600")), 1), (busy(403, code="UNKNOWN"), 1)],
    ids=str,
)
def test_a_registry_that_asks_to_wait_in_words_for_ever_is_given_up(fake: Faked, failure: Failure, most: int):
    fake.quirks(failures=(failure,) * 30)
    with pytest.raises(RegistryError, match="slow down"):
        fake.client.get_manifest(REPOSITORY, "1")
    assert len(fake.asked) <= most


@pytest.mark.parametrize(("errno", "most"), [(socket.EAI_NONAME, 1), (socket.EAI_AGAIN, 5), (socket.EAI_FAIL, 5)])
def test_a_host_that_does_not_exist_is_looked_for_once(errno: int, most: int):
    looked: list[str] = []

    def resolve(host: str, port: int) -> list[Any]:
        looked.append(f"{host}:{port}")
        raise socket.gaierror(errno, "the words of the resolver")

    with faked(resolve=resolve) as fake:
        with pytest.raises(RegistryUnreachable, match=r"cannot find the host .*: the words of the resolver"):
            fake.client.get_manifest(REPOSITORY, "1")
        assert len(looked) == most
        assert bool(fake.pauses.total) == (most > 1)
        del looked[:]
        with pytest.raises(RegistryUnreachable, match="cannot find the host"):
            push_bytes(fake.client, REPOSITORY, b"a", Digest.of(b"a"))
        assert (len(looked) == 1) == (most == 1)


@pytest.mark.parametrize("status", [400, 403, 404, 405, 413, 416])
def test_what_is_refused_is_not_asked_again(fake: Faked, status: int):
    fake.quirks(failures=(Failure(status),) * 9)
    with pytest.raises((RegistryError, NotInRegistry)):
        fake.client.get_manifest(REPOSITORY, "1")
    assert len(fake.asked) == 1


@pytest.mark.parametrize(
    ("status", "code", "kind", "advice"),
    [
        # Docker Hub answers 401 for private repositories and for those that are not there.
        (401, "UNAUTHORIZED", RegistryDenied, "log in, or check the name"),
        (403, "DENIED", RegistryDenied, "these credentials do not allow that"),
        (413, "SIZE_INVALID", RegistryError, "a proxy before the registry limits"),
    ],
)
def test_a_refusal_says_what_to_do(fake: Faked, status: int, code: str, kind: type[Exception], advice: str):
    body = json.dumps({"errors": [{"code": code, "message": "no"}]}).encode()
    fake.quirks(failures=(Failure(status, (), body),) * 9)
    with pytest.raises(kind, match=rf"{fake.client.host} answers {code}: no \({advice}"):
        fake.client.get_manifest(REPOSITORY, "1")


def test_errors_may_be_pages(fake: Faked):
    fake.quirks(html_errors=True)
    with pytest.raises(NotInRegistry, match="404 manifest unknown") as raised:
        fake.client.get_manifest(REPOSITORY, "1")
    assert raised.value.said == ()


def test_a_warning_is_shown_once(fake: Faked):
    fake.image()
    fake.quirks(warning='299 - "this registry closes in May"')
    for _ in range(3):
        fake.client.get_manifest(REPOSITORY, "1")
    assert fake.warnings == [f"{fake.registry.authority} warns: this registry closes in May"]


def test_a_mirror_is_told_whose_names_are_asked_for():
    with faked(namespace="docker.io") as fake:
        fake.image()
        fake.client.get_manifest(REPOSITORY, "1")
        read_all(fake.client, LAYER)
        assert {one.target.partition("?")[2] for one in fake.registry.requests} == {"ns=docker.io"}


def test_pauses_grow_and_differ():
    patience = Patience()

    def steps(chance: float) -> list[float]:
        return [patience.before(tried, Clock(chance=lambda: chance)) for tried in range(1, 12)]

    assert steps(1.0) == [0.5, 1, 2, 4, 8, 16, 32, 60, 60, 60, 60]
    assert steps(0.0) == [one / 2 for one in steps(1.0)]


def test_the_media_type_of_a_layer_is_not_looked_at(fake: Faked):
    fake.registry.add_blob(REPOSITORY, LAYER)
    with fake.client.open_blob(REPOSITORY, Descriptor(OCI_LAYER_GZIP, Digest.of(LAYER), len(LAYER))) as reader:
        assert reader.read(10) == LAYER[:10]
        assert reader.position == 10


def test_threads_share_a_client_its_connections_and_its_token():
    me = Credentials(user="me", password="secret")
    with faked(me, users={"me": "secret"}, auth="bearer", may_be_plain=True) as fake:
        fake.image()
        found: list[bytes] = []
        threads = [
            threading.Thread(
                target=lambda: found.extend(
                    (fake.client.get_manifest(REPOSITORY, "1").raw, read_all(fake.client, LAYER))
                )
            )
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == 8
        assert len([one for one in fake.registry.requests if one.site == "auth"]) == 1
        before = fake.registry.registry.connections
        read_all(fake.client, LAYER)
        assert fake.registry.registry.connections == before


def test_every_switch_is_tried():
    tests = [path.read_text() for path in Path(__file__).parent.glob("test_registry_*.py")]
    words = {word for text in tests for word in re.findall(r"\w+", text)}
    assert {field.name for field in fields(Quirks)} - words == set()


# Servers that mean harm.


Answered = tuple[int, dict[str, str], "Iterable[bytes]"]


@contextmanager
def hostile(answer: Callable[[str, str], Answered]) -> Iterator[Any]:
    """Serve what a function returns for a method and a path, and yield a client of it."""

    class Handler(BaseHTTPRequestHandler):
        def reply(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, headers, body = answer(self.command, self.path)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            try:
                for piece in body:
                    self.wfile.write(piece)
            except OSError:
                pass

        def log_message(self, *args: object) -> None:
            pass

    for method in ("GET", "HEAD", "PUT", "POST", "PATCH"):
        setattr(Handler, f"do_{method}", Handler.reply)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    transport = HttpTransport(HostTrust())
    waiting = Waiting(patience=Patience(tries=3, pause=0.001))
    try:
        name = Reference.parse(f"127.0.0.1:{server.server_port}/{REPOSITORY}")
        yield Registries(transport, waiting=waiting).to_push(name)[0]
    finally:
        transport.close()
        server.shutdown()
        server.server_close()


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("page", "why"),
    [
        (b'{"tags": []}', "empty pages"),
        (b'{"tags": null}', "empty pages"),
        (b'{"tags": ["a"], "more": "' + b"x" * (5 << 20) + b'"}', "MiB"),
    ],
)
def test_a_list_without_an_end_is_an_error(page: bytes, why: str):
    numbers = itertools.count()

    def answer(method: str, path: str) -> Answered:
        del method, path
        link = f'</v2/{REPOSITORY}/tags/list?last={next(numbers)}>; rel="next"'
        return 200, {"Link": link, "Content-Length": str(len(page))}, [page]

    with hostile(answer) as client, pytest.raises(InvalidAnswer, match=why):
        list(client.tags(REPOSITORY))
    assert next(numbers) < 20


def test_pages_are_counted_and_noted():
    turning = Turning("r.test", "list")
    for number in range(10_000):
        turning.ask(f"/{number}")
        turning.came(100, 1)
    with pytest.raises(InvalidAnswer, match="pages"):
        turning.ask("/one-more")
    with pytest.raises(InvalidAnswer, match="loop"):
        turning.ask("/7")


def test_a_list_of_more_referrers_than_memory_is_for_is_an_error(monkeypatch: pytest.MonkeyPatch):
    """An entry takes several times the memory of its bytes, of which a list may have 64 MiB."""
    monkeypatch.setattr(referrers, "_MOST", 20)
    numbers = itertools.count()

    def answer(method: str, path: str) -> Answered:
        del method, path
        number = next(numbers)
        entries = [
            {"mediaType": OCI_MANIFEST, "digest": str(Digest.of(b"%d %d" % (number, one))), "size": 1}
            for one in range(8)
        ]
        page = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}).encode()
        link = f'</v2/{REPOSITORY}/referrers/next?n={number}>; rel="next"'
        return 200, {"Content-Type": OCI_INDEX, "Link": link, "Content-Length": str(len(page))}, [page]

    with hostile(answer) as client, pytest.raises(InvalidAnswer, match="sends more than 20 entries when asked to list"):
        client.referrers(REPOSITORY, Digest.of(b"subject"))
    assert next(numbers) == 3


def test_a_list_may_have_very_many_tags_and_not_more_bytes_than_memory_is_for():
    pages = iter([[f"{number:0>128}" for number in range(100_000)], ["\xff" * (8 << 20)]])

    def answer(method: str, path: str) -> Answered:
        del method, path
        page = json.dumps({"name": REPOSITORY, "tags": next(pages)}, ensure_ascii=False).encode()
        return 200, {"Content-Type": "application/json", "Content-Length": str(len(page))}, [page]

    with hostile(answer) as client:
        assert sum(1 for _ in client.tags(REPOSITORY)) == 100_000
        with pytest.raises(InvalidAnswer, match=f"is larger than {16 << 20} bytes"):
            list(client.tags(REPOSITORY))


def test_a_page_of_referrers_of_more_values_than_memory_is_for_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A value takes up to a hundred times the memory of its bytes, of which a page may have 16 MiB."""
    monkeypatch.setattr(referrers, "_MOST_VALUES", 30)

    def answer(method: str, path: str, *, more: object) -> Answered:
        del method, path
        entry = {"mediaType": OCI_MANIFEST, "digest": str(Digest.of(b"")), "size": 1, "annotations": {"a": "[," * 40}}
        page = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry], "x": more}).encode()
        return 200, {"Content-Type": OCI_INDEX, "Content-Length": str(len(page))}, [page]

    with hostile(partial(answer, more=[[]] * 5)) as client:
        assert len(client.referrers(REPOSITORY, Digest.of(b"subject"))) == 1
    with (
        hostile(partial(answer, more=[[]] * 30)) as client,
        pytest.raises(InvalidAnswer, match="sends more than 30 values at once"),
    ):
        client.referrers(REPOSITORY, Digest.of(b"subject"))


def test_a_list_of_referrers_without_an_end_is_an_error():
    numbers = itertools.count()
    page = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}).encode()

    def answer(method: str, path: str) -> Answered:
        del method, path
        link = f'</v2/{REPOSITORY}/referrers/x?last={next(numbers)}>; rel="next"'
        return 200, {"Link": link, "Content-Type": OCI_INDEX, "Content-Length": str(len(page))}, [page]

    with hostile(answer) as client, pytest.raises(InvalidAnswer, match="empty pages"):
        client.referrers(REPOSITORY, Digest.of(LAYER))


def test_only_what_can_be_a_tag_or_a_name_is_listed():
    page = b'{"tags": ["a", "", "../b", "c\\u001b[2J", "d e", 7, "v1.0"], "repositories": ["a/b", "../c", "A", "-"]}'
    with hostile(lambda *_: (200, {"Content-Length": str(len(page))}, [page])) as client:
        assert list(client.tags(REPOSITORY)) == ["a", "v1.0"]
        assert list(client.catalog()) == ["a/b"]


def empty_blocks() -> Iterator[bytes]:
    encoder = zlib.compressobj(wbits=31)
    yield encoder.compress(b"0123") + encoder.flush(zlib.Z_FULL_FLUSH)
    block = b"\x00\x00\x00\xff\xff" * 20_000
    while True:
        yield block


def junk_at_the_end() -> Iterator[bytes]:
    yield gzip.compress(b"0123")
    while True:
        yield b"j" * 100_000


@pytest.mark.parametrize("pieces", [empty_blocks, junk_at_the_end])
@pytest.mark.parametrize("headers", [{}, {"Content-Length": "99999999999"}], ids=["no length", "length"])
def test_an_encoding_without_an_end_is_an_error(pieces: Callable[[], Iterator[bytes]], headers: dict[str, str]):
    with hostile(lambda *_: (200, {"Content-Encoding": "gzip", **headers}, pieces())) as client:
        want = Descriptor(OCI_LAYER_GZIP, Digest.of(b"0123456789"), 10)
        with pytest.raises((SizeMismatch, InvalidAnswer)):
            drained(client, want)


def drained(client: Any, want: Descriptor) -> None:
    with client.open_blob(REPOSITORY, want) as reader:
        while reader.read(1 << 16):
            pass


@pytest.mark.parametrize("length", ["9" * 5000, "9" * 25, "-1", "x", "1, 2"])
def test_a_length_that_nothing_can_have_is_not_known(length: str):
    headers = {"Content-Length": length, "Content-Type": OCI_MANIFEST, "Docker-Content-Digest": str(Digest.of(LAYER))}
    with hostile(lambda *_: (200, headers, [])) as client:
        for ask in (client.head_blob, client.head_manifest):
            with suppress(RegistryError, DigestMismatch, InvalidManifest):
                assert ask(REPOSITORY, Digest.of(LAYER)) is None


def test_a_warning_controls_no_terminal(caplog: pytest.LogCaptureFixture):
    headers = {"Warning": '299 - "\x1b[2Jhi"', "Content-Length": "0"}
    with hostile(lambda *_: (200, headers, [])) as client:
        client.ping()
    assert "\x1b" not in caplog.text.replace("\x1b[0m", "")
    assert "hi" in caplog.text


def test_a_blob_that_the_registry_calls_otherwise_is_an_error():
    def answer(method: str, path: str) -> Answered:
        del path
        location = {"Location": f"/v2/{REPOSITORY}/blobs/uploads/1"} if method == "POST" else {}
        status = 202 if method == "POST" else 201
        return status, {"Content-Length": "0", "Docker-Content-Digest": str(Digest.of(b"other"))} | location, []

    with hostile(answer) as client:
        upload = client.start_upload(REPOSITORY)
        with pytest.raises(DigestMismatch, match="keeps a blob"):
            upload.commit(Digest.of(LAYER), body_of(LAYER))


def test_a_registry_that_loses_what_it_acknowledged_is_given_up():
    """Each second chunk the registry falls back, by a byte less each time, so that it seems to move."""
    chunk, sessions, chunks = 1000, itertools.count(), itertools.count()

    def answer(method: str, path: str) -> Answered:
        del path
        headers = {"Content-Length": "0", "Location": f"/v2/{REPOSITORY}/blobs/uploads/1"}
        if method == "POST":
            next(sessions)
            return 202, headers, []
        if method == "PATCH":
            number = next(chunks)
            assert number < 1000
            return 202, headers | ({"Range": f"0-{number + 1}"} if number % 2 else {}), []
        return 404, headers, []

    content = bytes(range(256)) * 1000
    with hostile(answer) as client:
        push = BlobPush(client, REPOSITORY, Digest.of(content), body_of(content), way=Way.CHUNKED, chunk=chunk)
        with pytest.raises(UploadLost):
            push.run()
    assert next(chunks) < 100
    assert next(sessions) <= 3


def test_a_list_of_more_values_than_memory_should_hold_is_refused(fake: Faked):
    page = b'{"tags":[' + b"[]," * (1 << 20) + b"[]]}"
    fake.quirks(failures=(Failure(200, (("Content-Type", "application/json"),), page),))
    with pytest.raises(InvalidAnswer, match=r"more than \d+ values"):
        list(fake.client.tags(REPOSITORY))


def test_a_blob_that_cannot_be_gone_on_with_leaves_no_connection_open():
    closed: list[bool] = []
    headers = Headers([("Content-Encoding", "gzip"), ("Content-Length", "7")])

    def ask(_: int) -> Answer:
        return Answer(200, headers, "https://r.test/", read=lambda _: b"no gzip", close=closed.append)

    with pytest.raises(InvalidAnswer, match="not encoded"):
        BlobReader(ask, 100, Waiting(), what="a blob", offset=50)
    assert closed == [True]
