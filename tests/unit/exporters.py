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
OTHER_JSON = CONFIG_JSON.replace(b"amd64", b"arm64")
OTHER = sha256(OTHER_JSON)
HEX = ID.removeprefix("sha256:")
TAG = "example/app:1.0"
PLATFORM = {"architecture": "amd64", "os": "linux"}
ARM = {"architecture": "arm64", "os": "linux"}
STATEMENT = "application/vnd.in-toto+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
TYPES = {
    "oci": {
        "manifest": MANIFEST,
        "config": CONFIG,
        "layer": "application/vnd.oci.image.layer.v1.tar",
        "gzip": "application/vnd.oci.image.layer.v1.tar+gzip",
    },
    "docker": {
        "manifest": DOCKER_MANIFEST,
        "config": "application/vnd.docker.container.image.v1+json",
        "layer": "application/vnd.docker.image.rootfs.diff.tar",
        "gzip": "application/vnd.docker.image.rootfs.diff.tar.gzip",
    },
}


class Made(NamedTuple):
    """An archive, the tags of its image, and whether it gives a name by digest.

    ``more`` are its other images with their tags, where it has any.
    """

    members: Members
    tags: tuple[str, ...] = (TAG,)
    by_digest: bool = False
    more: tuple[tuple[str, tuple[str, ...]], ...] = ()


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


def apko() -> Made:
    """A tarball of all platforms, each under a tag of its own; manifests and their index follow, in no layout."""
    files = [f"{bare(packed(tar))}.tar.gz" for tar in LAYERS]
    blobs: Members = [*zip(files, map(packed, LAYERS), strict=True)]
    configs: Members = [(ID, CONFIG_JSON), (OTHER, OTHER_JSON)]
    tags = [[f"index.docker.io/{TAG}-amd64"], [f"index.docker.io/{TAG}-arm64"]]
    lists = [json.loads(list_of(name, files, names))[0] for (name, _), names in zip(configs, tags, strict=True)]
    layout = Layout()
    images = [image(layout, config=raw, platform=of_) for raw, of_ in ((CONFIG_JSON, PLATFORM), (OTHER_JSON, ARM))]
    after: Members = [(top["digest"], layout.files["blobs/" + top["digest"].replace(":", "/")]) for top in images]
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": images}
    members = [*configs, *blobs, ("manifest.json", json.dumps(lists).encode()), *after]
    return Made(
        [*members, ("index.json", json.dumps(index).encode())],
        tags=(f"{TAG}-amd64",),
        more=((OTHER, (f"{TAG}-arm64",)),),
    )


def crane_legacy() -> Made:
    """go-containerregistry's older form: plain layers in folders of version 1, without entries for the folders."""
    members: Members = [(f"{HEX}.json", CONFIG_JSON)]
    for number, tar in enumerate(LAYERS):
        folder = f"{number:064x}"
        members += [(f"{folder}/layer.tar", tar), (f"{folder}/json", b"{}"), (f"{folder}/VERSION", b"1.0")]
    layers = [f"{number:064x}/layer.tar" for number in range(len(LAYERS))]
    names = b'{"example/app":{"1.0":"%064x"}}' % 1
    return Made([*members, ("manifest.json", list_of(f"{HEX}.json", layers)), ("repositories", names)])


def rules_oci() -> Made:
    """The list first, then the folders of a layout in which layers have an ending."""
    blobs: Members = [("blobs/", None), ("blobs/sha256/", None), (f"blobs/sha256/{HEX}", CONFIG_JSON)]
    files = [f"blobs/sha256/{bare(packed(tar))}.tar.gz" for tar in LAYERS]
    blobs += zip(files, map(packed, LAYERS), strict=True)
    return Made([("manifest.json", list_of(f"blobs/sha256/{HEX}", files)), *blobs])


