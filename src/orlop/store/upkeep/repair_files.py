"""Files put right: what is bad is set aside, what is missing is brought back from what the store has itself."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from orlop.errors import IntegrityError, InvalidInput, PermissionDenied
from orlop.model.digest import DiffID, Digest
from orlop.model.limits import NO_LIMITS
from orlop.store.trust import BLOBS_ON_DEMAND
from orlop.store.upkeep.fsck_content import Unreadable, examine, open_content, place_of
from orlop.store.upkeep.lost_rows import hold_for_lost_rows
from orlop.store.upkeep.problem import Repair
from orlop.store.upkeep.quarantine import Quarantine
from orlop.store.upkeep.repair_part import RepairPart
from orlop.streams.compression import Compression, decompressed
from orlop.streams.directory import ForeignFile
from orlop.streams.files import CHUNK, SHARED, explaining
from orlop.streams.seek_index import packed
from orlop.streams.toc import TocWriter
from orlop.streams.verify import HashingReader, VerifyingReader

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

    from orlop.store.blobs.store import Ingest
    from orlop.store.root import Store
    from orlop.store.rows.metadata import BlobRow, Rows
    from orlop.store.upkeep.fsck_content import Exam, Place
    from orlop.store.upkeep.problem import Problem
    from orlop.streams.directory import Entry

_BLOBS: Final = ("blobs/sha256", *BLOBS_ON_DEMAND)
_BAD: Final = ("blob-damaged", "blob-size", "blob-no-file", "blob-unreadable")


class FilesRepair(RepairPart):
    """The part of a repair that is about files. Every step looks at the rows again under the write lock."""

    def __init__(
        self,
        store: Store,
        problems: Iterable[Problem],
        exams: dict[Digest, Exam],
        done: Callable[[Repair], object],
        progress: Callable[[int], object] | None,
    ) -> None:
        super().__init__(store, problems, exams, done, progress)
        self._root, self._modes, self._blobs, _ = store.files
        self._quarantine = Quarantine(store.files)

    def exam(self, digest: Digest) -> Exam | None:
        """Read a blob, if that was not done yet; nothing where there is no file. Raises `Unreadable`."""
        file = self._blobs.file(digest)
        exam = self._exams.get(digest)
        if exam is None or exam.place != place_of(file):
            exam = examine(file, progress=self._progress, algorithm=digest.algorithm)
            if exam is not None:
                self._exams[digest] = exam
        return exam

    # Places.

    def put_directories_right(self) -> None:
        """Make missing directories; what is in the place of one is set aside."""
        for path in self._subjects("directory-missing"):
            place = self._place(path)
            with self._store.metadata.write(), explaining("write", path):
                state = place.state()
                if state is not None and not stat.S_ISDIR(state.st_mode):
                    self._quarantine.take(place)
                place.directory.make(place.name, self._modes.directory)
                self._give_group(place)
            self._done(Repair("directory-missing", path, f"the directory {path} was made"))

    def put_modes_right(self) -> None:
        """Restrict files and directories to those who should use them."""
        for path in self._subjects("mode-wrong"):
            # What belongs to another user is his to change.
            with suppress(FileNotFoundError, PermissionError, ForeignFile):
                place = self._place(path)
                state = place.state()
                if state is not None:
                    mode = self._mode_of(place, state)
                    self._give_group(place)
                    place.set_mode(mode)
                    self._done(Repair("mode-wrong", path, f"{path} got the mode {mode:04o}"))

    def _place(self, path: str) -> Entry:
        return self._root.place(os.path.relpath(path, self._store.root))

    def _mode_of(self, place: Entry, state: os.stat_result) -> int:
        if stat.S_ISDIR(state.st_mode):
            return self._modes.directory
        return self._modes.content if place.folder in _BLOBS else self._modes.file

    def _give_group(self, place: Entry) -> None:
        if self._modes is SHARED:
            place.set_group(self._root.state().st_gid)

    def sweep(self) -> None:
        """Do nothing: what lies in a directory and belongs to nothing is garbage like all other."""

    # Blobs.

    def set_bad_blobs_aside(self) -> None:
        """Move what is not the blob that its name says into the quarantine; a load then brings the blob back."""
        for subject in self._subjects(*_BAD):
            digest = Digest.parse(subject)
            file = self._blobs.file(digest)
            place = place_of(file)
            if place is None or self._may_be_right(digest):
                continue
            with self._store.metadata.write() as rows:
                if rows.blob(digest) is None or place_of(file) != place:
                    continue  # it went, or somebody has brought another one
                aside = self._quarantine.take(file)
            self._quarantine.sync()
            self._done(Repair(self._kind(subject), subject, f"{file.path} was set aside as {aside}"))

    def is_right(self, digest: Digest) -> bool:
        """Return whether a file was read and is the blob that its name says."""
        with suppress(Unreadable):
            return self._holds(digest)
        return False

    def _may_be_right(self, digest: Digest) -> bool:
        """Return whether a file is the blob that its name says, or may be: others may read it, or at another time."""
        try:
            return self._holds(digest)
        except Unreadable as error:
            return error.by_device or isinstance(error.reason, PermissionDenied)

    def _holds(self, digest: Digest) -> bool:
        exam = self.exam(digest)
        return exam is not None and exam.blob.digest == digest

    def bring_missing_blobs_back(self) -> None:
        """Find missing blobs in what was set aside or is nobody's, and make plain ones from compressed ones."""
        missing = {row.digest: row for row in self._missing()}
        if not missing:
            return
        algorithms: dict[int, set[str]] = {}
        for row in missing.values():
            algorithms.setdefault(row.size, set()).add(row.digest.algorithm)
        for file in self._unclaimed():
            for digest, place in _digests_of(file, algorithms):
                if digest in missing:
                    self._put_back(digest, place, file)
        for row in self._missing():
            self._unpack(row)

    def _missing(self) -> list[BlobRow]:
        with self._store.metadata.read() as rows:
            files = [(row, self._blobs.file(row.digest)) for row in rows.blobs()]
        with explaining("read", self._store.root):
            return [row for row, file in files if file.state() is None]

    def _unclaimed(self) -> Iterator[Entry]:
        """Yield the files that may be missing blobs: those that have no row under their name."""
        yield from self._quarantine.files()
        with self._store.metadata.read() as rows:
            known = {self._blobs.file(row.digest).path for row in rows.blobs()}
        root = self._root
        for folder in ("blobs", *_BLOBS):
            with suppress(FileNotFoundError, ForeignFile):
                files = [root.place(f"{folder}/{name}") for name in root.room(folder).names()]
                yield from (file for file in files if file.path not in known)

    def _put_back(self, digest: Digest, place: Place, file: Entry) -> None:
        target = self._blobs.file(digest)
        with self._store.metadata.write() as rows, explaining("move", file.path):
            if rows.blob(digest) is None or target.state() is not None or place_of(file) != place:
                return
            self._quarantine.give_back(file, target)
        self._done(Repair("blob-missing", str(digest), f"the blob {digest} was found as {file.path} and put back"))

    def _unpack(self, row: BlobRow) -> None:
        """Make a plain blob, whose digest is the diff ID, from another form of the layer."""
        diff_id = DiffID.wrap(row.digest)
        with self._store.metadata.read() as rows:
            forms = [form for form in rows.blobs_of(diff_id) if form.digest != row.digest and form.digest.is_valid]
        for form in forms:
            compression = Compression.__members__.get(form.compression.upper())
            if compression is None:
                continue
            source = self._blobs.file(form.digest)
            message = f"the blob {row.digest} was made again from {form.digest}, which holds the same layer"
            if self._take(row, source, compression, message):
                return

    def _take(self, row: BlobRow, source: Entry, compression: Compression, message: str) -> bool:
        """Keep what a file holds if that is a blob, where nothing has the blob's name."""
        target = self._blobs.file(row.digest)
        with self._blobs.begin(row.digest.algorithm) as ingest:
            if not _fill(ingest, row, source, compression):
                return False
            ingest.sync()
            with self._store.metadata.write() as rows, explaining("read", target.path):
                if rows.blob(row.digest) is None or target.state() is not None:
                    return False
                ingest.commit(rows, row)
        self._done(Repair("blob-missing", str(row.digest), message))
        return True

    def keep_log(self) -> None:
        """Keep a copy of the log of an earlier database: what is written next replaces a damaged end of it."""
        log = self._root.at("metadata.db-wal")
        state = log.state()
        if state is not None and state.st_size > 0:
            aside = self._quarantine.keep(log)
            self._done(Repair("earlier", log.name, f"{log.path} was kept as {aside}"))

    def go_on_from_earlier(self) -> None:
        """Take an earlier database for the latest; the blobs of later writes, which it does not name, are kept."""
        with self._store.metadata.write() as rows:
            for digest in self._blobs.unnamed(rows)[0]:
                file = self._blobs.file(digest)
                aside = self._quarantine.take(file)
                message = f"{file.path}, which the earlier database does not name, was set aside as {aside}"
                self._done(Repair("earlier", str(digest), message))
            # What the later writes named may be among what these rows do not need, too.
            hold_for_lost_rows(rows)
            # Else a loss of power could leave them where the next collection takes them.
            self._quarantine.sync()
            self._store.files.rows.take_as_last()
        self._done(Repair("earlier", "metadata.db", "the store goes on from the rows that are there"))

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
        with self._blobs.begin() as ingest:
            table = TocWriter(ingest)
            try:
                exam = examine(
                    self._blobs.file(form), headers=table.add, progress=self._progress, algorithm=form.algorithm
                )
            except Unreadable:
                return False
            table.close()
            if exam is None or exam.diff is None or exam.diff.diff_id != diff_id:
                return False
            if exam.index is not None:
                ingest.write(packed(exam.index))
            ingest.sync()
            with self._store.metadata.write() as rows:
                if rows.diff(diff_id) is None:
                    return False
                target = self._blobs.toc_file(diff_id)
                with explaining("write", target.path):
                    if target.state() is not None and not target.is_file():
                        self._quarantine.take(target)
                ingest.commit_toc(rows, diff_id)
        return True

    # Rows that are missing beside files.

    def unrecorded(self) -> Iterator[Digest]:
        """Yield the digests by which files are named that have no row."""
        named = (Digest(file.folder.rpartition("/")[2], file.name) for file in self._unclaimed())
        yield from (digest for digest in named if digest.is_valid)

    def right_exams(self, digests: Iterable[Digest]) -> Iterator[Exam]:
        """Read blobs, and files named as blobs of which there is no row; yield what is right of them."""
        for digest in dict.fromkeys((*digests, *self.unrecorded())):
            with suppress(Unreadable):
                exam = self.exam(digest)
                if exam is not None and exam.blob.digest == digest:
                    yield exam


