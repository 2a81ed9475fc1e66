"""An image as the Docker Engine API (version 1.41) shows it: what `orlop inspect` prints, and the API starts from."""

from __future__ import annotations

from orlop.model import gojson
from orlop.model.container import CONTAINER
from orlop.model.dialect import Dialect
from orlop.model.timestamp import ZERO, Timestamp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from orlop.model.container import ContainerConfig
    from orlop.service.listing.inspect import ImageDetails


def image_document(details: ImageDetails) -> dict[str, Any]:
    """Return an image as the engine's answer to an inspection, keys in its order."""
    image = details.image
    document: dict[str, Any] = {
        "Id": image.image_id,
        "RepoTags": [name.familiar for name in details.references if name.tag is not None],
        "RepoDigests": [f"{name.familiar_name}@{name.digest}" for name in details.references if name.digest],
        "Parent": "" if image.parent is None else str(image.parent),
        "Comment": image.comment or (image.history[-1].comment if image.history else ""),
        "Created": str(image.created),
        "Container": image.container,
        "ContainerConfig": _container(image.container_config),
        "DockerVersion": image.docker_version,
        "Author": image.author,
        "Config": None if image.config is None else _container(image.config),
        "Architecture": image.architecture,
    }
    if image.variant:
        document["Variant"] = image.variant
    # Engines take a config without one for one of theirs.
    document["Os"] = image.os or "linux"
    if image.os_version:
        document["OsVersion"] = image.os_version
    document["Size"] = document["VirtualSize"] = details.size
    document["GraphDriver"] = {"Data": None, "Name": "orlop"}
    rootfs: dict[str, object] = {"Type": image.rootfs.type}
    if image.rootfs.diff_ids:
        rootfs["Layers"] = [str(diff_id) for diff_id in image.rootfs.diff_ids]
    document["RootFS"] = rootfs
    tagged = ZERO if details.tagged is None else Timestamp(*divmod(details.tagged, 1_000_000_000))
    document["Metadata"] = {"LastTagTime": str(tagged)}
    return document


def _container(config: ContainerConfig) -> object:
    return gojson.loads(CONTAINER[Dialect.ENGINE_20_10].write(config, _quote).encode())


def _quote(text: str) -> str:
    return gojson.quote(text, escape_html=False, short_escapes=False)
