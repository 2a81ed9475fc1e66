"""Whether a store is whole: its rows among each other, and against its files."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from orlop.errors import IntegrityError, OrlopError, StoreDamaged
from orlop.streams.files import explaining

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orlop.store.metadata import BlobRow, Rows
    from orlop.store.root import Store

DAMAGE: Final = "damage"
"""Something is not what it should be: an image, or all of them, may not be usable."""
NOTE: Final = "note"
"""Nothing is lost: something can be made again, is garbage, or is worth knowing."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that was found.

    ``kind`` is a word that does not change (see `docs/stores.md`), ``level`` says whether it is `DAMAGE` or a `NOTE`,
    ``subject`` what it is about (a digest, a name or a path), and ``message`` the sentence for people.
    """

    level: str
    kind: str
    subject: str
    message: str


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What was found in the store at ``root``; ``verified`` says whether all content was read."""

    root: str
    verified: bool
    problems: tuple[Problem, ...]

    @property
    def damage(self) -> tuple[Problem, ...]:
        """What is not as it should be; nothing for a store that is whole."""
        return tuple(problem for problem in self.problems if problem.level == DAMAGE)

    @property
    def notes(self) -> tuple[Problem, ...]:
        """What is worth knowing."""
        return tuple(problem for problem in self.problems if problem.level == NOTE)


def check_store(store: Store, *, verify: bool = False, settled: bool = False) -> CheckReport:
    """See `orlop.stores.check`; in a ``settled`` store nobody works, so that nothing need be looked at twice."""
    return CheckReport(store.root, verify, tuple(_Check(store, verify=verify, settled=settled).run()))


class _Check:
    """One check under way."""

    def __init__(self, store: Store, *, verify: bool, settled: bool) -> None:
        self._store = store
        self._verify = verify
        self._settled = settled or store.read_only

    def run(self) -> Iterator[Problem]:
        yield from self._place()
        try:
            rows = list(self._rows())
        except StoreDamaged as error:
            # Rows that cannot be read say nothing about files.
            yield Problem(DAMAGE, "database", "metadata.db", str(error))
            return
        yield from rows
        with self._store.metadata.read() as view:
            found = list(self._files(view))
        if found and not self._settled:
            # Others may have been at work between the rows and the files: under their lock they are not.
            with self._store.metadata.write() as view:
                found = list(self._files(view))
        yield from found
        if self._verify:
            yield from self._content()
        yield from self._leftovers()

    def _place(self) -> Iterator[Problem]:
        store = self._store
        if store.read_only:
            yield Problem(NOTE, "read-only", store.root, store.why_read_only())
        log = os.path.join(store.root, "metadata.db-wal")
        if store.read_only and os.path.exists(log) and os.path.getsize(log):
            yield Problem(
                NOTE, "log", log, f"{log} holds changes that cannot be merged here: each command reads a private copy"
            )

    def _rows(self) -> Iterator[Problem]:
        for found in self._store.metadata.problems(verify=self._verify):
            yield Problem(NOTE if found.harmless else DAMAGE, found.kind, found.subject, found.message)

    def _files(self, rows: Rows) -> Iterator[Problem]:
        store = self._store
        for blob in rows.blobs():
            yield from self._file_of(blob)
        for diff_id in rows.diff_ids():
            path = store.blobs.toc_path(diff_id)
            if not os.path.exists(path):
                message = (
                    f"the table of contents of the layer {diff_id} is missing; it can be made again from the layer"
                )
                yield Problem(NOTE, "toc-missing", str(diff_id), message)
        blobs, tocs, others = store.blobs.strays(rows)
        paths = [store.blobs.path(digest) for digest in blobs] + [store.blobs.toc_path(diff_id) for diff_id in tocs]
        for path in sorted(paths + others):
            yield Problem(NOTE, "stray", path, f"{path} belongs to nothing; it may be removed")

    def _file_of(self, blob: BlobRow) -> Iterator[Problem]:
        path = self._store.blobs.path(blob.digest)
        try:
            size = os.stat(path).st_size
        except FileNotFoundError:
            message = f"the blob {blob.digest} is missing from {path}; load its image again"
            yield Problem(DAMAGE, "blob-missing", str(blob.digest), message)
            return
        if size != blob.size:
            message = f"the blob {path} has {size} bytes instead of {blob.size}; load its image again"
            yield Problem(DAMAGE, "blob-size", str(blob.digest), message)

    def _content(self) -> Iterator[Problem]:
        """Read every blob. One that is removed meanwhile is no problem."""
        store = self._store
        with store.metadata.read() as rows:
            blobs = rows.blobs()
        for blob in blobs:
            if not store.blobs.has(blob):
                continue  # that was told, or it went
            try:
                with store.blobs.open(blob) as reader:
                    for _ in reader.chunks():
                        pass
            except IntegrityError:
                message = f"the blob {store.blobs.path(blob.digest)} is not what its digest says; load its image again"
                yield Problem(DAMAGE, "blob-damaged", str(blob.digest), message)
            except (OSError, OrlopError) as error:
                with store.metadata.read() as rows:
                    if rows.blob(blob.digest) is not None and store.blobs.has(blob):
                        yield Problem(DAMAGE, "blob-unreadable", str(blob.digest), str(error))

    def _leftovers(self) -> Iterator[Problem]:
        store = self._store
        if store.read_only:
            # Who lives is seen only by trying to lock what the owners hold.
            return
        ingest = os.path.join(store.root, "ingest")
        with explaining("read", ingest):
            names = sorted(os.listdir(ingest))
        alive = store.leases.alive()
        for name in [name for name in names if name.partition(".")[0] not in alive]:
            path = os.path.join(ingest, name)
            yield Problem(NOTE, "unfinished", path, f"{path} was left by a process that died; the next load removes it")
