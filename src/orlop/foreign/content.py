"""The blobs of containerd's content store, as documents and as layers."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from orlop.errors import LimitExceeded, OrlopError, RootDamaged
from orlop.foreign.disk import FileReader, close, go_on
from orlop.foreign.documents import text_of
from orlop.foreign.names import words_of
from orlop.model.regex import regex
from orlop.streams.compression import PREFIX_SIZE, Compression, detect
from orlop.streams.tar_header import says_tar
from orlop.streams.verify import VerifyingReader

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from orlop.foreign.disk import Folder
    from orlop.foreign.rebuilt import Path
    from orlop.model.digest import Digest
    from orlop.model.limits import Limits
    from orlop.streams.compression import Readable
    from orlop.streams.meter import Meter

CONTENT: Final = "io.containerd.content.v1.content"
# How much larger than what is there at once all may be that is read: small documents may lead to large ones.
_OFTEN: Final = 32
_HEX: Final = regex("[0-9a-f]{64}")
_EXPECTED: Final = regex(".*(sha256:[0-9a-f]{64})")


def has_layer_magic(begin: bytes) -> bool:
    """Return whether a blob begins with the magic of a tar or of a compression; the oldest tars have none."""
    return says_tar(begin) or detect(begin[:PREFIX_SIZE]) is not Compression.NONE


class Content:
    """The blobs of a content store by digest: `orlop.intake.documents.Documents` for readers of manifests.

    An unfinished download says which digest it is to have, and may be complete: it stands in for a blob that is
    missing. ``unfinished`` has what is known of each. ``is_listed`` says whether it is known which blobs are there;
    ``damage`` is the sentence that says why not, where there is more to say than that they are missing.
    """

    def __init__(self, root: Folder, limits: Limits) -> None:
        self.root = root
        self.limits = limits
        self.words = words_of(f"the content store in {root.path}", "blob")
        self.unfinished: list[str] = []
        self.damage = ""
        self.is_listed = False
        self._values = self._bytes = 0
        self._places: dict[str, Path] = {}
        for digest, place in (*self._ingests(), *self._blobs()):
            self._places[digest] = place

    def _blobs(self) -> Iterator[tuple[str, Path]]:
        folder = self.root.there(CONTENT, "blobs", "sha256")
        if folder is None:
            return
        with folder:
            try:
                names = folder.all_names()
            except RootDamaged as error:
                self.damage = str(error)
                return
            self.is_listed = True
            for name in names:
                if _HEX.fullmatch(name):
                    yield f"sha256:{name}", (CONTENT, "blobs", "sha256", name)

    def _ingests(self) -> Iterator[tuple[str, Path]]:
        folder = self.root.there(CONTENT, "ingest")
        if folder is None:
            return
        with folder:
            for name, here in folder.each(folder.names()):
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
        if self._bytes > _OFTEN * self.limits.documents_size:
            raise self.limits.exceeded("documents_size", f"{self.words.name} leads to {self._bytes} bytes of documents")
        with self.root.below(*path[:-1]) as folder:
            raw = folder.read(path[-1], getattr(self.limits, limit))
        self._bytes += len(raw)
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
        return has_layer_magic(begin)

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
                f"its blob {self.digest} is missing; containerd keeps none where it discards unpacked layers, or where"
                " they are fetched as they are needed, and a snapshot is not enough to make the same bytes again"
            )
        try:
            size = self.content.size_of(str(self.digest), what="its blob")
        except RootDamaged as error:
            return str(error)
        if self.size not in {None, size}:
            return f"its blob {self.digest} is damaged: it has {size} bytes, not {self.size}"
        return ""

    def attempts(self, meter: Meter, check: Callable[[], object] = go_on) -> Generator[Readable]:
        """Yield its reader."""
        self.reason = self.problem()
        if self.reason:
            return
        path = self.content.path_of(str(self.digest))
        with self.content.root.below(*path[:-1]) as folder:
            descriptor, _ = folder.open_file(path[-1])
        try:
            yield meter.counted(FileReader(descriptor, folder.path_of(path[-1])))
            # An engine keeps what it was given, even where it could not unpack that.
            if not self._has_its_digest(descriptor, check):
                self.reason = f"its blob {self.digest} is damaged: it has another digest"
        finally:
            close(descriptor)

    def _has_its_digest(self, descriptor: int, check: Callable[[], object]) -> bool:
        os.lseek(descriptor, 0, os.SEEK_SET)
        reader = FileReader(descriptor, str(self.digest))
        try:
            for _ in VerifyingReader(reader, digest=self.digest, size=os.fstat(descriptor).st_size).chunks():
                check()
        except OrlopError:
            return False
        return True
