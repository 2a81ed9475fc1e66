"""SIGHUP while clients are at work, and while somebody is still writing the files that are read then."""

from __future__ import annotations

import http.client
import json
import os
import random
import shutil
import signal
import ssl
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from tests.interop.programs import PATIENCE
from tests.interop.registries import Keys
from tests.interop.served import serve
from tests.unit.guarded import RULES, basic, write_access, write_users
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ROUNDS = 80
ANNA, WRONG = basic("anna"), basic("anna", "other")


class Clients:
    """Ask a registry all the time, each on new connections, by TLS; `seen` says how often what was the answer."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.seen: Counter[tuple[str, int]] = Counter()
        self.wrong: list[str] = []
        self.end = threading.Event()

    def ask(self, authorization: str | None, target: str = "/v2/team/app/tags/list") -> http.client.HTTPResponse:
        # Which certificate it has is not the question here.
        context = ssl._create_unverified_context()
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=PATIENCE, context=context)
        try:
            headers = {} if authorization is None else {"Authorization": authorization}
            connection.request("GET", target, headers=headers)
            answer = connection.getresponse()
            answer.read()
            return answer
        finally:
            connection.close()

    def certificate(self) -> bytes:
        return ssl.get_server_certificate(("127.0.0.1", self.port)).encode()

    def work(self, name: str, authorization: str | None) -> None:
        while not self.end.is_set():
            try:
                self.seen[name, self.ask(authorization).status] += 1
            except (OSError, http.client.HTTPException) as error:
                self.wrong.append(f"{name}: {error!r}")


def changes(folder: Path, pairs: list[Keys], chance: random.Random) -> list[Callable[[], object]]:
    """Return what may become of the files: half of one, none, another one."""
    access, users, certificate, key = (folder / name for name in ("access.toml", "users", "cert.pem", "key.pem"))

    def cut(file: Path) -> None:
        content = file.read_bytes() if file.exists() else b""
        file.write_bytes(content[: chance.randrange(len(content) + 1)])

    def renamed(file: Path, content: bytes) -> None:
        new = folder / "new"
        new.write_bytes(content)
        new.replace(file)

    other = chance.choice(pairs)
    return [
        lambda: cut(access),
        lambda: cut(users),
        lambda: users.unlink(missing_ok=True),
        lambda: write_users(folder, {"ben": "secret-b"}),
        lambda: renamed(access, RULES.replace('"team/**"', '"other/**"').encode()),
        # A pair of which one half has come.
        lambda: renamed(certificate, other.certificate.read_bytes()),
        lambda: cut(key),
        lambda: renamed(key, other.key.read_bytes()),
    ]


@pytest.mark.sampled(3)
@pytest.mark.slow
def test_no_renewal_opens_the_registry_or_stops_it(tmp_path: Path, record_property: Any) -> None:
    folder, chance = tmp_path / "access", random.Random(5)
    folder.mkdir()
    pairs = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        pairs.append(Keys(tmp_path / name))

    def whole() -> None:
        write_access(folder, RULES)
        for source, target in ((pairs[0].certificate, "cert.pem"), (pairs[0].key, "key.pem")):
            shutil.copyfile(source, folder / target)

    whole()
    options = ["--registry", "--registry-access", str(folder / "access.toml"), "--tls"]
    options += ["--tlscert", str(folder / "cert.pem"), "--tlskey", str(folder / "key.pem")]
    heard: list[str] = []
    with serve(tmp_path / "root", *options, tcp=True, heard=heard) as served:
        clients = Clients(int(served.host.rpartition(":")[2]))
        asking = {"anna": ANNA, "wrong": WRONG, "nobody": None}
        threads = [threading.Thread(target=clients.work, args=one) for one in asking.items()]
        for thread in threads:
            thread.start()
        try:
            for number in range(ROUNDS):
                chance.choice(changes(folder, pairs, chance))()
                for _ in range(chance.randrange(1, 4)):
                    os.kill(served.pid, signal.SIGHUP)
                clients.ask(None)
                if number % 4 == 3:
                    whole()
            # Whatever came between, what is whole holds.
            whole()
            os.kill(served.pid, signal.SIGHUP)
            until(lambda: clients.ask(ANNA).status == 404)
            until(lambda: clients.certificate() == pairs[0].certificate.read_bytes())
        finally:
            clients.end.set()
            for thread in threads:
                thread.join()
        record_property("counted", f"{ROUNDS} renewals: {dict(clients.seen)}")
        assert clients.wrong == []
        assert {status for name, status in clients.seen if name == "nobody"} == {401}
        assert {status for name, status in clients.seen if name == "wrong"} == {401}
        # There is no such repository. While the files change, she is not a user or may not look there.
        assert {status for name, status in clients.seen if name == "anna"} <= {404, 401, 403}
        assert clients.seen["anna", 404] > 0
        assert json.loads(served.orlop("fsck", "-q", "--format", "json"))["State"] == "clean"
    # It was told each time that something was wrong, and nothing else.
    told = [line for line in heard if "stay unchanged" not in line and "stays unchanged" not in line]
    assert heard
    assert told == []
