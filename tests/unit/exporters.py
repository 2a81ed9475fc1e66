"""Archives made as other programs make them: their order of members, names, types and quirks, from their sources.

Each maker gives members of a tar in order, and the names that the image must get. `None` as content is a folder, a text
a symbolic link.
"""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.unit.layouts import CONFIG, INDEX, MANIFEST, NAME, REF, Layout, layer_tar, sha256

if TYPE_CHECKING:
    from collections.abc import Callable

Members = list[tuple[str, bytes | str | None]]
BOTTOM, TOP = layer_tar("bottom"), layer_tar("top")
LAYERS = (BOTTOM, TOP)
ROOTFS = {"type": "layers", "diff_ids": [sha256(tar) for tar in LAYERS]}
CONFIG_JSON = json.dumps({"architecture": "amd64", "os": "linux", "rootfs": ROOTFS}).encode()
ID = sha256(CONFIG_JSON)
HEX = ID.removeprefix("sha256:")
TAG = "example/app:1.0"
PLATFORM = {"architecture": "amd64", "os": "linux"}
STATEMENT = "application/vnd.in-toto+json"


class Made(NamedTuple):
    """An archive, the tags of its image, and whether it gives a name by digest."""

    members: Members
    tags: tuple[str, ...] = (TAG,)
    by_digest: bool = False


def packed(tar: bytes) -> bytes:
    return gzip.compress(tar, mtime=0)


def bare(content: bytes) -> str:
    return sha256(content).removeprefix("sha256:")


def list_of(config: str, layers: list[str], tags: list[str] | None = None, **more: Any) -> bytes:
    names = [TAG] if tags is None else tags
    return json.dumps([{"Config": config, "RepoTags": names, "Layers": layers} | more]).encode()


def crane_tarball() -> Made:
    """go-containerregistry's tarballs, of crane, ko and kaniko: the config's name is its digest; no folders."""
    files = [f"{bare(packed(tar))}.tar.gz" for tar in LAYERS]
    members: Members = [(ID, CONFIG_JSON), *zip(files, map(packed, LAYERS), strict=True)]
    return Made([*members, ("manifest.json", list_of(ID, files, [f"index.docker.io/{TAG}"]))])


def jib() -> Made:
    """Layers first, the config under a plain name."""
    files = [f"{bare(packed(tar))}.tar.gz" for tar in LAYERS]
    members: Members = [*zip(files, map(packed, LAYERS), strict=True), ("config.json", CONFIG_JSON)]
    return Made([*members, ("manifest.json", list_of("config.json", files))])


def nix() -> Made:
    """dockerTools: layers by their checksum, in folders of their own."""
    members: Members = []
    for tar in LAYERS:
        members += [(f"{bare(tar)}/", None), (f"{bare(tar)}/layer.tar", tar)]
    layers = [f"{bare(tar)}/layer.tar" for tar in LAYERS]
    return Made([*members, (f"{HEX}.json", CONFIG_JSON), ("manifest.json", list_of(f"{HEX}.json", layers))])


def packed_folder() -> Made:
    """What a shell packs with `tar -C dir .`, as dockerTools' older images and rules_docker: `./` everywhere."""
    members: Members = [("./", None)]
    for tar in LAYERS:
        folder = f"./{bare(tar)}/"
        members += [(folder, None), (f"{folder}VERSION", b"1.0"), (f"{folder}json", b"{}"), (f"{folder}layer.tar", tar)]
    layers = [f"{bare(tar)}/layer.tar" for tar in LAYERS]
    members += [(f"./{HEX}.json", CONFIG_JSON), ("./manifest.json", list_of(f"{HEX}.json", layers))]
    return Made([*members, ("./repositories", json.dumps({"example/app": {"1.0": bare(TOP)}}).encode())])


def podman_docker() -> Made:
    """containers/image: layers by diff ID, links from the folders of version 1."""
    members: Members = [(f"{bare(tar)}.tar", tar) for tar in LAYERS]
    for number, tar in enumerate(LAYERS):
        folder = f"{number:064x}"
        members += [(f"{folder}/VERSION", b"1.0"), (f"{folder}/layer.tar", f"../{bare(tar)}.tar")]
        members += [(f"{folder}/json", b'{"id":"%s"}' % folder.encode())]
    layers = [f"{bare(tar)}.tar" for tar in LAYERS]
    members += [(f"{HEX}.json", CONFIG_JSON), ("repositories", b'{"example/app":{"1.0":"%064x"}}' % 1)]
    return Made([*members, ("manifest.json", list_of(f"{HEX}.json", layers))])


