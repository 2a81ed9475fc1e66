"""The registry over a store in a thread of the test, and a client that speaks its protocol."""

from __future__ import annotations

import hashlib
import http.client
import json
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from orlop.api.doors import Security
from orlop.api.server import Options, Serves
from orlop.service.hosted.registry import HostedRegistry
from orlop.service.hosted.repository import Hosts
from tests.unit.layouts import CONFIG, INDEX, LAYER, MANIFEST, layer_tar
from tests.unit.served import Answer, serving

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import orlop
    from orlop.api.registry.happened import Happened

OCTETS = "application/octet-stream"
EMPTY = "application/vnd.oci.empty.v1+json"
SIGNATURE = "application/vnd.example.signature"
_PATIENCE = 60


def digest_of(content: bytes, algorithm: str = "sha256") -> str:
    return f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"


def described(content: bytes, media_type: str, **more: Any) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest_of(content), "size": len(content), **more}


def written(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document).encode()


@dataclass(frozen=True)
class RegistryClient:
    """Asks a registry, by a new connection for each request."""

    port: int
    host: str = ""

    @property
    def authority(self) -> str:
        return f"127.0.0.1:{self.port}"

    def ask(
        self,
        method: str,
        target: str,
        query: Mapping[str, Any] | None = None,
        *,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=_PATIENCE)
        try:
            mark = "&" if "?" in target else "?"
            full = f"{target}{mark}{urlencode(query, doseq=True)}" if query else target
            more = {"Host": self.host} if self.host else {}
            connection.request(method, full, body=body, headers={**more, **(headers or {})})
            response = connection.getresponse()
            answered = {name.lower(): value for name, value in response.getheaders()}
            assert answered["docker-distribution-api-version"] == "registry/2.0"
            return Answer(response.status, answered, response.read())
        finally:
            connection.close()

    def get(self, target: str, query: Mapping[str, Any] | None = None, **options: Any) -> Answer:
        return self.ask("GET", target, query, **options)

    def head(self, target: str, **options: Any) -> Answer:
        return self.ask("HEAD", target, **options)

    def put(self, target: str, body: bytes, media_type: str = MANIFEST, **query: Any) -> Answer:
        return self.ask("PUT", target, query, body=body, headers={"Content-Type": media_type})

    def delete(self, target: str) -> Answer:
        return self.ask("DELETE", target)

    # What a client does to push.

    def begin(self, name: str, **query: str) -> Answer:
        answer = self.ask("POST", f"/v2/{name}/blobs/uploads/", query)
        assert answer.status == 202, answer.body
        return answer

    def patch(self, session: Answer, body: Any, span: str | None = None) -> Answer:
        headers = {"Content-Type": OCTETS} | ({} if span is None else {"Content-Range": span})
        return self.ask("PATCH", session.headers["location"], body=body, headers=headers)

    def finish(self, session: Answer, digest: str, body: bytes = b"", span: str | None = None) -> Answer:
        headers = {} if span is None else {"Content-Range": span}
        return self.ask("PUT", session.headers["location"], {"digest": digest}, body=body, headers=headers)

    def push_blob(self, name: str, content: bytes) -> str:
        answer = self.finish(self.begin(name), digest_of(content), content)
        assert answer.status == 201, answer.body
        return digest_of(content)

    def push_image(self, name: str, tag: str | None = None, *files: str, **more: Any) -> bytes:
        """Push a small image, and return its manifest."""
        layer = layer_tar(*(files or ("a",)))
        config = written(
            {
                "architecture": "amd64",
                "os": "linux",
                "config": {},
                "rootfs": {"type": "layers", "diff_ids": [digest_of(layer)]},
            }
        )
        for blob in (layer, config):
            self.push_blob(name, blob)
        manifest = written(image_manifest(config, layer) | more)
        self.push_manifest(name, manifest, tag)
        return manifest

    def push_manifest(self, name: str, manifest: bytes, tag: str | None = None, media_type: str = MANIFEST) -> Answer:
        answer = self.put(f"/v2/{name}/manifests/{tag or digest_of(manifest)}", manifest, media_type)
        assert answer.status == 201, answer.body
        assert answer.headers["docker-content-digest"] == digest_of(manifest)
        return answer

    def push_artifact(self, name: str, subject: dict[str, Any] | None = None, content: bytes = b"signed") -> bytes:
        """Push an artifact by its digest, and return its manifest."""
        for blob in (b"{}", content):
            self.push_blob(name, blob)
        document = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": SIGNATURE,
            "config": described(b"{}", EMPTY),
            "layers": [described(content, OCTETS)],
            "annotations": {"of": content.decode("latin-1")},
        }
        manifest = written(document | ({} if subject is None else {"subject": subject}))
        self.push_manifest(name, manifest)
        return manifest


def image_manifest(config: bytes, *layers: bytes) -> dict[str, Any]:
    return {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": described(config, CONFIG),
        "layers": [described(layer, LAYER) for layer in layers],
    }


def index_of(*manifests: bytes, **more: Any) -> bytes:
    entries = [described(one, MANIFEST, platform={"os": "linux", "architecture": "amd64"}) for one in manifests]
    return written({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries} | more)


def code(answer: Answer) -> str:
    """Return the code of an error, whose body is as the specification has it."""
    errors = answer.json["errors"]
    assert all({"code", "message"} <= set(one) for one in errors)
    return str(errors[0]["code"])


@contextmanager
def hosting(
    images: orlop.ImageService,
    folder: Path,
    *hosts: str,
    most: int | None = None,
    compress: str = "gzip",
    heard: list[Happened] | None = None,
    **how: Any,
) -> Iterator[RegistryClient]:
    """Serve a store as a registry for a block, and return a client."""
    del folder
    hosted = HostedRegistry(images.store, Hosts(hosts or ("localhost:5000",)), most=most, compress=compress)
    options = Options(registry=hosted, listeners=() if heard is None else (heard.append,), **how)
    security = Security(hosts=hosts)
    with serving(images, "tcp://127.0.0.1:0", options=options, serves=Serves.REGISTRY, security=security) as places:
        yield RegistryClient(int(places[0].rpartition(":")[2]))
