"""Giving back what nothing leads to: deleting objects, aborting uploads, and finding what no row knows.

The database says which keys may be deleted (`ObjectKeys.collect`), and is told what is gone. An object beside the
blobs, ``orlop-store.json``, says whose bucket it is. Before anything is deleted it must be equal to what the rows say:
otherwise rows that were restored from an older backup, or cloned, would take for garbage what the rows of now name.
Whoever restores or clones adopts the bucket (`adopt_bucket`), which raises the generation in both, so that the rows
that had it before can delete nothing any more.
"""

from __future__ import annotations

import json
from itertools import islice
from typing import TYPE_CHECKING, Final

from orlop.errors import BucketUnavailable, StorageError, StoreInUse, StoreNotFound
from orlop.store.blobs.s3.client import Pieces
from orlop.store.blobs.s3.ingest import path_of
from orlop.store.blobs.store import Swept
from orlop.store.rows.keys import BATCH, Identity, StoredObject, is_key

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orlop.store.blobs.s3.bucket import Bucket, Found
    from orlop.store.rows.keys import ObjectKeys

MARKER: Final = "orlop-store.json"
_FOLDER: Final = "blobs/"
_SAMPLES: Final = 20
"""Objects that are looked for before a prefix is taken for the one that rows speak of."""


# Whose bucket it is.


def init_bucket(bucket: Bucket, keys: ObjectKeys) -> tuple[str, ...]:
    """Mark an empty prefix of a bucket as this store's, and return what people should know of it. Idempotent.

    The rows say first where their bytes are to be. So one of several that prepare a store at once is first, and the
    others mark nothing.

    Raises:
        StoreInUse: it belongs to another store, or to another generation of this one; or the rows have their bytes
            elsewhere; or they name content, and none of it is there.
        StorageError: it cannot be read or written.
    """
    mine = keys.identity()
    require_here(bucket, keys)
    found = _marked(bucket)
    if found is None and _is_elsewhere(bucket, keys):
        what = f"these rows name content, and none of it is in {bucket.where}"
        raise StoreInUse(f"{what}; check that prefix, or run `orlop store init --adopt` if the content is lost")
    if found is not None and not found.is_of(mine):
        raise _foreign(bucket, found, mine)
    require_here(bucket, keys, settle=True)
    if found is None and not bucket.put_new(MARKER, _marker(mine)):
        found = _marked(bucket)
    if found is not None and not found.is_of(mine):
        # Another store was faster, and these rows may have another place.
        keys.unsettle(bucket.where)
        raise _foreign(bucket, found, mine)
    return bucket_warnings(bucket)


def require_here(bucket: Bucket, keys: ObjectKeys, *, settle: bool = False) -> None:
    """Raise `StoreInUse` where the rows have their bytes elsewhere; with ``settle`` they are here if none is known."""
    place = keys.settle(bucket.where if settle else "")
    if place not in {"", bucket.where}:
        advice = "name that one, or run `orlop store init --adopt` if the bytes were moved"
        raise StoreInUse(f"the bytes of this store are in {place}, not in {bucket.where}; {advice}")


def _is_elsewhere(bucket: Bucket, keys: ObjectKeys) -> bool:
    """Return whether rows name content, and not one of a few samples is in a bucket."""
    named = islice(keys.objects(tocs=False), _SAMPLES)
    sizes = [bucket.size(path_of(one.key)) for one in named]
    return bool(sizes) and not any(size is not None for size in sizes)


def adopt_bucket(bucket: Bucket, keys: ObjectKeys) -> Identity:
    """Make the bucket this store's, whoever had it before, and return what it is marked with.

    For rows that were restored or copied. The rows that had the bucket can delete nothing in it any more.

    Raises:
        StorageError: it cannot be read or written.
    """
    found = _marked(bucket)
    mine = keys.adopt(bucket.where)
    while found is not None and mine.generation <= found.generation:
        mine = keys.adopt(bucket.where)
    bucket.put(MARKER, _marker(mine))
    return mine


def require_own(bucket: Bucket, keys: ObjectKeys) -> None:
    """Raise `StoreInUse` where the bucket is marked as another's, `StoreNotFound` where it is not marked at all.

    It raises `StoreInUse` also where the rows have their bytes elsewhere: several places may have been marked for them.
    """
    mine, found = keys.identity(), _marked(bucket)
    if found is None:
        raise StoreNotFound(f"{bucket.where} is not marked as a store's; check that prefix, or run `orlop store init`")
    if not found.is_of(mine):
        raise _foreign(bucket, found, mine)
    require_here(bucket, keys, settle=True)


def bucket_warnings(bucket: Bucket) -> tuple[str, ...]:
    """Return what people should know of a bucket before they keep a store in it. Raises `BucketUnavailable`.

    A role may lack the right to ask, and a server the answer: a store can be kept there all the same.
    """
    advice = "turn versioning off, or let a lifecycle rule expire what is not current"
    try:
        status = bucket.versioning()
    except BucketUnavailable:
        raise
    except StorageError as error:
        what = f"if {bucket.where} keeps old versions, what orlop deletes there frees nothing; {advice}"
        return (f"{what} (this was not found out: {error})",)
    if status == "Enabled":
        return (f"{bucket.where} keeps old versions: what orlop deletes there frees nothing; {advice}",)
    return ()


