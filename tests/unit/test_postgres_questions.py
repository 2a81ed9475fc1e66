"""How rows in PostgreSQL are asked: with an index for every question, from the plans of a real server."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from orlop.model.digest import ChainID, DiffID, Digest, ImageID
from orlop.store.rows.metadata import (
    BlobRow,
    ChainRow,
    DiffRow,
    Event,
    ManifestRow,
    ReferenceRow,
    TopRow,
    WritableRows,
)
from orlop.store.rows.postgres.keys import PostgresKeys
from orlop.store.rows.postgres.rows import PostgresRows
from orlop.store.rows.postgres.sending import Sending
from orlop.store.rows.postgres.sessions import Session
from orlop.store.rows.unneeded import Unneeded
from tests.postgres import sql

if TYPE_CHECKING:
    import psycopg

    from orlop.store.rows.postgres.database import PostgresMetadata

IMAGE = ImageID.of(b"{}")


_TEXT = "'sha256:' || encode(sha256(number::text::bytea), 'hex')"
_SERIES = "FROM generate_series(1, 5000) AS number"
FILLING = (
    f"INSERT INTO image SELECT {_TEXT}, 'c', {_TEXT}, number, 0 {_SERIES}",
    f"INSERT INTO image_metadata SELECT {_TEXT}, 'parent', ({_TEXT})::bytea {_SERIES}",
    f"INSERT INTO image_labels SELECT {_TEXT}, '{{}}' {_SERIES}",
    f"INSERT INTO reference SELECT 'r.test/' || number % 500, ':' || number, {_TEXT}, 1 {_SERIES}",
    f"INSERT INTO blob SELECT {_TEXT}, 1, 'none' {_SERIES}",
    f"INSERT INTO diff SELECT {_TEXT}, 1, 1, 1 {_SERIES}",
    f"INSERT INTO diff_blob SELECT {_TEXT}, {_TEXT} {_SERIES}",
    f"INSERT INTO chain SELECT {_TEXT}, NULL, {_TEXT}, 1, 1 {_SERIES}",
    f"INSERT INTO manifest SELECT {_TEXT}, 'm', 'c' {_SERIES}",
    f"INSERT INTO image_manifest SELECT {_TEXT}, {_TEXT} {_SERIES}",
    f"INSERT INTO edge SELECT {_TEXT}, 'layer', 0, {_TEXT}, '', 1 {_SERIES}",
    f"INSERT INTO edge SELECT {_TEXT}, 'child', 0, {_TEXT}, '', 1 {_SERIES}",
    f"INSERT INTO top SELECT 'r.test/' || number % 500, ':' || number, {_TEXT}, 1 {_SERIES}",
    f"INSERT INTO lease SELECT number % 50, {_TEXT} {_SERIES}",
    f"INSERT INTO event SELECT number + 100, 1, '', '', '', '{{}}' {_SERIES}",
    "UPDATE store SET last_event = 6000",
    "VACUUM ANALYZE",
)
"""A store of some size: with few rows a scan is the best plan of all."""


def _questions(rows: PostgresRows) -> None:
    """Ask everything that is asked with a name or a digest."""
    digest, diff, chain = Digest.of(b"1"), DiffID.of(b"1"), None
    assert chain is None
    rows.image_ids_with_prefix("sha256:abc", 2)
    rows.config(IMAGE), rows.image_row(IMAGE), rows.labels([IMAGE], most=100)
    rows.children(IMAGE), rows.has_children(IMAGE), rows.metadata(IMAGE, "parent")
    rows.reference("a", ":1"), rows.references(image=IMAGE), rows.references(name="a"), rows.references_in("a", [":1"])
    rows.chain(digest), rows.diff(diff), rows.blobs_of(diff), rows.blob(digest), rows.diffs_of(digest)  # type: ignore[arg-type]
    rows.leases_of(digest), rows.leases(), rows.lease_digests("one"), rows.events(5, most=100), rows.last_event()
    rows.manifests(IMAGE), rows.manifest_digests(IMAGE), rows.manifest(digest), rows.images_of(digest)
    rows.edges(digest), rows.edges_to(digest), rows.referring(digest, after="", most=10)
    rows.top("a", ":1"), rows.tops(digest)
    rows.repositories("r.test", most=10), rows.tags("r.test/a", most=10), rows.has_names("r.test/a")
    (
        rows.holds_manifest("r.test/a", digest),
        rows.named_manifests("r.test/a", [digest]),
        rows.holds_blob("r.test/a", digest),
        rows.loose_of([digest]),
        rows.standing([ChainID.of(b"1")]),
        rows.names_elsewhere("r.test/a", digest),
        rows.falling(Unneeded((ChainID.of(b"1"),), (diff,), (digest,), (digest,)), ["one"]),
    )


def _changes(rows: PostgresRows) -> None:
    """Change what is named, and remove it again."""
    blob, diff = BlobRow(Digest.of(b"1"), 1, "none"), DiffID.of(b"1")
    rows.put_image(IMAGE, b"{}", chain_id=None, created=(1, 1), labels={"a": "b"})
    rows.set_metadata(IMAGE, "parent", str(IMAGE).encode())
    rows.put_reference(ReferenceRow("a", ":1", IMAGE, 1))
    rows.put_diff(DiffRow(diff, 1, 1, 1), blob)
    rows.put_manifest(ManifestRow(Digest.of(b"m"), "m", b'{"layers": []}'), [IMAGE])
    rows.put_top(TopRow("a", ":1", Digest.of(b"m"), 1))
    rows.touch_top("a", ":1", 2)
    rows.put_blob(BlobRow(Digest.of(b"2"), 1, "none"))
    rows.put_chain(ChainRow(ChainID.of(b"1"), None, diff, 1, 1))
    rows.put_lease("one", [blob.digest])
    rows.put_event(Event(0, 1, "image", "tag", "a", {}), keep=5)
    rows.delete_lease("one")
    rows.delete_top("a", ":1")
    rows.drop_manifest(Digest.of(b"m"))
    rows.delete_reference("a", ":1")
    rows.delete_metadata(IMAGE, "parent")
    rows.delete_image(IMAGE)
    rows.prune_chain(ChainID.of(b"1"))
    rows.forget_manifests([Digest.of(b"m")])
    rows.forget_blobs([Digest.of(b"2")])
    rows.prune_diff(diff)
    rows.prune_freed()


_OF_ALL = frozenset(
    (
        *("all_edges", "blobs", "came", "chains", "contents", "counts", "diff_ids", "heads", "image_ids", "image_rows"),
        *("has_lost_images", "has_lost_meaning", "metadata_of_all", "opaque_blobs", "protected", "state", "unneeded"),
    )
)
"""Questions about every row there is."""
_NO_QUESTION = frozenset(("after_commit", "after_rollback", "before_commit"))


def test_no_question_is_forgotten(metadata: PostgresMetadata) -> None:
    """The next tests ask everything that rows can be asked, but for what concerns all of them."""
    asked = set()

    class Watched(PostgresRows):
        def __getattribute__(self, name: str) -> Any:
            asked.add(name)
            return super().__getattribute__(name)

    with metadata.short() as rows:
        for ask in (_questions, _changes):
            ask(Watched(rows.connection, rows.place, writable=True))
    public = {name for name in dir(WritableRows) if not name.startswith("_")}
    assert public - asked == _OF_ALL | _NO_QUESTION


@pytest.mark.sampled(2)
@pytest.mark.parametrize("ask", [_questions, _changes])
def test_there_is_an_index_for_every_question(url: str, metadata: PostgresMetadata, ask: Any) -> None:
    asked: list[tuple[str, Any]] = []

    class Recording(Sending):
        def execute(self, statement: str, values: Any) -> psycopg.Cursor[tuple[Any, ...]]:
            asked.append((statement, values))
            return super().execute(statement, values)

    with metadata.short() as rows:
        rows.sending = Recording(rows.connection)
        ask(rows)
        rows.sending.flush()
        rows.sending = Sending(rows.connection)
    assert len(asked) > 15
    for statement in FILLING:
        sql(url, statement)
    with metadata.short() as rows:
        for statement, values in asked:
            plan = "\n".join(line for (line,) in rows.rows(f"EXPLAIN {statement}", values))
            scans = [line for line in plan.splitlines() if "Seq Scan on" in line and "Seq Scan on store" not in line]
            assert scans == [], f"{statement}\n{plan}"


KEYS_FILLING = (
    f"INSERT INTO object SELECT {_TEXT}, {_TEXT}, 1 {_SERIES}",
    f"INSERT INTO upload SELECT {_TEXT}, number % 50, '', {_TEXT} {_SERIES}",
    f"INSERT INTO doomed SELECT {_TEXT}, '', 1, '', clock_timestamp(), number {_SERIES}",
    f"INSERT INTO deleting SELECT {_TEXT}, '', now(), true {_SERIES}",
    "INSERT INTO committed SELECT number, number FROM generate_series(100, 1099) AS number",
    "VACUUM ANALYZE",
)
_WHOLE = ("store", "session")
"""Tables of which each row concerns whoever asks: all that live."""


@pytest.mark.sampled(2)
def test_there_is_an_index_for_every_question_about_a_key(
    url: str, metadata: PostgresMetadata, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the begin of an upload to the deletion of its object; a collection costs what is to go, and not all."""
    asked: list[tuple[str, Any]] = []
    real = Sending.execute

    def execute(self: Sending, statement: str, values: Any) -> psycopg.Cursor[tuple[Any, ...]]:
        asked.append((statement, values))
        return real(self, statement, values)

    session = Session(metadata)
    keys = PostgresKeys(metadata, session)
    name = str(Digest.of(b"1"))
    monkeypatch.setattr(Sending, "execute", execute)
    key, lost = keys.begin(), keys.begin()
    keys.multipart(lost, "id")
    keys.discard(lost)
    claim = keys.claim(name)
    assert claim is not None
    sql(url, "UPDATE session SET seen = seen - interval '1 hour'")
    assert not keys.is_claimed(name)
    keys.discard(claim, is_sent=False)
    with metadata.write() as rows:
        assert keys.publish(rows, name, key, 1)
    keys.find(name), keys.find_many([name]), keys.known([key, lost]), keys.named_after(key, most=1000)
    with metadata.write() as rows:
        keys.doom(rows, [name])
    session.beat()
    keys.deleted(keys.collect())
    session.end()
    monkeypatch.undo()
    questions = [
        one for one in asked if re.match(r"[\s(]*(SELECT|INSERT|UPDATE|DELETE|WITH)", one[0]) and ";" not in one[0]
    ]
    tables = " ".join(statement for statement, _ in questions)
    assert all(table in tables for table in ("upload", "object", "doomed", "deleting", "session"))
    for statement in KEYS_FILLING:
        sql(url, statement)
    with metadata.short() as rows:
        for statement, values in questions:
            plan = "\n".join(line for (line,) in rows.rows(f"EXPLAIN {statement}", values))
            scanned = re.findall(r"Seq Scan on (\w+)", plan)
            assert set(scanned) <= set(_WHOLE), f"{statement}\n{plan}"
