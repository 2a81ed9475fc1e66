"""Claims of names in a real PostgreSQL: by whom, for how long, and that nobody waits inside a transaction."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psycopg
import pytest

from orlop import errors
from orlop.model.digest import Digest
from orlop.store.rows.memory_keys import MemoryKeys, MemoryObjects
from orlop.store.rows.postgres.keys import PostgresKeys
from orlop.store.rows.postgres.schema import CLAIMS
from orlop.store.rows.postgres.sessions import Session
from orlop.store.rows.sqlite.memory import MemoryMetadata
from tests.postgres import opened, pooled, sql

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from orlop.store.rows.keys import ObjectKeys
    from orlop.store.rows.metadata import Metadata
    from orlop.store.rows.postgres.database import PostgresMetadata

NAME = str(Digest.of(b"content"))


@pytest.fixture
def session(metadata: PostgresMetadata) -> Iterator[Session]:
    one = Session(metadata)
    yield one
    one.end()


@pytest.fixture
def keys(metadata: PostgresMetadata, session: Session) -> PostgresKeys:
    return PostgresKeys(metadata, session)


@contextmanager
def another(url: str) -> Iterator[PostgresKeys]:
    """Return the keys of another process."""
    with opened(url) as metadata:
        session = Session(metadata)
        yield PostgresKeys(metadata, session)
        session.end()


@contextmanager
def _of_postgres(url: str) -> Iterator[tuple[Metadata, ObjectKeys, ObjectKeys]]:
    with opened(url) as metadata, another(url) as other:
        session = Session(metadata)
        yield metadata, PostgresKeys(metadata, session), other
        session.end()


@contextmanager
def _of_memory(_: str) -> Iterator[tuple[Metadata, ObjectKeys, ObjectKeys]]:
    objects = MemoryObjects()
    yield MemoryMetadata(), MemoryKeys(objects), MemoryKeys(objects)


@pytest.mark.parametrize("both", [_of_postgres, _of_memory])
def test_one_at_a_time_claims_a_name(
    url: str, both: Callable[[str], Iterator[tuple[Metadata, ObjectKeys, ObjectKeys]]]
) -> None:
    with both(url) as (metadata, one, other):  # type: ignore[attr-defined]
        key = one.claim(NAME)
        assert key
        assert one.claim(NAME) is None  # nor another thread of its own
        assert other.claim(NAME) is None
        assert other.is_claimed(NAME)
        # Other names, and uploads whose name nobody knows yet, are of no matter.
        assert not other.is_claimed(str(Digest.of(b"other")))
        other.discard(other.claim(str(Digest.of(b"other"))) or "")
        assert not other.is_claimed("")
        other.begin(), one.begin()
        with metadata.write() as rows:
            assert one.publish(rows, NAME, key, 1)
            assert other.is_claimed(NAME)
        assert not other.is_claimed(NAME)
        assert other.find(NAME) is not None
        # What a write undoes is claimed still, and free once it is discarded.
        again = other.claim(NAME) or ""
        with pytest.raises(ZeroDivisionError), metadata.write() as rows:  # noqa: PT012 - the block is what is tested
            other.publish(rows, str(Digest.of(b"other")), again, 1)
            raise ZeroDivisionError
        assert one.is_claimed(NAME)
        other.discard(again)
        assert not one.is_claimed(NAME)


@pytest.mark.parametrize("both", [_of_postgres, _of_memory])
def test_what_was_never_sent_is_not_deleted(
    url: str, both: Callable[[str], Iterator[tuple[Metadata, ObjectKeys, ObjectKeys]]]
) -> None:
    with both(url) as (_, keys, other):  # type: ignore[attr-defined]
        keys.discard(keys.claim(NAME) or "", is_sent=False)
        assert list(keys.uploads()) == list(keys.doomed()) == []
        assert not other.is_claimed(NAME)
        key = keys.claim(NAME) or ""
        keys.discard(key)
        assert [one.key for one in keys.doomed()] == [key]


def test_the_claim_of_a_session_that_is_silent_ends_and_its_upload_goes_on(
    url: str, metadata: PostgresMetadata, keys: PostgresKeys, session: Session
) -> None:
    key = keys.claim(NAME)
    assert key
    with another(url) as other:
        sql(url, "UPDATE session SET seen = seen - interval '0.9 seconds' WHERE id = %s", session.id)
        session.beat()
        assert other.is_claimed(NAME)
        # A third of the time after which it would be dead.
        sql(url, "UPDATE session SET seen = clock_timestamp() - interval '1.1 seconds' WHERE id = %s", session.id)
        assert not other.is_claimed(NAME)
        second = other.claim(NAME)
        assert second
        with metadata.write() as rows:
            assert keys.publish(rows, NAME, key, 1)
        assert keys.is_claimed(NAME)
        other.discard(second)
        assert not keys.is_claimed(NAME)


def test_the_claim_of_a_session_that_died_ends(url: str, keys: PostgresKeys) -> None:
    assert keys.claim(NAME)
    with another(url) as other:
        sql(url, "UPDATE session SET dead = true WHERE id = %s", keys.session)
        assert not other.is_claimed(NAME)
        assert other.claim(NAME)


def test_a_session_that_ends_claims_nothing(url: str, keys: PostgresKeys, session: Session) -> None:
    assert keys.claim(NAME)
    session.end()
    with another(url) as other:
        assert not other.is_claimed(NAME)
        assert other.claim(NAME)


def test_what_could_not_be_given_up_is_with_the_next_beat(
    url: str, metadata: PostgresMetadata, keys: PostgresKeys, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others would wait for as long as the process lives."""

    def fail(*_: object) -> None:
        raise errors.DatabaseUnavailable("the database is away")

    key = keys.claim(NAME) or ""
    with monkeypatch.context() as patch:
        patch.setattr(metadata, "short", fail)
        with pytest.raises(errors.DatabaseUnavailable):
            keys.discard(key)
        with pytest.raises(errors.DatabaseUnavailable):
            session.beat()
    assert keys.is_claimed(NAME)
    session.beat()
    assert not keys.is_claimed(NAME)
    assert [one.key for one in keys.doomed()] == [key]


