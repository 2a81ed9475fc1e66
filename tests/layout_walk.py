"""What an OCI layout in a directory holds, read by other means than orlop's own: every descriptor, and its bytes."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


@dataclass
class Walked:
    """The entries of ``index.json``, the descriptors below them by digest, and the digests that are not there."""

    index: dict[str, Any]
    found: dict[str, tuple[str, int]] = field(default_factory=dict)
    absent: set[str] = field(default_factory=set)

    @property
    def entries(self) -> list[dict[str, Any]]:
        entries: list[dict[str, Any]] = self.index["manifests"]
        return entries

    @property
    def tops(self) -> list[str]:
        return [entry["digest"] for entry in self.entries]

    @property
    def names(self) -> dict[str, str]:
        """What each whole name leads to."""
        annotated = [(entry.get("annotations", {}), entry["digest"]) for entry in self.entries]
        return {
            notes["io.containerd.image.name"]: digest
            for notes, digest in annotated
            if "io.containerd.image.name" in notes
        }


def walked(folder: Path) -> Walked:
    """Follow all that a layout names, and check every blob against its descriptor."""
    assert json.loads((folder / "oci-layout").read_bytes())["imageLayoutVersion"] == "1.0.0"
    result = Walked(json.loads((folder / "index.json").read_bytes()))
    waiting = list(result.entries)
    while waiting:
        descriptor = waiting.pop()
        digest = descriptor["digest"]
        if digest in result.found or digest in result.absent:
            continue
        algorithm, hexadecimal = digest.split(":")
        path = folder / "blobs" / algorithm / hexadecimal
        if not path.exists():
            result.absent.add(digest)
            continue
        raw = path.read_bytes()
        assert (hashlib.new(algorithm, raw).hexdigest(), len(raw)) == (hexadecimal, descriptor["size"])
        result.found[digest] = (descriptor["mediaType"], descriptor["size"])
        if "manifest" in descriptor["mediaType"] or "index" in descriptor["mediaType"]:
            document = json.loads(raw)
            waiting += document.get("manifests") or []
            waiting += [document["config"], *(document.get("layers") or [])] if "config" in document else []
    return result


def files(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
