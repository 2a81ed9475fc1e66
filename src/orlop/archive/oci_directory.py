"""An OCI layout in a directory: made whole, or added to one that is there while others read and write it.

A layout that is new is filled beside its place and renamed. To one that is there, this is added:

1. Blobs are written into a directory of their own in the layout, verified and synced. A blob that the layout has is
   hashed before it is relied on, since other programs may have left a torn one; a wrong one is replaced.
2. Under a lock on the layout's directory ``index.json`` is read and the new one written beside it. Then the blobs get
   their names, what names others after what it names, and the names are synced.
3. ``index.json`` is read again. Where it is still the same, the new one takes its name; else it is merged again.

So whoever reads sees the old index or the new one, and all that it names is there. Any number of orlop's writers lose
nothing of each other. Other programs take no lock: the second look makes the time in which they can be overwritten as
short as it can be, but does not end it.

Nothing that the store keeps is shared but by reflink: other programs write blobs in place, which through a hard link
would damage the store. No name in the layout is followed where it is a link.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from contextlib import contextmanager, suppress
from io import UnsupportedOperation

from orlop.archive.oci_blobs import LAYOUT_FILE, MadeLayer, Stored, blob_chunks, blob_path
from orlop.archive.oci_index import index_json
from orlop.archive.oci_layout import LayoutContent
from orlop.errors import (
    InvalidArchive,
    InvalidDigest,
    InvalidJSON,
    LimitExceeded,
    StoreDamaged,
    TargetExists,
    WriteFailed,
)
from orlop.model import gojson
from orlop.model.digest import Digest
from orlop.model.limits import DEFAULT_LIMITS
from orlop.model.progress import LayerExists
from orlop.streams.directory import Directory, ForeignFile, kind_of, mark_of, permissions
from orlop.streams.files import CHUNK, Giving, NewFile, explaining
from orlop.streams.part_directory import DirectoryLock, PartDirectory, is_part, subdirectory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Final, TypeAlias

    from orlop.archive.oci_blobs import Blob
    from orlop.archive.oci_index import WrittenIndex
    from orlop.model.limits import Limits
    from orlop.model.progress import Progress
    from orlop.streams.directory import Entry

Seen: TypeAlias = tuple[int, ...]
"""What tells a file from one that was written in its place: its number, its size, and its time."""
_MODE: Final = 0o644
_RESTING: Final = 32
_ATTEMPTS: Final = 20
_VERSION: Final = "1.0.0"
# What an interrupted beginning leaves, and file systems and containerd have.
_NOTHING: Final = frozenset({"blobs", "ingest", "lost+found"})


def write_layout(
    target: str | os.PathLike[str],
    content: LayoutContent,
    progress: Progress | None = None,
    *,
    limits: Limits = DEFAULT_LIMITS,
) -> WrittenIndex:
    """Write content into a directory: a new layout, or one that is there. It is on disk when this returns.

    Args:
        target: the directory, or nothing; links in its path are followed, those in the layout are not.
        content: what is added.
        progress: hears of each layer.
        limits: what the layout that is there may ask for.

    Raises:
        TargetExists: something else is there. InvalidArchive: the layout that is there cannot be read.
        LimitExceeded: it cannot be read, or could not be read again.
        DigestMismatch, SizeMismatch, ContentNotFound: a layer is damaged. StorageError: the layout cannot be written.
            One that was there is then as before, but for blobs that nothing names.
    """
    return LayoutTarget(os.fspath(target), content, progress, limits).write()


def check_layout(target: str | os.PathLike[str]) -> None:
    """Check that a layout can be written into a directory, or is there. Raises as `write_layout` does."""
    LayoutTarget(os.fspath(target), LayoutContent((), (), (), {}, ()), None, DEFAULT_LIMITS).check()


class LayoutTarget:
    """One write under way.

    Args:
        shown: the path of the layout.
        content: what is added.
        progress: hears of each layer.
        limits: what the layout that is there may ask for.
        known: which files of the layout are known to be right, by their digests. What is found out is added.
    """

    def __init__(
        self,
        shown: str,
        content: LayoutContent,
        progress: Progress | None,
        limits: Limits,
        known: dict[Digest, Seen] | None = None,
    ) -> None:
        self._limits = limits
        self._shown = shown
        self._content = content
        self._progress = progress
        self._known: dict[Digest, Seen] = {} if known is None else known

    def write(self) -> WrittenIndex:
        """Write all of it. Raises as `write_layout` does."""
        path = os.path.realpath(self._shown)
        folder, name = os.path.split(path)
        if not self._shown or not name:
            msg = f"cannot write a layout to {self._shown!r}: it is not a name for a directory; name a new one"
            raise WriteFailed(msg)
        with self._writing(path), _above(folder) as above:
            place = above.at(name)
            state = place.state()
            if state is None:
                return self._make(above, place)
            self._require_directory(state)
            with above.below(name) as layout:
                return self._add(layout)

    def write_blobs(self) -> None:
        """Write the blobs into a layout that is there, and no entry yet. Raises as `write_layout` does."""
        path = os.path.realpath(self._shown)
        with self._writing(path), Directory(path) as layout, PartDirectory(layout) as part:
            relied = self._filled(layout, part.directory)
            with DirectoryLock(layout):
                self._place(layout, part.directory, relied)

    def write_entries(self) -> WrittenIndex:
        """Write the entries, whose blobs were written before. Raises as `write_layout` does."""
        path = os.path.realpath(self._shown)
        with self._writing(path), Directory(path) as layout, PartDirectory(layout) as part:
            self._require_layout(layout)
            return self._merge(layout, part.directory, frozenset(blob.digest for blob in self._content.blobs))

    def check(self) -> None:
        """Check what is there."""
        path = os.path.realpath(self._shown)
        if os.path.lexists(path):
            self._require_directory(os.stat(path))
            with self._writing(path), Directory(path) as layout:
                self._require_layout(layout)

    def _require_directory(self, state: os.stat_result) -> None:
        if not stat.S_ISDIR(state.st_mode):
            msg = f"cannot write a layout to {self._shown}: it is not a directory; name a new one"
            raise TargetExists(msg)

    @contextmanager
    def _writing(self, path: str) -> Iterator[None]:
        """Explain what the system says, and what stands where the layout's files belong."""
        try:
            with explaining("write", self._shown):
                yield
        except StoreDamaged as error:
            foreign = error.__cause__
            if not isinstance(foreign, ForeignFile) or not str(foreign.filename).startswith(path):
                raise
            msg = (
                f"cannot write the layout {self._shown}: {foreign.filename} is {foreign.what}, not {foreign.wanted};"
                " move it away, or name a new directory"
            )
            raise WriteFailed(msg) from error

    def _make(self, above: Directory, place: Entry) -> WrittenIndex:
        """Make a layout beside its place and rename it; where one appeared meanwhile, add to that."""
        with PartDirectory(above) as part:
            self._fill(part.directory, self._content.blobs)
            written = index_json(self._content.entries, self._content.lacking)
            put_file(part.directory, "oci-layout", LAYOUT_FILE, self._shown)
            put_file(part.directory, "index.json", written.raw, self._shown)
            part.directory.sync()
            try:
                part.entry.rename(place)
            except OSError as error:
                if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
                    raise
                with above.below(place.name) as layout:
                    self._require_layout(layout)
                    return self._merge(layout, part.directory, frozenset())
            _sync_name(above)
            return written

    def _add(self, layout: Directory) -> WrittenIndex:
        """Add to a layout that is there, or make one in a directory that holds nothing."""
        self._require_layout(layout)
        self._merged(layout, self._read(layout, "index.json"))  # before anything is written
        with PartDirectory(layout) as part:
            return self._merge(layout, part.directory, self._filled(layout, part.directory))

    def _filled(self, layout: Directory, part: Directory) -> frozenset[Digest]:
        """Write the blobs that a layout lacks into a part of it, and return the digests of the others."""
        relied = frozenset(blob.digest for blob in self._content.blobs if self._is_there(layout, blob))
        self._fill(part, [blob for blob in self._content.blobs if blob.digest not in relied])
        return relied

    def _require_layout(self, layout: Directory) -> None:
        """Check that a directory is a layout of the version that is written, or holds nothing."""
        names = {name for name in layout.names() if not is_part(name)}
        if "oci-layout" not in names:
            if names <= _NOTHING:
                return
            msg = f"{self._shown} is not empty and not an OCI layout; name a new directory"
            raise TargetExists(msg)
        version = None
        with suppress(InvalidJSON):
            document = gojson.loads(self._read(layout, "oci-layout") or b"", keys=gojson.Keys.FOLDED)
            version = gojson.folded(document).get("imagelayoutversion") if isinstance(document, dict) else None
        if version != _VERSION:
            msg = f"the layout {self._shown} has the version {version!r}; orlop writes version {_VERSION}"
            raise InvalidArchive(msg)

    def _read(self, layout: Directory, name: str) -> bytes | None:
        """Return a document of the layout; nothing where it is not there. Raises `LimitExceeded`."""
        try:
            return read_document(layout.at(name), f"{name} of {self._shown}", self._limits)
        except FileNotFoundError:
            return None

    def _is_there(self, layout: Directory, blob: Blob) -> bool:
        """Return whether the layout has a blob, by its content, and put it on disk, as its writer may not have."""
        state = _replaceable(entry := layout.place(blob_path(blob.digest)))
        if state is None or not stat.S_ISREG(state.st_mode) or state.st_size != blob.size:
            return False
        seen = mark_of(state)
        found = self._known.get(blob.digest) == seen or self._is_right(entry, blob.digest)
        if found:
            self._known[blob.digest] = seen
        if found and blob.label and self._progress is not None:
            self._progress(LayerExists(blob.label))
        return found

    def _is_right(self, entry: Entry, digest: Digest) -> bool:
        """Return whether a file has the content of a digest, which is then on disk."""
        hashed = hashlib.new(digest.algorithm)
        try:
            with open(entry.open(), "rb", buffering=0) as file:
                while piece := file.read(CHUNK):
                    hashed.update(piece)
                os.fsync(file.fileno())
        except PermissionError:
            return False
        return hashed.hexdigest() == digest.hex

    def _fill(self, part: Directory, blobs: Iterable[Blob]) -> None:
        """Write blobs into a directory of the form of a layout, verified and synced."""
        files: list[NewFile] = []
        folders = {subdirectory(part, "blobs")}
        for blob in blobs:
            folders.add(subdirectory(part / "blobs", blob.digest.algorithm))
            file = NewFile(part.place(blob_path(blob.digest)), mode=_MODE, shown=self._shown)
            try:
                self._copy(blob, file)
            except BaseException:
                file.discard()
                raise
            # They go to disk in the background, a few at a time.
            file.rest()
            files.append(file)
            if len(files) >= _RESTING:
                files[-_RESTING].wait()
        for file in files:
            file.sync()
            file.close()
        for folder in folders:
            folder.sync()

    def _copy(self, blob: Blob, file: NewFile) -> None:
        """Copy a blob, by reflink where that is possible, all verified before the last byte is written.

        What was made for this layout was hashed when it was made, and moves.
        """
        if isinstance(blob, MadeLayer) and isinstance(blob.spool, Giving) and blob.spool.give(file):
            return
        cloned = False
        if isinstance(blob, Stored):
            # Bytes of a store in memory have no descriptor.
            with blob.store.open_unverified(blob.row) as source, suppress(UnsupportedOperation):
                cloned = file.clone(source.fileno())
        for chunk in blob_chunks(blob, self._progress):
            if not cloned:
                file.write(chunk)

    def _merge(self, layout: Directory, part: Directory, relied: frozenset[Digest]) -> WrittenIndex:
        """Publish the blobs under their names, and then the index that names them."""
        with DirectoryLock(layout):
            is_placed = False
            for _ in range(_ATTEMPTS):
                before = self._read(layout, "index.json")
                written = self._merged(layout, before)
                put_file(part, "index.json", written.raw, self._shown)
                if not is_placed:
                    self._place(layout, part, relied)
                    is_placed = True
                if self._read(layout, "index.json") == before:
                    publish_index(layout, part)
                    return written
        msg = f"{self._shown}/index.json changes again and again while it is written; wait for the other program"
        raise WriteFailed(msg)

    def _merged(self, layout: Directory, before: bytes | None) -> WrittenIndex:
        mine = {str(blob.digest) for blob in self._content.blobs}
        has = lambda digest: digest in mine or _is_in(layout, digest)  # noqa: E731 - it is passed on once
        try:
            written = index_json(self._content.entries, self._content.lacking, before=before, has=has)
        except InvalidJSON as error:
            msg = f"cannot read {self._shown}/index.json: {error}; correct it, or name a new directory"
            raise InvalidArchive(msg) from error
        return self._readable(written)

    def _readable(self, written: WrittenIndex) -> WrittenIndex:
        """Return what a layout gets as its index, which must not make unreadable what could be read.

        Raises `LimitExceeded`.
        """
        limit = self._limits.manifest_size
        if len(written.raw) > limit:
            msg = (
                f"index.json of {self._shown} would have {len(written.raw)} bytes, and nobody could read it: the limit"
                f" manifest-size is {limit}; write the rest into another layout"
            )
            raise LimitExceeded(msg)
        return written

    def _place(self, layout: Directory, part: Directory, relied: frozenset[Digest]) -> None:
        """Rename blobs into the layout, what names others after what it names."""
        folders = {subdirectory(layout, "blobs")}
        for blob in self._content.blobs:
            folders.add(subdirectory(layout / "blobs", blob.digest.algorithm))
            place = layout.place(blob_path(blob.digest))
            state = _replaceable(place)
            if blob.digest not in relied:
                part.place(blob_path(blob.digest)).rename(place)
                if (placed := place.state()) is not None:
                    self._known[blob.digest] = mark_of(placed)
            elif state is None or state.st_size != blob.size:
                msg = f"the layout {self._shown} was changed while it was written: {place.path} is gone; try again"
                raise WriteFailed(msg)
        if layout.at("oci-layout").state() is None:
            put_file(part, "oci-layout", LAYOUT_FILE, self._shown)
            part.at("oci-layout").rename(layout.at("oci-layout"))
        for folder in (*folders, layout):
            folder.sync()