def image(
    layout: Layout, *, schema: dict[str, Any] | None = None, compress: bool = True, **more: Any
) -> dict[str, Any]:
    """Add the image to a layout, under a manifest that begins as is said."""
    layers = [
        layout.blob(packed(tar), "application/vnd.oci.image.layer.v1.tar+gzip")
        if compress
        else layout.blob(tar, "application/vnd.oci.image.layer.v1.tar")
        for tar in LAYERS
    ]
    head = {"schemaVersion": 2, "mediaType": MANIFEST} if schema is None else schema
    return layout.document(head | {"config": layout.blob(CONFIG_JSON, CONFIG), "layers": layers}, MANIFEST, **more)


def of(layout: Layout, *tops: dict[str, Any], folders: bool = False, **more: Any) -> Members:
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": list(tops)}
    files = layout.files | {"index.json": json.dumps(index, indent=3).encode()} | more
    before: Members = [("blobs/", None), ("blobs/sha256/", None)] if folders else []
    return [*before, *sorted(files.items())]


def beside(top: dict[str, Any], layout: Layout, **more: Any) -> bytes:
    """The list that lies beside a layout."""
    document = json.loads(layout.files["blobs/" + top["digest"].replace(":", "/")])
    layers = ["blobs/" + layer["digest"].replace(":", "/") for layer in document["layers"]]
    return list_of(f"blobs/sha256/{HEX}", layers, **more)


NAMES = {NAME: f"docker.io/{TAG}", REF: "1.0"}


def containerd() -> Made:
    """ctr, nerdctl, and Engine with containerd storage."""
    layout = Layout()
    top = image(layout, annotations=NAMES | {"containerd.io/distribution.source.docker.io": "example/app"})
    return Made([*of(layout, top, folders=True), ("manifest.json", beside(top, layout))], by_digest=True)


def graph_drivers() -> Made:
    """Engine 25 and later with graph drivers: plain layers, what they come from, and names in three places."""
    layout = Layout()
    top = image(layout, compress=False, annotations=NAMES)
    layout.blob(b'{"id":"0"}', "")
    sources = {sha256(tar): {"mediaType": "", "size": len(tar), "digest": sha256(tar)} for tar in LAYERS}
    names = json.dumps({"example/app": {"1.0": bare(TOP)}}).encode()
    members = of(layout, top, folders=True)
    return Made([*members, ("manifest.json", beside(top, layout, LayerSources=sources)), ("repositories", names)])


def engine_tests(**schema: Any) -> Made:
    """The images of Engine's own tests: Go's structures with their zero values."""
    layout = Layout()
    top = image(layout, schema={"mediaType": MANIFEST} | schema, annotations=NAMES)
    return Made([*of(layout, top), ("manifest.json", beside(top, layout))], by_digest=True)


def no_schema_anywhere() -> Made:
    layout = Layout()
    top = image(layout, schema={}, annotations=NAMES)
    return Made([*layout.files.items(), ("index.json", json.dumps({"manifests": [top]}).encode())], by_digest=True)


def attestation(layout: Layout, subject: dict[str, Any], *, artifact: bool) -> dict[str, Any]:
    """BuildKit's, in its older form with the config of an image, or as an artifact of its own."""
    statement = layout.document({"_type": "https://in-toto.io/Statement/v0.1"}, STATEMENT)
    rootfs = {"type": "layers", "diff_ids": [statement["digest"]]}
    config = layout.document({"architecture": "unknown", "os": "unknown", "rootfs": rootfs}, CONFIG)
    document = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [statement]}
    if artifact:
        document["config"] = layout.blob(b"{}", "application/vnd.oci.empty.v1+json", data="e30=")
        document["artifactType"] = "application/vnd.docker.attestation.manifest.v1+json"
        document["subject"] = {key: subject[key] for key in ("mediaType", "digest", "size")}
    return layout.document(document, MANIFEST)


