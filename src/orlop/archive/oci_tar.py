"""An OCI layout as a tar, in the form in which containerd and buildx write it: sorted, with times of 0."""

from __future__ import annotations

from orlop.archive.oci_blobs import LAYOUT_FILE, blob_chunks, blob_path
from orlop.streams.tar_write import archive_chunks, member_header, padding

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Final

    from orlop.archive.oci_blobs import Blob
    from orlop.archive.oci_layout import LayoutContent
    from orlop.model.progress import Progress

_DIRECTORY: Final = 0o755
_BLOB: Final = 0o444
_FILE: Final = 0o644


def layout_chunks(
    content: LayoutContent, index: bytes, progress: Progress | None, *, manifest: bytes | None = None
) -> Iterator[bytes]:
    """Yield the bytes of a tar; a layer that is damaged or missing raises before the archive can look whole.

    Args:
        content: what the layout holds.
        index: its ``index.json``.
        progress: hears of each layer.
        manifest: a ``manifest.json`` beside it, if there is one.
    """
    documents = {"index.json": (index, _FILE), "manifest.json": (manifest, _FILE), "oci-layout": (LAYOUT_FILE, _BLOB)}
    written = [(name, data, mode) for name, (data, mode) in documents.items() if data is not None]
    return archive_chunks(_members(content, written, progress))


def _members(
    content: LayoutContent, documents: list[tuple[str, bytes, int]], progress: Progress | None
) -> Iterator[bytes]:
    yield folder_member("blobs")
    folder = ""
    for blob in sorted(content.blobs, key=lambda blob: (blob.digest.algorithm, blob.digest.hex)):
        if blob.digest.algorithm != folder:
            folder = blob.digest.algorithm
            yield folder_member(f"blobs/{folder}")
        yield from blob_member(blob, progress)
    for name, data, mode in documents:
        yield from document_member(name, data, mode)


def folder_member(name: str) -> bytes:
    """Return a folder of a layout as a member."""
    return member_header(f"{name}/", mode=_DIRECTORY, type="dir")


def blob_member(blob: Blob, progress: Progress | None) -> Iterator[bytes]:
    """Yield a blob as a member."""
    yield member_header(blob_path(blob.digest), size=blob.size, mode=_BLOB)
    yield from blob_chunks(blob, progress)
    yield padding(blob.size)


def document_member(name: str, data: bytes, mode: int = _FILE) -> Iterator[bytes]:
    """Yield a document as a member."""
    yield member_header(name, size=len(data), mode=mode)
    yield data
    yield padding(len(data))
