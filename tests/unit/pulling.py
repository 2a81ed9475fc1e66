"""Images in a fake registry, and a store that they are pulled into."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import orlop
from orlop.model.proxies import NO_PROXIES
from orlop.registry.certificates import HostTrust
from orlop.registry.hosts import Hosts
from orlop.registry.patience import Patience, Waiting
from orlop.registry.registries import Registries
from orlop.registry.transport import HttpTransport
from orlop.testing.registry.fake import FakeRegistry
from orlop.testing.registry.quirks import Quirks
from tests.unit.faked import Pauses, everywhere

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from orlop.registry.credentials import Credentials
    from orlop.service.pull import PullReport
    from tests.unit.layouts import Layout

REPOSITORY = "team/app"


class Keys:
    """A keychain for one user everywhere."""

    def __init__(self, credentials: Credentials) -> None:
        self.credentials = credentials

    def find(self, name: object) -> Credentials:
        del name
        return self.credentials

    def forget(self) -> None:
        """Do nothing."""


def push(registry: FakeRegistry, layout: Layout, top: dict[str, Any], tag: str, repository: str = REPOSITORY) -> str:
    """Put all blobs of a layout into a registry, as blobs and as manifests, and return the digest of its top."""
    for name, content in layout.files.items():
        if name.startswith("blobs/"):
            registry.add_blob(repository, content)
            if content[:1] == b"{":
                document = json.loads(content)
                if "mediaType" in document:
                    registry.add_manifest(repository, content, document["mediaType"])
    raw = layout.files["blobs/" + top["digest"].replace(":", "/")]
    return registry.add_manifest(repository, raw, top["mediaType"], tag=tag)


class Pulled:
    """A store, a fake registry, and what was asked of it."""

    def __init__(self, root: Path, registry: FakeRegistry, registries: Registries, images: orlop.ImageService) -> None:
        self.root = root
        self.registry = registry
        self.registries = registries
        self.images = images
        self.pauses: Pauses = Pauses()

    def name(self, tag: str = "1") -> str:
        mark = "" if tag.startswith("@") else ":"
        return f"{self.registry.authority}/{REPOSITORY}{mark}{tag}"

    def pull(self, tag: str = "1", **more: Any) -> PullReport:
        self.registry.requests.clear()
        return self.images.pull(self.name(tag), registries=self.registries, **more)

    @property
    def asked(self) -> list[str]:
        """Every request since the last pull began: method, and kind of what was asked for."""
        kinds = [next((kind for kind in ("manifests", "blobs", "token") if kind in one.path), one.path) for one in
                 self.registry.requests]  # fmt: skip
        return [f"{one.method} {kind}" for one, kind in zip(self.registry.requests, kinds, strict=True)]

    def sent(self) -> int:
        """Return how many bytes of blobs were sent since the last pull began."""
        return sum(one.sent for one in self.registry.requests if "/blobs/" in one.path or "/objects/" in one.path)

    def quirks(self, **changes: Any) -> None:
        self.registry.quirks = Quirks(**changes)

    def partial(self) -> list[Path]:
        folder = self.root / "partial"
        return sorted(folder.iterdir()) if folder.is_dir() else []


@contextmanager
def pulling(
    folder: Path,
    credentials: Credentials | None = None,
    *,
    users: dict[str, str] | None = None,
    tries: int = 5,
    url: str = "",
    **quirks: Any,
) -> Iterator[Pulled]:
    pauses = Pauses()
    waiting = Waiting(patience=Patience(tries=tries), clock=pauses.clock())
    transport = HttpTransport(HostTrust(), proxies=NO_PROXIES, waiting=waiting, resolve=everywhere)
    keychain = None if credentials is None else Keys(credentials)
    registries = Registries(transport, keychain=keychain, hosts=Hosts(), waiting=waiting)
    root = folder / "root"
    try:
        with FakeRegistry(Quirks(**quirks), users=users) as registry, orlop.open(url or root) as images:
            found = Pulled(root, registry, registries, images)
            found.pauses = pauses
            yield found
    finally:
        transport.close()


def command(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command with its store below a home, and without anybody's files."""
    environment = {"HOME": str(home), "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "ORLOP_ROOT": str(home / "root")}
    argv = [sys.executable, "-m", "orlop", *arguments]
    return subprocess.run(argv, env=environment, capture_output=True, text=True, check=False, timeout=60)
