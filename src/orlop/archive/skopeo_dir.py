"""Directories of skopeo's ``dir:`` transport, as such or in a tar: ``manifest.json`` is the manifest of an image.

Configs and layers lie beside it under the hex digits of their digest; where it is an index, so do the manifests, as
``HEX.manifest.json``. There are no names in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orlop.archive.oci import read_images
from orlop.intake.manifests import ManifestReader
from orlop.model.descriptor import Descriptor
from orlop.model.digest import Digest
from orlop.model.manifest import OCI_INDEX, OCI_MANIFEST, Index, parse_manifest

if TYPE_CHECKING:
    from orlop.archive.members import Members
    from orlop.intake.offer import Offer
    from orlop.intake.platforms import PlatformChoice
    from orlop.intake.taking import L

_DOCUMENT: Final = "manifest.json"


def read_dir(members: Members[L], choice: PlatformChoice) -> Offer:
    """Follow ``manifest.json`` to one image, or through an index to several; see `orlop.archive.formats.Reader`."""
    raw = members.document(_DOCUMENT, what="the document")
    document = parse_manifest(raw)
    media_type = document.media_type or (OCI_INDEX if isinstance(document, Index) else OCI_MANIFEST)
    top = Descriptor(media_type, Digest.of(raw), len(raw))

    def place(digest: Digest, *, manifest: bool) -> str:
        if digest == top.digest:
            return _DOCUMENT
        name = digest.hex if digest.algorithm == "sha256" else f"{digest.algorithm}-{digest.hex}"
        return f"{name}.manifest.json" if manifest else name

    return read_images(ManifestReader(members, place), [top], choice, form="dir")
