"""Names and keys in memory, for tests and for programs that keep their rows in memory."""

from __future__ import annotations

import heapq
import os
import threading
import time
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Final, final

from orlop.errors import LeaseLost, StorageError
from orlop.store.rows.keys import BATCH, TOC, Condemned, Identity, ObjectKeys, PendingUpload, StoredObject

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from orlop.store.rows.rows import WritableRows

_AGAIN: Final = 3600.0
"""Seconds after which a key is deleted for the second time."""


class MemoryObjects:
    """The table of keys that the sessions of one process share.

    Args:
        now: a clock in seconds that never goes back.
    """

    def __init__(self, *, now: Callable[[], float] = time.monotonic) -> None:
        self.now = now
        self.guard = threading.RLock()
        self.epoch = 1
        self.identity = Identity(os.urandom(16).hex(), 1)
        self.place = ""
        self.sessions: dict[str, list[int]] = {}
        """The epochs that the living sessions have pinned, one for each operation under way."""
        self.uploads: dict[str, PendingUpload] = {}
        self.claims: dict[str, PendingUpload] = {}
        """The uploads that claim a name, by that name."""
        self.objects: dict[str, StoredObject] = {}
        self.doomed: dict[str, _Doomed] = {}
        self.deleting: dict[str, _Deleting] = {}

    def declare_dead(self, session: str) -> None:
        """Treat a session as dead from now on; the next `ObjectKeys.collect` dooms what it uploads."""
        with self.guard:
            self.sessions.pop(session, None)


class _Doomed:
    """An object that nothing leads to, since a time; ``stamp`` is 0 until it has one."""

    __slots__ = ("since", "stamp", "stored", "upload_id")

    def __init__(self, stored: StoredObject, since: float, upload_id: str = "") -> None:
        self.stored, self.since, self.upload_id, self.stamp = stored, since, upload_id, 0


class _Deleting:
    """A key on its way out; ``again`` is when it is to be deleted for the second time, once it was for the first."""

    __slots__ = ("again", "upload_id")

    def __init__(self, upload_id: str) -> None:
        self.upload_id = upload_id
        self.again: float | None = None


