"""Many clients of one registry at once, while a collection runs all the time: nothing fails, leaks or gets lost.

The crowd stays for 10 seconds, with `ORLOP_LONG` for a minute, or for as long as `ORLOP_STRESS_SECONDS` says.
"""

from __future__ import annotations

import json
import os
import random
import socket
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import pytest

from tests.crash.pace import LONG
from tests.crash.packed import layer
from tests.interop.served import serve
from tests.unit.hosted import OCTETS, RegistryClient, code, digest_of, image_manifest, written
from tests.unit.layouts import MANIFEST
from tests.waiting import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.interop.served import Served
    from tests.unit.served import Answer

CLIENTS: Final = 50
KINDS: Final = {"push 201", "pull 200", "list True 200", "delete tag 202", "hang up 0", "own 200"}
SECONDS: Final = float(os.environ.get("ORLOP_STRESS_SECONDS", "60" if LONG else "10"))
IMAGES: Final = 12
REPOSITORIES: Final = ("crowd/a", "crowd/b", "crowd/c")
#: Here clients delete blobs, too: a push may find that one of its blobs is gone again.
LOOSE: Final = "loose/app"
#: How much a server's memory may differ between two moments under the same load: threads and buffers come and go.
BREATH: Final = 24 << 20


class Unexpected(Exception):
    """An answer that no client should get."""


@dataclass(frozen=True)
class Image:
    """An image: its manifest, and its blobs."""

    manifest: bytes
    blobs: tuple[bytes, ...]


def images() -> list[Image]:
    """Make images that share layers."""
    shared = [layer(number) for number in range(4)]
    found = []
    for number in range(IMAGES):
        layers = [shared[number % 4], shared[(number + 1) % 4], layer(100 + number)]
        document = {
            "architecture": "amd64",
            "os": "linux",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [digest_of(one) for one in layers]},
        }
        config = written(document)
        found.append(Image(written(image_manifest(config, *layers)), (config, *layers)))
    return found


@dataclass
class Crowd:
    """Clients that all do something at random, and what they saw."""

    client: RegistryClient
    images: list[Image]
    until: float = 0
    seen: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    collections: int = 0
    guard: threading.Lock = field(default_factory=threading.Lock)
    ready: threading.Barrier = field(init=False)

    def __post_init__(self) -> None:
        self.ready = threading.Barrier(CLIENTS, self._begin)

    def _begin(self) -> None:
        self.until = time.monotonic() + SECONDS

    def visit(self, number: int) -> None:
        """Be one of the clients until the time is over; an image of one's own is there all the while."""
        chance = random.Random(number)
        works: dict[str, Callable[[random.Random], str]] = {
            "push": self._push,
            "pull": self._pull,
            "list": self._list,
            "delete tag": self._delete_tag,
            "delete manifest": self._delete_manifest,
            "delete blob": self._delete_blob,
            "hang up": self._hang_up,
            "own": lambda _: self._own(number),
        }
        self._do("first", lambda _: self._put(f"own/{number}", "1", self.images[number % IMAGES], chance), chance)
        self.ready.wait()
        while self._goes_on():
            name = chance.choices(list(works), [6, 6, 2, 3, 2, 1, 1, 2])[0]
            self._do(name, works[name], chance)

    def _goes_on(self) -> bool:
        """Return whether there is time left, or on a slow machine a kind of work that nobody has come to yet."""
        now = time.monotonic()
        return now < self.until or (not self.seen.keys() >= KINDS and now < self.until + PATIENCE)

    def collect(self, server: Served, clients: list[threading.Thread]) -> None:
        """Collect again and again while clients are at work."""
        while any(client.is_alive() for client in clients):
            server.orlop("gc")
            self.collections += 1

    def _do(self, name: str, work: Callable[[random.Random], str], chance: random.Random) -> None:
        try:
            result = work(chance)
        except Exception as error:  # noqa: BLE001 - whatever it is, the server should not have done it
            with self.guard:
                self.wrong.append(f"{name}: {error!r}")
        else:
            with self.guard:
                self.seen[f"{name} {result}"] += 1

    def _expect(self, answer: Answer, *statuses: int) -> Answer:
        if answer.status not in statuses:
            raise Unexpected(answer.status, answer.body[:300])
        return answer

    # What they do.

    def _push(self, chance: random.Random) -> str:
        name = chance.choice((*REPOSITORIES, LOOSE))
        return self._put(name, f"t{chance.randrange(6)}", chance.choice(self.images), chance)

    def _put(self, name: str, tag: str, image: Image, chance: random.Random) -> str:
        for blob in image.blobs:
            digest = digest_of(blob)
            if self._expect(self.client.head(f"/v2/{name}/blobs/{digest}"), 200, 404).status == 200:
                continue
            query = {"mount": digest, "from": chance.choice(REPOSITORIES)}
            begun = self._expect(self.client.ask("POST", f"/v2/{name}/blobs/uploads/", query), 201, 202)
            if begun.status == 202:
                cut = chance.randrange(len(blob))
                if cut:
                    begun = self._expect(self.client.patch(begun, blob[:cut], f"0-{cut - 1}"), 202)
                self._expect(self.client.finish(begun, digest, blob[cut:]), 201)
        answer = self.client.put(f"/v2/{name}/manifests/{tag}", image.manifest, MANIFEST)
        if name == LOOSE and answer.status == 400 and code(answer) == "MANIFEST_BLOB_UNKNOWN":
            return "400"
        return str(self._expect(answer, 201).status)

    def _pull(self, chance: random.Random) -> str:
        name = chance.choice(REPOSITORIES)
        return self._get(name, f"t{chance.randrange(6)}", missing=404)

    def _get(self, name: str, tag: str, missing: int = 200) -> str:
        answer = self._expect(self.client.get(f"/v2/{name}/manifests/{tag}"), 200, missing)
        if answer.status != 200:
            return str(answer.status)
        document = answer.json
        # The blobs of a manifest that is deleted meanwhile stay for a day.
        for one in (document["config"], *document["layers"]):
            body = self._expect(self.client.get(f"/v2/{name}/blobs/{one['digest']}"), 200).body
            if digest_of(body) != one["digest"]:
                raise Unexpected("other bytes", one["digest"])
        return "200"

    def _own(self, number: int) -> str:
        return self._get(f"own/{number}", "1")

    def _list(self, chance: random.Random) -> str:
        names = self._expect(self.client.get("/v2/_catalog"), 200).json["repositories"]
        tags = self._expect(self.client.get(f"/v2/{chance.choice(REPOSITORIES)}/tags/list"), 200, 404)
        return f"{bool(names)} {tags.status}"

    def _delete_tag(self, chance: random.Random) -> str:
        target = f"/v2/{chance.choice((*REPOSITORIES, LOOSE))}/manifests/t{chance.randrange(6)}"
        return str(self._expect(self.client.delete(target), 202, 404).status)

    def _delete_manifest(self, chance: random.Random) -> str:
        digest = digest_of(chance.choice(self.images).manifest)
        target = f"/v2/{chance.choice((*REPOSITORIES, LOOSE))}/manifests/{digest}"
        return str(self._expect(self.client.delete(target), 202, 404).status)

    def _delete_blob(self, chance: random.Random) -> str:
        digest = digest_of(chance.choice(chance.choice(self.images).blobs))
        return str(self._expect(self.client.delete(f"/v2/{LOOSE}/blobs/{digest}"), 202, 404, 405).status)

    def _hang_up(self, chance: random.Random) -> str:
        place = self.client.begin(chance.choice(REPOSITORIES)).headers["location"]
        blob = chance.choice(self.images).blobs[-1]
        with socket.create_connection(("127.0.0.1", self.client.port), timeout=60) as asker:
            head = f"PATCH {place} HTTP/1.1\r\nHost: {self.client.authority}\r\nContent-Type: {OCTETS}\r\n"
            asker.sendall(f"{head}Content-Length: {len(blob)}\r\n\r\n".encode())
            asker.sendall(blob[: chance.randrange(len(blob))])
        return "0"


