"""Layouts in the forms of many programs, small: by a word for each, who writes such a thing or why it is odd."""

from __future__ import annotations

import gzip
import hashlib
import json
from typing import TYPE_CHECKING, Any, Final

from orlop.streams.compression import zstd_module
from tests.unit.artifacts import EMPTY, about, attestation, chart, signature
from tests.unit.layouts import CONFIG, INDEX, LAYER, MANIFEST, NAME, OCI, REF, Layout, layer_tar, named, sha256, tagged

if TYPE_CHECKING:
    from collections.abc import Callable

DOCKER: Final = "application/vnd.docker."
CASES: Final[dict[str, Callable[[Layout], list[dict[str, Any]]]]] = {}


def case(made: Callable[[Layout], list[dict[str, Any]]]) -> Callable[[Layout], list[dict[str, Any]]]:
    CASES[made.__name__] = made
    return made


def put(layout: Layout, content: bytes, media_type: str, algorithm: str = "sha256", **more: Any) -> dict[str, Any]:
    digest = f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"
    layout.files["blobs/" + digest.replace(":", "/")] = content
    return {"mediaType": media_type, "digest": digest, "size": len(content)} | more


def document(
    layout: Layout, value: object, media_type: str = MANIFEST, algorithm: str = "sha256", **more: Any
) -> dict[str, Any]:
    return put(layout, json.dumps(value).encode(), media_type, algorithm, **more)


def read(layout: Layout, descriptor: dict[str, Any]) -> dict[str, Any]:
    """Take a document out of a layout, to put it there again with other content."""
    found: dict[str, Any] = json.loads(layout.files.pop("blobs/" + descriptor["digest"].replace(":", "/")))
    return found


def image(
    layout: Layout,
    *names: str,
    types: tuple[str, str, str] = (MANIFEST, CONFIG, f"{LAYER}+gzip"),
    pack: Callable[[bytes], bytes] = gzip.compress,
    algorithm: str = "sha256",
    layer: dict[str, Any] | None = None,
    config: dict[str, Any] | None = None,
    **more: Any,
) -> dict[str, Any]:
    tars = [layer_tar(name) for name in names]
    value = {
        "architecture": "amd64",
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [sha256(tar) for tar in tars]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": types[0],
        "config": document(layout, value | (config or {}), types[1], algorithm),
        "layers": [put(layout, pack(tar), types[2], algorithm) | (layer or {}) for tar in tars],
    }
    return document(layout, manifest, types[0], algorithm, **more)


def artifact(layout: Layout, config: dict[str, Any], *layers: dict[str, Any], **more: Any) -> dict[str, Any]:
    return document(layout, {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers} | more)


def platforms(layout: Layout, **options: Any) -> list[dict[str, Any]]:
    return [
        image(layout, one, config={"architecture": one}, platform={"os": "linux", "architecture": one}, **options)
        for one in ("amd64", "arm64")
    ]


@case
def buildkit(layout: Layout) -> list[dict[str, Any]]:
    made = platforms(layout)
    said = {NAME: "docker.io/example/app:1", REF: "1", "org.opencontainers.image.created": "2026-01-01T00:00:00Z"}
    return [layout.index(*made, *(attestation(layout, one) for one in made), annotations=said)]


@case
def buildkit_cache(layout: Layout) -> list[dict[str, Any]]:
    layers = [put(layout, gzip.compress(layer_tar(one)), f"{LAYER}+gzip") for one in "ab"]
    cache = document(layout, {"layers": []}, "application/vnd.buildkit.cacheconfig.v0")
    return [layout.index(*layers, cache, **tagged("latest"))]


@case
def nested(layout: Layout) -> list[dict[str, Any]]:
    return [layout.index(layout.index(*platforms(layout)), chart(layout), **tagged("deep"))]


@case
def sha512_throughout(layout: Layout) -> list[dict[str, Any]]:
    return [image(layout, "a", algorithm="sha512", **named("docker.io/example/app:512"))]


@case
def sha384_without_a_name(layout: Layout) -> list[dict[str, Any]]:
    return [image(layout, "a", algorithm="sha384")]


@case
def sha512_layers(layout: Layout) -> list[dict[str, Any]]:
    manifest = read(layout, image(layout, "a"))
    manifest["layers"] = [put(layout, gzip.compress(layer_tar("a")), f"{LAYER}+gzip", "sha512")]
    return [document(layout, manifest, **tagged("1"))]


@case
def sha512_beside_sha256(layout: Layout) -> list[dict[str, Any]]:
    other = image(layout, "b", algorithm="sha512", config={"architecture": "arm64"})
    return [layout.index(image(layout, "a"), other, **named("docker.io/example/app:mixed"))]


