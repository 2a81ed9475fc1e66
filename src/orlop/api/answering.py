"""What every application does around an answer: it counts the request, and explains what went wrong."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from orlop.api.record import counted, record_of
from orlop.errors import OrlopError, RequestAborted, StorageError
from orlop.streams.files import explaining_exhaustion

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractContextManager

    from starlette.types import Receive, Scope, Send

    from orlop.api.record import Record

    Account = Callable[[Record], AbstractContextManager[None]]
    Answer = Callable[[Scope, Receive, Send, Record], Awaitable[None]]
    Refuse = Callable[[Scope, Receive, Send, OrlopError], Awaitable[None]]

_log = logging.getLogger(__name__)

_SERVER_ERRORS: Final = 500


class Broken(Exception):
    """An answer that had begun cannot be completed."""


async def answered(
    scope: Scope, receive: Receive, send: Send, *, account: Account, answer: Answer, refuse: Refuse
) -> None:
    """Answer a request, and count it.

    Args:
        scope: the request, as ASGI has it.
        receive: yields its body.
        send: takes the answer.
        account: keeps account of its record for a block.
        answer: answers it.
        refuse: answers it with the error that ``answer`` raised. Of errors that are not orlop's, the client learns the
            class, and the log the rest.

    Raises:
        Broken: an error came up after the answer had begun.
    """
    record = record_of(scope)
    receive, send = counted(record, receive, send)
    with account(record):
        try:
            with explaining_exhaustion():
                await answer(scope, receive, send, record)
        except OrlopError as error:
            if record.status:
                level = logging.DEBUG if isinstance(error, RequestAborted) else logging.WARNING
                _log.log(level, "%s %s ended in the midst of the answer: %s", record.method, record.target, error)
                raise Broken from error
            if isinstance(error, StorageError) and error.http_status >= _SERVER_ERRORS:
                # Whoever runs the server can help, the client cannot, and may have hung up.
                _log.warning("%s %s failed: %s", record.method, record.target, error)
            await refuse(scope, receive, send, error)
        except Exception as error:
            _log.exception("%s %s failed", record.method, record.target)
            if record.status:
                raise Broken from error
            unexpected = OrlopError(
                f"something unexpected went wrong ({type(error).__name__}); the server's log says more"
            )
            await refuse(scope, receive, send, unexpected)
