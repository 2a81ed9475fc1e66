"""What is given back of a bucket, when, and whose bucket it is."""

from __future__ import annotations

import hashlib
import itertools
import os
import random
import signal
import tracemalloc
import urllib.request
from contextlib import closing
from itertools import islice
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError

import pytest

from orlop.errors import BucketUnavailable, ContentNotFound, StorageError, StoreInUse, StoreNotFound
from orlop.model.digest import DiffID, Digest
from orlop.store.blobs.s3 import ingest
from orlop.store.blobs.s3 import reclaim as reclaim_module
from orlop.store.blobs.s3.client import Pieces
from orlop.store.blobs.s3.reclaim import MARKER, adopt_bucket, bucket_warnings, init_bucket
from orlop.store.blobs.s3.store import S3BlobStore
from orlop.store.rows.keys import TOC, StoredObject
from orlop.store.rows.memory_keys import MemoryKeys, MemoryObjects
from orlop.store.rows.sqlite.memory import MemoryMetadata
from orlop.testing.blob_store import Opened, row_of
from tests import s3_strict
from tests.s3_strict import Kept, Refused, Trouble, strict_s3

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from orlop.store.blobs.s3.client import Request
    from orlop.store.rows.keys import Condemned, PendingUpload
    from orlop.store.rows.metadata import BlobRow
    from tests.s3_strict import Asked, StrictS3

_PART = 100_000
_DATA = random.Random(1).randbytes(350_000)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Machine:
    """One process that uses the store: a session of its own over the objects that all share."""

    def __init__(self, s3: StrictS3, objects: MemoryObjects, clock: Clock) -> None:
        self.keys = MemoryKeys(objects)
        self.blobs = S3BlobStore(s3.settings(patience=0.0), self.keys, clock=clock)
        self.opened = Opened(self.blobs, MemoryMetadata())

    def remove(self, row: BlobRow) -> None:
        with self.opened.metadata.write() as rows:
            self.blobs.remove(rows, [row.digest])


class Site:
    """A bucket, the objects of a store in it, and machines."""

    def __init__(self, s3: StrictS3) -> None:
        self.s3 = s3
        self.clock = Clock()
        self.objects = MemoryObjects(now=self.clock)
        self.machines: list[Machine] = []
        self.here = self.machine()
        init_bucket(self.here.blobs.bucket, self.here.keys)

    def machine(self) -> Machine:
        self.machines.append(Machine(self.s3, self.objects, self.clock))
        return self.machines[-1]

    @property
    def kept(self) -> int:
        """How many objects are in the bucket beside the marker."""
        return len(self.s3.objects) - 1


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(ingest, "part_size", lambda number, first, *, equal: _PART)  # noqa: ARG005 - its names
    with strict_s3(smallest=_PART) as s3:
        found = Site(s3)
        yield found
        for machine in found.machines:
            machine.blobs.close()


def test_what_is_removed_leaves_the_bucket_after_the_write(site: Site) -> None:
    row = site.here.opened.keep(_DATA)
    site.here.opened.keep_toc(b"a table")
    assert site.kept == 2
    site.here.remove(row)
    assert site.kept == 1
    assert list(site.here.keys.doomed()) == []


def test_what_another_machine_reads_stays_until_it_has_finished(site: Site) -> None:
    row, other = site.here.opened.keep(_DATA), site.machine()
    with other.blobs.open(row) as reader:
        first = reader.read(10)
        site.here.remove(row)
        with site.here.opened.metadata.read() as rows:
            (leftover,) = site.here.blobs.trash(rows)
        assert "reading" in leftover.why
        site.here.blobs.reclaim()
        assert site.kept == 1
        assert first + b"".join(reader.chunks()) == _DATA
    site.here.blobs.reclaim()
    assert site.kept == 0


def test_a_reader_that_comes_later_holds_nothing_back(site: Site) -> None:
    one, two, other = site.here.opened.keep(_DATA), site.here.opened.keep(b"two"), site.machine()
    site.here.remove(one)
    with other.blobs.open(two) as reader:
        site.here.blobs.reclaim()
        assert site.kept == 1
        assert b"".join(reader.chunks()) == b"two"


