"""Many clients of one server at once, and clients that hang up: nothing fails, leaks or stays behind.

`ORLOP_STRESS_SECONDS` makes the crowd stay for longer than ten seconds.
"""

from __future__ import annotations

import json
import os
import random
import socket
import sqlite3
import threading
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from tests.crash.packed import layer, packed, whole
from tests.interop.served import serve
from tests.unit.served import Client
from tests.waiting import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.interop.served import Served

CLIENTS = 50
KINDS = {"load 200", "list 200", "tag 201", "save 200", "remove 200", "hang up 0"}
SECONDS = float(os.environ.get("ORLOP_STRESS_SECONDS", "10"))
IMAGES = 12
#: How much a server's memory may differ between two moments under the same load: threads and buffers come and go.
BREATH = 24 << 20


# A crowd


@dataclass
class Crowd:
    """Clients that all do something at random, and what they saw."""

    client: Client
    archives: list[bytes]
    until: float
    seen: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    guard: threading.Lock = field(default_factory=threading.Lock)

    def works(self) -> dict[str, tuple[Callable[[random.Random], tuple[int, bool]], set[int]]]:
        """Return what is done by name: the work, which gives a status and whether all was well, and the statuses."""
        return {
            "load": (self._load, {200}),
            "list": (lambda _: self._asked("GET", "/images/json?all=1"), {200}),
            "inspect": (lambda chance: self._asked("GET", f"/images/{self._name(chance)}/json"), {200, 404}),
            "usage": (lambda _: self._asked("GET", "/system/df"), {200}),
            "tag": (self._tag, {201, 404}),
            "save": (self._save, {200, 404}),
            "remove": (lambda chance: self._asked("DELETE", f"/images/{self._name(chance)}"), {200, 404, 409}),
            "prune": (lambda _: self._asked("POST", "/images/prune"), {200, 409}),
            "hang up": (self._hang_up, {0}),
        }

    def visit(self, number: int) -> None:
        """Be one of the clients until the time is over."""
        chance = random.Random(number)
        works = self.works()
        while self._goes_on():
            name = chance.choices(list(works), [6, 4, 4, 1, 4, 6, 6, 1, 1])[0]
            work, expected = works[name]
            try:
                status, is_well = work(chance)
            except Exception as error:  # noqa: BLE001 - whatever it is, the server should not have done it
                self._note(f"{name}: {error!r}", is_wrong=True)
                continue
            self._note(f"{name} {status}", is_wrong=not is_well or status not in expected)

    def _goes_on(self) -> bool:
        """Return whether there is time left, or on a slow machine a kind of work that nobody has come to yet."""
        now = time.monotonic()
        return now < self.until or (not self.seen.keys() >= KINDS and now < self.until + PATIENCE)

    def _note(self, what: str, *, is_wrong: bool) -> None:
        with self.guard:
            self.seen[what] += 1
            if is_wrong:
                self.wrong.append(what)

    def _name(self, chance: random.Random) -> str:
        return f"crowd:{chance.randrange(IMAGES)}" if chance.random() < 0.7 else f"second:{chance.randrange(IMAGES)}"

    def _asked(self, method: str, path: str) -> tuple[int, bool]:
        answer = self.client.ask(method, path)
        return answer.status, answer.json is not None

    def _load(self, chance: random.Random) -> tuple[int, bool]:
        answer = self.client.post("/images/load?quiet=1", body=chance.choice(self.archives))
        return answer.status, [list(line) for line in answer.lines] == [["stream"]]

    def _tag(self, chance: random.Random) -> tuple[int, bool]:
        path = f"/images/{self._name(chance)}/tag?repo=second&tag={chance.randrange(IMAGES)}"
        return self.client.post(path).status, True

    def _save(self, chance: random.Random) -> tuple[int, bool]:
        answer = self.client.get(f"/images/{self._name(chance)}/get")
        return answer.status, answer.status != 200 or whole(answer.body)

    def _hang_up(self, chance: random.Random) -> tuple[int, bool]:
        hang_up(self.client.path, chance.choice(self.archives), chance.random())
        return 0, True


