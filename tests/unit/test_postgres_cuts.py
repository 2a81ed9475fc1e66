"""A line to the database that ends at any byte: a write was made or was not, and whoever made it knows which."""

from __future__ import annotations

import random
import socket
import threading
from contextlib import closing, suppress
from typing import TYPE_CHECKING

import pytest
from psycopg.conninfo import make_conninfo

from orlop import errors
from orlop.model.digest import ImageID
from orlop.store.rows.metadata import ReferenceRow
from tests.postgres import database, opened, tag, tags, the_server

if TYPE_CHECKING:
    from pathlib import Path

    from tests.postgres import Postgres

CUTS = 24


class Line:
    """Carries everything to a server, and ends one connection after so many bytes of a ``way``."""

    def __init__(self, folder: Path, server: Postgres) -> None:
        self._target = str(server.folder / ".s.PGSQL.5432")
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(folder / ".s.PGSQL.5432"))
        self._listener.listen()
        self._guard = threading.Lock()
        self.carried = {"forth": 0, "back": 0}
        self._cut: tuple[str, int] | None = None
        self._commit = ""
        self._sockets, self._threads = [self._listener], list[threading.Thread]()
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        """End everything."""
        for one in self._sockets:
            _end(one)
        for thread in self._threads:
            thread.join()
        for one in self._sockets:
            one.close()

    def cut(self, way: str, after: int) -> None:
        """End a connection once so many bytes more have gone a way."""
        with self._guard:
            self._cut = way, self.carried[way] + after

    def cut_at_commit(self, where: str) -> None:
        """End a connection ``before`` its next commit comes to the server, or ``after`` that, before its answer."""
        self._commit = where

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(self._target)
                self._sockets += [client, server]
                for way, ends in (("forth", (client, server)), ("back", (server, client))):
                    self._threads.append(threading.Thread(target=self._carry, args=(way, *ends), daemon=True))
                    self._threads[-1].start()

    def _carry(self, way: str, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                if way == "forth" and self._commit and b"COMMIT\0" in data:
                    self.cut(*(("forth", 0) if self._commit == "before" else ("back", 0)))
                    self._commit = ""
                left = self._left(way, len(data))
                target.sendall(data[:left])
                if left < len(data):
                    break
        _end(source)
        _end(target)

    def _left(self, way: str, size: int) -> int:
        """Return how many of some bytes are carried."""
        with self._guard:
            if self._cut is not None and self._cut[0] == way and self._cut[1] < self.carried[way] + size:
                size, self._cut = self._cut[1] - self.carried[way], None
            self.carried[way] += size
            return size


def _end(one: socket.socket) -> None:
    # That also ends a wait in another thread, for bytes or for a connection.
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("way", ["forth", "back"])
def test_a_line_that_ends_at_any_byte_leaves_no_doubt(tmp_path: Path, way: str) -> None:
    url, dice = database(), random.Random(18)
    expected: list[str] = []
    with closing(Line(tmp_path, the_server())) as line:
        place = make_conninfo(url, host=str(tmp_path))
        with opened(place) as metadata:
            tag(metadata, "first")
        most = line.carried[way]
        failed: list[errors.StorageError] = []
        for number in range(CUTS):
            line.cut(way, dice.randrange(most))
            name = f"n{number:02}"
            try:
                with opened(place) as metadata:
                    tag(metadata, name)
            except errors.StorageError as error:
                failed.append(error)
            else:
                expected.append(name)
            with opened(url) as metadata:
                assert tags(metadata) == ["first", *expected]
            # Where the line is whole, it succeeds.
            with opened(place) as metadata:
                tag(metadata, "first")
    assert 0 < len(failed) < CUTS
    assert not any(isinstance(one, errors.OutcomeUnknown) for one in failed)


@pytest.mark.parametrize("where", ["before", "after"])
def test_a_lost_answer_to_a_commit_is_asked_for(tmp_path: Path, where: str) -> None:
    with closing(Line(tmp_path, the_server())) as line:
        url = database()
        with opened(make_conninfo(url, host=str(tmp_path))) as metadata:
            tag(metadata, "1")
            line.cut_at_commit(where)
            undone: list[str] = []
            try:
                with metadata.write() as rows:
                    rows.put_reference(ReferenceRow("docker.io/library/a", ":2", ImageID.of(b"{}"), 1))
                    rows.after_rollback(lambda: undone.append("undone"), if_sure=True)
                    rows.after_commit(lambda: undone.append("done"))
            except errors.StorageError:
                assert where == "before"
            assert undone == (["undone"] if where == "before" else ["done"])
            assert tags(metadata) == (["1"] if where == "before" else ["1", "2"])
            tag(metadata, "3")