def test_what_a_dead_machine_uploaded_goes_and_it_commits_nothing(site: Site) -> None:
    """The machine that comes back cannot name what was given up meanwhile."""
    dead = site.machine()
    whole, begun = dead.opened.begin(b"whole"), dead.blobs.begin()
    begun.write(_DATA)
    dead.blobs.close()
    assert (site.kept, len(site.s3.pending)) == (1, 1)
    site.here.blobs.reclaim()
    assert (site.kept, len(site.s3.pending)) == (1, 1)
    site.objects.declare_dead(dead.keys.session)
    site.here.blobs.reclaim()
    assert (site.kept, len(site.s3.pending)) == (0, 0)
    with pytest.raises(StorageError), dead.opened.metadata.write() as rows:
        whole.commit(rows, row_of(b"whole"))
    with pytest.raises(StorageError):
        begun.sync()
    with pytest.raises(ContentNotFound):
        site.here.opened.read(row_of(b"whole"))


def send_late(site: Site) -> None:
    """Make an object whose machine is dead and whose key was reported as deleted."""
    dead = site.machine()
    dead.opened.begin(b"late")
    [upload] = dead.keys.uploads()
    site.objects.declare_dead(dead.keys.session)
    site.here.blobs.reclaim()
    site.here.blobs.bucket.put(ingest.path_of(upload.key), Pieces([b"late"]))


def test_a_request_of_a_dead_machine_that_arrives_late_is_cleared_away(site: Site) -> None:
    send_late(site)
    site.here.blobs.reclaim()
    assert site.kept == 1
    site.clock.now += 3601
    site.here.blobs.reclaim()
    assert site.kept == 0
    site.clock.now += 3601
    assert site.here.keys.collect() == []


def test_a_sweep_clears_away_at_once_what_a_late_request_made_again(site: Site) -> None:
    send_late(site)
    assert site.here.blobs.sweep_bucket(dry_run=True).objects == 1
    assert site.kept == 1
    assert site.here.blobs.sweep_bucket().objects == 1
    assert site.kept == 0


@pytest.mark.parametrize("how", ["an hour later", "by a sweep"])
def test_an_upload_that_outlives_its_abort_is_aborted_again(site: Site, how: str) -> None:
    """As a part that was on its way makes it do: it costs storage until then."""
    dead = site.machine()
    begun = dead.blobs.begin()
    begun.write(_DATA)
    dead.blobs.close()
    site.objects.declare_dead(dead.keys.session)
    site.s3.survives = 1
    site.here.blobs.reclaim()
    assert len(site.s3.pending) == 1
    if how == "by a sweep":
        assert site.here.blobs.sweep_bucket().uploads == 1
    else:
        site.here.blobs.reclaim()
        assert len(site.s3.pending) == 1
        site.clock.now += 3601
        site.here.blobs.reclaim()
    assert site.s3.pending == {}


def _collected_by_two(site: Site) -> tuple[PendingUpload, list[Condemned]]:
    """Return the upload of a dead machine, and what one machine has to report of it after another one has."""
    dead = site.machine()
    dead.opened.begin(b"late")
    [upload] = dead.keys.uploads()
    site.objects.declare_dead(dead.keys.session)
    collected = site.here.keys.collect()
    site.machine().blobs.reclaim()
    return upload, collected


def test_two_that_delete_a_key_at_once_delete_it_again_an_hour_later(site: Site) -> None:
    """Of two machines that collect, each reports what it deleted: the second report is not that of the hour."""
    upload, collected = _collected_by_two(site)
    site.here.keys.deleted(collected)
    site.here.blobs.bucket.put(ingest.path_of(upload.key), Pieces([b"late"]))
    site.clock.now += 3601
    site.here.blobs.reclaim()
    assert site.kept == 0