def pack(blank: int = 0) -> Made:
    """Buildpacks: layers under absolute names, and empty files for those that the engine has."""
    members: Members = [(f"{HEX}.json", CONFIG_JSON)]
    for number, tar in enumerate(LAYERS):
        members.append((f"blank_{number}", b"") if number < blank else (f"/{sha256(tar)}.tar", tar))
    files = [name for name, _ in members[1:]]
    return Made([*members, ("manifest.json", list_of(f"{HEX}.json", files, [f"index.docker.io/{TAG}"]))])


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


def podman_multi() -> Made:
    """The same of several images: a layer that they share is there once."""
    first = podman_docker().members
    layers = [f"{bare(tar)}.tar" for tar in LAYERS]
    name = f"{OTHER.removeprefix('sha256:')}.json"
    (listed,) = json.loads(list_of(f"{HEX}.json", layers, [f"docker.io/{TAG}", "localhost/app:stable"]))
    (other,) = json.loads(list_of(name, layers, ["localhost/app:2"]))
    members = [member for member in first if member[0] not in {"manifest.json", "repositories"}]
    lists: Members = [(name, OTHER_JSON), ("repositories", b'{"localhost/app":{"2":"%064x"}}' % 1)]
    return Made(
        [*members, *lists, ("manifest.json", json.dumps([listed, other]).encode())],
        tags=(TAG, "localhost/app:stable"),
        more=((OTHER, ("localhost/app:2",)),),
    )


def skopeo_dir() -> Made:
    """A manifest beside files by digest, and the version of this form."""
    layout = Layout()
    top = image(layout, schema={"schemaVersion": 2, "mediaType": DOCKER_MANIFEST}, kind="docker")
    files = {name.rpartition("/")[2]: content for name, content in layout.files.items() if name != "oci-layout"}
    manifest = files.pop(top["digest"].removeprefix("sha256:"))
    version = b"Directory Transport Version: 1.1\n"
    return Made([("version", version), *files.items(), ("manifest.json", manifest)], tags=())


def image(
    layout: Layout,
    *,
    schema: dict[str, Any] | None = None,
    compress: bool = True,
    config: bytes = CONFIG_JSON,
    kind: str = "oci",
    **more: Any,
) -> dict[str, Any]:
    """Add the image to a layout, under a manifest that begins as is said, with media types of a kind."""
    types = TYPES[kind]
    layers = [
        layout.blob(packed(tar), types["gzip"]) if compress else layout.blob(tar, types["layer"]) for tar in LAYERS
    ]
    head = {"schemaVersion": 2, "mediaType": types["manifest"]} if schema is None else schema
    document = head | {"config": layout.blob(config, types["config"]), "layers": layers}
    return layout.document(document, types["manifest"], **more)


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


def containerd_pure() -> Made:
    """The same without the list beside."""
    layout = Layout()
    return Made(of(layout, image(layout, annotations=NAMES), folders=True), by_digest=True)


def containerd_all() -> Made:
    """All platforms of an image: the list names the one that fits the machine best."""
    layout = Layout()
    child, other = image(layout, platform=PLATFORM), image(layout, config=OTHER_JSON, platform=ARM)
    top = layout.index(child, other, annotations=NAMES)
    members = [*of(layout, top, folders=True), ("manifest.json", beside(child, layout))]
    return Made(members, by_digest=True, more=((OTHER, ()),))


def containerd_platform() -> Made:
    """One platform of an image: the index of all, the content of one."""
    layout = Layout()
    child, other = image(layout, platform=PLATFORM), image(layout, config=OTHER_JSON, platform=ARM)
    top = layout.index(child, other, annotations=NAMES)
    layout.files.pop("blobs/" + other["digest"].replace(":", "/"))
    layout.files.pop("blobs/" + OTHER.replace(":", "/"))
    return Made([*of(layout, top, folders=True), ("manifest.json", beside(child, layout))], by_digest=True)


