"""Events over HTTP: what happens, told to all who listen, whoever makes it happen."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

import orlop
from orlop.store.events import KEPT
from tests.unit.served import served, serving
from tests.waiting import until

if TYPE_CHECKING:
    import http.client
    from collections.abc import Iterator

    from tests.unit.served import Client

TINY = "sha256:8126e24b2462f21d011c30e61cf0a955bed4bdaf1731e35ef3add4927267f3b2"


@pytest.fixture
def images(tmp_path, data):
    with orlop.open(tmp_path / "root") as images:
        images.load(data / "dockerd-20.10-overlay2" / "tiny.tar")
        yield images


@pytest.fixture
def client(images, tmp_path):
    with served(images, tmp_path) as client:
        yield client


@contextmanager
def following(client: Client, query: str = "") -> Iterator[http.client.HTTPResponse]:
    """Follow the events, from now on."""
    connection = client.connection()
    try:
        connection.request("GET", f"/events{query}")
        response = connection.getresponse()
        assert response.status == 200
        assert response.getheader("content-type") == "application/json"
        until_heard(client, 1)
        yield response
    finally:
        connection.close()


def until_heard(client: Client, listeners: int) -> None:
    until(lambda: client.get("/info").json["NEventsListener"] == listeners)


def actions(lines: list[Any]) -> list[str]:
    return [line["Action"] for line in lines]


def test_events_are_told_as_they_happen(client, images):
    with following(client) as events:
        images.tag(TINY, "other")
        told = json.loads(events.readline())
        assert (told["Type"], told["Action"], told["scope"]) == ("image", "tag", "local")
        assert told["Actor"]["ID"] == TINY
        assert told["Actor"]["Attributes"]["name"] == "other:latest"
        client.delete("/images/other")
        assert json.loads(events.readline())["Action"] == "untag"
    until_heard(client, 0)


def test_what_another_process_does_is_told_to_all_who_listen(client, images):
    with following(client) as first, following_too(client) as second:
        code = f"import orlop; orlop.open({images.root!r}).tag({TINY!r}, 'elsewhere')"
        subprocess.run([sys.executable, "-c", code], check=True)
        for events in (first, second):
            assert json.loads(events.readline())["Actor"]["Attributes"]["name"] == "elsewhere:latest"


@contextmanager
def following_too(client: Client) -> Iterator[http.client.HTTPResponse]:
    connection = client.connection()
    connection.request("GET", "/events")
    response = connection.getresponse()
    until_heard(client, 2)
    yield response
    connection.close()


def test_old_versions_get_the_fields_that_they_know(client):
    until = {"until": str(time.time())}
    (old,) = client.get("/v1.41/events", until).lines
    (new,) = client.get("/events", until).lines
    assert (old.pop("status"), old.pop("id")) == ("load", TINY)
    assert old == new


def test_the_past_is_told_for_a_time_and_then_the_stream_ends(client, images):
    images.tag(TINY, "a")
    middle = time.time_ns()
    images.tag(TINY, "b")
    seconds = f"{middle // 1_000_000_000}.{middle % 1_000_000_000:09}"
    now = str(time.time())
    assert actions(client.get("/events", {"since": "0", "until": now}).lines) == ["load", "tag", "tag"]
    assert actions(client.get("/events", {"until": seconds}).lines) == ["load", "tag"]
    (last,) = client.get("/events", {"since": seconds, "until": now}).lines
    assert last["Actor"]["Attributes"]["name"] == "b:latest"


@pytest.mark.sampled(2)
def test_the_stream_ends_at_a_time_in_the_future(client, images):
    def tag() -> None:
        until_heard(client, 1)
        images.tag(TINY, "later")

    # What comes in the meantime is told; a busy machine needs more of it.
    lines: list[Any] = []
    for seconds in (1, 5, 30):
        tagging = threading.Thread(target=tag)
        tagging.start()
        lines = client.get("/events", {"since": "0", "until": str(time.time() + seconds)}).lines
        tagging.join()
        if "tag" in actions(lines):
            break
    assert actions(lines)[:2] == ["load", "tag"]


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("filters", "told"),
    [
        ({"event": ["tag"]}, ["tag", "tag"]),
        ({"event": {"untag": True, "load": True}}, ["load", "untag"]),
        ({"type": ["container"]}, []),
        ({"image": ["a"]}, ["tag"]),
        ({"label": ["com.example.escape"]}, ["load", "tag", "tag", "untag"]),
        ({"label": ["nosuch"]}, []),
    ],
)
def test_events_are_filtered(client, images, filters, told):
    images.tag(TINY, "a:1")
    images.tag(TINY, "b")
    images.remove("b")
    query = {"until": str(time.time()), "filters": json.dumps(filters)}
    assert actions(client.get("/events", query).lines) == told


@pytest.mark.parametrize(
    "query", [{"since": "yesterday"}, {"until": "1h"}, {"since": "20", "until": "10"}, {"filters": "x"}]
)
def test_a_question_that_cannot_be_read_is_refused(client, query):
    assert client.get("/events", query).status == 400


def test_minus_one_is_no_time(client):
    now = str(time.time())
    assert client.get("/events", {"since": "-1", "until": now}).lines == client.get("/events", {"until": now}).lines
    # Without an end nothing is told of the past, and the client waits.
    assert client.get("/events", {"since": "-1.5", "until": "-1", "filters": "x"}).message == "invalid filter"
    assert client.get("/events", {"since": "-2", "until": "-3"}).status == 400


def test_a_late_listener_gets_what_is_kept(client, images):
    with images._store.metadata.write():
        for number in range(KEPT + 10):
            images._store.events.pruned(number)
    lines = client.get("/events", {"until": str(time.time())}).lines
    assert len(lines) == KEPT


def test_listeners_do_not_keep_a_server_from_ending(images, tmp_path):
    path = str(tmp_path / "end.sock")
    with serving(images, f"unix://{path}"):
        from tests.unit.served import Client

        connection = Client(path).connection()
        connection.request("GET", "/events")
        response = connection.getresponse()
    assert response.read() == b""
    connection.close()
