"""What registries answer otherwise when blobs and manifests are pushed to them, and lists are asked for."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from orlop.errors import DigestMismatch, RegistryError, RegistryUnsupported
from orlop.model.digest import Digest
from orlop.model.manifest import OCI_MANIFEST
from orlop.registry.pushing import BlobPush, Way, push_bytes
from orlop.registry.search import search
from orlop.testing.registry.quirks import Failure
from tests.unit.faked import LAYER, REPOSITORY, body_of, faked
from tests.unit.synced import CONFIG_TYPE, add_image

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.unit.faked import Faked

DIGEST = Digest.of(LAYER)


@pytest.fixture
def fake() -> Iterator[Faked]:
    with faked() as found:
        yield found


def manifest_of(fake: Faked, **more: Any) -> bytes:
    digest = add_image(fake.registry, REPOSITORY, None, "text", **more)
    return fake.registry.repository(REPOSITORY).manifests.pop(digest)[1]


@pytest.mark.sampled(3)
@pytest.mark.parametrize("way", [Way.MONOLITHIC, Way.STREAMED, Way.CHUNKED])
@pytest.mark.parametrize("commit", [200, 201, 202, 204])
@pytest.mark.parametrize("commit_told", [True, False])
def test_a_blob_is_there_whichever_success_says_so(fake: Faked, way: Way, commit: int, *, commit_told: bool):
    fake.quirks(commit=commit, commit_told=commit_told)
    BlobPush(fake.client, REPOSITORY, DIGEST, body_of(LAYER), way=way, chunk=300_000).run()
    assert fake.registry.repository(REPOSITORY).blobs[str(DIGEST)] == LAYER


@pytest.mark.parametrize("blob_head", [401, 403, 404])
def test_a_repository_that_is_not_there_yet_is_pushed_to(fake: Faked, blob_head: int):
    fake.quirks(blob_head=blob_head)
    push_bytes(fake.client, REPOSITORY, b"{}", Digest.of(b"{}"))
    assert fake.registry.repository(REPOSITORY).blobs[str(Digest.of(b"{}"))] == b"{}"


def test_a_registry_that_keeps_nothing_empty_says_so(fake: Faked):
    push_bytes(fake.client, REPOSITORY, b"", Digest.of(b""))
    assert fake.client.has_blob(REPOSITORY, Digest.of(b""))
    fake.registry.repository(REPOSITORY).blobs.clear()
    fake.quirks(empty_blob=400)
    with pytest.raises(RegistryError, match="nothing empty is taken"):
        push_bytes(fake.client, REPOSITORY, b"", Digest.of(b""))


@pytest.mark.parametrize("cancel", [200, 202, 204, 401, 404, 405, 500])
def test_a_session_that_cannot_be_cancelled_is_left_alone(fake: Faked, cancel: int):
    fake.quirks(cancel=cancel)
    fake.client.start_upload(REPOSITORY).cancel()
    assert len(fake.registry.sessions()) == (1 if cancel >= 400 else 0)


@pytest.mark.parametrize("put_digest", ["right", "missing"])
def test_a_manifest_that_was_pushed_has_the_digest_of_its_bytes(fake: Faked, put_digest: str):
    raw = manifest_of(fake)
    fake.quirks(put_digest=put_digest)
    assert fake.client.put_manifest(REPOSITORY, "1", raw, OCI_MANIFEST).digest == Digest.of(raw)


def test_a_registry_that_keeps_another_manifest_is_an_error(fake: Faked):
    raw = manifest_of(fake)
    fake.quirks(put_digest="wrong")
    with pytest.raises(DigestMismatch, match="keeps a manifest of the digest"):
        fake.client.put_manifest(REPOSITORY, "1", raw, OCI_MANIFEST)


@pytest.mark.parametrize(
    ("quirks", "status", "why"),
    [
        ({"manifest_limit": 100}, 413, "the manifest is too large"),
        ({"config_types": ("application/vnd.docker.container.image.v1+json",)}, 400, "manifest schema unsupported"),
    ],
    ids=str,
)
def test_a_manifest_that_is_not_taken_is_told_in_the_registrys_words(
    fake: Faked, quirks: dict[str, Any], status: int, why: str
):
    raw = manifest_of(fake)
    fake.quirks(**quirks)
    with pytest.raises(RegistryError, match=why) as raised:
        fake.client.put_manifest(REPOSITORY, "1", raw, OCI_MANIFEST)
    assert raised.value.answered == status
    assert fake.registry.repository(REPOSITORY).manifests == {}
    fake.quirks(config_types=(CONFIG_TYPE,), manifest_limit=1 << 20)
    fake.client.put_manifest(REPOSITORY, "1", raw, OCI_MANIFEST)


@pytest.mark.parametrize(
    "quirks",
    [{}, {"page_asked": False}, {"page_most": 100}, {"page_most": 100, "page": 2}, {"page_asked": False, "page": 1}],
    ids=str,
)
def test_lists_are_whole_however_long_a_page_may_be(fake: Faked, quirks: dict[str, Any]):
    for tag in "abcde":
        add_image(fake.registry, REPOSITORY, tag, tag)
    fake.quirks(**quirks)
    assert list(fake.client.tags(REPOSITORY)) == list("abcde")
    assert list(fake.client.tags(REPOSITORY, page=3)) == list("abcde")
    assert list(fake.client.catalog(page=1000)) == [REPOSITORY]


def test_another_refusal_of_a_list_is_not_asked_again(fake: Faked):
    body = json.dumps({"errors": [{"code": "NAME_INVALID", "message": "no"}]}).encode()
    fake.quirks(failures=(Failure(400, body=body),))
    with pytest.raises(RegistryError, match="NAME_INVALID"):
        list(fake.client.tags(REPOSITORY))
    assert len(fake.registry.requests) == 1


def test_a_registry_finds_repositories_where_it_can_be_searched(fake: Faked):
    for name in ("team/app", "team/other", "app"):
        fake.registry.repository(name)
    fake.quirks(search=200)
    assert [one.name for one in search(fake.client, "app")] == ["app", "team/app"]
    assert [one.name for one in search(fake.client, "app", limit=1)] == ["app"]
    fake.quirks(search=404)
    with pytest.raises(RegistryUnsupported, match="cannot be searched"):
        search(fake.client, "app")