@pytest.mark.sampled(3)
@pytest.mark.slow
def test_fifty_clients_of_a_registry_harm_neither_each_other_nor_the_store(tmp_path, record_property):
    with serve(tmp_path / "root", "--registry", tcp=True) as server:
        crowd = Crowd(RegistryClient(int(server.host.rpartition(":")[2])), images())
        clients = [threading.Thread(target=crowd.visit, args=(number,)) for number in range(CLIENTS)]
        for client in clients:
            client.start()
        collecting = threading.Thread(target=crowd.collect, args=(server, clients))
        collecting.start()
        # On one core this thread may get its turn a few times only.
        samples: list[tuple[int, int]] = []
        while any(client.is_alive() for client in clients) or len(samples) < 3:
            if crowd.until:
                samples.append((server.resident(), len(server.descriptors())))
            time.sleep(SECONDS / 100)
        for client in (*clients, collecting):
            client.join()
        counted = ", ".join(f"{name}: {count}" for name, count in sorted(crowd.seen.items()))
        record_property("counted", f"{CLIENTS} clients in {SECONDS:g} s, {crowd.collections} collections: {counted}")
        assert crowd.wrong == []
        # All kinds of work were done, so that nobody takes a crowd that does nothing for a proof.
        assert crowd.seen.keys() >= KINDS, counted
        assert crowd.seen["first 201"] == CLIENTS
        assert crowd.collections
        _flat(samples, record_property)
        # Nothing that nobody has deleted is lost.
        for number in range(CLIENTS):
            assert crowd._own(number) == "200"
        server.orlop("gc")
        assert json.loads(server.orlop("fsck", "-q", "--format", "json"))["State"] == "clean"


def _flat(samples: list[tuple[int, int]], record_property: Callable[[str, object], None]) -> None:
    """Check that neither memory nor open files grow once all clients are at work."""
    third = len(samples) // 3
    parts = samples[third : 2 * third], samples[2 * third :]
    before, memory = (max(sample[0] for sample in part) for part in parts)
    record_property("counted", f"{CLIENTS} clients: {memory >> 20} MiB, {before >> 20} MiB in the third before")
    assert memory < before + BREATH, samples
    before, files = (max(sample[1] for sample in part) for part in parts)
    # Sockets, files that are read, and a database for each thread.
    assert files < before + CLIENTS, samples
