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


@case
def encrypted_layers(layout: Layout) -> list[dict[str, Any]]:
    types = (MANIFEST, CONFIG, f"{LAYER}+gzip+encrypted")
    said = {"org.opencontainers.image.enc.keys.jwe": "e30="}
    made = image(layout, "a", types=types, pack=lambda tar: gzip.compress(tar)[::-1], layer={"annotations": said})
    return [made | named("docker.io/example/secret:1"), image(layout, "b", **tagged("open"))]


@case
def encrypted_layers_that_begin_like_a_tar(layout: Layout) -> list[dict[str, Any]]:
    return [layout.index(*platforms(layout, types=(MANIFEST, CONFIG, f"{LAYER}+encrypted")), **tagged("1"))]


@case
def nydus(layout: Layout) -> list[dict[str, Any]]:
    manifest = read(layout, image(layout, "bootstrap", **tagged("1")))
    said = {"containerd.io/snapshot/nydus-blob": "true"}
    blob = put(layout, b"\0\1chunks" * 99, f"{OCI}layer.nydus.blob.v1", annotations=said)
    return [document(layout, manifest | {"layers": [blob, *manifest["layers"]]}, **tagged("1"))]


@case
def a_table_of_contents_of_stargz(layout: Layout) -> list[dict[str, Any]]:
    converted = image(layout, "a", **named("docker.io/example/lazy:1"))
    said = {"containerd.io/snapshot/stargz/layer.digest": "sha256:" + "1" * 64}
    toc = put(layout, gzip.compress(layer_tar("stargz.index.json")), f"{LAYER}+gzip", annotations=said)
    return [converted, artifact(layout, put(layout, b"{}", CONFIG), toc) | named("docker.io/example/lazy:1-esgztoc")]


@case
def layers_that_are_null(layout: Layout) -> list[dict[str, Any]]:
    """Go writes an empty list so; the other leaves it out."""
    config = document(layout, {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers"}}, CONFIG)
    made = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config}
    return [document(layout, made | {"layers": None}, **tagged("1")), document(layout, made, **tagged("2"))]


@case
def layers_of_nothing(layout: Layout) -> list[dict[str, Any]]:
    """A tar may be empty, with its two last blocks or without."""
    found = []
    for tar in (b"", bytes(1024)):
        config = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [sha256(tar)]}}
        layers = [put(layout, tar, LAYER)]
        manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": document(layout, config, CONFIG)}
        found.append(document(layout, manifest | {"layers": layers}, **tagged(str(len(tar)))))
    return found


@case
def one_blob_of_many_types(layout: Layout) -> list[dict[str, Any]]:
    """The type belongs to the place, not to the bytes."""
    types = ("application/vnd.oci.empty.v1+json", "application/vnd.docker.compose.config.empty.v1+json", "a/b")
    config, *layers = (put(layout, b"{}", kind) for kind in types)
    return [artifact(layout, config, *layers, artifactType="application/x") | tagged("1")]


@case
def blobs_of_nothing(layout: Layout) -> list[dict[str, Any]]:
    return [artifact(layout, put(layout, b"", "application/x-config"), put(layout, b"", "a/b")) | tagged("1")]


@case
def subjects_that_say_other_things(layout: Layout) -> list[dict[str, Any]]:
    """A subject is a weak link, and what else it says is nobody's affair."""
    signed = layout.image("a", **named("docker.io/example/app:1"))
    other = about(signed) | {"size": 7, "mediaType": INDEX}
    return [signed, artifact(layout, put(layout, b"{}", "a/b"), put(layout, b"x", "a/c"), subject=other)]


@case
def manifests_of_schema_1(layout: Layout) -> list[dict[str, Any]]:
    old = {"schemaVersion": 1, "name": "app", "tag": "1", "architecture": "amd64", "fsLayers": [], "history": []}
    kind = f"{DOCKER}distribution.manifest.v1+prettyjws"
    return [layout.image("a", **tagged("1")), document(layout, old, kind, **tagged("old"))]


@case
def a_manifest_of_a_type_to_come(layout: Layout) -> list[dict[str, Any]]:
    kind = "application/vnd.example.manifest.v9+json"
    return [layout.image("a", **tagged("1")), document(layout, {"parts": []}, kind, **tagged("new"))]


@case
def a_plugin_of_docker(layout: Layout) -> list[dict[str, Any]]:
    kind = f"{DOCKER}distribution.manifest.v2+json"
    tar = layer_tar("plugin")
    config = document(layout, {"rootfs": {"type": "layers", "diff_ids": [sha256(tar)]}}, f"{DOCKER}plugin.v1+json")
    layers = [put(layout, gzip.compress(tar), f"{DOCKER}image.rootfs.diff.tar.gzip")]
    made = {"schemaVersion": 2, "mediaType": kind, "config": config, "layers": layers}
    return [document(layout, made, kind, **named("docker.io/example/plugin:1"))]


@case
def lists_of_docker_in_lists(layout: Layout) -> list[dict[str, Any]]:
    types = (
        f"{DOCKER}distribution.manifest.v2+json",
        f"{DOCKER}container.image.v1+json",
        f"{DOCKER}image.rootfs.diff.tar.zstd",
    )
    kind = f"{DOCKER}distribution.manifest.list.v2+json"
    below = platforms(layout, types=types, pack=zstd_module().compress)
    inner = document(layout, {"schemaVersion": 2, "mediaType": kind, "manifests": below}, kind)
    outer = {"schemaVersion": 2, "mediaType": kind, "manifests": [inner]}
    return [document(layout, outer, kind, **named("docker.io/example/list:1"))]


@case
def one_manifest_at_many_places(layout: Layout) -> list[dict[str, Any]]:
    """In one index, for two platforms and with other annotations, and as an entry of each of two types."""
    top = layout.image("a", platform=True)
    other = top | {"platform": {"os": "linux", "architecture": "arm64"}, "annotations": {"a": "b"}}
    docker = {"mediaType": f"{DOCKER}distribution.manifest.v2+json"}
    return [layout.index(top, top, other, **named("docker.io/example/app:1")), top | tagged("1"), top | docker]


@case
def an_index_that_says_much_of_nothing(layout: Layout) -> list[dict[str, Any]]:
    subject = layout.image("a", **named("docker.io/example/app:1"))
    said = {"annotations": {"empty": ""}, "artifactType": "application/x", "subject": about(subject), "new": [1, 2.50]}
    return [subject, document(layout, {"schemaVersion": 2, "mediaType": INDEX, "manifests": []} | said, INDEX)]


@case
def texts_in_upper_case(layout: Layout) -> list[dict[str, Any]]:
    return [layout.image(text[:1], **tagged(text)) for text in ("Example/App:1", "v1@sha256:abc", "App", "a--b")]