def _marker(identity: Identity) -> Pieces:
    fields = {"store": identity.store, "generation": identity.generation}
    text = json.dumps(fields | ({"rows": identity.origin} if identity.origin else {}), indent=2)
    return Pieces([f"{text}\n".encode()])


def _marked(bucket: Bucket) -> Identity | None:
    raw = bucket.read(MARKER)
    if raw is None:
        return None
    try:
        found = json.loads(raw)
        return Identity(str(found["store"]), int(found["generation"]), str(found.get("rows", "")))
    except (ValueError, KeyError, TypeError, AttributeError):
        return Identity("unknown", 0)


def _foreign(bucket: Bucket, found: Identity, mine: Identity) -> StoreInUse:
    what = f"{bucket.where} belongs to generation {found.generation} of the store {found.store}"
    if found[:2] == mine[:2]:
        what = f"{what} in another database, and these rows are a copy, or were restored from a dump"
        return StoreInUse(f"{what}; run `orlop store init --adopt` if they are to have it from now on")
    advice = "use another prefix, or run `orlop store init --adopt` if that store is gone"
    return StoreInUse(f"{what}, and these rows are generation {mine.generation} of {mine.store}; {advice}")


# Giving back.


def reclaim(bucket: Bucket, keys: ObjectKeys, *, grace: float = 0.0) -> int:
    """Delete what may be deleted, and return how many objects were asked for. Idempotent.

    Args:
        bucket: where they are.
        keys: what says which may go.
        grace: seconds for which what was doomed stays, see `ObjectKeys.collect`.

    Raises:
        StoreInUse, StoreNotFound: the bucket is not this store's, see `require_own`.
        StorageError: something cannot be deleted; it is tried again the next time.
    """
    asked = 0
    while due := keys.collect(grace=grace, most=BATCH):
        require_own(bucket, keys)
        for one in due:
            if one.upload_id:
                bucket.abort(path_of(one.key), one.upload_id)
        bucket.delete([path_of(one.key) for one in due])
        keys.deleted(due)
        asked += len(due)
        if len(due) < BATCH:
            break
    return asked


def listed_sizes(bucket: Bucket, keys: ObjectKeys) -> Iterator[StoredObject]:
    """Yield what names lead to, with the sizes that the bucket lists, 0 for what it does not list.

    Both come in the order of keys and are compared side by side, so that memory does not grow with them. What is
    brought or removed meanwhile may seem missing, and much does where a server lists in another order: whoever relies
    on that asks for the object itself.
    """
    listed = bucket.objects(_FOLDER)
    found = next(listed, None)
    after = ""
    while named := keys.named_after(after, most=BATCH):
        for one in named:
            while found is not None and _name(found.key) < one.key:
                found = next(listed, None)
            is_there = found is not None and _name(found.key) == one.key
            yield one._replace(size=found.size if found is not None and is_there else 0)
        after = named[-1].key


def sweep_bucket(bucket: Bucket, keys: ObjectKeys, *, dry_run: bool = False) -> Swept:
    """Delete the objects and uploads in the bucket that no row needs, and return what they were.

    A key is recorded before anything is sent for it. So one that is listed first, and looked up then, and is unknown,
    is never named again. One whose object was deleted is not either: a request that hung has made it once more. What
    does not look like a key is not from orlop, and stays.

    Args:
        bucket: where they are.
        keys: what knows the keys.
        dry_run: delete nothing.

    Raises:
        StoreInUse, StoreNotFound: the bucket is not this store's. StorageError: something cannot be listed or deleted.
    """
    objects = size = uploads = 0
    for page in _pages(bucket):
        lost = _unknown(keys, page)
        objects += len(lost)
        size += sum(one.size for one in lost)
        if lost and not dry_run:
            require_own(bucket, keys)
            bucket.delete([one.key for one in lost])
    pending = [(key, upload_id) for key, upload_id in bucket.uploads(_FOLDER) if is_key(_name(key))]
    # Nothing more is sent for a key in any other state: its upload was begun twice, or its ID was lost.
    sending = {one.key for one in keys.uploads()}
    for key, upload_id in pending:
        if _name(key) not in sending:
            uploads += 1
            if not dry_run:
                require_own(bucket, keys)
                bucket.abort(key, upload_id)
    return Swept(objects, size, uploads)


def unknown_objects(bucket: Bucket, keys: ObjectKeys) -> Iterator[StoredObject]:
    """Yield the objects in the bucket that no row needs, each without a name, see `sweep_bucket`."""
    for page in _pages(bucket):
        yield from (StoredObject("", _name(one.key), one.size) for one in _unknown(keys, page))


def _pages(bucket: Bucket) -> Iterator[list[Found]]:
    page: list[Found] = []
    for found in bucket.objects(_FOLDER):
        page.append(found)
        if len(page) == BATCH:
            yield page
            page = []
    yield page


def _unknown(keys: ObjectKeys, page: list[Found]) -> list[Found]:
    ours = [one for one in page if is_key(_name(one.key))]
    known = keys.known([_name(one.key) for one in ours])
    return [one for one in ours if _name(one.key) not in known]


def _name(key: str) -> str:
    return key.removeprefix(_FOLDER)
