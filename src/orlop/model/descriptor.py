"""Descriptors: the type, digest and size of some content (OCI image spec, "Content Descriptors")."""

from __future__ import annotations

from orlop.model import gojson
from orlop.model.values import dataclass, field

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from orlop.model.digest import Digest
    from orlop.model.platform import Platform


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A pointer to content: its media type, its digest and its size in bytes, and what else a manifest says about it.

    ``platform`` is that of an image named by an index; ``urls`` are further places to fetch the content from;
    ``artifact_type`` is empty if none was given. Immutable; do not change the annotations.
    """

    media_type: str
    digest: Digest
    size: int
    annotations: Mapping[str, str] = field(default_factory=dict)
    platform: Platform | None = None
    urls: tuple[str, ...] = ()
    artifact_type: str = ""

    def to_dict(self) -> dict[str, object]:
        """Return the members of its JSON object, in the specification's order, without those that are empty."""
        document: dict[str, object] = {"mediaType": self.media_type, "digest": str(self.digest), "size": self.size}
        if self.urls:
            document["urls"] = list(self.urls)
        if self.annotations:
            document["annotations"] = dict(sorted(self.annotations.items()))
        if self.platform is not None:
            document["platform"] = platform_to_dict(self.platform)
        if self.artifact_type:
            document["artifactType"] = self.artifact_type
        return document

    def to_json(self) -> bytes:
        """Write the JSON object, without white space."""
        return gojson.dumps(self.to_dict())


def platform_to_dict(platform: Platform) -> dict[str, object]:
    """Return the members of a platform's JSON object, in the specification's order, without those that are empty."""
    document: dict[str, object] = {"architecture": platform.architecture, "os": platform.os}
    if platform.os_version:
        document["os.version"] = platform.os_version
    if platform.os_features:
        document["os.features"] = list(platform.os_features)
    if platform.variant:
        document["variant"] = platform.variant
    return document
