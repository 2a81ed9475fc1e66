"""Webhooks: what happened in the registry reaches others, in order, signed and sooner or later."""

from __future__ import annotations

import hashlib
import hmac
import http.server
import json
import os
import socket
import threading
from collections import Counter
from contextlib import contextmanager, suppress

import pytest

from orlop.api.registry.guard.queue import Queue
from orlop.api.registry.guard.rights import RepositoryPattern
from orlop.api.registry.guard.settings import Webhook
from orlop.api.registry.guard.webhooks import Pace, Webhooks, _Receiver
from orlop.api.registry.happened import Happened
from orlop.errors import Conflict
from orlop.registry import transport
from tests.waiting import PATIENCE, until

SECRET = b"s" * 40
PUSH = Happened("push", "team/app", "sha256:" + "a" * 64, "latest", "application/x", 7, "anna")
QUICK = Pace(first=0.01, longest=0.02, patience=60)
HASTY = Pace(first=0.01, longest=0.02, patience=0.5)
"""For receivers that never answer: one that does may be slower than that on a busy machine."""


class Receiver(http.server.ThreadingHTTPServer):
    """Takes messages, and answers with the statuses that it was given, at last 200."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.statuses = []
        self.taken = []
        self.paths = []
        self.headers = {}

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}/hook"

    @property
    def tags(self):
        return [json.loads(body)["events"][0]["target"].get("tag") for _, body in self.taken]


class Handler(http.server.BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.taken.append((self.headers, body))
        self.server.paths.append(self.path)
        self.send_response(self.server.statuses.pop(0) if self.server.statuses else 200)
        self.send_header("Location", f"http://127.0.0.1:{self.server.server_address[1]}/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_POST  # noqa: N815 - the name is the standard library's

    def log_message(self, *_):
        pass


@pytest.fixture
def receiver():
    with Receiver() as found:
        thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield found
        found.shutdown()
        thread.join()


def hook(folder, url, **changes):
    facts = {"repositories": (RepositoryPattern.parse("**"),), "secret": SECRET} | changes
    return Webhook("ci", url, str(folder / "queue"), **facts)


@contextmanager
def telling(*hooks, pace=QUICK):
    found = Webhooks(hooks, pace)
    try:
        yield found
    finally:
        found.close()


def names(folder):
    return sorted(one.name for one in folder.iterdir())


def tagged(number, action="push"):
    return Happened(action, "team/app", "sha256:0", f"t{number}")


def test_a_push_is_posted_and_signed(tmp_path, receiver):
    with telling(hook(tmp_path, receiver.url)) as webhooks:
        webhooks.hear(PUSH)
        until(lambda: webhooks.counts["ci", "delivered"] == 1)
    ((headers, body),) = receiver.taken
    (event,) = json.loads(body)["events"]
    assert event["action"] == "push"
    assert event["actor"] == {"name": "anna"}
    assert event["target"] == {
        "mediaType": "application/x",
        "size": 7,
        "length": 7,
        "digest": PUSH.digest,
        "repository": "team/app",
        "tag": "latest",
    }
    assert event["timestamp"].endswith("Z")
    assert event["id"]
    assert headers["Content-Type"] == "application/vnd.docker.distribution.events.v1+json"
    assert headers["X-Orlop-Signature-256"] == f"sha256={hmac.new(SECRET, body, hashlib.sha256).hexdigest()}"
    assert SECRET not in body
    assert names(tmp_path / "queue") == ["lock"]


def test_only_what_was_asked_for_is_told(tmp_path, receiver):
    chosen = hook(tmp_path, receiver.url, actions=frozenset({"delete"}), repositories=(RepositoryPattern.parse("a/*"),))
    with telling(chosen) as webhooks:
        for action in ("push", "pull", "mount", "delete"):
            for repository in ("a/b", "b/a"):
                webhooks.hear(Happened(action, repository, "sha256:0", f"{action}-{repository}"))
        until(lambda: webhooks.counts["ci", "delivered"] == 1)
    assert receiver.tags == ["delete-a/b"]


@pytest.mark.parametrize("status", [301, 302, 307, 308, 401, 403, 404, 408, 429, 500, 503])
def test_what_has_not_arrived_is_sent_again_before_what_follows(tmp_path, receiver, status):
    receiver.statuses = [status, status]
    with telling(hook(tmp_path, receiver.url)) as webhooks:
        for number in range(3):
            webhooks.hear(tagged(number))
        until(lambda: webhooks.counts["ci", "delivered"] == 3)
    assert receiver.tags == ["t0", "t0", "t0", "t1", "t2"]
    # The same message again, so that a receiver can tell; and no redirection was followed.
    assert len({body for _, body in receiver.taken}) == 3
    assert webhooks.counts["ci", "failed"] == 2


@pytest.mark.parametrize("status", [400, 405, 410, 413, 415, 422])
def test_what_is_refused_for_good_stops_nothing_behind_it(tmp_path, receiver, status):
    receiver.statuses = [status]
    with telling(hook(tmp_path, receiver.url)) as webhooks:
        webhooks.hear(tagged(0))
        webhooks.hear(tagged(1))
        until(lambda: webhooks.counts["ci", "delivered"] == 1)
    assert receiver.tags == ["t0", "t1"]
    assert webhooks.counts["ci", "dropped"] == 1


def test_a_receiver_that_is_away_gets_everything_from_the_next_server(tmp_path, receiver):
    with telling(hook(tmp_path, "http://127.0.0.1:1/")) as webhooks:
        for number in range(5):
            webhooks.hear(tagged(number))
    # Ended at once: what was heard is on disk.
    assert len(names(tmp_path / "queue")) == 6
    with telling(hook(tmp_path, receiver.url)) as webhooks:
        webhooks.hear(tagged(5))
        until(lambda: webhooks.counts["ci", "delivered"] == 6)
    assert receiver.tags == [f"t{number}" for number in range(6)]


def test_a_receiver_that_never_answers_delays_neither_a_push_nor_others(tmp_path, receiver):
    with Receiver() as silent:
        # Nobody accepts there.
        away = hook(tmp_path / "away", silent.url)
        (tmp_path / "here").mkdir()
        with telling(away, hook(tmp_path / "here", receiver.url), pace=HASTY) as webhooks:
            for number in range(20):
                webhooks.hear(tagged(number))
            until(lambda: webhooks.counts["ci", "delivered"] == 20)


def test_the_queue_is_bounded_and_the_newest_stay(tmp_path, receiver):
    with telling(hook(tmp_path, "http://127.0.0.1:1/", most=3)) as webhooks:
        for number in range(10):
            webhooks.hear(tagged(number))
        until(lambda: webhooks.counts["ci", "dropped"] == 7)
        assert webhooks.waiting() == {"ci": 3}
    with telling(hook(tmp_path, receiver.url, most=3)) as webhooks:
        until(lambda: webhooks.counts["ci", "delivered"] == 3)
    assert receiver.tags == ["t7", "t8", "t9"]


def test_a_queue_belongs_to_one_server(tmp_path):
    with telling(hook(tmp_path, "http://127.0.0.1:1/")), pytest.raises(Conflict, match="a folder of its own"):
        Webhooks([hook(tmp_path, "http://127.0.0.1:1/")], QUICK)
    Webhooks([hook(tmp_path, "http://127.0.0.1:1/")], QUICK).close()


def test_a_message_that_was_not_finished_is_none(tmp_path):
    queue = Queue(str(tmp_path / "queue"), 10)
    queue.put(b"one")
    queue.close()
    (tmp_path / "queue" / "00000000000000000001-000000.json.part").write_bytes(b"half")
    queue = Queue(str(tmp_path / "queue"), 10)
    found = queue.first()
    assert found is not None
    assert found[1] == b"one"
    assert len(queue) == 1
    queue.remove(found[0])
    queue.remove(found[0])
    assert queue.first() is None
    queue.close()
    assert names(tmp_path / "queue") == ["lock"]


def test_the_order_stays_when_the_clock_goes_back(tmp_path):
    queue = Queue(str(tmp_path), 10, now=lambda: 1000)
    queue.put(b"one")
    queue.put(b"two")
    queue.close()
    queue = Queue(str(tmp_path), 10, now=lambda: 5)
    queue.put(b"three")
    seen = []
    while (found := queue.first()) is not None:
        seen.append(found[1])
        queue.remove(found[0])
    assert seen == [b"one", b"two", b"three"]
    queue.close()


def has_failed_dripping(webhooks, connection, piece):
    """Send a bit more, as long as somebody takes it, and return whether that was given up."""
    with suppress(OSError):
        connection.sendall(piece)
    return webhooks.counts["ci", "failed"]


@pytest.mark.sampled(2)
def test_a_receiver_that_drips_its_answer_is_not_waited_for(tmp_path):
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        telling(hook(tmp_path, f"http://127.0.0.1:{listener.getsockname()[1]}/"), pace=HASTY) as webhooks,
    ):
        webhooks.hear(tagged(0))
        connection, _ = listener.accept()
        with connection:
            # A byte comes long before the patience for one ends, and the head never does.
            connection.sendall(b"HTTP/1.1 2")
            until(lambda: has_failed_dripping(webhooks, connection, b"0"))
    assert webhooks.waiting() == {"ci": 1}


def test_a_receiver_that_lets_itself_be_found_slowly_is_not_waited_for(tmp_path, monkeypatch):
    is_over = threading.Event()

    def slowly(*_):
        is_over.wait(PATIENCE)
        return []

    monkeypatch.setattr(transport, "resolved", slowly)
    with telling(hook(tmp_path, "http://127.0.0.1:9/"), pace=HASTY) as webhooks:
        webhooks.hear(tagged(0))
        until(lambda: webhooks.counts["ci", "failed"])
        is_over.set()
    assert webhooks.waiting() == {"ci": 1}


@pytest.mark.sampled(2)
def test_a_receiver_that_drips_while_it_agrees_on_encryption_is_not_waited_for(tmp_path):
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        telling(hook(tmp_path, f"https://127.0.0.1:{listener.getsockname()[1]}/"), pace=HASTY) as webhooks,
    ):
        webhooks.hear(tagged(0))
        connection, _ = listener.accept()
        with connection:
            # A record of 16 KiB that comes byte by byte.
            connection.sendall(b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc")
            until(lambda: has_failed_dripping(webhooks, connection, b"\x03"))
    assert webhooks.waiting() == {"ci": 1}


def test_an_end_that_comes_between_two_looks_is_heard(tmp_path):
    ending = threading.Event()
    one = _Receiver(hook(tmp_path, "http://127.0.0.1:9/"), QUICK, ending, Counter())

    class Wake(threading.Event):
        def clear(self):
            """The end comes just before."""
            ending.set()
            self.set()
            super().clear()

    one.wake = Wake()
    thread = threading.Thread(target=one.run, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    one.queue.close()


def test_a_redirection_is_not_followed(tmp_path, receiver):
    receiver.statuses = [301, 302, 303, 307, 308]
    with telling(hook(tmp_path, receiver.url)) as webhooks:
        webhooks.hear(tagged(0))
        until(lambda: webhooks.counts["ci", "delivered"] == 1)
    assert receiver.paths == ["/hook"] * 6


def test_files_of_others_in_the_folder_of_a_queue_are_left_alone(tmp_path, receiver):
    folder = tmp_path / "queue"
    folder.mkdir()
    for name in ("notes.json", "x-1.json", "zz.part", "99999999999999999999999-1.json.bak"):
        (folder / name).write_text("mine")
    (folder / "00000000000000000001-000000.json").mkdir()
    (folder / "00000000000000000002-000000.json").symlink_to(tmp_path / "secret")
    os.mkfifo(folder / "00000000000000000003-000000.json")
    (tmp_path / "secret").write_text("secret")
    with telling(hook(tmp_path, receiver.url)) as webhooks:
        webhooks.hear(tagged(0))
        until(lambda: webhooks.counts["ci", "delivered"] == 1)
    assert receiver.tags == ["t0"]
    assert (folder / "notes.json").read_text() == (folder / "zz.part").read_text() == "mine"
    assert len(names(folder)) == 8
