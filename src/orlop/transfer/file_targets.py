"""Files as targets: OCI layouts, in a directory or a tar, and skopeo's directories. Each appears when it is whole."""

from __future__ import annotations

import os
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from orlop.archive.names import unnamed
from orlop.archive.oci_blobs import Document, blob_chunks
from orlop.archive.oci_directory import write_layout
from orlop.archive.oci_index import index_json
from orlop.archive.oci_layout import LayoutContent, TopEntry, told_apart
from orlop.archive.oci_tar import layout_chunks
from orlop.errors import InvalidInput, TargetExists
from orlop.streams.directory import Directory
from orlop.streams.files import explaining, write_all
from orlop.streams.output import Output
from orlop.streams.part_directory import PartDirectory
from orlop.streams.verify import verified_beside
from orlop.transfer.members_source import directory_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from orlop.archive.oci_blobs import Blob
    from orlop.model.descriptor import Descriptor
    from orlop.model.digest import Digest
    from orlop.model.limits import Limits
    from orlop.model.progress import Progress
    from orlop.transfer.graph import Graph
    from orlop.transfer.source import Root, Source

_FAMILY: Final = b"Directory Transport Version: "
_VERSION: Final = _FAMILY + b"1.1\n"
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL


@dataclass(frozen=True, slots=True)
class CarriedBlob:
    """A blob of a source, whose bytes are read when they are written, and verified."""

    source: Source
    descriptor: Descriptor

    @property
    def digest(self) -> Digest:
        """The digest of these bytes."""
        return self.descriptor.digest

    @property
    def size(self) -> int:
        """Their number."""
        return self.descriptor.size

    @property
    def label(self) -> str:
        """What progress calls it."""
        return self.source.label(self.descriptor)

    def chunks(self) -> Iterator[bytes]:
        """Yield its bytes, the last of them once all are verified. Raises as `Source.open_blob`, `IntegrityError`."""
        with closing(self.source.open_blob(self.descriptor, 0)) as stream:
            yield from verified_beside(stream, digest=self.digest, size=self.size)


def content_of(source: Source, graph: Graph, roots: Sequence[Root]) -> LayoutContent:
    """Return what a layout of some roots has to hold."""
    blobs: list[Blob] = [CarriedBlob(source, blob) for blob in graph.blobs]
    blobs += [Document(node.descriptor.digest, node.raw, node.descriptor.media_type) for node in graph.nodes]
    return LayoutContent(told_apart(map(_entry, roots)), tuple(blobs), (), {}, ())


def _entry(root: Root) -> TopEntry:
    """Return the entry of a root; one without a name keeps the text by which its layout called it."""
    return TopEntry(unnamed(root.descriptor), root.name, root.address if root.name is None else "")


def write_oci(path: str, content: LayoutContent, progress: Progress | None, limits: Limits) -> None:
    """Write a layout into a directory, or add to the one that is there. Raises as `write_layout` does."""
    write_layout(path, content, progress, limits=limits)


def write_oci_archive(path: str, content: LayoutContent, progress: Progress | None) -> None:
    """Write a layout as a tar. Raises `StorageError`, and what reading its blobs raises."""
    index = index_json(content.entries)
    with Output(path) as output:
        for chunk in layout_chunks(content, index.raw, progress):
            output.write(chunk)
        output.finish()


def write_directory(path: str, content: LayoutContent, progress: Progress | None, *, replace: bool = False) -> None:
    """Write a directory as skopeo's ``dir:``. It appears when it is whole, in one step.

    Args:
        path: of the directory, which must not be there yet.
        content: what is written.
        progress: called with one event at a time.
        replace: write it also where a directory of skopeo's is there, which then goes with all that is in it.

    Raises:
        TargetExists: something else is there. InvalidInput: there is more than one image. StorageError: it cannot be
            written; then it is not there. What reading its blobs raises.
    """
    path = path.rstrip("/") or path
    if len(content.entries) != 1:
        raise InvalidInput(f"{path} can hold one image or index, and not {len(content.entries)}; copy to oci:{path}")
    top = content.entries[0].descriptor.digest
    with explaining("write", path):
        is_there = os.path.lexists(path)
        if is_there and not replace:
            raise _taken(path)
        check_directory(path)
        with Directory(os.path.dirname(path) or ".") as above, PartDirectory(above) as part:
            _put(part.directory, "version", iter([_VERSION]))
            for blob in content.blobs:
                name = directory_name(blob.digest)
                if isinstance(blob, Document):
                    name = "manifest.json" if blob.digest == top else f"{name}.manifest.json"
                _put(part.directory, name, blob_chunks(blob, progress))
            part.directory.sync()
            target = above.at(os.path.basename(path))
            if is_there:
                part.replace(target)
            else:
                part.entry.rename(target)
            above.sync()


def check_directory(path: str) -> None:
    """Check that a directory of skopeo's can be written or replaced at a path. Raises `TargetExists`."""
    if os.path.lexists(path) and not _is_directory(path):
        raise _taken(path)


def _taken(path: str) -> TargetExists:
    return TargetExists(f"{path} is there already; name a new directory")


def _is_directory(path: str) -> bool:
    """Return whether a path leads to a directory that skopeo or this has written, and not by a link."""
    try:
        with open(os.path.join(path, "version"), "rb") as file:
            return not os.path.islink(path) and file.read(len(_FAMILY)) == _FAMILY
    except (FileNotFoundError, NotADirectoryError):
        return False


def _put(folder: Directory, name: str, chunks: Iterator[bytes]) -> None:
    descriptor = folder.at(name).open(_NEW, 0o644)
    try:
        for chunk in chunks:
            write_all(descriptor, chunk)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
