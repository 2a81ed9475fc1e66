"""Artifacts for tests: small manifests that are not images, with their blobs in a layout."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.unit.layouts import CONFIG, MANIFEST

if TYPE_CHECKING:
    from tests.unit.layouts import Layout

CHART = "application/vnd.cncf.helm.config.v1+json"
EMPTY = "application/vnd.oci.empty.v1+json"
IN_TOTO = "application/vnd.in-toto+json"
SIGNATURE = "application/vnd.example.signature"


def about(subject: dict[str, Any]) -> dict[str, Any]:
    """Return the descriptor by which a manifest refers to something."""
    return {key: subject[key] for key in ("mediaType", "digest", "size")}


def chart(layout: Layout, content: bytes = b"a chart", **more: Any) -> dict[str, Any]:
    """Add a chart: an artifact whose config says what it is."""
    config = layout.document({"name": content.decode()}, CHART)
    layers = [layout.blob(content, "application/vnd.cncf.helm.chart.content.v1.tar+gzip")]
    return layout.document(
        {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers} | more, MANIFEST
    )


def signature(layout: Layout, subject: dict[str, Any] | None, content: bytes = b"signed") -> dict[str, Any]:
    """Add a signature, which refers to a subject."""
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": SIGNATURE,
        "config": layout.blob(b"{}", EMPTY),
        "layers": [layout.blob(content, "application/octet-stream")],
    }
    return layout.document(document | ({} if subject is None else {"subject": about(subject)}), MANIFEST)


def attestation(layout: Layout, image: dict[str, Any]) -> dict[str, Any]:
    """Add what BuildKit puts beside an image in its index: statements, with a config that looks like an image's."""
    statement = layout.document({"of": image["digest"]}, IN_TOTO)
    config = {
        "architecture": "unknown",
        "os": "unknown",
        "rootfs": {"type": "layers", "diff_ids": [statement["digest"]]},
    }
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": layout.document(config, CONFIG),
        "layers": [statement],
    }
    annotations = {
        "vnd.docker.reference.type": "attestation-manifest",
        "vnd.docker.reference.digest": image["digest"],
    }
    unknown = {"os": "unknown", "architecture": "unknown"}
    return layout.document(document, MANIFEST, platform=unknown, annotations=annotations)


def blobs_of(layout: Layout) -> set[str]:
    """Return the digests of all that a layout has."""
    return {name.removeprefix("blobs/").replace("/", ":") for name in layout.files if name.startswith("blobs/")}
