"""`orlop.Registry`: what programs ask of a registry."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

import orlop
from orlop import errors
from orlop.model.descriptor import Descriptor
from orlop.model.manifest import OCI_CONFIG, OCI_MANIFEST, Manifest
from orlop.testing.registry.fake import FakeRegistry
from orlop.testing.registry.quirks import Quirks

if TYPE_CHECKING:
    from orlop.model.digest import Digest

EMPTY = "application/vnd.oci.empty.v1+json"


def pushed(registry: orlop.Registry, repository: str, tag: str = "1") -> tuple[Digest, bytes]:
    config = registry.push_blob(repository, b'{"os":"linux","architecture":"amd64"}', OCI_CONFIG)
    layer = registry.push_blob(repository, b"layer")
    raw = Manifest(media_type=OCI_MANIFEST, config=config, layers=(layer,)).to_json()
    return registry.push_manifest(repository, raw, OCI_MANIFEST, tag), raw


@pytest.mark.parametrize("auth", ["none", "basic", "bearer"])
def test_what_is_pushed_is_read_listed_and_deleted(auth: str):
    with (
        FakeRegistry(Quirks(auth=auth), users={"me": "secret"}) as there,
        orlop.Registry(there.authority, user="me", password="secret") as registry,
    ):
        digest, raw = pushed(registry, "team/app")
        assert list(registry.tags("team/app")) == ["1"]
        found = registry.manifest("team/app", "1")
        assert (found.digest, found.raw) == (digest, raw)
        assert registry.manifest("team/app", str(digest)).raw == raw
        assert registry.head("team/app", "1") == found.descriptor
        document = found.parsed()
        assert isinstance(document, Manifest)
        assert registry.read_blob("team/app", document.config).startswith(b"{")
        with registry.blob("team/app", document.layers[0]) as reader:
            assert b"".join(reader.chunks()) == b"layer"
        assert list(registry.repositories()) == ["team/app"]
        registry.delete("team/app", "1")
        assert list(registry.tags("team/app")) == []
        registry.delete("team/app", digest)
        with pytest.raises(errors.NotInRegistry):
            registry.manifest("team/app", digest)


@pytest.mark.parametrize("quirk", ["right", "none"])
def test_what_refers_to_a_manifest_is_listed(quirk: str):
    with FakeRegistry(Quirks(referrers=quirk)) as there, orlop.Registry(there.authority) as registry:
        digest, raw = pushed(registry, "app")
        empty = registry.push_blob("app", b"{}", EMPTY)
        document = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": "a/b",
            "config": empty.to_dict(),
            "layers": [empty.to_dict()],
            "subject": Descriptor(OCI_MANIFEST, digest, len(raw)).to_dict(),
        }
        signature = registry.push_manifest("app", json.dumps(document).encode(), OCI_MANIFEST)
        assert [one.digest for one in registry.referrers("app", digest)] == [signature]
        assert [one.digest for one in registry.referrers("app", str(digest), "a/b")] == [signature]
        assert registry.referrers("app", digest, "c/d") == ()


def test_a_blob_is_not_sent_twice():
    with FakeRegistry() as there, orlop.Registry(there.authority) as registry:
        registry.push_blob("app", b"content")
        there.requests.clear()
        registry.push_blob("app", b"content")
        assert [one.method for one in there.requests] == ["HEAD"]


def test_a_wrong_blob_is_told_before_its_end():
    with FakeRegistry(Quirks(corrupt=True)) as there, orlop.Registry(there.authority) as registry:
        want = registry.push_blob("app", b"content" * 1000)
        with pytest.raises(errors.DigestMismatch), registry.blob("app", want) as reader:
            list(reader.chunks())
        with pytest.raises(errors.DigestMismatch):
            registry.read_blob("app", want)


@pytest.mark.parametrize("host", ["", "app", "a b", "host/path", "me@example.com"])
def test_what_is_not_a_host_is_refused(host: str):
    with pytest.raises(errors.InvalidInput):
        orlop.Registry(host)


def test_a_name_with_a_tag_is_not_a_repository():
    with orlop.Registry("127.0.0.1:1") as registry, pytest.raises(errors.InvalidReference):
        registry.head("app:1", "1")
