"""``GET /images/json``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orlop.api.engine.shapes.manifest import manifest_list
from orlop.api.engine.versions import V1_43, V1_44, V1_47, V1_48, V1_51

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orlop.api.engine.shapes.encoding import Document
    from orlop.api.engine.versions import ApiVersion
    from orlop.service.listing.listed import ListedImage


def image_list(images: Iterable[ListedImage], version: ApiVersion) -> list[Document]:
    """Return images as the list has them, in their order."""
    return [_listed(image, version) for image in images]


def summary(image: ListedImage, version: ApiVersion) -> Document:
    """Return an image as the use of the disk has it: with its containers counted, and null for names that it lacks."""
    shown = image.summary
    document: Document = {
        "Containers": 0,
        "Created": shown.created,
        "Id": str(shown.id),
        "Labels": None if image.labels is None else dict(sorted(image.labels.items())),
        "ParentId": "" if shown.parent is None else str(shown.parent),
    }
    if version >= V1_48 and image.target is not None:
        document["Descriptor"] = image.target.to_dict()
    if version >= V1_47 and image.manifests:
        document["Manifests"] = manifest_list(image.manifests)
    document |= {
        "RepoDigests": [name.familiar for name in shown.repo_digests] or None,
        "RepoTags": [name.familiar for name in shown.repo_tags] or None,
        "SharedSize": -1 if image.shared_size is None else image.shared_size,
        "Size": shown.size,
    }
    if version < V1_44:
        document["VirtualSize"] = shown.size
    return document


def _listed(image: ListedImage, version: ApiVersion) -> Document:
    document = summary(image, version)
    if version < V1_51:
        document["Containers"] = -1
    if version >= V1_43:
        document["RepoDigests"] = document["RepoDigests"] or []
        document["RepoTags"] = document["RepoTags"] or []
    elif not image.summary.references:
        document["RepoDigests"], document["RepoTags"] = ["<none>@<none>"], ["<none>:<none>"]
    return document