def test_a_claim_whose_answer_was_lost_ends_with_the_next_beat(
    metadata: PostgresMetadata, keys: PostgresKeys, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = metadata.short

    @contextmanager
    def interrupted() -> Iterator[object]:
        with short() as rows:
            yield rows
        raise KeyboardInterrupt

    _ = session.id
    with monkeypatch.context() as patch:
        patch.setattr(metadata, "short", interrupted)
        with pytest.raises(KeyboardInterrupt):
            keys.claim(NAME)
    assert keys.is_claimed(NAME)
    session.beat()
    assert not keys.is_claimed(NAME)


def test_nobody_waits_for_a_transaction_of_another(url: str, keys: PostgresKeys) -> None:
    """Its process may hang: whoever claims is told at once that somebody else does, or has."""
    with another(url) as other, psycopg.connect(url, options="-c search_path=orlop") as hanging:
        # It is just claiming.
        hanging.execute(f"SELECT pg_try_advisory_xact_lock({CLAIMS}, hashtext(%s))".encode(), (NAME,))
        hanging.execute(b"INSERT INTO upload (key, session, name) VALUES ('k', %s, %s)", (other.session, NAME))
        assert keys.claim(NAME) is None
        hanging.commit()
        assert keys.is_claimed(NAME)
        # It is just publishing, or giving up.
        hanging.execute(b"DELETE FROM upload WHERE key = 'k'")
        assert keys.claim(NAME) is None
        assert keys.is_claimed(NAME)
        sql(url, "UPDATE session SET seen = seen - interval '1 hour' WHERE id = %s", other.session)
        assert not keys.is_claimed(NAME)
        assert keys.claim(NAME) is None
        hanging.commit()
        assert keys.claim(NAME)


@pytest.mark.parametrize("through", ["", pytest.param("pooler", marks=pytest.mark.needs("pgbouncer"))])
def test_of_many_who_claim_at_once_one_does(url: str, through: str) -> None:
    url = pooled() if through else url
    claimed = list[str]()
    with opened(url) as metadata:
        session = Session(metadata)
        keys = PostgresKeys(metadata, session)
        names = [str(Digest.of(str(number).encode())) for number in range(10)]
        start = threading.Barrier(4)

        def claim() -> None:
            start.wait(60)
            claimed.extend(name for name in names if keys.claim(name))

        threads = [threading.Thread(target=claim) for _ in range(4)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
        assert sorted(claimed) == sorted(names)
        session.end()
