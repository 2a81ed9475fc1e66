"""Webhooks: what happened in the registry is posted to others, signed, and again until it has arrived.

Theory of operation. `Webhooks.hear` is called in the thread of the event loop, and only puts the event into a list in
memory. One thread, the writer, takes it from there and puts it into the queue on disk of each webhook that wants it;
that takes a few milliseconds, in which a crash loses the event. One more thread for each webhook delivers the oldest
message of its queue, and only then the next: so a receiver sees events in order, and one that is away delays neither a
push nor the others.

- A message has arrived when the receiver answers 2xx within some seconds. No redirection is followed: a signed message
  goes where the file of access says and nowhere else.
- A refusal that will not change (400, 405, 410, 413, 415, 422) drops the message: it must not stop those behind it.
- Everything else is tried again, after a pause that doubles up to some minutes, until the message is three days old.
- The signature is HMAC-SHA256 over the exact body, which contains the event's id and time.
"""

from __future__ import annotations

import hmac
import json
import logging
import threading
import time
import uuid
from collections import Counter, deque
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from orlop._version import __version__
from orlop.api.registry.guard.queue import Queue
from orlop.errors import OrlopError
from orlop.registry.certificates import HostTrust
from orlop.registry.messages import BytesBody, Request
from orlop.registry.patience import Patience, Waiting
from orlop.registry.transport import HttpTransport

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from orlop.api.registry.guard.settings import Webhook
    from orlop.api.registry.happened import Happened

_log = logging.getLogger(__name__)

CONTENT_TYPE: Final = "application/vnd.docker.distribution.events.v1+json"
_MOST_HEARD: Final = 10_000
"""How many events wait in memory for the writer."""
_HOPELESS: Final = frozenset({400, 405, 410, 413, 415, 422})
_OLDEST: Final = 3 * 24 * 3600
_ENDING: Final = 5
"""For how many seconds the end waits for each thread."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How often a receiver is tried, in seconds: the first pause, the longest one, and how long one try may last."""

    first: float = 1
    longest: float = 300
    patience: float = 10


