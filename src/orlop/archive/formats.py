"""In which format an archive is, found out by its members, and what reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

from orlop.archive.docker import read_docker
from orlop.errors import InvalidArchive
from orlop.intake.documents import reading
from orlop.model import gojson

if TYPE_CHECKING:
    from orlop.archive.members import Members
    from orlop.intake.offer import Offer
    from orlop.intake.platforms import PlatformChoice
    from orlop.intake.taking import L

_DOCUMENT_KEYS: Final = frozenset({"schemaversion", "mediatype", "config", "manifests"})


class Reader(Protocol):
    """Reads archives of one format."""

    def __call__(self, members: Members[Any], choice: PlatformChoice, /) -> Offer:
        """Return what an archive holds of what is wanted; layers are named and not read, unless the format needs it.

        The form of the offer is one of `orlop.intake.report.FORMATS`.

        Raises:
            InvalidArchive, InvalidImage, InvalidManifest, InvalidReference, …: the archive is refused.
            DigestMismatch, SizeMismatch: a document is not what its descriptor says.
            PlatformNotFound: no image is for the platform that is wanted.
        """


def reader_of(members: Members[L]) -> Reader:
    """Return what reads an archive in the format that it is in, by its members.

    Raises:
        InvalidArchive: it is in none that is known, or could be read in two ways.
    """
    has_index = members.has("index.json") or members.has("oci-layout")
    if members.has("manifest.json"):
        if not _is_manifest(members):
            return read_docker
        if has_index:
            msg = "the archive is a directory of skopeo and an OCI layout at once, which may differ; it is refused"
            raise InvalidArchive(msg)
        from orlop.archive.skopeo_dir import read_dir  # noqa: PLC0415 - a load starts faster without all other formats

        return read_dir
    if has_index:
        if members.has("repositories") and any(
            name.endswith("/json") and name.count("/") == 1 for name in members.names()
        ):
            msg = (
                "the archive is an OCI image layout and an archive of version 1 at once: Docker 20.10 would read the"
                " latter, skopeo and containerd the former; it is refused"
            )
            raise InvalidArchive(msg)
        from orlop.archive.oci import read_layout  # noqa: PLC0415 - as above

        return read_layout
    if members.has("repositories"):
        from orlop.archive.legacy import read_legacy  # noqa: PLC0415 - as above

        return read_legacy
    lacks = "it has neither manifest.json nor index.json nor repositories"
    if any(name.startswith("blobs/sha256/") for name in members.names()):
        # Programs write these last, and some end without an error where they have not.
        msg = f"the archive is incomplete: it has blobs, but {lacks}, which come last; save it again"
        raise InvalidArchive(msg)
    msg = f"this is not an image archive: {lacks}; give one that docker, podman, skopeo or buildah saved"
    raise InvalidArchive(msg)


def _is_manifest(members: Members[L]) -> bool:
    """Return whether manifest.json is the manifest of an image and not Docker's list of images."""
    raw = members.document("manifest.json", what="the document")
    if raw.lstrip()[:1] != b"{":
        # A list of images may be long.
        return False
    with reading("manifest.json"):
        document = gojson.loads(raw, allow_trailing=True)
    return isinstance(document, dict) and not _DOCUMENT_KEYS.isdisjoint(map(gojson.fold, document))
