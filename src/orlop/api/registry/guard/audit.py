"""The audit log: who did what in which repository, a line of JSON for each request, when it has been answered."""

from __future__ import annotations

import json
import logging
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, TextIO

from orlop.streams.files import explaining

if TYPE_CHECKING:
    from collections.abc import Callable

_log = logging.getLogger(__name__)
_LONGEST: Final = 200


@dataclass(slots=True)
class Deed:
    """What a request did. Nothing in it is a secret: neither a password, nor a token, nor an upload's id.

    Attributes:
        address: where it came from.
        method: of the request.
        agent: the program that the client names.
        user: the name, once it was verified.
        action: ``pull``, ``push``, ``mount``, ``delete``, ``upload``, ``list``, ``login`` or ``check``.
        repository: which, if any.
        reference: the tag or digest that was asked for.
        digest: of what was answered or stored.
        source: the repository that a mount comes from.
        status: of the answer, 0 if there was none.
        error: the code of a refusal by the guard.
        received: bytes of bodies.
        sent: bytes of bodies.
    """

    address: str
    method: str
    agent: str = ""
    user: str = ""
    action: str = ""
    repository: str = ""
    reference: str = ""
    digest: str = ""
    source: str = ""
    status: int = 0
    error: str = ""
    received: int = 0
    sent: int = 0

    def document(self, moment: datetime) -> dict[str, object]:
        """Return the line's document; texts that are empty are left out."""
        texts = {
            "user": self.user,
            "address": self.address,
            "action": self.action,
            "method": self.method,
            "repository": self.repository,
            "reference": self.reference,
            "digest": self.digest,
            "source": self.source,
            "error": self.error,
            "agent": self.agent[:_LONGEST],
        }
        shown: dict[str, object] = {"time": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")}
        shown |= {name: text for name, text in texts.items() if text}
        return shown | {"status": self.status, "received": self.received, "sent": self.sent}


class AuditLog:
    """Appends lines to a file, which is for its owner alone.

    A line is one write, so several servers may share a file. A disk that takes no more does not stop the answers: the
    loss of lines is reported once, until a line is written again.

    Args:
        path: the file.
        now: the time of day.

    Raises:
        WriteFailed, PermissionDenied: it cannot be written.
    """

    def __init__(self, path: str, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._path = path
        self._now = now
        self._file = self._open()
        self._losing = False

    def _open(self) -> TextIO:
        with explaining("write", self._path):
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
            return open(os.open(self._path, flags, 0o600), "w", encoding="ascii")

    def reopen(self) -> None:
        """Open the file anew, after it was moved away; if that fails as the constructor may, the old one stays."""
        old, self._file = self._file, self._open()
        old.close()

    def write(self, deed: Deed) -> None:
        """Write the line of a request."""
        try:
            # Every character but ASCII is escaped, and so are those of control.
            self._file.write(json.dumps(deed.document(self._now())) + "\n")
            self._file.flush()
        except (OSError, ValueError) as error:
            if not self._losing:
                self._losing = True
                _log.warning("lines of the audit log are lost: %s", error)
        else:
            self._losing = False

    def close(self) -> None:
        """Close the file."""
        self._file.close()
