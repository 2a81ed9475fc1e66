"""What a sync remembers from run to run: a file with a line of JSON for each thing that happened, the newest counts.

    {"sync": "docker://a/b to oci:c", "tag": "1.0", "how": "…", "from": "sha256:…", "to": "sha256:…", "about": {…}}
    {"host": "docker.io", "at": 1764320000.0}

Nothing in it is believed about what a target holds: that is asked, every time. It tells what a source had when the
target got what it has now, which digests alone do not show where an index lost platforms on the way, and what referred
to it. It may be lost at any time; the next run then reads more manifests, and copies nothing that is there.

A line is written when its tag is done, in one write, so that a run that was killed is gone on with. A torn line is not
read, and a file that does not begin like a state is another one, and is left alone. The file is locked by the run that
uses it, and shortened by the next one where most of it is old.
"""

from __future__ import annotations

import errno
import json
import os
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Self

from orlop.errors import Conflict, OrlopError
from orlop.model.logger import Logger
from orlop.streams.directory import Directory
from orlop.streams.file_lock import FileLock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from orlop.streams.directory import Entry

_LIMIT: Final = 256 << 20
_OLD: Final = 1000
"""How many lines more than are needed may stand there."""
_MOMENTS: Final = 100_000
_STARTS: Final = (b'{"sync":', b'{"host":')
_log: Final = Logger("orlop.sync")


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a tag: what it led to at the source, ``how`` it was copied, and what the target then had.

    ``about`` has, for each manifest that was copied, a digest of the list of what refers to it.
    """

    how: str
    found: str
    made: str
    about: Mapping[str, str] = field(default_factory=dict)


class SyncState:
    """The state of one file. Without a descriptor it remembers for this run alone."""

    def __init__(self, descriptor: int = -1) -> None:
        self._descriptor = descriptor
        self._tags: dict[tuple[str, str], Known] = {}
        self._moments: dict[str, list[float]] = {}

    @classmethod
    @contextmanager
    def opened(cls, place: Callable[[], Entry] | None) -> Iterator[Self]:
        """Open the state at a place for a block; where it cannot be kept, that is a warning.

        Raises:
            Conflict: another run uses it.
        """
        descriptor, lock, taken = -1, None, None
        try:
            if place is not None:
                entry = place()
                lock = FileLock(entry)
                taken = None if lock.try_acquire() else entry.path
                descriptor = entry.open(os.O_RDWR | os.O_APPEND) if taken is None else -1
        except (OSError, OrlopError) as error:
            _log.warning("this sync is not remembered, as its state cannot be kept: %s", error)
        if taken is not None:
            raise Conflict(f"another sync keeps its state in {taken}; wait until it has ended, or name another file")
        try:
            state = cls(descriptor)
            state._read()
            yield state
        finally:
            if descriptor >= 0:
                os.close(descriptor)
            if lock is not None:
                lock.release()

    def known(self, sync: str, tag: str) -> Known | None:
        """Return what is known of a tag, if anything is."""
        return self._tags.get((sync, tag))

    def keep(self, sync: str, tag: str, known: Known) -> None:
        """Remember a tag."""
        if self._tags.get((sync, tag)) != known:
            self._tags[sync, tag] = known
            self._write(_line(sync, tag, known))

    def forget(self, sync: str, tag: str) -> None:
        """Forget a tag."""
        if self._tags.pop((sync, tag), None) is not None:
            self._write({"sync": sync, "tag": tag})

    def moments(self, host: str) -> list[float]:
        """Return when manifests were fetched from a host, in seconds since 1970, in order."""
        return sorted(self._moments.get(host, ()))

    def spend(self, host: str, at: float) -> None:
        """Remember that a manifest was fetched from a host."""
        self._moments.setdefault(host, []).append(at)
        self._write({"host": host, "at": at})

    def _read(self) -> None:
        if self._descriptor < 0:
            return
        count = 0
        with open(os.dup(self._descriptor), "rb") as file:
            try:
                text = file.read(_LIMIT)
            except OSError as error:
                _log.warning("this sync is not remembered, as its state cannot be read: %s", error.strerror)
                self._descriptor = -1
                return
            if not text.startswith(tuple(start[: len(text)] for start in _STARTS)):
                _log.warning("this sync is not remembered, as the file for its state has something else in it")
                self._descriptor = -1
                return
            if text and not text.endswith(b"\n"):
                # What follows must not be lost with a line that was torn.
                os.write(self._descriptor, b"\n")
            for line in text.splitlines():
                count += 1
                with suppress(ValueError, TypeError, KeyError, RecursionError):
                    self._take(json.loads(line))
        for host, moments in self._moments.items():
            self._moments[host] = sorted(moments)[-_MOMENTS:]
        needed = [_line(*key, known) for key, known in self._tags.items()]
        needed += [{"host": host, "at": at} for host, moments in self._moments.items() for at in moments]
        if count > 2 * len(needed) + _OLD:
            os.ftruncate(self._descriptor, 0)
            self._write(*needed)

    def _take(self, line: dict[str, Any]) -> None:
        if "host" in line:
            self._moments.setdefault(str(line["host"]), []).append(float(line["at"]))
        elif "from" in line:
            about = {str(key): str(value) for key, value in line.get("about", {}).items()}
            known = Known(str(line["how"]), str(line["from"]), str(line["to"]), about)
            self._tags[str(line["sync"]), str(line["tag"])] = known
        else:
            self._tags.pop((str(line["sync"]), str(line["tag"])), None)

    def _write(self, *lines: dict[str, Any]) -> None:
        if self._descriptor < 0:
            return
        text = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)
        with suppress(OSError):
            os.write(self._descriptor, text.encode())


def state_at(path: str | os.PathLike[str]) -> Entry:
    """Return the place of a state in a file. Raises OSError where a path has no name for one."""
    folder, name = os.path.split(os.path.abspath(path))
    if not name:
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), folder)
    return Directory(folder).at(name)


def _line(sync: str, tag: str, known: Known) -> dict[str, Any]:
    line: dict[str, Any] = {"sync": sync, "tag": tag, "how": known.how, "from": known.found, "to": known.made}
    return line | ({"about": dict(known.about)} if known.about else {})