class Webhooks:
    """Posts events to all receivers, from its start to `close`.

    Args:
        hooks: the receivers.
        pace: how often they are tried.

    Raises:
        Conflict, PermissionDenied, WriteFailed: a queue cannot be used.
    """

    def __init__(self, hooks: Sequence[Webhook], pace: Pace = Pace()) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()
        """How many events were ``delivered``, ``failed`` (each try) and ``dropped``, by the name of the webhook."""
        self._heard: deque[tuple[str, datetime, Happened]] = deque()
        self._wake = threading.Event()
        self._ending = threading.Event()
        self._receivers: list[_Receiver] = []
        try:
            for hook in hooks:
                self._receivers.append(_Receiver(hook, pace, self._ending, self.counts))
        except BaseException:
            for one in self._receivers:
                one.queue.close()
            raise
        self._threads = [threading.Thread(target=one.run, name="webhook", daemon=True) for one in self._receivers]
        if hooks:
            self._threads.insert(0, threading.Thread(target=self._write, name="webhooks", daemon=True))
        for thread in self._threads:
            thread.start()

    def hear(self, happened: Happened) -> None:
        """Take note of something that happened, without waiting for anything."""
        if not any(one.wants(happened) for one in self._receivers):
            return
        if len(self._heard) >= _MOST_HEARD:
            self.counts["", "dropped"] += 1
            return
        self._heard.append((str(uuid.uuid4()), datetime.now(UTC), happened))
        self._wake.set()

    def waiting(self) -> dict[str, int]:
        """Return how many messages wait on disk, by the name of the webhook."""
        return {one.hook.name: len(one.queue) for one in self._receivers}

    def close(self) -> None:
        """Write what was heard to disk, and end; what is not delivered is delivered by the next server."""
        self._ending.set()
        self._wake.set()
        for one in self._receivers:
            one.wake.set()
        for thread in self._threads:
            thread.join(_ENDING)
        for one in self._receivers:
            one.queue.close()

    def _write(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            while self._heard:
                key, moment, happened = self._heard.popleft()
                for one in self._receivers:
                    if one.wants(happened):
                        one.put(message(key, moment, happened))
            if self._ending.is_set():
                return


class _Receiver:
    """One webhook with its queue."""

    def __init__(self, hook: Webhook, pace: Pace, ending: threading.Event, counts: Counter[tuple[str, str]]) -> None:
        self.hook = hook
        self.queue = Queue(hook.queue, hook.most)
        self.wake = threading.Event()
        self._pace = pace
        self._ending = ending
        self._counts = counts

    def wants(self, happened: Happened) -> bool:
        """Return whether the receiver is told of this."""
        return happened.action in self.hook.actions and any(
            one.matches(happened.repository, happened.who) for one in self.hook.repositories
        )

    def put(self, body: bytes) -> None:
        """Put a message into the queue."""
        try:
            dropped = self.queue.put(body)
        except OrlopError as error:
            dropped = 1
            _log.warning("an event for the webhook %s is lost: %s", self.hook.name, error)
        else:
            if dropped:
                _log.warning("the queue of the webhook %s is full: the oldest event is dropped", self.hook.name)
        self._counts[self.hook.name, "dropped"] += dropped
        self.wake.set()

    def run(self) -> None:
        """Deliver messages until the end."""
        pause = self._pace.first
        while True:
            self.wake.clear()
            # Looked at after that: the end is noted before it wakes anybody.
            if self._ending.is_set():
                return
            try:
                found = self.queue.first()
                if found is None:
                    self.wake.wait()
                    continue
                is_over = self._deliver(*found)
            except OrlopError as error:
                _log.warning("the queue of the webhook %s cannot be read: %s", self.hook.name, error)
                is_over = False
            if is_over:
                pause = self._pace.first
            else:
                self._ending.wait(pause)
                pause = min(2 * pause, self._pace.longest)

    def _deliver(self, name: str, body: bytes) -> bool:
        """Try to deliver a message, and return whether nothing more is to be done for it."""
        status, reason = self._post(body)
        if 200 <= status < 300:
            self._counts[self.hook.name, "delivered"] += 1
            self.queue.remove(name)
            return True
        self._counts[self.hook.name, "failed"] += 1
        is_old = time.time() - int(name.partition("-")[0]) / 1e9 > _OLDEST
        if status in _HOPELESS or is_old:
            _log.warning("an event for the webhook %s is dropped: %s", self.hook.name, reason)
            self._counts[self.hook.name, "dropped"] += 1
            self.queue.remove(name)
            return True
        _log.info("the webhook %s is tried again: %s", self.hook.name, reason)
        return False

    def _post(self, body: bytes) -> tuple[int, str]:
        """Post a message, and return the status, or 0, and what to tell people; it has no secret."""
        end = time.monotonic() + self._pace.patience

        def in_time() -> None:
            # Each byte begins the other limits anew.
            if time.monotonic() > end:
                raise TimeoutError

        patience = Patience(connect=self._pace.patience, head=self._pace.patience)
        transport = HttpTransport(HostTrust(), waiting=Waiting(patience=patience, check=in_time))
        headers = tuple(headers_of(body, self.hook.secret).items())
        try:
            answer = transport.send(Request("POST", self.hook.url, headers, BytesBody(body)))
            # What the answer says is not read: it could be endless.
            answer.close(broken=True)
        except OrlopError as error:
            return 0, type(error.__cause__ or error).__name__
        finally:
            transport.close()
        return answer.status, f"it answers {answer.status}"


def headers_of(body: bytes, secret: bytes | None) -> Mapping[str, str]:
    """Return the headers of a message; with a secret, its signature is among them."""
    found = {"Content-Type": CONTENT_TYPE, "User-Agent": f"orlop/{__version__}"}
    if secret is not None:
        found["X-Orlop-Signature-256"] = f"sha256={hmac.digest(secret, body, 'sha256').hex()}"
    return found


def message(key: str, moment: datetime, happened: Happened) -> bytes:
    """Return the body for one event, in the envelope of distribution's notifications.

    Args:
        key: the event's id.
        moment: when it happened.
        happened: what it is.
    """
    target: dict[str, object] = {
        "mediaType": happened.media_type,
        "size": happened.size,
        "length": happened.size,
        "digest": happened.digest,
        "repository": happened.repository,
        "tag": happened.tag,
        "fromRepository": happened.source,
    }
    event = {
        "id": key,
        "timestamp": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "action": happened.action,
        "target": {name: value for name, value in target.items() if value},
        "actor": {"name": happened.who} if happened.who else {},
    }
    return json.dumps({"events": [event]}).encode()