@case
def zstd(layout: Layout) -> list[dict[str, Any]]:
    types = (MANIFEST, CONFIG, f"{LAYER}+zstd")
    return [image(layout, "a", "b", types=types, pack=zstd_module().compress, **tagged("zstd"))]


@case
def zstd_chunked(layout: Layout) -> list[dict[str, Any]]:
    said = {"io.github.containers.zstd-chunked.manifest-position": "1:2:3:1"}
    types = (MANIFEST, CONFIG, f"{LAYER}+zstd")
    return [image(layout, "a", types=types, pack=zstd_module().compress, layer={"annotations": said}, **tagged("1"))]


@case
def estargz(layout: Layout) -> list[dict[str, Any]]:
    said = {"containerd.io/snapshot/stargz/toc.digest": "sha256:" + "1" * 64}
    return [image(layout, "a", layer={"annotations": said}, **tagged("1"))]


@case
def layers_that_are_elsewhere(layout: Layout) -> list[dict[str, Any]]:
    manifest = read(layout, image(layout, "a", "b"))
    first = manifest["layers"][0]
    del layout.files["blobs/" + first["digest"].replace(":", "/")]
    first |= {"mediaType": f"{OCI}layer.nondistributable.v1.tar+gzip", "urls": ["https://example.com/layer"]}
    return [document(layout, manifest, **named("docker.io/example/windows:1"))]


@case
def foreign_layers_that_are_here(layout: Layout) -> list[dict[str, Any]]:
    types = (
        f"{DOCKER}distribution.manifest.v2+json",
        f"{DOCKER}container.image.v1+json",
        f"{DOCKER}image.rootfs.foreign.diff.tar.gzip",
    )
    return [image(layout, "a", types=types, layer={"urls": ["https://example.com/layer"]}, **tagged("1"))]


@case
def crane_docker_types(layout: Layout) -> list[dict[str, Any]]:
    types = (
        f"{DOCKER}distribution.manifest.v2+json",
        f"{DOCKER}container.image.v1+json",
        f"{DOCKER}image.rootfs.diff.tar.gzip",
    )
    kind = f"{DOCKER}distribution.manifest.list.v2+json"
    listed = {"schemaVersion": 2, "mediaType": kind, "manifests": platforms(layout, types=types)}
    return [document(layout, listed, kind, **named("docker.io/example/list:1"))]


@case
def cosign_tags(layout: Layout) -> list[dict[str, Any]]:
    signed = layout.image("a", **tagged("1"))
    payload = put(layout, b'{"critical":{}}' * 40, "application/vnd.dev.cosign.simplesigning.v1+json")
    config = {"architecture": "", "os": "", "rootfs": {"type": "layers", "diff_ids": [payload["digest"]]}}
    made = artifact(layout, document(layout, config, CONFIG), payload)
    return [signed, made | tagged(signed["digest"].replace(":", "-") + ".sig")]


@case
def referrers_of_referrers(layout: Layout) -> list[dict[str, Any]]:
    found = [layout.image("a", **tagged("1"))]
    for number in range(3):
        found.append(signature(layout, found[-1], b"%d" % number))
    return found


@case
def an_index_that_refers(layout: Layout) -> list[dict[str, Any]]:
    subject = layout.image("a", **named("docker.io/example/app:1"))
    listed = {"schemaVersion": 2, "mediaType": INDEX, "artifactType": "application/x", "subject": about(subject)}
    return [subject, document(layout, listed | {"manifests": [chart(layout)]}, INDEX)]


@case
def a_subject_that_is_elsewhere(layout: Layout) -> list[dict[str, Any]]:
    return [signature(layout, Layout().image("z")) | tagged("alone")]


@case
def oras_empty(layout: Layout) -> list[dict[str, Any]]:
    empty = put(layout, b"{}", EMPTY)
    return [artifact(layout, empty, empty, artifactType="application/x", annotations={"a": "b"}) | tagged("v1")]


@case
def data_without_a_blob(layout: Layout) -> list[dict[str, Any]]:
    empty = {"mediaType": EMPTY, "digest": sha256(b"{}"), "size": 2, "data": "e30="}
    return [artifact(layout, empty, empty, artifactType="application/x") | tagged("v1")]


@case
def helm(layout: Layout) -> list[dict[str, Any]]:
    return [chart(layout) | tagged("0.1.0")]


@case
def wasm(layout: Layout) -> list[dict[str, Any]]:
    config = document(layout, {"architecture": "wasm", "os": "wasip1"}, "application/vnd.wasm.config.v0+json")
    return [artifact(layout, config, put(layout, b"\0asm", "application/wasm")) | named("ghcr.io/example/wasm:1")]


