"""The directory of a registry, as distribution 2.8 writes it (compared with Debian's in tests/interop)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.layouts import Layout


class Directory:
    """A registry's directory under way."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.v2 = root / "docker/registry/v2"
        (self.v2 / "repositories").mkdir(parents=True)

    def blob(self, digest: str) -> Path:
        algorithm, digits = digest.split(":")
        return self.v2 / "blobs" / algorithm / digits[:2] / digits / "data"

    def link(self, place: Path, digest: str) -> None:
        place.mkdir(parents=True, exist_ok=True)
        (place / "link").write_text(digest)

    def repository(self, name: str) -> Path:
        return self.v2 / "repositories" / name

    def push(self, layout: Layout, repository: str, tags: dict[str, dict[str, Any]]) -> Directory:
        """Put all of a layout into a repository, and its tops under their tags."""
        manifests = self.repository(repository) / "_manifests"
        for name, content in layout.files.items():
            if not name.startswith("blobs/"):
                continue
            digest = name.removeprefix("blobs/").replace("/", ":")
            path = self.blob(digest)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            is_manifest = content[:1] == b"{" and ("manifests" in (value := json.loads(content)) or "layers" in value)
            if is_manifest:
                self.link(manifests / "revisions" / digest.replace(":", "/"), digest)
            else:
                self.link(self.repository(repository) / "_layers" / digest.replace(":", "/"), digest)
        for tag, top in tags.items():
            self.link(manifests / "tags" / tag / "current", top["digest"])
            self.link(manifests / "tags" / tag / "index" / top["digest"].replace(":", "/"), top["digest"])
        return self

    def forget(self, repository: str, digest: str) -> None:
        """Delete a manifest as the registry does: its revision's link goes."""
        revisions = self.repository(repository) / "_manifests" / "revisions"
        (revisions / digest.replace(":", "/") / "link").unlink()
