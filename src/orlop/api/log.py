"""The access log: a line for each request, when it has been answered."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from orlop.api.record import Record

_log = logging.getLogger(__name__)


class AccessLog:
    """Writes a line for each request to a stream, as ``time client "method target" status received sent seconds``.

    Targets are written in the ASCII of URLs, so that no line can hold a character of control. A stream that takes no
    more does not stop the answers: the loss of lines is reported once, until a line is written again.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._losing = False

    def write(self, record: Record) -> None:
        """Write the line of a request."""
        moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        status = record.status or "-"
        line = (
            f'{moment} {record.client} "{record.method} {record.target}" {status} {record.received} {record.sent}'
            f" {record.seconds:.3f}\n"
        )
        try:
            self._stream.write(line)
            self._stream.flush()
        except (OSError, ValueError) as error:
            self._tell(error)
        else:
            self._losing = False

    def close(self) -> None:
        """Close the stream."""
        try:
            self._stream.close()
        except OSError as error:
            self._tell(error)

    def _tell(self, error: Exception) -> None:
        if not self._losing:
            self._losing = True
            _log.warning("lines of the access log are lost: %s", error)
