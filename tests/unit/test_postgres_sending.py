"""How often a write waits for an answer of a real PostgreSQL, and what waits for the next question meanwhile."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from orlop import errors
from orlop.model.digest import DiffID, Digest, ImageID, chain_id
from orlop.store.rows.metadata import BlobRow, ChainRow, DiffRow, Event, ManifestRow, ReferenceRow
from orlop.store.rows.postgres.rows import PostgresRows
from orlop.store.rows.postgres.sending import Sending

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import psycopg

    from orlop.model.digest import ChainID
    from orlop.store.rows.metadata import WritableRows
    from orlop.store.rows.postgres.database import PostgresMetadata

IMAGE = ImageID.of(b"{}")
MANIFEST = b'{"schemaVersion": 2, "layers": []}'


def put_layers(rows: WritableRows, count: int) -> ChainID | None:
    """Put the layers of an image, the lowest first."""
    diffs = [DiffID.of(str(number).encode()) for number in range(count)]
    below: ChainID | None = None
    for depth, diff in enumerate(diffs, 1):
        rows.put_diff(DiffRow(diff, 10, 9, 1), BlobRow(Digest.wrap(diff), 10, "none"))
        above = chain_id(diffs[:depth])
        assert above is not None
        rows.put_chain(ChainRow(above, below, diff, 9 * depth, depth, b"{}" if depth % 2 else None))
        below = above
    return below


def put_image(rows: WritableRows, layers: int) -> None:
    """Put all that a load of an image puts."""
    rows.put_image(IMAGE, b"{}", chain_id=put_layers(rows, layers), created=(1, 1), labels={"a": "b"})
    rows.put_manifest(ManifestRow(Digest.of(MANIFEST), "application/x", MANIFEST), [IMAGE])
    rows.put_reference(ReferenceRow("docker.io/library/a", ":1", IMAGE, 1))
    rows.put_event(Event(0, 1, "image", "load", str(IMAGE), {}), keep=256)


def answers_awaited(metadata: PostgresMetadata, folder: Path, layers: int) -> int:
    """Return how often a write of an image waits for the server, as libpq's own trace tells."""
    with metadata.read() as rows:  # opens the connection, which the write uses again
        assert isinstance(rows, PostgresRows)
        connection = rows.connection
    with (folder / f"trace-{layers}").open("w+b") as trace:
        connection.pgconn.trace(trace.fileno())
        with metadata.write() as written:
            put_image(written, layers)
        connection.pgconn.untrace()
        trace.seek(0)
        return trace.read().count(b"ReadyForQuery")


def test_a_write_waits_for_few_answers_however_many_layers_it_has(metadata: PostgresMetadata, tmp_path: Path) -> None:
    assert answers_awaited(metadata, tmp_path, 2) <= 4
    assert answers_awaited(metadata, tmp_path, 40) <= 4
    with metadata.read() as rows:
        assert rows.counts()["chains"] == 40
        assert [chain.depth for chain in sorted(rows.chains(), key=lambda row: row.depth)] == [*range(1, 41)]
        assert rows.last_event() == 2


def test_a_question_sees_every_change_before_it(metadata: PostgresMetadata) -> None:
    with metadata.write() as rows:
        top = put_layers(rows, 3)
        assert top is not None
        found = rows.chain(top)
        assert found is not None
        assert (found.depth, found.descriptor) == (3, b"{}")
        rows.put_image(IMAGE, b"{}", chain_id=top, created=(1, 1))
        assert rows.config(IMAGE) == b"{}"
        rows.put_lease("one", [IMAGE])
        assert rows.leases_of(IMAGE) == ["one"]
        rows.delete_lease("one")
        assert rows.leases() == []