def buildkit(*, artifact: bool) -> Made:
    """type=oci with attestations: an index, named in full, no list beside."""
    layout = Layout()
    child = image(layout, platform=PLATFORM)
    about = attestation(layout, child, artifact=artifact) | {
        "platform": {"architecture": "unknown", "os": "unknown"},
        "annotations": {
            "vnd.docker.reference.digest": child["digest"],
            "vnd.docker.reference.type": "attestation-manifest",
        },
    }
    created = {"org.opencontainers.image.created": "2026-01-01T00:00:00Z"}
    return Made(of(layout, layout.index(child, about, annotations=NAMES | created), folders=True), by_digest=True)


def rewritten_attestation() -> Made:
    """The same, after a program that copies descriptors without their platform and annotations."""
    layout = Layout()
    child = image(layout)
    index = layout.index(child, attestation(layout, child, artifact=False), annotations=NAMES)
    return Made(of(layout, index), by_digest=True)


def crane_layout() -> Made:
    """Full names in the annotation that is for tags, and an artifact type that is that of an image's config."""
    layout = Layout()
    return Made(
        of(layout, image(layout, annotations={REF: f"index.docker.io/{TAG}"}, artifactType=CONFIG)), by_digest=True
    )


def ko_layout() -> Made:
    layout = Layout()
    return Made(of(layout, image(layout)), tags=())


def regctl() -> Made:
    """An image of several platforms from a layout: no list beside, and the layout's own address as a name."""
    layout = Layout()
    index = layout.index(image(layout, platform=PLATFORM), annotations={NAME: "ocidir://app:1.0", REF: "1.0"})
    return Made(of(layout, index), tags=())


def cosign() -> Made:
    """The kinds of its entries stand in annotations; the signature has the config of an image."""
    layout = Layout()
    top = image(layout, annotations={"kind": "dev.cosignproject.cosign/image"})
    payload = layout.blob(b'{"critical":{}}', "application/vnd.dev.cosign.simplesigning.v1+json")
    config = layout.document(
        {"architecture": "", "rootfs": {"type": "layers", "diff_ids": [payload["digest"]]}}, CONFIG
    )
    signature = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [payload]}
    sigs = layout.document(signature, MANIFEST, annotations={"kind": "dev.cosignproject.cosign/sigs"})
    return Made(of(layout, top, sigs), tags=())


def skopeo_layout() -> Made:
    """containers/image: no platform, no media type in index.json, the whole name."""
    layout = Layout()
    top = image(layout, annotations={REF: f"docker.io/{TAG}"})
    index = json.dumps({"schemaVersion": 2, "manifests": [top]}).encode()
    return Made([*layout.files.items(), ("index.json", index)], by_digest=True)


def kubernetes() -> Made:
    """containerd's names of one image for Kubernetes, in both lists."""
    layout = Layout()
    top = image(layout)
    digest = top["digest"]
    texts = [f"docker.io/{TAG}", f"docker.io/example/app@{digest}", ID]
    tops = [top | {"annotations": {NAME: text, REF: text.rpartition(":")[2]}} for text in texts]
    return Made([*of(layout, *tops), ("manifest.json", beside(top, layout, tags=texts))], by_digest=True)


MAKERS: dict[str, Callable[[], Made]] = {
    "crane, ko and kaniko, a tarball": crane_tarball,
    "jib": jib,
    "nix": nix,
    "nix and rules_docker, a folder that was packed": packed_folder,
    "podman, skopeo and buildah, a docker archive": podman_docker,
    "podman, skopeo and buildah, a layout": skopeo_layout,
    "containerd": containerd,
    "Engine 25 with graph drivers": graph_drivers,
    "Engine's tests, a schema version of zero": lambda: engine_tests(schemaVersion=0),
    "Engine's tests, no schema version": engine_tests,
    "no schema version and no type anywhere": no_schema_anywhere,
    "BuildKit, attestations in the older form": lambda: buildkit(artifact=False),
    "BuildKit, attestations as artifacts": lambda: buildkit(artifact=True),
    "an attestation without platform and annotation": rewritten_attestation,
    "crane and rules_oci, a layout": crane_layout,
    "ko, a layout": ko_layout,
    "regctl": regctl,
    "cosign": cosign,
    "containerd for Kubernetes": kubernetes,
}
