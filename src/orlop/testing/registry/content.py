"""What a fake registry holds."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field


@dataclass(slots=True)
class Repository:
    """Blobs by digest, manifests with their types by digest, and tags."""

    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def find(self, reference: str) -> str | None:
        """Return the digest that a tag or digest leads to, or None."""
        digest = self.tags.get(reference, reference)
        return digest if digest in self.manifests else None

    def referrers(self, subject: str) -> list[dict[str, object]]:
        """Return descriptors of what refers to a manifest."""
        found: list[dict[str, object]] = []
        for digest, (media_type, raw) in self.manifests.items():
            document = json.loads(raw)
            if (document.get("subject") or {}).get("digest") != subject:
                continue
            entry: dict[str, object] = {"mediaType": media_type, "digest": digest, "size": len(raw)}
            artifact = document.get("artifactType") or (document.get("config") or {}).get("mediaType")
            if artifact:
                entry["artifactType"] = artifact
            if document.get("annotations"):
                entry["annotations"] = document["annotations"]
            found.append(entry)
        return found

    def missing(self, raw: bytes) -> list[str]:
        """Return the digests that a manifest names and that are not there."""
        document = json.loads(raw)
        named = [document["config"]] if "config" in document else []
        blobs = [one["digest"] for one in (*named, *(document.get("layers") or ())) if not one.get("urls")]
        manifests = [one["digest"] for one in document.get("manifests") or ()]
        return [one for one in blobs if one not in self.blobs] + [one for one in manifests if one not in self.manifests]


@dataclass(slots=True)
class Session:
    """An upload under way."""

    repository: str
    received: bytearray = field(default_factory=bytearray)
    chunks: int = 0


def digest_of(content: bytes, like: str = "sha256:") -> str:
    """Return the digest of some bytes by the algorithm of another one."""
    algorithm = like.partition(":")[0]
    return f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"