def is_whole(store: Store, rows: Rows, diff_id: DiffID) -> bool:
    """Return whether a form of a layer is there, by its size."""
    return any(store.blobs.has(form) for form in rows.blobs_of(diff_id))


def _fill(ingest: Ingest, row: BlobRow, source: Entry, compression: Compression) -> bool:
    """Write what another file holds; return whether it could be read and is a blob. Raises errors of writing."""
    try:
        opened = open_content(source)
        if opened is None:
            return False
        with opened, decompressed(opened, compression, limits=NO_LIMITS) as content:
            for chunk in VerifyingReader(content, digest=row.digest, size=row.size).chunks(CHUNK):
                ingest.write(chunk)
    except (Unreadable, IntegrityError, InvalidInput):
        return False
    return True


def _digests_of(named: Entry, algorithms: Mapping[int, Collection[str]]) -> Iterator[tuple[Digest, Place]]:
    """Yield the digests of a file that may be of use by its size, by the algorithms that this size has."""
    with suppress(Unreadable):
        file = open_content(named)
        if file is None:
            return
        with file:
            for algorithm in algorithms.get(file.place.size, ()):
                file.seek(0)
                content = HashingReader(file, algorithm=algorithm)
                while content.read(CHUNK):
                    pass
                yield content.digest, file.place
