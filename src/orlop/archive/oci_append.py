"""Images added to an OCI layout in a tar: the bytes of a new tar, with all that the old one holds.

The members of the old tar go over as they are, to the byte. New blobs come between them where the old ones are sorted,
else behind them. A blob that both have stays as it was, if its content is what it must be, and makes way otherwise.
Only ``index.json`` is written anew, as beside a layout in a directory: see `orlop.archive.oci_index`.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Final

from orlop.archive.oci_blobs import blob_path
from orlop.archive.oci_index import index_json
from orlop.archive.oci_tar import blob_member, document_member, folder_member
from orlop.archive.old_tar import OldTar
from orlop.errors import InvalidJSON
from orlop.model import gojson
from orlop.streams.tar_write import archive_chunks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orlop.archive.oci_index import WrittenIndex
    from orlop.archive.oci_layout import LayoutContent
    from orlop.model.limits import Limits
    from orlop.model.progress import Progress

_INDEX: Final = "index.json"
_LAYOUT: Final = "oci-layout"
_MANIFEST: Final = "manifest.json"
_VERSION: Final = "1.0.0"


class OldLayout(OldTar):
    """The layout that is there; takes what `OldTar` takes.

    Raises:
        InvalidArchive: it is not a plain tar of an OCI layout. LimitExceeded: it asks for too much.
    """

    def __init__(self, descriptor: int, shown: str, limits: Limits) -> None:
        super().__init__(descriptor, shown, limits)
        if _MANIFEST in self.members:
            msg = f"it has a {_MANIFEST}, in which readers would miss an image; choose the format 'docker'"
            raise self.refused(msg)
        if not {_LAYOUT, _INDEX} <= self.members.keys():
            msg = f"it has no {_LAYOUT} and no {_INDEX}, and so is not an OCI layout; save to a new file"
            raise self.refused(msg)
        version = self._version()
        if version != _VERSION:
            raise self.refused(f"its layout has the version {version!r}; orlop writes version {_VERSION}")

    def _version(self) -> object:
        document = self.document(_LAYOUT)
        return gojson.folded(document).get("imagelayoutversion") if isinstance(document, dict) else None

    @property
    def is_sorted(self) -> bool:
        """Whether the members stand in the order in which layouts are written."""
        return sorted(self.members) == list(self.members)

    def index_with(self, content: LayoutContent) -> WrittenIndex:
        """Return the ``index.json`` of the layout with more content in it."""
        mine = {str(blob.digest) for blob in content.blobs}

        def has(digest: str) -> bool:
            algorithm, _, name = digest.partition(":")
            return digest in mine or f"blobs/{algorithm}/{name}" in self.members

        try:
            return index_json(content.entries, content.lacking, before=self.read(_INDEX), has=has)
        except InvalidJSON as error:
            raise self.refused(f"{_INDEX}: {error}") from error


def appended_layout(
    old: OldLayout, content: LayoutContent, index: WrittenIndex, progress: Progress | None = None
) -> Iterator[bytes]:
    """Yield the bytes of a tar with all that a layout has, and more content.

    Args:
        old: the layout that is there.
        content: what is added.
        index: what `OldLayout.index_with` returned for it.
        progress: hears of each layer.

    Raises `InvalidArchive` where the old layout changes meanwhile, and what reading a layer raises.
    """
    new: dict[str, Iterator[bytes]] = {}
    for blob in content.blobs:
        algorithm, path = blob.digest.algorithm, blob_path(blob.digest)
        before = old.members.get(path)
        if before is not None and old.is_blob(before, algorithm, blob.digest.hex):
            continue
        new[path] = blob_member(blob, progress)
        for folder in ("blobs", f"blobs/{algorithm}"):
            if folder not in old.members:
                new[folder] = iter([folder_member(folder)])
    old.require_folders(new)
    if index.raw != old.read(_INDEX):
        old.require_own([_INDEX])
        new[_INDEX] = document_member(_INDEX, index.raw)
    kept = [name for name in old.members if name not in new]
    names = sorted([*kept, *new]) if old.is_sorted else [*kept, *sorted(new)]
    pieces = (new[name] if name in new else old.raw(old.members[name]) for name in names)
    yield from archive_chunks(chain.from_iterable(pieces))
    old.require_unchanged()