def hang_up(path: str, archive: bytes, part: float) -> None:
    """Send some of an archive, and go."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(60)
        client.connect(path)
        client.sendall(b"POST /images/load HTTP/1.1\r\nHost: docker\r\nContent-Length: %d\r\n\r\n" % len(archive))
        client.sendall(archive[: int(len(archive) * part)])


def leases(root: Path) -> list[Any]:
    """Return what leases protect."""
    with closing(sqlite3.connect(root / "metadata.db")) as database, database:
        found = database.execute("SELECT lease, digest FROM lease").fetchall()
    database.close()
    return found


def kept(server: Served) -> dict[str, list[str]]:
    """Return what nobody should find once all clients have gone."""
    root = server.orlop.root
    left = {name: [file.name for file in (root / name).iterdir()] for name in ("ingest", "trash")}
    held = [str(row) for row in leases(root)]
    in_use = [path for path in server.descriptors() if path.startswith(f"{root}/blobs/sha256/")]
    return {name: found for name, found in {**left, "leases": held, "open": in_use}.items() if found}


def blobs(server: Served) -> set[str]:
    """Return the names of all content."""
    return {file.name for file in (server.orlop.root / "blobs" / "sha256").iterdir()}


def rest(server: Served) -> Counter[str]:
    """Return the files that a server has open, by kind; but the database is open in each thread, and there are few."""
    return Counter(path.partition(":")[0] for path in server.descriptors() if "/metadata.db" not in path)


def settled(what: Callable[[], Any], *, seconds: float = PATIENCE) -> Any:
    """Wait until there is nothing any more, and return what there still is."""
    deadline = time.monotonic() + seconds
    while (found := what()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return found


@pytest.mark.sampled(3)
@pytest.mark.slow
def test_fifty_clients_at_once_harm_neither_each_other_nor_the_store(tmp_path, record_property):
    shared = [layer(number) for number in range(4)]
    archives = [
        packed(f"crowd:{number}", [shared[number % 4], *shared[: number % 3], layer(100 + number)])
        for number in range(IMAGES)
    ]
    with serve(tmp_path / "root") as server:
        begin = time.monotonic()
        crowd = Crowd(Client(str(server.socket)), archives, begin + SECONDS)
        clients = [threading.Thread(target=crowd.visit, args=(number,)) for number in range(CLIENTS)]
        for client in clients:
            client.start()
        # On one core this thread may get its turn a few times only.
        samples: list[tuple[int, int]] = []
        while any(client.is_alive() for client in clients) or len(samples) < 3:
            samples.append((server.resident(), len(server.descriptors())))
            time.sleep(SECONDS / 100)
        for client in clients:
            client.join()
        counted = ", ".join(f"{name}: {count}" for name, count in sorted(crowd.seen.items()))
        record_property("counted", f"{CLIENTS} clients in {SECONDS:g} s: {counted}")
        assert crowd.wrong == []
        # All kinds of work were done, so that nobody takes a crowd that does nothing for a proof.
        assert crowd.seen.keys() >= KINDS
        third = len(samples) // 3
        second, last = samples[third : 2 * third], samples[2 * third :]
        memory, before = (max(sample[0] for sample in part) for part in (last, second))
        record_property("counted", f"{CLIENTS} clients: {memory >> 20} MiB, {before >> 20} MiB in the third before")
        assert memory < before + BREATH, samples
        # Sockets, files that are read, and a database for each thread.
        files, before = (max(sample[1] for sample in part) for part in (last, second))
        assert files < before + CLIENTS, samples
        # What was removed while it was saved goes with the next removal, or with this.
        server.orlop("gc")
        assert settled(lambda: kept(server)) == {}
        # One socket listens, and the event loop has two to wake itself by.
        assert settled(lambda: rest(server)["socket"] > 3) is False, server.descriptors()
        assert json.loads(server.orlop("fsck", "-q", "--format", "json"))["State"] == "clean"


# Clients that hang up


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Served]:
    """A server that has worked already, so that its database and its threads are there."""
    with serve(tmp_path / "root") as server:
        client = Client(str(server.socket))
        client.post("/images/load", body=packed("first:1", [layer(0)]))
        whole(client.get("/images/first:1/get").body)
        yield server


BIG = 24_000_000


@pytest.mark.sampled(4)
@pytest.mark.parametrize("part", [0.0, 0.001, 0.5, 0.9999])
def test_a_client_that_hangs_up_in_a_load_leaves_nothing(server, part):
    archive = packed("big:1", [layer(1), layer(2, BIG)])
    seen, before = blobs(server), rest(server)
    for _ in range(3):
        hang_up(str(server.socket), archive, part)
    assert settled(lambda: kept(server)) == {}
    assert settled(lambda: rest(server) - before) == {}
    client = Client(str(server.socket))
    assert [image["RepoTags"] for image in client.get("/images/json").json] == [["first:1"]]
    assert blobs(server) == seen
    # The next client finds all in order.
    assert client.post("/images/load?quiet=1", body=archive).lines == [{"stream": "Loaded image: big:1\n"}]


@pytest.mark.sampled(3)
def test_clients_that_hang_up_in_a_save_leave_nothing(server):
    path = str(server.socket)
    client = Client(path)
    seen = blobs(server)
    client.post("/images/load", body=packed("big:1", [layer(1), layer(2, BIG)]))
    before = rest(server)
    for taken in (0, 1, 100_000, 5_000_000):
        with socket.socket(socket.AF_UNIX) as asker:
            asker.settimeout(60)
            asker.connect(path)
            asker.sendall(b"GET /images/big:1/get HTTP/1.1\r\nHost: docker\r\n\r\n")
            left = taken
            while left > 0:
                left -= len(asker.recv(min(left, 1 << 16)))
    assert settled(lambda: kept(server)) == {}
    assert settled(lambda: rest(server) - before) == {}
    # Whoever takes its time gets all of it, though the image is removed meanwhile.
    connection = client.connection()
    connection.request("GET", "/images/big:1/get")
    answer = connection.getresponse()
    begin = answer.read(1000)
    assert client.delete("/images/big:1").status == 200
    assert whole(begin + answer.read())
    connection.close()
    # A save removes nothing: what only it has kept is noted, and goes with the next removal.
    assert settled(lambda: kept(server).keys() - {"leases"}) == set()
    assert client.post("/images/prune").status == 200
    assert settled(lambda: kept(server)) == {}
    assert blobs(server) == seen
