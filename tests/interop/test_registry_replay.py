"""`orlop serve --registry` as a process answers all that an outside program asks, which logs in in every way."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import urllib.request
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

import pytest

from tests.interop.programs import PATIENCE
from tests.interop.served import serve
from tests.unit.guarded import RULES, TOKENS, write_access
from tests.unit.hosted import RegistryClient
from tests.unit.replay import Replay
from tests.unit.replay_older import older
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.unit.served import Answer

_LOGIN: Final = "Basic " + base64.b64encode(b"anna:secret-a").decode()
_READING: Final = frozenset({"GET", "HEAD"})


@dataclass(frozen=True)
class LoggedIn(RegistryClient):
    """Sends nothing about itself until it is asked, and then the same for all requests of one kind to a repository."""

    known: dict[tuple[str, str], str] = field(default_factory=dict)

    def ask(
        self,
        method: str,
        target: str,
        query: Mapping[str, Any] | None = None,
        *,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        sent = body if body is None or isinstance(body, bytes) else b"".join(body)
        key = "/".join(target.split("/")[:4]), "DELETE" if method == "DELETE" else str(method in _READING)

        def asked() -> Answer:
            more = {"Authorization": self.known[key]} if key in self.known else {}
            # A body of no length can be read once.
            again = sent if sent is None or sent is body else iter([sent])
            return super(LoggedIn, self).ask(method, target, query, body=again, headers={**(headers or {}), **more})

        answer = asked()
        if answer.status == 401:
            self.known[key] = self._answer_to(answer.headers["www-authenticate"])
            answer = asked()
        return answer

    def _answer_to(self, challenge: str) -> str:
        if challenge.startswith("Basic"):
            return _LOGIN
        said = dict(re.findall(r'([a-z]+)="(.+?)"', challenge))
        # All scopes are in one parameter.
        query = {name: said[name] for name in ("service", "scope") if name in said}
        asked = urllib.request.Request(f"{said['realm']}?{urlencode(query)}", headers={"Authorization": _LOGIN})
        with urllib.request.urlopen(asked, timeout=PATIENCE) as answer:
            return f"Bearer {json.load(answer)['token']}"


@pytest.mark.sampled(12, daily=False)
@pytest.mark.slow
@pytest.mark.parametrize("login", ["nobody", "password", "token"])
def test_all_that_an_outside_program_asks(tmp_path: Path, login: str, record_property):
    options: list[str] = []
    if login != "nobody":
        (tmp_path / "access").mkdir()
        file = write_access(tmp_path / "access", RULES)
        options = ["--registry-access", str(file)]
    with serve(tmp_path / "root", "--registry", *options, tcp=True) as served:
        port = int(served.host.rpartition(":")[2])
        client = RegistryClient(port) if login == "nobody" else LoggedIn(port)
        if login == "token":
            realm = TOKENS.replace("registry.test/token", f"127.0.0.1:{port}/token")
            write_access(tmp_path / "access", RULES + realm)
            os.kill(served.pid, signal.SIGHUP)
            until(lambda: "Bearer" in RegistryClient(port).get("/v2/").headers["www-authenticate"])
        # A token for one repository says nothing of another, and an upload begins in place of a mount.
        replay = Replay(client, "team/one", "team/two", mounts=(201, 202) if login == "token" else (201,))
        replay.everything()
        for blobs_first in (False, True):
            older(replay, blobs_first=blobs_first)
        record_property("counted", f"{login}: {sum(replay.counts.values())} answers: {dict(replay.counts)}")
        served.orlop("gc")
        assert json.loads(served.orlop("fsck", "-q", "--format", "json"))["State"] == "clean"