@case
def ollama(layout: Layout) -> list[dict[str, Any]]:
    config = {"model_format": "gguf", "rootfs": {"type": "layers", "diff_ids": []}}
    made = {
        "schemaVersion": 2,
        "mediaType": f"{DOCKER}distribution.manifest.v2+json",
        "config": document(layout, config, f"{DOCKER}container.image.v1+json"),
        "layers": [put(layout, b"GGUF", "application/vnd.ollama.image.model")],
    }
    return [document(layout, made, made["mediaType"], **named("registry.ollama.ai/library/model:1"))]  # type: ignore[arg-type]


@case
def no_layers(layout: Layout) -> list[dict[str, Any]]:
    return [image(layout, **tagged("scratch"))]


@case
def one_layer_three_times(layout: Layout) -> list[dict[str, Any]]:
    return [image(layout, "a", "a", "a", **tagged("1"))]


@case
def gzip_of_two_members(layout: Layout) -> list[dict[str, Any]]:
    return [image(layout, "a", pack=lambda tar: gzip.compress(tar[:700]) + gzip.compress(tar[700:]), **tagged("1"))]


@case
def a_plain_layer_that_says_gzip(layout: Layout) -> list[dict[str, Any]]:
    return [image(layout, "a", pack=bytes, **tagged("1"))]


@case
def podman_without_types(layout: Layout) -> list[dict[str, Any]]:
    manifest = read(layout, layout.image("a"))
    del manifest["mediaType"]
    return [document(layout, manifest, **tagged("docker.io/library/podman:1"))]


@case
def umoci_without_a_name(layout: Layout) -> list[dict[str, Any]]:
    return [layout.image("a"), layout.image("b"), chart(layout)]


@case
def jib_at_the_epoch(layout: Layout) -> list[dict[str, Any]]:
    return [image(layout, "a", config={"created": "1970-01-01T00:00:00Z", "history": [{"created_by": "jib"}]})]


@case
def windows_of_two_versions(layout: Layout) -> list[dict[str, Any]]:
    made = []
    for version in ("10.0.1", "10.0.2"):
        platform = {"os": "windows", "architecture": "amd64", "os.version": version}
        made.append(image(layout, version, config={"os": "windows", "os.version": version}, platform=platform))
    return [layout.index(*made, **named("docker.io/example/windows:2"))]


@case
def one_name_for_two_platforms(layout: Layout) -> list[dict[str, Any]]:
    return [one | named("docker.io/example/flat:1") for one in platforms(layout)]


@case
def one_tag_of_two_repositories(layout: Layout) -> list[dict[str, Any]]:
    return [
        layout.image(one, annotations={NAME: f"docker.io/example/{one}:1", REF: "1"}) for one in ("first", "second")
    ]


@case
def rules_oci_names(layout: Layout) -> list[dict[str, Any]]:
    return [layout.image("a", **tagged("quay.io/example/app:1")), layout.image("b", **tagged("localhost:5000/app:1"))]


@case
def texts_that_are_not_names(layout: Layout) -> list[dict[str, Any]]:
    made = layout.image("a")
    texts = ("\u00fcn\u00ef", "a b", "-x", "UP", "x" * 500, "a\tb", "../../etc", "sha256:abc", "a:b:c")
    return [made | tagged(text) for text in texts]


@case
def a_very_long_annotation(layout: Layout) -> list[dict[str, Any]]:
    return [layout.image("a", changes={"x-new": {"a": [1]}, "annotations": {"k": "v" * (1 << 18)}}) | tagged("1")]


@case
def an_index_of_artifacts(layout: Layout) -> list[dict[str, Any]]:
    return [layout.index(chart(layout, b"1"), chart(layout, b"2"), **tagged("charts"))]


@case
def an_index_of_nothing(layout: Layout) -> list[dict[str, Any]]:
    return [layout.index(**tagged("nothing")), layout.image("a", **tagged("1"))]


@case
def a_blob_alone(layout: Layout) -> list[dict[str, Any]]:
    return [put(layout, b"<x/>", "application/xml") | tagged("about"), layout.image("a", **tagged("1"))]


@case
def a_withdrawn_manifest(layout: Layout) -> list[dict[str, Any]]:
    kind = "application/vnd.oci.artifact.manifest.v1+json"
    made = {"mediaType": kind, "artifactType": "application/x", "blobs": [put(layout, b"blob", "text/plain")]}
    return [document(layout, made, kind, **tagged("old")), layout.image("a", **tagged("1"))]


@case
def a_platform_that_is_elsewhere(layout: Layout) -> list[dict[str, Any]]:
    here, _ = platforms(layout)
    return [layout.index(here, platforms(Layout())[1] | {"digest": sha256(b"absent")}, **named("example/sparse:1"))]


@case
def oras_children_as_entries(layout: Layout) -> list[dict[str, Any]]:
    made = platforms(layout)
    return [layout.index(*made, **tagged("1")), *made]
