"""The blobs of containerd's content store, as documents and as layers."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from orlop.errors import LimitExceeded, RootDamaged
from orlop.foreign.disk import close
from orlop.foreign.documents import text_of
from orlop.foreign.names import words_of
from orlop.foreign.rebuilt import FileReader
from orlop.model.regex import regex
from orlop.streams.compression import PREFIX_SIZE, Compression, detect
from orlop.streams.tar_header import says_tar

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from orlop.foreign.disk import Folder
    from orlop.foreign.rebuilt import Path
    from orlop.model.digest import Digest
    from orlop.model.limits import Limits
    from orlop.streams.compression import Readable
    from orlop.streams.meter import Meter

CONTENT: Final = "io.containerd.content.v1.content"
_HEX: Final = regex("[0-9a-f]{64}")
_EXPECTED: Final = regex(".*(sha256:[0-9a-f]{64})$")


def begins_like_layer(begin: bytes) -> bool:
    """Return whether the first bytes of a blob are those of a tar, plain or compressed."""
    return says_tar(begin) or detect(begin[:PREFIX_SIZE]) is not Compression.NONE


class Content:
    """The blobs of a content store by digest: `orlop.intake.documents.Documents` for readers of manifests.

    An unfinished download says which digest it is to have, and may be complete: it stands in for a blob that is
    missing. ``unfinished`` has what is known of each.
    """

    def __init__(self, root: Folder, limits: Limits) -> None:
        self.root = root
        self.limits = limits
        self.words = words_of(f"the content store in {root.path}", "blob")
        self.unfinished: list[str] = []
        self._values = 0
        self._places: dict[str, Path] = {}
        for digest, place in (*self._ingests(), *self._blobs()):
            self._places[digest] = place

    def _blobs(self) -> Iterator[tuple[str, Path]]:
        folder = self.root.there(CONTENT, "blobs", "sha256")
        if folder is None:
            return
        with folder:
            for name in folder.names():
                if _HEX.fullmatch(name):
                    yield f"sha256:{name}", (CONTENT, "blobs", "sha256", name)

    def _ingests(self) -> Iterator[tuple[str, Path]]:
        folder = self.root.there(CONTENT, "ingest")
        if folder is None:
            return
        with folder:
            for name in folder.names():
                here = folder.there(name)
                if here is None:
                    continue
                with here:
                    try:
                        reference = text_of(here, "ref")
                    except (RootDamaged, LimitExceeded):
                        reference = "what has lost its name"
                    state = here.state("data")
                size = 0 if state is None else state.st_size
                self.unfinished.append(f"{reference} was being written: {size} bytes are there")
                expected = _EXPECTED.fullmatch(reference)
                if expected is not None:
                    yield expected[1], (CONTENT, "ingest", name, "data")

    def digests(self) -> list[str]:
        """Return the digests of all blobs that are there."""
        return sorted(self._places)

    def place(self, digest: Digest, *, manifest: bool) -> str:
        """Return the name of a blob."""
        del manifest
        return str(digest)

    def path_of(self, name: str) -> Path:
        """Return where a blob is, or should be."""
        return self._places.get(name, (CONTENT, "blobs", *name.split(":", 1)))

    def has(self, name: str) -> bool:
        """Return whether a blob is there."""
        return name in self._places

    def size_of(self, name: str, *, what: str) -> int:
        """Return the size of a blob. Raises `RootDamaged`."""
        descriptor, size = self._open(name, what)
        close(descriptor)
        return size

    def known_size(self, name: str) -> int:
        """Return the size of a blob, or 0 where it is not there."""
        try:
            return self.size_of(name, what="the blob")
        except RootDamaged:
            return 0

    def document(self, name: str, *, what: str, limit: str = "manifest_size") -> bytes:
        """Return the bytes of a blob, whole. Raises `RootDamaged`, `LimitExceeded`."""
        path = self.path_of(name)
        if not self.has(name):
            raise RootDamaged(f"{what} {name} is missing")
        with self.root.below(*path[:-1]) as folder:
            raw = folder.read(path[-1], getattr(self.limits, limit))
        values = sum(map(raw.count, (b",", b"[", b"{")))
        if values > self.limits.json_values:
            raise self.limits.exceeded("json_values", f"{what} {name} has {values} values")
        self.count_values(values)
        return raw

    def count_values(self, values: int) -> None:
        """Note values of documents. Raises `LimitExceeded`."""
        self._values += values
        if self._values > 100 * self.limits.json_values_total:
            raise self.limits.exceeded("json_values_total", f"{self.words.name} has {self._values} values")

    def could_be_layer(self, name: str) -> bool:
        """Return whether a blob begins like a tar, plain or compressed."""
        if not self.has(name):
            return False
        try:
            descriptor, _ = self._open(name, "the layer")
        except RootDamaged:
            return False
        try:
            begin = os.pread(descriptor, 512, 0)
        except OSError:
            return False
        finally:
            close(descriptor)
        return begins_like_layer(begin)

    def _open(self, name: str, what: str) -> tuple[int, int]:
        if not self.has(name):
            raise RootDamaged(f"{what} {name} is missing")
        path = self.path_of(name)
        with self.root.below(*path[:-1]) as folder:
            return folder.open_file(path[-1])


@dataclass(slots=True)
class BlobLayer:
    """A layer as a blob of a content store, an `orlop.foreign.held.LayerCopy`.

    ``size`` is what its manifest says. A file of another size is not read: it may be of any length.
    """

    content: Content
    digest: Digest
    size: int | None = None
    reason: str = field(default="", compare=False)

    def problem(self) -> str:
        """Return what is wrong with it as far as can be told without reading it, or nothing."""
        if not self.content.has(str(self.digest)):
            return (
                f"its blob {self.digest} is missing; containerd keeps none where it discards unpacked layers, and a"
                " snapshot is not enough to make the same bytes again"
            )
        try:
            size = self.content.size_of(str(self.digest), what="its blob")
        except RootDamaged as error:
            return str(error)
        if self.size not in {None, size}:
            return f"its blob {self.digest} is damaged: it has {size} bytes, not {self.size}"
        return ""

    def attempts(self, meter: Meter) -> Generator[Readable]:
        """Yield its reader."""
        self.reason = self.problem()
        if self.reason:
            return
        path = self.content.path_of(str(self.digest))
        with self.content.root.below(*path[:-1]) as folder:
            descriptor, _ = folder.open_file(path[-1])
        try:
            yield meter.counted(FileReader(descriptor, folder.path_of(path[-1])))
        finally:
            close(descriptor)
        self.reason = f"its blob {self.digest} is damaged: it has another digest"