def test_who_hung_for_hours_before_its_report_forgets_nothing(site: Site) -> None:
    """What it reports is the first deletion, whatever has happened to the object since."""
    upload, collected = _collected_by_two(site)
    site.here.blobs.bucket.put(ingest.path_of(upload.key), Pieces([b"late"]))
    site.clock.now += 7200
    site.here.keys.deleted(collected)
    site.here.blobs.reclaim()
    assert site.kept == 0


def test_more_goes_than_one_request_can_delete(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reclaim_module, "BATCH", 2)
    rows = [site.here.opened.keep(bytes([number])) for number in range(5)]
    with site.here.opened.metadata.write() as changed:
        site.here.blobs.remove(changed, [row.digest for row in rows])
    assert site.kept == 0


def test_what_cannot_be_deleted_is_deleted_the_next_time(site: Site) -> None:
    row = site.here.opened.keep(_DATA)

    def plan(asked: Asked) -> Trouble | None:
        return Trouble(500) if "delete" in asked.query else None

    site.s3.plan = plan
    site.here.remove(row)  # the removal itself is done, and a warning is logged
    assert site.kept == 1
    with pytest.raises(BucketUnavailable):
        site.here.blobs.reclaim()
    site.s3.plan = lambda _: None
    site.here.blobs.reclaim()
    assert site.kept == 0


def test_a_write_gives_back_once_and_only_when_it_is_durable(site: Site) -> None:
    rows_of = [site.here.opened.keep(bytes([number]) * 9) for number in range(4)]
    before = len(site.s3.asked)
    with pytest.raises(ZeroDivisionError), site.here.opened.metadata.write() as rows:  # noqa: PT012 - what is tested
        site.here.blobs.remove(rows, [row.digest for row in rows_of])
        raise ZeroDivisionError
    assert len(site.s3.asked) == before
    with site.here.opened.metadata.write() as rows:
        for row in rows_of:
            site.here.blobs.remove(rows, [row.digest])
        site.here.blobs.sweep_trash(rows)
        assert len(site.s3.asked) == before
    assert site.kept == 0
    assert sum("delete" in asked.query for asked in site.s3.asked) == 1


def test_what_a_url_leads_to_outlives_the_url_whoever_collects(site: Site) -> None:
    lender = site.machine()
    row = lender.opened.keep(_DATA)
    url = lender.blobs.url_of(row, seconds=300)
    assert url is not None
    site.here.remove(row)
    site.here.blobs.reclaim()
    assert urllib.request.urlopen(url).read() == _DATA
    # As late as a URL may be used that was signed by the clock that is most wrong.
    site.clock.now += 300 + 899
    lender.blobs.reclaim()
    site.here.blobs.reclaim()
    assert urllib.request.urlopen(url).read() == _DATA
    site.clock.now += 2
    lender.blobs.reclaim()
    with pytest.raises(HTTPError) as refused:
        urllib.request.urlopen(url)
    refused.value.close()


def test_urls_of_one_minute_share_a_loan_and_loans_end_with_the_store(site: Site) -> None:
    lender = site.machine()
    row = lender.opened.keep(_DATA)
    loans = lender.blobs._loans
    for _ in range(100):
        lender.blobs.url_of(row, seconds=300)
    assert loans.count == 1
    site.clock.now += 60
    lender.blobs.url_of(row, seconds=300)
    assert loans.count == 2
    site.here.remove(row)
    assert site.kept == 1
    lender.blobs.close()
    assert loans.count == 0
    site.here.blobs.reclaim()
    assert site.kept == 0


def test_a_child_is_not_stopped_by_what_a_thread_of_its_parent_held(site: Site) -> None:
    row = site.here.opened.keep(_DATA)
    site.here.blobs.url_of(row, seconds=300)
    with site.here.blobs._seen._guard, site.here.blobs._loans._guard:
        child = os.fork()
        if not child:
            signal.alarm(20)
            site.here.blobs.has(row)
            os._exit(site.here.blobs._loans.count)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_urls_are_for_the_server_as_clients_see_it(site: Site) -> None:
    settings = site.s3.settings(public_endpoint="https://blobs.example.com")
    row = site.here.opened.keep(_DATA)
    with closing(S3BlobStore(settings, site.here.keys)) as blobs:
        assert str(blobs.url_of(row, seconds=60)).startswith("https://blobs.example.com/strict/pre/fix/blobs/")
    assert site.here.opened.read(row) == _DATA


