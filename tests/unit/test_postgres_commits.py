"""Whether a commit was made whose answer was lost, asked of a real PostgreSQL."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from orlop.errors import DatabaseUnavailable, OutcomeUnknown, StorageError
from orlop.model.digest import ImageID
from orlop.store.rows.metadata import ReferenceRow
from orlop.store.rows.postgres import commits
from orlop.store.rows.postgres.schema import LOCKS
from orlop.store.rows.postgres.sending import Sending
from tests.postgres import Postgres, opened, tag, tags

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from orlop.store.rows.postgres.database import PostgresMetadata

_PATIENCE = 60


def losing(monkeypatch: pytest.MonkeyPatch, then: Callable[[], None], *, sent: bool) -> None:
    """Lose the answer to the next commit, which was sent or not, and do something before the server is asked."""

    def commit(self: Sending, behind: str, values: Sequence[Any]) -> None:
        monkeypatch.undo()
        for each in self._taken():
            self.execute(*each)
        if sent:
            self.execute("COMMIT", None)
        else:
            self.connection.close()
        then()
        raise psycopg.OperationalError("the connection was lost")

    monkeypatch.setattr(Sending, "commit", commit)


def outcome(metadata: PostgresMetadata) -> str:
    """Return how a write of these rows ended, as far as it knows."""
    done: list[str] = []
    with suppress(DatabaseUnavailable), metadata.write() as rows:
        rows.put_reference(ReferenceRow("docker.io/library/a", ":mine", ImageID.of(b"{}"), 1))
        rows.after_commit(lambda: done.append("made"))
        rows.after_rollback(lambda: done.append("undone"), if_sure=True)
    return "".join(done)


@pytest.mark.parametrize("sent", [True, False])
@pytest.mark.parametrize("others", [0, 1, 3])
def test_the_outcome_is_known_whatever_others_did_since(
    metadata: PostgresMetadata, monkeypatch: pytest.MonkeyPatch, others: int, *, sent: bool
) -> None:
    def write() -> None:
        for number in range(others):
            tag(metadata, str(number))

    losing(monkeypatch, write, sent=sent)
    assert outcome(metadata) == ("made" if sent else "undone")
    assert ("mine" in tags(metadata)) is sent
    assert len(tags(metadata)) == others + sent


@pytest.mark.parametrize("sent", [True, False])
def test_what_was_forgotten_is_not_guessed(
    metadata: PostgresMetadata, monkeypatch: pytest.MonkeyPatch, *, sent: bool
) -> None:
    monkeypatch.setattr(commits, "KEPT", 3)

    def write() -> None:
        # Undone by the loss.
        monkeypatch.setattr(commits, "KEPT", 3)
        for number in range(3 + (not sent)):
            tag(metadata, str(number))

    losing(monkeypatch, write, sent=sent)
    with pytest.raises(OutcomeUnknown, match="look when it is back"):
        outcome(metadata)


def test_few_commits_are_remembered(metadata: PostgresMetadata, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commits, "KEPT", 5)
    for number in range(12):
        tag(metadata, str(number))
    with metadata.short() as rows:
        assert rows.rows("SELECT number FROM committed ORDER BY number") == [(number,) for number in range(8, 13)]
        assert rows.value("SELECT count(DISTINCT token) FROM committed") == 5


def test_a_write_that_is_undone_leaves_its_number_to_the_next(metadata: PostgresMetadata) -> None:
    with pytest.raises(ZeroDivisionError), metadata.write():
        raise ZeroDivisionError
    tag(metadata, "1")
    with metadata.short() as rows:
        assert rows.rows("SELECT number FROM committed") == [(1,)]


def test_who_asks_waits_for_the_end_of_what_is_still_at_work(
    metadata: PostgresMetadata, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A transaction whose client has gone may be committed later."""
    url, ends = metadata.pool._conninfo, list[int]()
    waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND classid = %s AND NOT granted"

    def commit(self: Sending, behind: str, values: Sequence[Any]) -> None:
        monkeypatch.undo()
        for each in self._taken():
            self.execute(*each)
        self.connection.pgconn.send_query(b"SELECT pg_advisory_xact_lock(42, 42); COMMIT")
        self.connection.pgconn.flush()
        # The server does not find out that nobody listens.
        ends.append(os.dup(self.connection.fileno()))
        with Path(os.devnull).open("r+b") as nothing:
            os.dup2(nothing.fileno(), self.connection.fileno())
        late.start()
        raise psycopg.OperationalError("the connection was lost")

    def end() -> None:
        until = time.monotonic() + _PATIENCE
        while holder.execute(waiting, (LOCKS,)).fetchone() == (0,) and time.monotonic() < until:
            time.sleep(0.01)
        holder.execute("SELECT pg_advisory_unlock(42, 42)")

    late = Thread(target=end)
    with psycopg.connect(url, autocommit=True) as holder:
        holder.execute("SELECT pg_advisory_lock(42, 42)")
        monkeypatch.setattr(Sending, "commit", commit)
        assert outcome(metadata) == "made"
        late.join(_PATIENCE)
    assert tags(metadata) == ["mine"]
    os.close(ends.pop())


@pytest.mark.sampled(3)
def test_a_commit_that_a_crash_takes_back_is_not_taken_for_another(
    public: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that crashes before the disk has a commit gives the number of its transaction to another one."""
    server = Postgres(public, durable=True)
    server.start()
    try:
        url = server.database()
        with opened(url) as metadata, opened(url) as other:
            tag(metadata, "before")
            with psycopg.connect(url, autocommit=True) as connection:
                asked = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'walwriter'"
                writer = connection.execute(asked).fetchone()
                assert writer is not None
                # Nothing but a commit that waits for the disk goes there from here on.
                os.kill(writer[0], signal.SIGSTOP)

            def crash() -> None:
                assert "mine" in tags(other)
                until = time.monotonic() + _PATIENCE
                with psycopg.connect(url, autocommit=True) as witness, suppress(psycopg.OperationalError):
                    os.kill(writer[0], signal.SIGKILL)
                    # Until the server has noticed, whoever writes brings the commit to the disk.
                    while True:
                        witness.execute("SELECT 1")
                        assert time.monotonic() < until
                while True:
                    try:
                        tag(other, "other")
                    except StorageError:
                        assert time.monotonic() < until
                    else:
                        return

            losing(monkeypatch, crash, sent=True)
            assert outcome(metadata) == "undone"
            assert tags(metadata) == ["before", "other"]
    finally:
        server.stop()
