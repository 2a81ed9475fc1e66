"""A store as a source: the content that a layout of some images would hold, with the digests that it would have."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Final

from orlop.archive.oci_blobs import Document, MadeLayer, Stored
from orlop.errors import ContentNotFound
from orlop.transfer.source import Root

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from orlop.archive.oci_blobs import Blob
    from orlop.archive.oci_layout import LayoutContent
    from orlop.model.descriptor import Descriptor
    from orlop.model.digest import Digest
    from orlop.streams.compression import OpenReadable
    from orlop.transfer.source import Home

_PIECE: Final = 1 << 20


class ContentSource:
    """What a layout of some images of a store would hold. Use it while the store is held for it.

    Args:
        store: where the layers are.
        content: what it holds.
        homes: where layers are known to be besides.
    """

    def __init__(self, content: LayoutContent, homes: Mapping[Digest, Sequence[Home]] | None = None) -> None:
        self._blobs: dict[Digest, Blob] = {blob.digest: blob for blob in content.blobs}
        self._referring: dict[Digest, list[Root]] = {}
        for entry in content.entries:
            if entry.subject is not None:
                self._referring.setdefault(entry.subject, []).append(Root(entry.descriptor, entry.address or None))
        self._homes = homes or {}

    def manifest(self, want: Descriptor) -> bytes:
        """See `Source.manifest`."""
        found = self._find(want)
        if not isinstance(found, Document):
            raise ContentNotFound(f"{want.digest} is a layer in the store, and not a manifest")
        return found.data

    def open_blob(self, want: Descriptor, offset: int) -> OpenReadable:
        """See `Source.open_blob`."""
        found = self._find(want)
        if isinstance(found, Document):
            return io.BytesIO(found.data[offset:])
        if isinstance(found, Stored):
            stream = found.store.open_unverified(found.row)
            stream.seek(offset)
            return stream
        if isinstance(found, MadeLayer):
            return _Ranged(found.spool.read, offset, found.size)
        return _Skipped(found.chunks(), offset)

    def check_blob(self, want: Descriptor) -> None:
        """See `Source.check_blob`."""
        for _ in self._find(want).chunks():
            pass

    def label(self, want: Descriptor) -> str:
        """See `Source.label`."""
        found = self._blobs.get(want.digest)
        return found.digest.short if isinstance(found, MadeLayer) else "" if found is None else found.label

    def homes(self, want: Descriptor) -> Sequence[Home]:
        """See `Source.homes`."""
        return self._homes.get(want.digest, ())

    def referrers(self, subject: Digest) -> Sequence[Root]:
        """See `Source.referrers`."""
        return self._referring.get(subject, ())

    @property
    def referring(self) -> Mapping[Digest, Sequence[Root]]:
        """What refers to manifests, by these."""
        return self._referring

    def _find(self, want: Descriptor) -> Blob:
        found = self._blobs.get(want.digest)
        if found is None:
            raise ContentNotFound(f"the store does not have {want.digest}; load or pull its image again")
        return found


class _Ranged:
    """A reader of what can be read from anywhere."""

    def __init__(self, read: Callable[[int, int], bytes], offset: int, size: int) -> None:
        self._read = read
        self._at = offset
        self._size = size

    def read(self, n: int, /) -> bytes:
        data = self._read(self._at, min(n, self._size - self._at))
        self._at += len(data)
        return data

    def close(self) -> None:
        """Do nothing: what is read stays open."""


class _Skipped:
    """A reader of pieces that are made one after the other, from an offset on."""

    def __init__(self, pieces: Iterator[bytes], offset: int) -> None:
        self._pieces = pieces
        self._rest = b""
        while offset > 0 and self._more():
            offset, self._rest = max(0, offset - len(self._rest)), self._rest[offset:]

    def read(self, n: int, /) -> bytes:
        if not self._rest:
            self._more()
        data, self._rest = self._rest[:n], self._rest[n:]
        return data

    def close(self) -> None:
        close = getattr(self._pieces, "close", None)
        if close is not None:
            close()

    def _more(self) -> bool:
        self._rest = next(self._pieces, b"")
        return bool(self._rest)
