"""What clients of the registry do, as scenarios: the server dies at each of its steps, and clients go on at another.

Server and clients are one process, so that a kill ends both; where an upload is, a client finds out from the note that
it kept, and from the server. A step that was acknowledged is on disk. What a registry keeps for a day (an upload that
nobody continues, a blob that no manifest names) is garbage two days later.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

import orlop
from orlop.errors import NotFound
from orlop.model.digest import Digest
from orlop.service.hosted.registry import HostedRegistry
from orlop.service.hosted.repository import Hosts
from tests.crash.damaged import MULTI
from tests.crash.scenarios import Scenario
from tests.unit.hosted import code, described, digest_of, hosting, image_manifest, written
from tests.unit.layouts import MANIFEST, layer_tar

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.unit.hosted import RegistryClient
    from tests.unit.served import Answer

NAME: Final = "team/app"
OTHER: Final = "team/other"
HOST: Final = "localhost:5000"
LAYER: Final = layer_tar("a", "b")
CONFIG: Final = written(
    {
        "architecture": "amd64",
        "os": "linux",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [digest_of(LAYER)]},
    }
)
IMAGE: Final = written(image_manifest(CONFIG, LAYER))
ARTIFACT: Final = written(
    {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": "application/vnd.example.signature",
        "config": described(CONFIG, "application/vnd.oci.empty.v1+json"),
        "layers": [described(LAYER, "application/octet-stream")],
        "subject": described(IMAGE, MANIFEST),
    }
)


def scenarios() -> dict[str, Scenario]:
    """Return all of them by name."""
    loaded, image, layer = _with(MULTI), _with(MULTI, _push), f"blobs/{digest_of(LAYER)}"
    return {
        one.name: one
        for one in (
            _of("a blob in one request", _whole, loaded),
            _of("a blob in parts", _parts, loaded),
            _of("a blob by sha512", _sha512, loaded),
            _of("a mount", _mount, _with(MULTI, _parts)),
            _of("an upload that is cancelled", _cancel, loaded),
            _of("a manifest", lambda client: _put(client, IMAGE, "1", "2"), _with(MULTI, _blobs)),
            _of("a tag that moves", lambda client: _put(client, IMAGE, "old"), _with(MULTI, _blobs, _old)),
            _of("an artifact", lambda client: _put(client, ARTIFACT, ""), image),
            _of("a delete of a tag", lambda client: _delete(client, "manifests/1"), image),
            _of("a delete of a manifest", lambda client: _delete(client, f"manifests/{digest_of(IMAGE)}"), image),
            _of("a delete of a blob", lambda client: _delete(client, layer), _with(MULTI, _parts)),
            _of("a pull of what was loaded", _pull, _with(MULTI, local=True)),
            _of("a push over a damaged blob", _parts, _with(MULTI, _parts, _flip), damaged=True),
        )
    }


def _of(
    name: str, clients: Callable[[RegistryClient], object], prepare: Callable[[Path], None], *, damaged: bool = False
) -> Scenario:
    arguments = ("serve", "--registry")
    return Scenario(f"registry: {name}", arguments, prepare, damaged=damaged, clients=clients, shows=shown)


def served(place: Path, clients: Callable[[RegistryClient], object]) -> orlop.ImageService:
    """Serve the store in a place to some clients, and return it open: nothing is brought to an end behind them."""
    images = orlop.open(place / "root")
    with hosting(images, place, HOST) as client:
        clients(client)
    return images


def _with(archive: Path, *works: Callable[[RegistryClient], object], local: bool = False) -> Callable[[Path], None]:
    """Leave a store with the images of an archive, on which clients have done something before."""

    def prepare(place: Path) -> None:
        with orlop.open(place / "root") as images:
            images.load(archive)
            if local:
                images.tag("example/tiny:1.0", f"{HOST}/{NAME}:loaded")
        for work in works:
            if work is _flip:
                _damage(place)
            else:
                served(place, work).close()

    return prepare


def _flip(_: RegistryClient) -> None:
    """Stand for damage that no client does."""


def _damage(place: Path) -> None:
    file = place / "root" / "blobs" / "sha256" / digest_of(LAYER).partition(":")[2]
    content = bytearray(file.read_bytes())
    content[0] ^= 1
    file.chmod(0o600)
    file.write_bytes(content)
    file.chmod(0o400)


# What clients do. All of it can be done again.


def _expect(answer: Answer, *statuses: int) -> Answer:
    assert answer.status in statuses, (answer.status, answer.body)
    return answer


def _whole(client: RegistryClient) -> None:
    query = {"digest": digest_of(LAYER)}
    _expect(client.ask("POST", f"/v2/{NAME}/blobs/uploads/", query, body=LAYER), 201)
    _expect(client.head(f"/v2/{NAME}/blobs/{digest_of(LAYER)}"), 200)


def _parts(client: RegistryClient) -> None:
    session = client.begin(NAME)
    half = len(LAYER) // 2
    for first, last in ((0, half), (half, len(LAYER) - 100)):
        session = _expect(client.patch(session, LAYER[first:last], f"{first}-{last - 1}"), 202)
    _expect(client.finish(session, digest_of(LAYER), LAYER[-100:]), 201)


def _sha512(client: RegistryClient) -> None:
    _expect(client.finish(client.begin(NAME), digest_of(LAYER, "sha512"), LAYER), 201)


def _mount(client: RegistryClient) -> None:
    query = {"mount": digest_of(LAYER), "from": NAME}
    _expect(client.ask("POST", f"/v2/{OTHER}/blobs/uploads/", query), 201)


def _cancel(client: RegistryClient) -> None:
    session = client.patch(client.begin(NAME), LAYER)
    _expect(client.delete(session.headers["location"]), 204)


def _blobs(client: RegistryClient) -> None:
    for blob in (LAYER, CONFIG):
        client.push_blob(NAME, blob)


def _push(client: RegistryClient) -> None:
    _blobs(client)
    _put(client, IMAGE, "1", "2")


def _old(client: RegistryClient) -> None:
    client.push_image(NAME, "old", "c")


def _put(client: RegistryClient, manifest: bytes, tag: str, *more: str) -> None:
    target = f"/v2/{NAME}/manifests/{tag or digest_of(manifest)}"
    answer = client.put(target, manifest, tag=list(more)) if more else client.put(target, manifest)
    if answer.status == 400 and code(answer) == "MANIFEST_BLOB_UNKNOWN":
        raise AssertionError("what was acknowledged is not there")
    _expect(answer, 201)


def _delete(client: RegistryClient, target: str) -> None:
    _expect(client.delete(f"/v2/{NAME}/{target}"), 202, 404)


def _pull(client: RegistryClient) -> None:
    manifest = _expect(client.get(f"/v2/{NAME}/manifests/loaded"), 200).json
    for one in (manifest["config"], *manifest["layers"]):
        body = _expect(client.get(f"/v2/{NAME}/blobs/{one['digest']}"), 200).body
        assert digest_of(body) == one["digest"]


# What clients see.


def shown(images: orlop.ImageService) -> list[object]:
    """Return what clients see of the repositories: names, tags, manifests, what refers to them, and blobs."""
    hosted = HostedRegistry(images.store, Hosts((HOST,)))
    found: list[object] = [hosted.repositories(HOST)]
    for name in (NAME, OTHER):
        repository = hosted.hosts.repository(name, HOST)
        try:
            tags = hosted.tags(repository)
        except NotFound:
            tags = []
        # What was loaded gets a manifest when it is first asked for.
        found += [(tag, str(hosted.manifest(repository, tag).digest)) for tag in tags if tag != "loaded"]
        for text in (digest_of(IMAGE), digest_of(ARTIFACT)):
            try:
                row = hosted.manifest(repository, Digest.parse(text))
            except NotFound:
                continue
            referring, _ = hosted.referrers(repository, row.digest)
            found.append((name, text, row.raw, [str(one.digest) for one in referring]))
        for text in (digest_of(LAYER), digest_of(LAYER, "sha512"), digest_of(CONFIG)):
            try:
                blob = hosted.blob(repository, Digest.parse(text))
            except NotFound:
                continue
            if blob.document is not None:
                content = blob.document
            else:
                with blob.open() as file:
                    content = file.read(1 << 30)
            # What is damaged is as good as missing; whether anything became damaged, the harness looks for itself.
            if digest_of(content, text.partition(":")[0]) == text:
                found.append((name, text))
    return [json.dumps(one, default=bytes.decode) for one in found]
