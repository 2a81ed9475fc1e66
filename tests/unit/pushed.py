"""Stores and fake registries for tests of what goes from one to the other."""

from __future__ import annotations

import io
import json
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import orlop
from orlop.registry.certificates import HostTrust
from orlop.registry.patience import Patience, Waiting
from orlop.registry.registries import Registries
from orlop.registry.transport import HttpTransport
from orlop.testing.registry.fake import FakeRegistry
from orlop.testing.registry.quirks import Quirks
from tests.unit.faked import Pauses
from tests.unit.layouts import Layout, layer_tar, named

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from orlop.registry.credentials import Keychain
    from orlop.registry.hosts import Hosts


@contextmanager
def reached(
    *, keychain: Keychain | None = None, patience: Patience | None = None, hosts: Hosts | None = None
) -> Iterator[Registries]:
    """Registries that are reached without pauses, and over plain HTTP."""
    waiting = Waiting(patience=patience or Patience(), clock=Pauses().clock())
    transport = HttpTransport(HostTrust(), waiting=waiting)
    try:
        yield Registries(transport, keychain=keychain, hosts=hosts, waiting=waiting)
    finally:
        transport.close()


class Place:
    """A store, a fake registry, and what reaches it."""

    def __init__(self, images: orlop.ImageService, there: FakeRegistry, registries: Registries) -> None:
        self.images = images
        self.there = there
        self.registries = registries

    def name(self, rest: str) -> str:
        return f"{self.there.authority}/{rest}"

    def load(self, layout: Layout) -> None:
        self.images.load(io.BytesIO(layout.pack()))

    def push(self, *names: str, **options: Any) -> Any:
        return self.images.push([self.name(one) for one in names], self.registries, **options)

    def quirks(self, **changes: Any) -> None:
        self.there.quirks = Quirks(**changes)

    def asked(self) -> list[str]:
        """What was asked since it was last asked for: method and path."""
        found = [f"{one.method} {one.path}" for one in self.there.requests]
        self.there.requests.clear()
        return found


@contextmanager
def placed(root: Path, *, users: dict[str, str] | None = None, keychain: Any = None, **quirks: Any) -> Iterator[Place]:
    with (
        FakeRegistry(Quirks(**quirks), users=users) as there,
        reached(keychain=keychain) as registries,
        orlop.open(root) as images,
    ):
        yield Place(images, there, registries)


def simple(name: str, *files: str, **options: Any) -> Layout:
    """A layout of one image with a layer for each file."""
    layout = Layout()
    return layout.top(layout.image(*files, **named(name), **options))


def large(name: str, size: int) -> Layout:
    """A layout of one image with one uncompressed layer of about so many bytes that cannot be compressed."""
    import tarfile

    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        member = tarfile.TarInfo("noise")
        member.size = size
        tar.addfile(member, io.BytesIO(os.urandom(size)))
    layout, tar_bytes = Layout(), out.getvalue()
    from tests.unit.layouts import CONFIG, LAYER, MANIFEST, sha256

    config = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [sha256(tar_bytes)]}}
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": layout.document(config, CONFIG),
        "layers": [layout.blob(tar_bytes, LAYER)],
    }
    return layout.top(layout.document(manifest, MANIFEST, **named(name)))


def again(size: int) -> float:
    """How many bytes may be sent again after a break at half of a layer: half of it, one piece, and what is small."""
    return size / 2 + (20 << 20) + (64 << 10)


def top_digest(layout: Layout) -> str:
    return str(json.loads(layout.files["index.json"])["manifests"][0]["digest"])


__all__ = ["Layout", "Place", "large", "layer_tar", "named", "placed", "reached", "simple", "top_digest"]