def test_a_url_serves_ranges_and_nothing_but_its_object(site: Site) -> None:
    row = site.here.opened.keep(_DATA)
    url = site.here.blobs.url_of(row, seconds=60)
    assert url is not None
    asked = urllib.request.Request(url, headers={"Range": "bytes=5-9"})
    assert urllib.request.urlopen(asked).read() == _DATA[5:10]
    for other in (url.replace("/blobs/", "/blobs/x"), url[:-1] + ("0" if url[-1] != "0" else "1")):
        with pytest.raises(HTTPError) as refused:
            urllib.request.urlopen(other)
        refused.value.close()


# Machines that die.


class Killed(BaseException):
    """Ends a machine at a request."""


def _killing(send: Callable[[Request], Any], at: int, *, sent: bool) -> Callable[[Request], Any]:
    """Return what sends requests until the one with a number, and nothing from then on."""
    count = itertools.count(1)

    def kill(request: Request) -> Any:
        number = next(count)
        if number > at or (number == at and not sent):
            raise Killed
        answer = send(request)
        if number == at:
            answer.close()
            raise Killed
        return answer

    return kill


def _work(machine: Machine) -> None:
    """Keep, replace and remove content of every kind."""
    opened = machine.opened
    row = opened.keep(_DATA)
    opened.keep_toc(b"a table")
    opened.keep_toc(b"another table")
    machine.remove(row)
    opened.keep(b"small")
    with machine.blobs.begin() as ingest:
        ingest.write(_DATA)


@pytest.mark.sampled(6, daily=False)
@pytest.mark.parametrize("sent", [False, True], ids=["before it is sent", "after it was done"])
def test_a_machine_may_die_at_every_request(site: Site, monkeypatch: pytest.MonkeyPatch, *, sent: bool) -> None:
    """Whatever it was at: what a name leads to is whole, and what it left goes."""
    moments = 0
    for at in itertools.count(1):
        machine = site.machine()
        kill = _killing(machine.blobs._client.send, at, sent=sent)
        monkeypatch.setattr(machine.blobs._client, "send", kill)
        try:
            _work(machine)
        except Killed:
            moments += 1
        else:
            break
        finally:
            site.objects.declare_dead(machine.keys.session)
            machine.blobs.close()
        site.here.blobs.reclaim()
        site.here.blobs.sweep_bucket()
        named = {stored.key: stored for stored in site.objects.objects.values()}
        assert {key.rpartition("/")[2] for key in site.s3.objects} == {*named, MARKER}
        assert site.s3.pending == {}
        for stored in named.values():
            kept = site.s3.objects[f"pre/fix/{ingest.path_of(stored.key)}"]
            assert kept.data in {_DATA, b"small", b"a table", b"another table"}
            assert len(kept.data) == stored.size
    assert moments >= 12


# The whole bucket.


@pytest.mark.sampled(3)
def test_a_sweep_takes_what_no_row_knows_and_nothing_else(site: Site) -> None:
    rows = [site.here.opened.keep(bytes([number]) * 9) for number in range(8)]
    pending, bucket = site.here.blobs.begin(), site.here.blobs.bucket
    pending.write(_DATA)
    for _ in range(5):
        key = os.urandom(16).hex()
        bucket.put(ingest.path_of(key), Pieces([b"lost"]))
        bucket.begin_parts(ingest.path_of(os.urandom(16).hex()))
    bucket.put("blobs/README", Pieces([b"somebody else's"]))
    bucket.put("other/thing", Pieces([b"somebody else's"]))
    before = dict(site.s3.objects)
    assert site.here.blobs.sweep_bucket(dry_run=True) == (5, 20, 5)
    assert site.s3.objects == before
    assert site.here.blobs.sweep_bucket() == (5, 20, 5)
    assert site.here.blobs.sweep_bucket() == (0, 0, 0)
    assert len(site.s3.pending) == 1
    assert {"pre/fix/blobs/README", "pre/fix/other/thing"} <= set(site.s3.objects)
    for number, row in enumerate(rows):
        assert site.here.opened.read(row) == bytes([number]) * 9
    with site.here.opened.metadata.write() as writing:
        pending.sync()
        pending.commit(writing, row_of(_DATA))
    assert site.here.opened.read(row_of(_DATA)) == _DATA


