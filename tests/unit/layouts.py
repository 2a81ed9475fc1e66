"""Small OCI layouts, made in memory: every part can be replaced to make a bad one."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import sqlite3
import tarfile
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

OCI = "application/vnd.oci.image."
MANIFEST = f"{OCI}manifest.v1+json"
INDEX = f"{OCI}index.v1+json"
CONFIG = f"{OCI}config.v1+json"
LAYER = f"{OCI}layer.v1.tar"
NAME = "io.containerd.image.name"
REF = "org.opencontainers.image.ref.name"

Files = dict[str, bytes]


def sha256(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def layer_tar(*names: str) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = 3
            tar.addfile(member, io.BytesIO(b"abc"))
    return out.getvalue()


def packed(files: Files | list[tuple[str, bytes]]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in files.items() if isinstance(files, dict) else files:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return out.getvalue()


def unpacked(files: Files, folder: Path) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


@dataclass
class Layout:
    """An OCI layout under way: what is added gives the descriptor that names it."""

    files: Files = field(default_factory=lambda: {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}'})

    def blob(self, content: bytes, media_type: str, **more: Any) -> dict[str, Any]:
        digest = sha256(content)
        self.files["blobs/" + digest.replace(":", "/")] = content
        return {"mediaType": media_type, "digest": digest, "size": len(content)} | more

    def document(self, value: object, media_type: str, **more: Any) -> dict[str, Any]:
        return self.blob(json.dumps(value).encode(), media_type, **more)

    def image(
        self,
        *names: str,
        architecture: str = "amd64",
        variant: str = "",
        compress: bool = True,
        platform: bool = False,
        changes: dict[str, Any] | None = None,
        **more: Any,
    ) -> dict[str, Any]:
        """Add an image with a layer for each file name, and return the descriptor of its manifest."""
        tars = [layer_tar(name) for name in names]
        config: dict[str, Any] = {"architecture": architecture, "os": "linux"}
        if variant:
            config["variant"] = variant
        config["rootfs"] = {"type": "layers", "diff_ids": [sha256(tar) for tar in tars]}
        manifest: dict[str, Any] = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": self.document(config, CONFIG),
            "layers": [
                self.blob(gzip.compress(tar, mtime=0), f"{LAYER}+gzip") if compress else self.blob(tar, LAYER)
                for tar in tars
            ],
        } | (changes or {})
        if platform:
            more["platform"] = {"os": "linux", "architecture": architecture} | ({"variant": variant} if variant else {})
        return self.document(manifest, manifest["mediaType"] or MANIFEST, **more)

    def index(self, *descriptors: dict[str, Any], **more: Any) -> dict[str, Any]:
        return self.document({"schemaVersion": 2, "mediaType": INDEX, "manifests": descriptors}, INDEX, **more)

    def top(self, *descriptors: dict[str, Any]) -> Layout:
        self.files["index.json"] = json.dumps({"schemaVersion": 2, "manifests": descriptors}).encode()
        return self

    def pack(self) -> bytes:
        return packed(self.files)


def named(name: str) -> dict[str, Any]:
    return {"annotations": {NAME: name}}


def tagged(name: str) -> dict[str, Any]:
    return {"annotations": {REF: name}}


def everything(root: Path) -> dict[str, bytes]:
    """All of a store that matters: files by content, rows as text."""
    found = {
        str(path.relative_to(root)): path.read_bytes()
        for folder in ("blobs", "toc", "ingest", "trash")
        for path in (root / folder).rglob("*")
        if path.is_file()
    }
    with closing(sqlite3.connect(root / "metadata.db")) as connection, connection:
        found["rows"] = "\n".join(connection.iterdump()).encode()
    connection.close()
    return found
