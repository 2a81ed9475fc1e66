"""Long lists of a real PostgreSQL, which come in pieces, in the order in which SQLite has them."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

import pytest

from orlop.model.digest import Digest, ImageID
from orlop.store.rows.metadata import ManifestRow, ReferenceRow
from orlop.store.rows.postgres import passing
from orlop.store.rows.postgres.sending import Sending
from orlop.store.rows.sqlite.memory import MemoryMetadata, MemoryRows
from tests.postgres import database, opened

if TYPE_CHECKING:
    from collections.abc import Iterator

    import psycopg

    from orlop.store.rows.metadata import Metadata, Rows
    from orlop.store.rows.postgres.database import PostgresMetadata

COUNT = 23
#: What languages sort otherwise than bytes: case, accents, signs.
NAMES = ["docker.io/a-b", "docker.io/a/b", "docker.io/a.b", "docker.io/ab", "docker.io/B", "docker.io/ä", "docker.io/Z"]


def image(number: int) -> ImageID:
    return ImageID.of(str(number).encode())


def fill(metadata: Metadata) -> None:
    manifest = b'{"schemaVersion": 2, "manifests": [], "layers": [{"digest": "sha256:%s", "size": 1}]}'
    with metadata.write() as rows:
        for number in range(COUNT):
            rows.put_image(image(number), str(number).encode(), chain_id=None, created=(number % 7, number % 3))
            content = manifest % (b"%064d" % number)
            rows.put_manifest(ManifestRow(Digest.of(content), "application/x", content), [image(number)])
        for number in range(0, COUNT - 1, 2):
            rows.set_metadata(image(number + 1), "parent", str(image(number)).encode())
        for number, name in enumerate(NAMES):
            for suffix in (":1", ":a-b", ":a.b", ":B"):
                rows.put_reference(ReferenceRow(name, suffix, image(number * 2), 1))


@pytest.fixture
def metadata(monkeypatch: pytest.MonkeyPatch) -> Iterator[PostgresMetadata]:
    monkeypatch.setattr(passing, "FETCHED", 3)
    with opened(database()) as one:
        fill(one)
        yield one


def lists(rows: Rows) -> list[object]:
    return [
        list(rows.image_rows(listed_only=True)),
        list(rows.image_rows(listed_only=False)),
        list(rows.image_ids()),
        sorted(map(str, rows.heads())),
        sorted(map(str, rows.all_edges())),
        sorted(map(str, rows.came())),
        rows.references(),
        rows.repositories("docker.io"),
        rows.tags(NAMES[0]),
    ]


def test_lists_are_those_of_sqlite(metadata: PostgresMetadata) -> None:
    other = MemoryMetadata(MemoryRows())
    fill(other)
    with metadata.read() as rows, other.read() as expected:
        assert lists(rows) == lists(expected)
    other.end()


def test_other_questions_are_asked_in_the_middle_of_lists(metadata: PostgresMetadata) -> None:
    with metadata.read() as rows:
        pairs = zip(rows.image_ids(), rows.image_rows(listed_only=False), strict=True)
        assert sum(rows.config(one) is not None and rows.config(two.id) is not None for one, two in pairs) == COUNT
        # Lists that nobody reads to their end end with the block.
        for _ in range(3):
            assert len(list(islice(rows.image_ids(), 4))) == 4
        assert len(list(rows.image_ids())) == COUNT


def test_a_list_shows_the_rows_of_its_beginning(metadata: PostgresMetadata) -> None:
    with metadata.write() as rows:
        listed = rows.image_ids()
        first = next(listed)
        for number in range(COUNT):
            rows.delete_image(image(number))
        assert len({first, *listed}) == COUNT
        assert list(rows.image_ids()) == []


def test_no_more_than_a_piece_of_a_list_is_in_memory(
    metadata: PostgresMetadata, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched: list[int] = []
    ask = Sending.ask

    def counted(self: Sending, statement: str, values: Any = None) -> psycopg.Cursor[tuple[Any, ...]]:
        found = ask(self, statement, values)
        fetched.append(found.rowcount)
        return found

    monkeypatch.setattr(Sending, "ask", counted)
    with metadata.read() as rows:
        assert len(list(rows.image_ids())) == COUNT
    assert fetched == [3] * 7 + [2]