def doubting(site: Site) -> S3BlobStore:
    """Return a store that asks the bucket what is there, as a check of it does."""
    return S3BlobStore(site.s3.settings(), site.here.keys, doubting=True)


@pytest.mark.sampled(2)
def test_sizes_are_those_of_the_bucket_whatever_the_rows_say(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reclaim_module, "BATCH", 3)
    monkeypatch.setattr(s3_strict, "PAGE", 7)
    dice = random.Random(5)
    rows = [site.here.opened.keep(bytes([number]) * (number + 1)) for number in range(20)]
    for name in (f"{TOC}{row.digest}" for row in rows[:7]):
        key = dice.randbytes(16).hex()
        site.objects.objects[name] = StoredObject(name, key, 2)
        site.s3.objects[f"pre/fix/blobs/{key}"] = Kept(b"it", '"e"', {})
    for name in ("README", "0" * 32, "f" * 32, *(dice.randbytes(16).hex() for _ in range(9))):
        site.s3.objects[f"pre/fix/blobs/{name}"] = Kept(b"other", '"e"', {})
    expected: dict[tuple[type[Digest], Digest], int] = {(Digest, row.digest): row.size for row in rows}
    expected |= {(DiffID, DiffID.wrap(row.digest)): 2 for row in rows[:7]}
    for row, content in zip(rows, (b"", None, b"longer than it was"), strict=False):
        place = f"pre/fix/blobs/{site.objects.objects[str(row.digest)].key}"
        del site.s3.objects[place]
        if content is not None:
            site.s3.objects[place] = Kept(content, '"e"', {})
        expected[Digest, row.digest] = len(content or b"")
    blobs = doubting(site)
    assert {(type(digest), digest): size for digest, size in blobs.all_sizes()} == expected
    assert dict(blobs.sizes()) == {digest: size for (kind, digest), size in expected.items() if kind is Digest}
    assert dict(blobs.toc_sizes()) == {digest: size for (kind, digest), size in expected.items() if kind is DiffID}
    site.s3.objects.clear()
    assert {size for _, size in blobs.all_sizes()} == {0}
    blobs.close()


@pytest.mark.sampled(3)
def test_a_bucket_is_compared_with_the_rows_in_one_list_and_no_more_memory(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reclaim_module, "BATCH", 50)
    monkeypatch.setattr(s3_strict, "PAGE", 200)
    blobs, held = doubting(site), []
    for count in (400, 1600):
        for number in range(len(site.objects.objects), count):
            digest, key = Digest.of(b"%d" % number), hashlib.md5(b"%d" % number).hexdigest()
            site.objects.objects[str(digest)] = StoredObject(str(digest), key, 1)
            site.s3.objects[f"pre/fix/blobs/{key}"] = Kept(b"1", '"e"', {})
        site.s3.asked.clear()
        tracemalloc.start()
        found = iter(blobs.all_sizes())
        assert sum(1 for _ in islice(found, count - 20)) == count - 20
        snapshot = tracemalloc.take_snapshot()
        tracemalloc.stop()
        mine = snapshot.filter_traces([tracemalloc.Filter(True, "*/orlop/*")])
        held.append(sum(one.size for one in mine.statistics("filename")))
        assert sum(1 for _ in found) == 20
        requests = len(site.s3.asked)
        assert sum(1 for _ in blobs.bucket.objects("blobs/")) == count
        assert len(site.s3.asked) == 2 * requests
    assert held[1] < held[0] * 1.5
    blobs.close()


# Whose bucket it is.


