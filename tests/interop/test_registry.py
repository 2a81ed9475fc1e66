"""A client and Debian's docker-registry: plain, with passwords, with TLS, and with a token server in its variants."""

from __future__ import annotations

import io
import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from orlop.errors import NotInRegistry, RegistryDenied, RegistryError, RegistryUnreachable, RegistryUnsupported
from orlop.model.descriptor import Descriptor
from orlop.model.digest import Digest
from orlop.model.manifest import (
    DOCKER_CONFIG,
    DOCKER_INDEX,
    DOCKER_LAYER_GZIP,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER_ZSTD,
    OCI_MANIFEST,
    Index,
    Manifest,
)
from orlop.model.reference import Reference
from orlop.registry import referrers
from orlop.registry.authfiles import AuthFiles
from orlop.registry.certificates import HostTrust
from orlop.registry.helpers import Helpers
from orlop.registry.messages import OpenedBody
from orlop.registry.pushing import BlobPush, Way, push_bytes
from orlop.registry.registries import Registries
from orlop.registry.transport import HttpTransport
from orlop.testing.registry.quirks import Quirks
from tests.interop.registries import PASSWORD, USER, JwtTokens, Keys, debian_registry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from orlop.registry.client import RegistryClient
    from tests.interop.programs import Program

pytestmark = [pytest.mark.interop, pytest.mark.sampled(3)]

CONFIG = b'{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}'
CONTENT = os.urandom(1 << 20)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return Keys(tmp_path_factory.mktemp("keys"))


class Place:
    """A registry, and who somebody is to it."""

    variant = "plain"

    def __init__(self, authority: str, auth: dict[str, Any], trust: HostTrust, folder: Path) -> None:
        self.authority = authority
        (folder / "config.json").write_text(json.dumps({"auths": {authority: auth} if auth else {}}))
        self.transport = HttpTransport(trust)
        keychain = AuthFiles([str(folder / "config.json")], Helpers())
        self.registries = Registries(self.transport, keychain=keychain)

    def client(self, path: str) -> tuple[RegistryClient, str]:
        return self.registries.to_push(Reference.parse(f"{self.authority}/{path}"))


PASSWORDS = {"username": USER, "password": PASSWORD}
VARIANTS: dict[str, tuple[dict[str, Any], Quirks | None]] = {
    "plain": ({}, None),
    "htpasswd": (PASSWORDS, None),
    "tls": (PASSWORDS, None),
    "token": (PASSWORDS, Quirks()),
    "token by POST": (PASSWORDS, Quirks(token_get=404, carrier="access_token", expires_in=None)),
    "identity token": ({"identitytoken": f"refresh-{PASSWORD}"}, Quirks(carrier="token", expires_in=5)),
    "first scope only": (PASSWORDS, Quirks(first_scope_only=True)),
}


@pytest.fixture(scope="module", params=list(VARIANTS))
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, keys: Keys) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("registry")
    auth, quirks = VARIANTS[request.param]
    is_encrypted = request.param == "tls"
    tokens = None if quirks is None else JwtTokens(quirks, keys)
    trust = HostTrust(added=[str(keys.certificate)])
    with debian_registry(
        folder, keys=keys if is_encrypted or tokens else None, htpasswd=auth is PASSWORDS and not tokens, tokens=tokens
    ) as authority:
        found = Place(authority, auth, trust, folder)
        found.variant = request.param
        yield found
        found.transport.close()


def pushed(client: RegistryClient, repository: str, content: bytes, way: Way = Way.AUTO) -> Digest:
    def opener(offset: int) -> io.BytesIO:
        stream = io.BytesIO(content)
        stream.seek(offset)
        return stream

    digest = Digest.of(content)
    BlobPush(client, repository, digest, OpenedBody(opener, len(content)), way=way, chunk=300_000).run()
    return digest


def read(client: RegistryClient, repository: str, content: bytes, offset: int = 0) -> bytes:
    with client.open_blob(repository, Descriptor("", Digest.of(content), len(content)), offset=offset) as reader:
        return b"".join(iter(lambda: reader.read(1 << 16), b""))


@pytest.mark.parametrize("way", [Way.MONOLITHIC, Way.STREAMED, Way.CHUNKED])
def test_a_blob_goes_there_and_comes_back(place: Place, way: Way):
    client, repository = place.client("blobs/app")
    content = CONTENT + way.value.encode()
    digest = Digest.of(content)
    assert not client.has_blob(repository, digest)
    with pytest.raises(NotInRegistry):
        client.head_blob(repository, digest)
    assert pushed(client, repository, content, way) == digest
    assert client.head_blob(repository, digest) == len(content)
    assert read(client, repository, content) == content
    assert read(client, repository, content, 1_000_000) == content[1_000_000:]


def test_an_upload_goes_on_between_chunks(place: Place):
    client, repository = place.client("blobs/resumed")
    content = CONTENT + b"resumed"
    upload = client.start_upload(repository)
    body = OpenedBody(lambda offset: _at(content, offset), len(content))
    upload.send(body.part(0, 500_000), in_chunks=True)
    again = client.resume_upload(upload.state)
    assert again.offset == 500_000
    BlobPush(client, repository, Digest.of(content), body, way=Way.CHUNKED, chunk=300_000).run(again)
    assert read(client, repository, content) == content


def _at(content: bytes, offset: int) -> io.BytesIO:
    stream = io.BytesIO(content)
    stream.seek(offset)
    return stream