def test_the_first_row_of_a_key_stays(metadata: PostgresMetadata) -> None:
    diff, digest = DiffID.of(b"a"), Digest.of(b"a")
    with metadata.write() as rows:
        rows.put_blob(BlobRow(digest, 1, "none"))
        rows.put_blob(BlobRow(digest, 2, "gzip"))
        rows.put_diff(DiffRow(diff, 1, 1, 1), BlobRow(digest, 3, "xz"))
        rows.put_diff(DiffRow(diff, 2, 2, 2), BlobRow(Digest.of(b"b"), 4, "none"))
    with metadata.read() as rows:
        assert rows.blob(digest) == BlobRow(digest, 1, "none")
        assert rows.diff(diff) == DiffRow(diff, 1, 1, 1)
        assert {row.digest for row in rows.blobs_of(diff)} == {digest, Digest.of(b"b")}


def test_what_fails_at_the_commit_undoes_the_write(metadata: PostgresMetadata) -> None:
    chain = ChainRow(chain_id([DiffID.of(b"a"), DiffID.of(b"b")]), None, DiffID.of(b"missing"), 1, 1)  # type: ignore[arg-type]
    undone: list[str] = []
    with pytest.raises(errors.StorageError, match="violates foreign key"), metadata.write() as rows:  # noqa: PT012
        put_image(rows, 1)
        rows.after_rollback(lambda: undone.append("undone"), if_sure=True)
        rows.after_commit(lambda: undone.append("done"))
        rows.put_chain(chain)
    assert undone == ["undone"]
    with pytest.raises(errors.InvalidInput, match="cannot hold"), metadata.write() as rows:  # noqa: PT012
        put_image(rows, 1)
        rows.put_event(Event(0, 1, "image", "lo\0ad", str(IMAGE), {}), keep=256)
    with metadata.read() as rows:
        assert not any(rows.counts().values())
        assert rows.last_event() == 0
    with metadata.write() as rows:
        put_image(rows, 1)


class Counting(Sending):
    """Counts the statements that it sends."""

    sent = 0

    def execute(self, statement: str, values: Any) -> psycopg.Cursor[tuple[Any, ...]]:
        self.sent += 1
        return super().execute(statement, values)


def test_what_waits_is_bounded(metadata: PostgresMetadata) -> None:
    with metadata.write() as rows:
        assert isinstance(rows, PostgresRows)
        rows.sending = sending = Counting(rows.connection)
        for number in range(3):
            rows.put_image(ImageID.of(b"%d" % number), b"x" * 200_000, chain_id=None, created=(1, 1))
        assert sending.sent >= 2
        sending.sent = 0
        put_layers(rows, 200)
        assert sending.sent >= 4


def test_what_was_put_behind_an_error_is_never_left_out_of_a_commit(metadata: PostgresMetadata) -> None:
    """Where the error was caught inside the write as well."""
    with pytest.raises(errors.OrlopError), metadata.write() as rows:  # noqa: PT012 - the block is what is tested
        put_layers(rows, 2)
        rows.put_reference(ReferenceRow("a\0b", ":1", IMAGE, 1))
        rows.put_manifest(ManifestRow(Digest.of(MANIFEST), "application/x", MANIFEST), [])
        with suppress(errors.OrlopError):
            rows.image_ids()
    with metadata.read() as seen:
        assert seen.counts()["layers"] == seen.counts()["manifests"] == 0


@pytest.mark.parametrize("is_late", [True, False])
def test_an_interrupt_at_the_commit_asks_whether_it_was_made(
    metadata: PostgresMetadata, monkeypatch: pytest.MonkeyPatch, *, is_late: bool
) -> None:
    commit, done = Sending.commit, []

    def interrupted(self: Sending, behind: str, values: Sequence[Any]) -> None:
        if is_late:
            commit(self, behind, values)
        raise KeyboardInterrupt

    monkeypatch.setattr(Sending, "commit", interrupted)
    with pytest.raises(KeyboardInterrupt), metadata.write() as rows:  # noqa: PT012 - as above
        rows.after_commit(lambda: done.append("committed"))
        rows.after_rollback(lambda: done.append("undone"), if_sure=True)
        put_layers(rows, 2)
    monkeypatch.undo()
    assert done == ["committed" if is_late else "undone"]
    with metadata.read() as seen:
        assert seen.counts()["layers"] == (2 if is_late else 0)