def publish_index(layout: Directory, part: Directory) -> None:
    """Publish ``index.json`` of a part, with the permissions and the owner of the one that is there."""
    place = layout.at("index.json")
    state = place.state()
    if state is not None:
        descriptor = part.at("index.json").open()
        try:
            with suppress(PermissionError):  # only the superuser may give files away
                os.fchown(descriptor, state.st_uid, state.st_gid)
            os.fchmod(descriptor, permissions(state))
        finally:
            os.close(descriptor)
    part.at("index.json").rename(place)
    layout.sync()


def read_document(entry: Entry, shown: str, limits: Limits) -> bytes:
    """Return a document of a layout. Raises `LimitExceeded`, and `OSError` where it cannot be read."""
    most = limits.manifest_size
    with open(entry.open(), "rb") as file:
        # A limit may be larger than what can be asked for at once.
        raw = file.read() if os.fstat(file.fileno()).st_size <= most else None
    if raw is None or len(raw) > most:
        raise limits.exceeded("manifest_size", f"{shown} has more than {most} bytes")
    if not gojson.values_at_most(raw, values := max(limits.json_values, gojson.MAX_VALUES)):
        raise limits.exceeded("json_values", f"{shown} has more than {values} values")
    return raw


def put_file(part: Directory, name: str, data: bytes, shown: str) -> None:
    """Write a file of a directory that is on its way, and put it on disk."""
    with suppress(FileNotFoundError):
        part.at(name).unlink()
    with NewFile(part.at(name), mode=_MODE, shown=shown) as file:
        file.write(data)
        file.sync()
        file.close()