def test_a_bucket_that_is_not_marked_loses_nothing(site: Site) -> None:
    row = site.here.opened.keep(_DATA)
    site.here.blobs.bucket.delete([MARKER])
    site.here.remove(row)
    for action in (site.here.blobs.reclaim, site.here.blobs.sweep_bucket):
        site.here.blobs.bucket.put(ingest.path_of("0" * 32), Pieces([b"lost"]))
        with pytest.raises(StoreNotFound):
            action()
    assert len(site.s3.objects) == 2


def test_rows_of_another_store_delete_nothing(site: Site) -> None:
    """A clone of the rows, or older ones, point at the same bucket."""
    row = site.here.opened.keep(_DATA)
    stranger = Machine(site.s3, MemoryObjects(), site.clock)
    with pytest.raises(StoreInUse) as caught:
        init_bucket(stranger.blobs.bucket, stranger.keys)
    assert site.objects.identity.store in str(caught.value)
    with pytest.raises(StoreInUse):
        stranger.blobs.sweep_bucket()
    assert site.here.opened.read(row) == _DATA


@pytest.mark.parametrize("raw", [b"", b"{}", b"[]", b'{"store": 1}', b"\xff", b'{"store": "x", "generation": "y"}'])
def test_a_mark_that_cannot_be_read_is_somebody_elses(site: Site, raw: bytes) -> None:
    site.here.blobs.bucket.put(MARKER, Pieces([raw]))
    site.here.blobs.bucket.put(ingest.path_of("0" * 32), Pieces([b"lost"]))
    with pytest.raises(StoreInUse):
        site.here.blobs.sweep_bucket()


def test_adopting_takes_the_bucket_from_the_rows_that_had_it(site: Site) -> None:
    row = site.here.opened.keep(_DATA)
    restored = MemoryObjects(now=site.clock)
    restored.identity, restored.objects = site.objects.identity, dict(site.objects.objects)
    new = Machine(site.s3, restored, site.clock)
    adopted = adopt_bucket(new.blobs.bucket, new.keys)
    assert adopted == new.keys.identity() == site.objects.identity._replace(generation=2)
    site.here.remove(row)
    assert new.opened.read(row) == _DATA
    with pytest.raises(StoreInUse):
        site.here.blobs.reclaim()
    # Whoever adopts after that is newer than both.
    assert adopt_bucket(site.here.blobs.bucket, site.here.keys).generation == 3


def test_making_twice_is_making_once(site: Site) -> None:
    assert init_bucket(site.here.blobs.bucket, site.here.keys) == ()
    assert site.kept == 0


def test_the_answer_to_a_mark_may_be_lost(site: Site) -> None:
    site.here.blobs.bucket.delete([MARKER])
    other = S3BlobStore(site.s3.settings(), site.here.keys)
    plans = iter([None, Trouble(done=True)])
    site.s3.plan = lambda _: next(plans, None)
    assert init_bucket(other.bucket, site.here.keys) == ()


def test_old_versions_are_warned_of(site: Site) -> None:
    site.s3.versioning = "Enabled"
    [warning] = bucket_warnings(site.here.blobs.bucket)
    assert "keeps old versions" in warning
    site.s3.versioning = "Suspended"
    assert bucket_warnings(site.here.blobs.bucket) == ()


@pytest.mark.parametrize(
    ("status", "code"), [(403, "AccessDenied"), (501, "NotImplemented"), (405, "MethodNotAllowed")]
)
def test_where_old_versions_cannot_be_asked_for_a_store_is_made_and_that_is_told(
    site: Site, status: int, code: str
) -> None:
    """Some servers know no versions, and not every role may ask for them."""
    site.s3.versioning = Refused(status, code)
    [warning] = init_bucket(site.here.blobs.bucket, site.here.keys)
    assert "if s3://" in warning
    assert code in warning


def test_what_is_kept_by_the_bucket_for_a_while_comes_with_a_checksum(site: Site) -> None:
    site.s3.retains = True
    site.here.blobs.bucket.delete([MARKER])
    assert init_bucket(site.here.blobs.bucket, site.here.keys) == ()
    site.here.opened.keep(b"kept")
