"""Registries with tags, and syncs between them, for tests."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from orlop.service.sync.plan import SyncPlan

if TYPE_CHECKING:
    from orlop.service.sync.report import SyncReport
    from orlop.testing.registry.fake import FakeRegistry
    from tests.unit.pushed import Place

CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"


def descriptor(kind: str, digest: str, size: int, **more: Any) -> dict[str, Any]:
    return {"mediaType": kind, "digest": digest, "size": size} | more


def add_image(
    there: FakeRegistry, repository: str, tag: str | None, text: str, *, arch: str = "amd64", **more: Any
) -> str:
    """Put a small image into a registry, which differs by a text, and return its digest."""
    config = json.dumps({"architecture": arch, "os": "linux", "text": text}).encode()
    layer = f"layer {text}".encode() * 100
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": descriptor(CONFIG_TYPE, there.add_blob(repository, config), len(config)),
        "layers": [descriptor(LAYER_TYPE, there.add_blob(repository, layer), len(layer))],
    }
    raw = json.dumps(document | more).encode()
    return there.add_manifest(repository, raw, MANIFEST, tag=tag)


def add_index(there: FakeRegistry, repository: str, tag: str, *archs: str, text: str = "") -> str:
    """Put an index of images for some architectures into a registry, and return its digest."""
    children = []
    for arch in archs:
        digest = add_image(there, repository, None, f"{text}{arch}", arch=arch)
        size = len(there.repository(repository).manifests[digest][1])
        children.append(descriptor(MANIFEST, digest, size, platform={"os": "linux", "architecture": arch}))
    raw = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": children}).encode()
    return there.add_manifest(repository, raw, INDEX, tag=tag)


def sync(place: Place, text: str, **options: Any) -> SyncReport:
    plan = SyncPlan.parse(text)
    return place.images.sync(plan, place.registries, **options)


def actions(report: SyncReport) -> dict[str, str]:
    """Return what became of each tag, by the end of its name at the target."""
    return {one.target.rpartition("/")[2].rpartition(":")[2]: one.action.value for one in report.tags}


def entry(source: str, target: str, **more: Any) -> str:
    lines = [f"source = {json.dumps(source)}", f"target = {json.dumps(target)}"]
    lines += [f"{key.replace('_', '-')} = {json.dumps(value)}" for key, value in more.items()]
    return "[[sync]]\n" + "\n".join(lines) + "\n"
