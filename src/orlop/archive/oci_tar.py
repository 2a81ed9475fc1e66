"""An OCI layout as a tar, in the form in which containerd and buildx write it: sorted, with times of 0."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orlop.model.progress import LayerDone, LayerProgress
from orlop.streams.tar_write import END, member_header, padding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orlop.archive.oci_blobs import Blob
    from orlop.archive.oci_content import LayoutContent
    from orlop.model.digest import Digest
    from orlop.model.progress import Progress
    from orlop.store.root import Store

LAYOUT_FILE: Final = b'{"imageLayoutVersion":"1.0.0"}'
"""What ``oci-layout`` holds."""

_FLUSH: Final = 256 << 10
_DIRECTORY: Final = 0o755
_BLOB: Final = 0o444
_FILE: Final = 0o644


def layout_chunks(store: Store, content: LayoutContent, index: bytes, progress: Progress | None) -> Iterator[bytes]:
    """Yield the bytes of a tar; a layer that is damaged or missing raises before the archive can look whole.

    Args:
        store: where the layers are.
        content: what the layout holds.
        index: its ``index.json``.
        progress: hears of each layer.
    """
    waiting: list[bytes] = []
    size = 0
    for chunk in _members(store, content, index, progress):
        waiting.append(chunk)
        size += len(chunk)
        # Headers are small: many small writes would cost more than what they carry.
        if size >= _FLUSH:
            yield waiting[0] if len(waiting) == 1 else b"".join(waiting)
            waiting, size = [], 0
    waiting.append(END)
    yield b"".join(waiting)


def _members(store: Store, content: LayoutContent, index: bytes, progress: Progress | None) -> Iterator[bytes]:
    yield member_header("blobs/", mode=_DIRECTORY, type="dir")
    folder = ""
    for blob in sorted(content.blobs, key=lambda blob: (blob.digest.algorithm, blob.digest.hex)):
        if blob.digest.algorithm != folder:
            folder = blob.digest.algorithm
            yield member_header(f"blobs/{folder}/", mode=_DIRECTORY, type="dir")
        yield member_header(blob_path(blob.digest), size=blob.size, mode=_BLOB)
        yield from told(blob, store, progress)
        yield padding(blob.size)
    for name, data, mode in (("index.json", index, _FILE), ("oci-layout", LAYOUT_FILE, _BLOB)):
        yield member_header(name, size=len(data), mode=mode)
        yield data
        yield padding(len(data))


def blob_path(digest: Digest) -> str:
    """Return the path of a blob in a layout."""
    return f"blobs/{digest.algorithm}/{digest.hex}"


def told(blob: Blob, store: Store, progress: Progress | None) -> Iterator[bytes]:
    """Yield the bytes of a blob, and report those of a layer."""
    if progress is None or not blob.label:
        yield from blob.chunks(store)
        return
    done = 0
    for chunk in blob.chunks(store):
        yield chunk
        done += len(chunk)
        progress(LayerProgress(blob.label, done, blob.size))
    progress(LayerDone(blob.label))
