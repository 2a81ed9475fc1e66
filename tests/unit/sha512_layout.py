"""A layout whose layers and blobs are named by sha512: what harnesses and tests of this algorithm share."""

from __future__ import annotations

import gzip
import hashlib
import json
from typing import Any

from tests.unit.layouts import LAYER, MANIFEST, Layout, layer_tar, named, sha256

IMAGE, THING = "docker.io/example/app:1", "docker.io/example/thing:1"
NOISE = bytes(range(256)) * 9000


def by_sha512(made: Layout, raw: bytes, media_type: str) -> dict[str, Any]:
    digest = f"sha512:{hashlib.sha512(raw).hexdigest()}"
    made.files["blobs/" + digest.replace(":", "/")] = raw
    return {"mediaType": media_type, "digest": digest, "size": len(raw)}


def layout(*, compress: bool = True) -> Layout:
    """An image with one layer of each algorithm, and an artifact with a blob by sha512."""
    made = Layout()
    first, second = layer_tar("a"), layer_tar("b")
    packed = gzip.compress(second, mtime=0) if compress else second
    kind = f"{LAYER}+gzip" if compress else LAYER
    diff_ids = [sha256(first), sha256(second)]
    config = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": diff_ids}}
    image = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": made.document(config, "application/vnd.oci.image.config.v1+json"),
        "layers": [made.blob(first, LAYER), by_sha512(made, packed, kind)],
    }
    thing = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": "application/x",
        "config": by_sha512(made, b"{}", "application/vnd.oci.empty.v1+json"),
        "layers": [by_sha512(made, NOISE, "application/x")],
    }
    top = by_sha512(made, json.dumps(image).encode(), MANIFEST) | named(IMAGE)
    return made.top(top, made.document(thing, MANIFEST) | named(THING))
