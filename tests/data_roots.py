"""Data roots that real daemons left behind: their image databases, and what the daemons said of them."""

from __future__ import annotations

import json
import tarfile
from typing import TYPE_CHECKING, Any

from orlop.errors import LayerNotFound
from orlop.store.backends.fs import FSStoreBackend
from orlop.store.images import ImageStore
from tests.unpacked import unpack

if TYPE_CHECKING:
    from pathlib import Path

    from orlop.model.digest import ChainID
    from orlop.store.layers import Layer, LayerMetadata

#: The engines with an image database of their own, and the driver that its folder is named after.
DRIVERS = {"dockerd-20.10-overlay2": "overlay2", "dockerd-20.10-vfs": "vfs", "dockerd-29-overlay2": "overlay2"}


class KnownLayer:
    """A layer of which only its name is known."""

    def __init__(self, chain_id: ChainID) -> None:
        self.chain_id = chain_id


class KnownLayers:
    """A daemon's layers as an image store needs them: which there are, and who holds them."""

    def __init__(self, folder: Path) -> None:
        self.chains = {path.name for path in (folder / "layerdb" / "sha256").iterdir()}
        self.held: list[str] = []

    def get(self, chain_id: ChainID, /) -> Layer:
        if chain_id.hex not in self.chains:
            raise LayerNotFound(f"no layer has the chain ID {chain_id}")
        self.held.append(chain_id.hex)
        return KnownLayer(chain_id)  # type: ignore[return-value]  # an image store asks for no more

    def release(self, layer: Layer, /) -> tuple[LayerMetadata, ...]:
        self.held.remove(layer.chain_id.hex)
        return ()


def unpack_images(data: Path, engine: str, folder: Path) -> Path:
    """Unpack `image/` of an engine's data root, and return the folder of its driver."""
    with tarfile.open(data / engine / "data-root.tar") as archive:
        members = [member for member in archive if member.name.removeprefix("./").startswith("image/")]
        unpack(archive, folder, members)
    return folder / "image" / DRIVERS[engine]


def open_images(folder: Path) -> ImageStore:
    """Open the image database of a driver's folder."""
    return ImageStore(FSStoreBackend(folder / "imagedb"), KnownLayers(folder))


def said(data: Path, engine: str) -> list[dict[str, Any]]:
    """Return what the daemon answered when it was asked for all its images."""
    answer: list[dict[str, Any]] = json.loads((data / engine / "api" / "images-all.json").read_bytes())
    return answer
