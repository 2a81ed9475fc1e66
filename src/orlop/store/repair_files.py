"""Files put right: what is bad is set aside, what is missing is brought back from what the store has itself."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from orlop.errors import IntegrityError, InvalidInput, PermissionDenied
from orlop.model.digest import DiffID, Digest
from orlop.model.limits import NO_LIMITS
from orlop.store.fsck_content import Unreadable, examine, open_content, place_of
from orlop.store.problem import Repair
from orlop.store.quarantine import Quarantine
from orlop.streams.compression import Compression, decompressed
from orlop.streams.files import CHUNK, SHARED, explaining, make_directory
from orlop.streams.toc import TocWriter
from orlop.streams.verify import HashingReader, VerifyingReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from orlop.store.fsck_content import Exam, Place
    from orlop.store.metadata import BlobRow, Rows
    from orlop.store.problem import Problem
    from orlop.store.root import Store
    from orlop.streams.files import NewFile

_BAD: Final = ("blob-damaged", "blob-size", "blob-no-file", "blob-unreadable")


class FilesRepair:
    """The part of a repair that is about files. Every step looks at the rows again under the write lock.

    Args:
        store: a store that can be written.
        problems: what was found.
        exams: what the look has found in blobs; others are read when that is needed.
        done: called with each repair.
        progress: called with the number of bytes read since the last call.
    """

    def __init__(
        self,
        store: Store,
        problems: Iterable[Problem],
        exams: dict[Digest, Exam],
        done: Callable[[Repair], object],
        progress: Callable[[int], object] | None,
    ) -> None:
        self._store = store
        self._problems = tuple(problems)
        self._exams = dict(exams)
        self._done = done
        self._progress = progress
        self._quarantine = Quarantine(store.root, store.modes)

    def _subjects(self, *kinds: str) -> list[str]:
        return list(dict.fromkeys(one.subject for one in self._problems if one.kind in kinds))

    def _kind(self, subject: str) -> str:
        return next(one.kind for one in self._problems if one.subject == subject)

    def exam(self, digest: Digest) -> Exam | None:
        """Read a blob, if that was not done yet; nothing where there is no file. Raises `Unreadable`."""
        path = self._store.blobs.path(digest)
        exam = self._exams.get(digest)
        if exam is None or exam.place != place_of(path):
            exam = examine(path, progress=self._progress)
            if exam is not None:
                self._exams[digest] = exam
        return exam

    # Places.

    def put_directories_right(self) -> None:
        """Make missing directories; what is in the place of one is set aside."""
        for path in self._subjects("directory-missing"):
            with self._store.metadata.write():
                if os.path.lexists(path) and not os.path.isdir(path):
                    self._quarantine.take(path)
                with explaining("write", path):
                    make_directory(path, self._store.modes.directory)
                    self._give_group(path)
            self._done(Repair("directory-missing", path, f"the directory {path} was made"))

    def put_modes_right(self) -> None:
        """Let files and directories be used by those only who should."""
        for path in self._subjects("mode-wrong"):
            # What belongs to another user is his to change.
            with suppress(FileNotFoundError, PermissionError):
                kind = stat.S_IFMT(os.lstat(path).st_mode)
                mode = self._mode_of(path, kind)
                if kind in {stat.S_IFDIR, stat.S_IFREG}:
                    self._give_group(path)
                    os.chmod(path, mode)
                    self._done(Repair("mode-wrong", path, f"{path} got the mode {mode:04o}"))

    def _mode_of(self, path: str, kind: int) -> int:
        modes = self._store.modes
        if kind == stat.S_IFDIR:
            return modes.directory
        return modes.content if os.path.dirname(path) == self._blobs_folder() else modes.file

    def _give_group(self, path: str) -> None:
        if self._store.modes is SHARED:
            os.chown(path, -1, os.stat(self._store.root).st_gid)

    def _blobs_folder(self) -> str:
        return os.path.join(self._store.root, "blobs", "sha256")

    # Blobs.

    def set_bad_blobs_aside(self) -> None:
        """Move what is not the blob that its name says into the quarantine; a load then brings the blob back."""
        for subject in self._subjects(*_BAD):
            digest = Digest.parse(subject)
            path = self._store.blobs.path(digest)
            if os.path.islink(path) and self._bring_from_link(digest, path):
                continue
            place = place_of(path)
            if place is None or self._may_be_right(digest):
                continue
            with self._store.metadata.write() as rows:
                if rows.blob(digest) is None or place_of(path) != place:
                    continue  # it went, or somebody has brought another one
                aside = self._quarantine.take(path)
            self._quarantine.sync()
            self._done(Repair(self._kind(subject), subject, f"{path} was set aside as {aside}"))

    def is_right(self, digest: Digest) -> bool:
        """Say whether a file was read and is the blob that its name says."""
        with suppress(Unreadable):
            return self._holds(digest)
        return False

    def _may_be_right(self, digest: Digest) -> bool:
        """Say whether a file is the blob that its name says, or may be: somebody else may be able to read it."""
        try:
            return self._holds(digest)
        except Unreadable as error:
            return isinstance(error.reason, PermissionDenied)

    def _holds(self, digest: Digest) -> bool:
        exam = self.exam(digest)
        return exam is not None and exam.blob.digest == digest

    def bring_missing_blobs_back(self) -> None:
        """Find missing blobs in what was set aside or is nobody's, and make plain ones from compressed ones."""
        missing = {row.digest: row for row in self._missing()}
        if not missing:
            return
        sizes = {row.size for row in missing.values()}
        for path in self._unclaimed():
            if (found := _digest_of(path, sizes)) is not None and found[0] in missing:
                self._put_back(*found, path)
        for row in self._missing():
            self._unpack(row)

    def _missing(self) -> list[BlobRow]:
        with self._store.metadata.read() as rows:
            return [row for row in rows.blobs() if not os.path.lexists(self._store.blobs.path(row.digest))]

    def _unclaimed(self) -> Iterator[str]:
        """Give the files that may be missing blobs: those that have no row under their name."""
        for name in self._quarantine.names():
            yield os.path.join(self._quarantine.path, name)
        with self._store.metadata.read() as rows:
            known = {self._store.blobs.path(row.digest) for row in rows.blobs()}
        for folder in (os.path.dirname(self._blobs_folder()), self._blobs_folder()):
            with suppress(FileNotFoundError, NotADirectoryError):
                paths = (os.path.join(folder, name) for name in sorted(os.listdir(folder)))
                yield from (path for path in paths if path not in known)

    def _put_back(self, digest: Digest, place: Place, path: str) -> None:
        target = self._store.blobs.path(digest)
        with self._store.metadata.write() as rows:
            if rows.blob(digest) is None or os.path.lexists(target) or place_of(path) != place:
                return
            self._quarantine.give_back(path, target)
        self._done(Repair("blob-missing", str(digest), f"the blob {digest} was found as {path} and put back"))

    def _bring_from_link(self, digest: Digest, path: str) -> bool:
        """Put the bytes that a symbolic link leads to in its place, if they are the blob's."""
        with self._store.metadata.read() as rows:
            row = rows.blob(digest)
        if row is None:
            return False
        message = f"{path} is a file now and no link any more"
        return self._take(row, os.path.realpath(path), Compression.NONE, "blob-no-file", message)

    def _unpack(self, row: BlobRow) -> None:
        """Make a plain blob, whose digest is the diff ID, from another form of the layer."""
        diff_id = DiffID.wrap(row.digest)
        with self._store.metadata.read() as rows:
            forms = [form for form in rows.blobs_of(diff_id) if form.digest != row.digest and form.digest.is_valid]
        for form in forms:
            compression = Compression.__members__.get(form.compression.upper())
            if compression is None:
                continue
            path = self._store.blobs.path(form.digest)
            message = f"the blob {row.digest} was made again from {form.digest}, which holds the same layer"
            if self._take(row, path, compression, "blob-missing", message):
                return

    def _take(self, row: BlobRow, path: str, compression: Compression, kind: str, message: str) -> bool:
        """Keep what a file holds if that is a blob, in place of what has the blob's name."""
        target = self._store.blobs.path(row.digest)
        with self._store.blobs.new() as file:
            if not _fill(file, row, path, compression):
                return False
            file.sync()
            with self._store.metadata.write() as rows:
                if rows.blob(row.digest) is None or (os.path.lexists(target) and not os.path.islink(target)):
                    return False
                self._store.blobs.publish(rows, file, row.digest)
        self._done(Repair(kind, str(row.digest), message))
        return True

    # Tables of contents.

    def make_tables(self) -> None:
        """Make tables of contents anew, from blobs that are right."""
        for subject in self._subjects("toc-missing", "toc-damaged"):
            diff_id = DiffID.parse(subject)
            with self._store.metadata.read() as rows:
                forms = rows.blobs_of(diff_id)
            for form in forms:
                if form.digest.is_valid and self._make_table(diff_id, form.digest):
                    message = f"the table of contents of the layer {diff_id} was made again"
                    self._done(Repair(self._kind(subject), subject, message))
                    break

    def _make_table(self, diff_id: DiffID, form: Digest) -> bool:
        store = self._store
        with store.blobs.new() as file:
            table = TocWriter(file)
            try:
                exam = examine(store.blobs.path(form), headers=table.add, progress=self._progress)
            except Unreadable:
                return False
            table.close()
            if exam is None or exam.diff is None or exam.diff.diff_id != diff_id:
                return False
            file.sync()
            with store.metadata.write() as rows:
                if rows.diff(diff_id) is None:
                    return False
                target = store.blobs.toc_path(diff_id)
                if os.path.lexists(target) and not os.path.isfile(target):
                    self._quarantine.take(target)
                store.blobs.publish_toc(rows, file, diff_id)
        return True

    # Rows that are missing beside files.

    def right_exams(self, digests: Iterable[Digest]) -> Iterator[Exam]:
        """Read blobs, and files named as blobs of which there is no row; give what is right of them."""
        named = [Digest("sha256", os.path.basename(path)) for path in self._unclaimed()]
        for digest in dict.fromkeys((*digests, *(one for one in named if one.is_valid))):
            with suppress(Unreadable):
                exam = self.exam(digest)
                if exam is not None and exam.blob.digest == digest and exam.diff is not None:
                    yield exam


def is_whole(store: Store, rows: Rows, diff_id: DiffID) -> bool:
    """Say whether a form of a layer is there, by its size."""
    return any(store.blobs.has(form) for form in rows.blobs_of(diff_id))


def _fill(file: NewFile, row: BlobRow, path: str, compression: Compression) -> bool:
    """Write what another file holds, and say whether that could be read and is a blob's. Raises errors of writing."""
    try:
        source = open_content(path)
        if source is None:
            return False
        with source, decompressed(source, compression, limits=NO_LIMITS) as content:
            for chunk in VerifyingReader(content, digest=row.digest, size=row.size).chunks(CHUNK):
                file.write(chunk)
    except (Unreadable, IntegrityError, InvalidInput):
        return False
    return True


def _digest_of(path: str, sizes: set[int]) -> tuple[Digest, Place] | None:
    """Give the digest of a file that may be of use by its size."""
    with suppress(Unreadable):
        file = open_content(path)
        if file is None:
            return None
        with file:
            if file.place.size not in sizes:
                return None
            content = HashingReader(file)
            while content.read(CHUNK):
                pass
            return content.digest, file.place
    return None