def image(client: RegistryClient, repository: str, *, docker: bool = False, **more: Any) -> bytes:
    push_bytes(client, repository, CONFIG, Digest.of(CONFIG))
    push_bytes(client, repository, CONTENT, Digest.of(CONTENT))
    kinds = (
        (DOCKER_CONFIG, DOCKER_LAYER_GZIP, DOCKER_MANIFEST) if docker else (OCI_CONFIG, OCI_LAYER_ZSTD, OCI_MANIFEST)
    )
    config = Descriptor(kinds[0], Digest.of(CONFIG), len(CONFIG))
    layer = Descriptor(kinds[1], Digest.of(CONTENT), len(CONTENT))
    return Manifest(media_type=kinds[2], config=config, layers=(layer,), **more).to_json()


@pytest.mark.parametrize("docker", [False, True])
def test_images_and_indexes_keep_their_digests(place: Place, docker: bool):  # noqa: FBT001
    client, repository = place.client(f"images/app{int(docker)}")
    kind, index_kind = (DOCKER_MANIFEST, DOCKER_INDEX) if docker else (OCI_MANIFEST, OCI_INDEX)
    raw = image(client, repository, docker=docker)
    digest = Digest.of(raw)
    assert client.put_manifest(repository, digest, raw, kind).digest == digest
    index = Index(media_type=index_kind, manifests=(Descriptor(kind, digest, len(raw)),)).to_json()
    client.put_manifest(repository, "latest", index, index_kind)
    for reference, expected, media_type in (("latest", index, index_kind), (digest, raw, kind)):
        found = client.get_manifest(repository, reference)
        assert (found.raw, found.media_type) == (expected, media_type)
        assert client.head_manifest(repository, reference) == found.descriptor
    assert list(client.tags(repository)) == ["latest"]
    with pytest.raises(NotInRegistry, match="MANIFEST_UNKNOWN"):
        client.get_manifest(repository, "none")
    with pytest.raises(RegistryError) as raised:
        client.put_manifest(repository, "bad", raw.replace(Digest.of(CONTENT).hex.encode(), b"0" * 64), kind)
    assert raised.value.missing == (f"sha256:{'0' * 64}",)
    # This registry deletes no single tags.
    with pytest.raises(RegistryUnsupported):
        client.delete_tag(repository, "latest")
    client.delete_manifest(repository, Digest.of(index))
    with pytest.raises(NotInRegistry):
        client.get_manifest(repository, "latest")


def test_a_blob_of_another_repository_is_mounted(place: Place):
    source, repository = place.client("mounts/source")
    pushed(source, repository, CONTENT)
    client, target = place.client("mounts/target")
    upload = client.mount_blob(target, Digest.of(CONTENT), repository)
    if upload is not None:
        # A token server that looks at the first scope only does not let this user mount.
        upload.commit(Digest.of(CONTENT), OpenedBody(lambda offset: _at(CONTENT, offset), len(CONTENT)))
    assert read(client, target, CONTENT) == CONTENT
    missing = client.mount_blob(target, Digest.of(b"not there"), repository)
    assert missing is not None
    missing.cancel()


def test_referrers_are_kept_by_a_tag(place: Place):
    client, repository = place.client("referrers/app")
    raw = image(client, repository)
    subject = client.put_manifest(repository, "1", raw, OCI_MANIFEST).digest
    assert client.referrers(repository, subject) == ()
    artifact = image(client, repository, subject=Descriptor(OCI_MANIFEST, subject, len(raw)), artifact_type="a/b")
    entry = referrers.put(client, repository, artifact, OCI_MANIFEST)
    assert entry == Descriptor(OCI_MANIFEST, Digest.of(artifact), len(artifact), artifact_type="a/b")
    assert client.referrers(repository, subject) == (entry,)
    assert client.referrers(repository, subject, "c/d") == ()
    assert f"sha256-{subject.hex}" in list(client.tags(repository))


def test_the_catalog_is_listed(place: Place):
    client, repository = place.client("listed/app")
    pushed(client, repository, CONTENT)
    assert "listed/app" in list(client.catalog())


def test_a_stranger_is_refused(place: Place, tmp_path: Path, keys: Keys):
    if place.variant == "plain":
        return
    for auth in ({"username": USER, "password": "wr0ng"}, {}):
        stranger = Place(place.authority, auth, HostTrust(added=[str(keys.certificate)]), tmp_path)
        client, repository = stranger.client("blobs/app")
        with pytest.raises(RegistryDenied) as raised:
            client.start_upload(repository)
        stranger.transport.close()
        assert "wr0ng" not in str(raised.value)


def test_a_certificate_is_checked(place: Place, tmp_path: Path):
    if place.variant != "tls":
        return
    distrustful = Place(place.authority, PASSWORDS, HostTrust(), tmp_path)
    client, _ = distrustful.client("blobs/app")
    with pytest.raises(RegistryUnreachable, match="is not trusted"):
        client.ping()
    distrustful.transport.close()


def test_skopeo_reads_what_was_pushed(place: Place, skopeo: Program, tmp_path: Path):
    client, repository = place.client("skopeo/app")
    raw = image(client, repository)
    client.put_manifest(repository, "1", raw, OCI_MANIFEST)
    if place.variant == "token by POST":
        return  # skopeo asks by GET alone
    auth = {"auths": {place.authority: {"auth": "bWU6czNjcmV0"}}}  # me:s3cret
    (tmp_path / "auth.json").write_text(json.dumps(auth))
    name = f"docker://{place.authority}/skopeo/app:1"
    found = skopeo("inspect", "--raw", "--tls-verify=false", "--authfile", tmp_path / "auth.json", name)
    assert found.encode() == raw