def containerd_artifacts() -> Made:
    """An image and a chart: both lists name both, since containerd keeps whatever it is given."""
    layout = Layout()
    top = image(layout, annotations=NAMES)
    config = layout.blob(b'{"name":"chart"}', "application/vnd.cncf.helm.config.v1+json")
    content = layout.blob(packed(TOP), "application/vnd.cncf.helm.chart.content.v1.tar+gzip")
    chart = {"schemaVersion": 2, "config": config, "layers": [content]}
    other = layout.document(chart, MANIFEST, annotations={NAME: "docker.io/example/chart:1", REF: "1"})
    blobs = [part["digest"].replace(":", "/") for part in (config, content)]
    (listed,) = json.loads(beside(top, layout))
    (second,) = json.loads(list_of(f"blobs/{blobs[0]}", [f"blobs/{blobs[1]}"], ["example/chart:1"]))
    lists = json.dumps([second, listed]).encode()
    return Made([*of(layout, other, top, folders=True), ("manifest.json", lists)], by_digest=True)


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


def buildkit_docker() -> Made:
    """type=docker: one platform, whose descriptor says it, and the list beside."""
    layout = Layout()
    top = image(layout, annotations=NAMES, platform=PLATFORM, kind="docker")
    return Made([*of(layout, top, folders=True), ("manifest.json", beside(top, layout))], by_digest=True)


def dagger() -> Made:
    """BuildKit's layout in Docker's media types, without a name, of several platforms."""
    layout = Layout()
    children = [
        image(layout, platform=PLATFORM, kind="docker"),
        image(layout, config=OTHER_JSON, platform=ARM, kind="docker"),
    ]
    top = layout.document({"schemaVersion": 2, "mediaType": DOCKER_LIST, "manifests": children}, DOCKER_LIST)
    return Made(of(layout, top, folders=True), tags=(), more=((OTHER, ()),))


def oras() -> Made:
    """A copy into a layout: an index under a tag, and its children once more, without names."""
    layout = Layout()
    children = [image(layout, platform=PLATFORM), image(layout, config=OTHER_JSON, platform=ARM)]
    plain = [{key: child[key] for key in ("mediaType", "digest", "size")} for child in children]
    top = layout.index(*children, annotations={REF: "1.0"})
    return Made(of(layout, *plain, top), tags=(), more=((OTHER, ()),))


def apptainer() -> Made:
    """Its cache: a layout by containers/image, in which images are called by a digest without its algorithm."""
    layout = Layout()
    return Made(of(layout, image(layout, annotations={REF: "a" * 64})), tags=())


def umoci() -> Made:
    """Two tags of one image, without a platform."""
    layout = Layout()
    top = image(layout)
    return Made(of(layout, *(top | {"annotations": {REF: tag}} for tag in ("1.0", "latest"))), tags=())


def flat() -> Made:
    """Images of two platforms side by side under one name, as scripts that use `skopeo copy` in turn leave them."""
    layout = Layout()
    tops = [image(layout, config=OTHER_JSON, annotations=NAMES), image(layout, annotations=NAMES, platform=PLATFORM)]
    return Made(of(layout, *tops), by_digest=True, more=((OTHER, ()),))


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
    "crane, ko, kaniko, minikube, a tarball": crane_tarball,
    "crane, the legacy form": crane_legacy,
    "apko, a tarball of several platforms": apko,
    "rules_oci, a tarball": rules_oci,
    "pack": pack,
    "jib": jib,
    "nix": nix,
    "nix and rules_docker, a folder that was packed": packed_folder,
    "podman, skopeo and buildah, a docker archive": podman_docker,
    "podman, skopeo and buildah, a layout": skopeo_layout,
    "podman, several images": podman_multi,
    "skopeo, a directory": skopeo_dir,
    "containerd (ctr, nerdctl, img, kind)": containerd,
    "containerd without the list, and img as oci": containerd_pure,
    "containerd, all platforms": containerd_all,
    "containerd, one of several platforms": containerd_platform,
    "containerd, an image and a chart": containerd_artifacts,
    "BuildKit for docker, and earthly": buildkit_docker,
    "dagger": dagger,
    "oras": oras,
    "apptainer's cache": apptainer,
    "umoci": umoci,
    "two platforms under one name": flat,
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