def _above(path: str) -> Directory:
    """Open the directory that a layout is in: to look a name up in it one need not be allowed to list it."""
    flags = os.O_DIRECTORY | os.O_CLOEXEC
    try:
        return Directory(path, os.open(path, os.O_RDONLY | flags))
    except PermissionError:
        return Directory(path, os.open(path, os.O_PATH | flags))


def _sync_name(above: Directory) -> None:
    """Put the name of a new layout on disk, where one may do more in the directory than put files there."""
    try:
        above.sync()
    except OSError as error:
        # A descriptor that was opened for looking names up only is a bad one for all else.
        if error.errno not in {errno.EBADF, errno.EACCES, errno.EPERM}:
            raise


def _replaceable(entry: Entry) -> os.stat_result | None:
    """Return what has the name of a blob, if anything has. Raises `ForeignFile` for a directory, which stays."""
    state = entry.state()
    if state is not None and stat.S_ISDIR(state.st_mode):
        raise ForeignFile(entry.path, kind_of(state), "a file")
    return state


def _is_in(layout: Directory, text: str) -> bool:
    """Return whether the layout has a file for a digest, which somebody wrote."""
    try:
        digest = Digest.parse(text)
    except InvalidDigest:
        return False
    return layout.place(blob_path(digest)).is_file()
