"""OCI image layouts, in a directory or a tar: ``index.json`` decides what is in them (OCI image spec, "Image Layout").

Annotations give the names, see `orlop.archive.names`; that each has one meaning, `orlop.archive.meaning` checks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from orlop.archive.meaning import IndexMeaning, check_disguises
from orlop.archive.names import OMITTED, address_of, said_of, tags_by_kind, unnamed
from orlop.errors import InvalidArchive, InvalidManifest
from orlop.intake.beside_images import Top
from orlop.intake.documents import reading
from orlop.intake.manifests import ManifestReader
from orlop.intake.offering import offer_of
from orlop.model import gojson
from orlop.model.digest import Digest
from orlop.model.manifest import Index
from orlop.model.values import replace

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from orlop.archive.members import Members
    from orlop.intake.offer import Offer
    from orlop.intake.platforms import PlatformChoice
    from orlop.intake.taking import L
    from orlop.model.descriptor import Descriptor

_VERSION: Final = "1.0.0"


def read_layout(members: Members[L], choice: PlatformChoice) -> Offer:
    """Follow ``index.json`` to the images, through indexes of several platforms; see `orlop.archive.formats.Reader`.

    A manifest that a nested index names may be absent, as an archive of one platform keeps the index of all; what
    ``index.json`` itself names must be there.
    """
    _check_version(members)
    index = layout_index(members)
    left_out = {Digest.unchecked(text) for text in index.annotations.get(OMITTED, "").split()}
    reader = ManifestReader(members, blob_name, left_out=left_out)
    return replace(read_images(reader, index.manifests, choice, form="oci"), strange=index.strange)


def layout_index(members: Members[Any], *, may_be_strange: bool = False) -> Index:
    """Return the ``index.json`` of a layout, see `Index.of_layout`.

    Raises `InvalidManifest`, and what `Members.document` raises.
    """
    raw = members.document("index.json", what="the document")
    try:
        return Index.of_layout(raw, may_be_strange=may_be_strange)
    except InvalidManifest as error:
        raise InvalidManifest(f"index.json is refused: {error}") from error


def blob_name(digest: Digest, *, manifest: bool) -> str:
    """Return the name of a member in an OCI layout."""
    del manifest
    return f"blobs/{digest.algorithm}/{digest.hex}"


def _check_version(members: Members[L]) -> None:
    if not members.has("oci-layout"):
        return
    raw = members.document("oci-layout", what="the document")
    with reading("oci-layout"):
        document = gojson.loads(raw, keys=gojson.Keys.FOLDED)
    version = document.get("imageLayoutVersion") if isinstance(document, dict) else None
    if version != _VERSION:
        msg = f"the archive's oci-layout has the version {version!r}; orlop reads version {_VERSION}"
        raise InvalidArchive(msg)


def read_images(reader: ManifestReader, tops: Iterable[Descriptor], choice: PlatformChoice, *, form: str) -> Offer:
    """Return the wanted images under the descriptors of an ``index.json``, see `orlop.intake.offering.offer_of`.

    Raises:
        InvalidArchive: nothing is an image, or other programs would read two images under one name.
        PlatformNotFound: none is for the platform that is wanted.
    """
    return offer_of(reader, _named(reader, tops), choice, form=form, blobs=True)


def _named(reader: ManifestReader, tops: Iterable[Descriptor]) -> Iterator[Top]:
    """Yield what descriptors lead to, with the name that it gets, once it is clear that the name has one meaning."""
    meaning = IndexMeaning(reader)
    tops = list(tops)
    tags = tags_by_kind(tops)
    for top in tops:
        node, said = reader.node(top), said_of(top)
        meaning.add(top, node, said)
        check_disguises(reader, node)
        if node is not None:
            yield Top(node, said.name, tags.get(top.digest) or address_of(said))
        elif (blob := reader.loose(unnamed(top))) is not None:
            # No reference means a blob: a whole name stays in its descriptor.
            yield Top(blob, (), said.text)
