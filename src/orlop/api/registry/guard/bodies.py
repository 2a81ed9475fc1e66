"""Bodies of requests, within bounds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orlop.errors import BodyTooLarge, InvalidInput

if TYPE_CHECKING:
    from starlette.types import Message, Receive, Scope


def limited(receive: Receive, scope: Scope, most: int | None, what: str) -> Receive:
    """Return the end of a request that fails with `BodyTooLarge` as soon as the body is known to be too large.

    Args:
        receive: the end of the request.
        scope: the request.
        most: how many bytes the body may have, or None for any number.
        what: what it is, for the message.

    Raises:
        BodyTooLarge: the request announces a larger body.
    """
    if most is None:
        return receive
    too_large = BodyTooLarge(f"the {what} is larger than this registry takes: {max(0, most)} bytes")
    length = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
    if int(length) > most:
        raise too_large
    taken = 0

    async def counting() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > most:
            raise too_large
        return message

    return counting


async def whole(receive: Receive) -> bytes:
    """Return a whole body. Raises `InvalidInput` if the client hangs up before its end."""
    parts: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise InvalidInput("the request ended before its body did")
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)