@final
class MemoryKeys(ObjectKeys):
    """One session over names and keys in memory.

    What a write changes is changed at once, and changed back if the write is undone; `MemoryMetadata`, beside which
    this is meant to be used, lets nobody see the rows meanwhile.

    Args:
        objects: the table; by default a new one, that no other session sees.
        session: the name of this session; the one of its lease, where it has one.
    """

    def __init__(self, objects: MemoryObjects | None = None, *, session: str = "") -> None:
        self._all = objects or MemoryObjects()
        self._session = session or os.urandom(8).hex()
        self._all.sessions[self._session] = []

    @property
    def session(self) -> str:
        """The name of this session."""
        return self._session

    def require(self, session: str) -> None:
        """Raise `LeaseLost` where a session is known to be dead."""
        if session != self._session:
            raise _lost(session)
        with self._all.guard:
            self._require_alive()

    def in_block(self) -> bool:
        """Return False: nobody waits for long."""
        return False

    def begin(self) -> str:
        """Return a new key."""
        with self._all.guard:
            self._require_alive()
            key = os.urandom(16).hex()
            self._all.uploads[key] = PendingUpload(key, self._session)
            return key

    def claim(self, name: str) -> str | None:
        """Return a new key that claims a name, see `ObjectKeys.claim`."""
        with self._all.guard:
            if name in self._all.claims:
                return None
            key = self.begin()
            self._all.claims[name] = self._all.uploads[key]
            return key

    def is_claimed(self, name: str) -> bool:
        """Return whether the upload of a living session claims a name."""
        with self._all.guard:
            claim = self._all.claims.get(name)
            if claim is not None and claim.session not in self._all.sessions:
                self._end_claim(claim.key)
            return name in self._all.claims

    def _end_claim(self, key: str) -> None:
        with self._all.guard:
            for name in [name for name, one in self._all.claims.items() if one.key == key]:
                del self._all.claims[name]

    def multipart(self, key: str, upload_id: str) -> None:
        """Record the ID of an upload in parts."""
        with self._all.guard:
            self._require_alive()
            self._all.uploads[key] = PendingUpload(key, self._session, upload_id)

    def discard(self, key: str, *, is_sent: bool = True) -> None:
        """Doom the key of an upload."""
        with self._all.guard:
            self._give_up(key, is_sent=is_sent)

    def _give_up(self, key: str, *, is_sent: bool = True) -> None:
        upload = self._all.uploads.pop(key, None)
        if upload is not None:
            self._end_claim(key)
        if upload is not None and is_sent:
            self._doom(StoredObject("", key, 0), upload.upload_id)

    def publish(self, rows: WritableRows, name: str, key: str, size: int) -> bool:
        """Make a name lead to an upload, see `ObjectKeys.publish`."""
        with self._all.guard:
            self._require_alive()
            upload = self._all.uploads.get(key)
            if upload is None:
                raise StorageError(f"the upload {key} was given up and cannot become {name}; repeat what was done")
            old = self._all.objects.get(name)
            rows.after_rollback(partial(self._unpublish, upload, name, old), if_sure=True)
            # Whoever waits for its end looks for what was published.
            rows.after_commit(partial(self._end_claim, key))
            if old is not None and not name.startswith(TOC):
                self._give_up(key)
                return False
            del self._all.uploads[key]
            if old is not None:
                self._doom(old)
            self._all.objects[name] = StoredObject(name, key, size)
            return True

    def resize(self, rows: WritableRows, name: str, size: int) -> None:
        """Record another size of what a name leads to, see `ObjectKeys.resize`."""
        with self._all.guard:
            old = self._all.objects[name]
            rows.after_rollback(partial(self._take_back, old), if_sure=True)
            self._all.objects[name] = old._replace(size=size)

    def _unpublish(self, upload: PendingUpload, name: str, old: StoredObject | None) -> None:
        with self._all.guard:
            self._all.doomed.pop(upload.key, None)
            self._all.uploads[upload.key] = upload
            if old is None:
                self._all.objects.pop(name, None)
            else:
                self._take_back(old)

    def uploads(self) -> Iterable[PendingUpload]:
        """Return the uploads of all sessions."""
        with self._all.guard:
            return tuple(self._all.uploads.values())

    def find(self, name: str) -> StoredObject | None:
        """Return what a name leads to."""
        with self._all.guard:
            return self._all.objects.get(name)

    def find_many(self, names: Iterable[str]) -> Mapping[str, StoredObject]:
        """Return what some names lead to."""
        with self._all.guard:
            return {name: self._all.objects[name] for name in names if name in self._all.objects}

    def objects(self, *, tocs: bool) -> Iterator[StoredObject]:
        """Yield all tables of contents, or all blobs."""
        with self._all.guard:
            found = tuple(self._all.objects.values())
        return (one for one in found if one.name.startswith(TOC) is tocs)

    def named_after(self, key: str, *, most: int) -> Sequence[StoredObject]:
        """Return the first of what names lead to behind a key."""
        with self._all.guard:
            found = (one for one in self._all.objects.values() if one.key > key)
            return heapq.nsmallest(most, found, key=lambda one: one.key)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Pin the epoch for a block."""
        with self._all.guard:
            pins = self._all.sessions.get(self._session, [])
            epoch = self._all.epoch
            pins.append(epoch)
        try:
            yield
        finally:
            with self._all.guard:
                pins.remove(epoch)

    def doom(self, rows: WritableRows, names: Iterable[str]) -> None:
        """Doom what names lead to, inside a write."""
        with self._all.guard:
            self._require_alive()
            for name in names:
                stored = self._all.objects.pop(name, None)
                if stored is not None:
                    self._doom(stored)
                    rows.after_rollback(partial(self._take_back, stored))

    def _doom(self, stored: StoredObject, upload_id: str = "") -> None:
        self._all.doomed[stored.key] = _Doomed(stored, self._all.now(), upload_id)

    def _take_back(self, stored: StoredObject) -> None:
        with self._all.guard:
            self._all.doomed.pop(stored.key, None)
            self._all.objects[stored.name] = stored

    def doomed(self) -> Iterable[StoredObject]:
        """Return what is doomed."""
        with self._all.guard:
            return tuple(one.stored for one in self._all.doomed.values())

    def collect(self, *, grace: float = 0.0, most: int = BATCH) -> list[Condemned]:
        """Move what may go to *deleting*, see `ObjectKeys.collect`."""
        with self._all.guard:
            self._require_alive()
            for upload in self.uploads():
                if upload.session not in self._all.sessions:
                    self._give_up(upload.key)
            self._stamp()
            self._condemn(grace)
            now = self._all.now()
            all_of_them = self._all.deleting.items()
            first = [Condemned(key, one.upload_id) for key, one in all_of_them if one.again is None]
            due = ((key, one.upload_id) for key, one in all_of_them if one.again is not None and one.again <= now)
            return [*first, *(Condemned(*one, again=True) for one in due)][:most]

    def _stamp(self) -> None:
        unstamped = [one for one in self._all.doomed.values() if not one.stamp]
        if unstamped:
            self._all.epoch += 1
            for one in unstamped:
                one.stamp = self._all.epoch

    def _condemn(self, grace: float) -> None:
        pinned = min((pin for pins in self._all.sessions.values() for pin in pins), default=self._all.epoch)
        before = self._all.now() - grace
        for key, one in list(self._all.doomed.items()):
            if one.stamp <= pinned and one.since <= before:
                del self._all.doomed[key]
                self._all.deleting[key] = _Deleting(one.upload_id)

    def deleted(self, gone: Iterable[Condemned]) -> None:
        """Note that objects are gone; a key is forgotten at the second time."""
        with self._all.guard:
            for condemned in gone:
                one = self._all.deleting.get(condemned.key)
                if one is not None and one.again is None:
                    one.again = self._all.now() + _AGAIN
                elif one is not None and condemned.again:
                    del self._all.deleting[condemned.key]

    def known(self, keys: Iterable[str]) -> set[str]:
        """Return those of some keys whose objects may have to stay, see `ObjectKeys.known`."""
        with self._all.guard:
            named = {one.key for one in self._all.objects.values()}
            deleting = {key for key, one in self._all.deleting.items() if one.again is None}
            return set(keys) & named.union(self._all.uploads, self._all.doomed, deleting)

    def identity(self) -> Identity:
        """Return whose rows these are."""
        return self._all.identity

    def adopt(self, place: str = "") -> Identity:
        """Raise the generation of the store."""
        with self._all.guard:
            self._all.identity = self._all.identity._replace(generation=self._all.identity.generation + 1)
            self._all.place = place
            return self._all.identity

    def settle(self, place: str = "") -> str:
        """Record where the objects are, unless that is recorded."""
        with self._all.guard:
            self._all.place = self._all.place or place
            return self._all.place

    def unsettle(self, place: str) -> None:
        """Forget where the objects are."""
        with self._all.guard:
            if self._all.place == place and not self._all.objects:
                self._all.place = ""

    def _require_alive(self) -> None:
        if self._session not in self._all.sessions:
            raise _lost(self._session)


def _lost(session: str) -> LeaseLost:
    return LeaseLost(f"the session {session} was declared dead, and what it uploaded with it; open the store again")
