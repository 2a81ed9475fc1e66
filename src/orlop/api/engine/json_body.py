"""The body of a request as an object of JSON, by the rules of engines: what type it must say that it has, and when."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final

from orlop.api.streamed import chunks
from orlop.errors import InvalidInput

if TYPE_CHECKING:
    from orlop.api.engine.call import Call

_LONGEST: Final = 1 << 16
_TYPE: Final = re.compile(r"application/json\s*(;\s*[\w.+-]+=(\"[^\"]*\"|[\w.+-]+)\s*)*;?\s*", re.ASCII | re.IGNORECASE)


async def json_object(call: Call, *, empty: bool = False) -> dict[str, object]:
    """Return the members of the object in a body by their names in lower case; what follows it is not looked at.

    Args:
        call: the request.
        empty: whether no body is an object without members, as ``null`` is.

    Raises:
        InvalidInput: the body is not said to be JSON, or is none, or not an object. RequestAborted, BodyTooLarge: as
            `chunks` raises them.
    """
    kind = call.headers.get("content-type", "")
    is_json = _TYPE.fullmatch(kind) is not None
    # A form has been read already, so nothing more of it comes.
    raw = b"" if kind and not is_json else b"".join([one async for one in chunks(call.receive, most=_LONGEST)])
    if (raw or kind) and not is_json:
        raise InvalidInput(f"Content-Type specified ({kind}) must be 'application/json'")
    if not raw.strip():
        if empty:
            return {}
        raise InvalidInput("got EOF while reading request body")
    try:
        document, _ = json.JSONDecoder().raw_decode(raw.decode().strip())
    except (ValueError, RecursionError):
        raise InvalidInput("the body cannot be read as JSON") from None
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise InvalidInput("the body is not an object of JSON")
    return {name.lower(): value for name, value in document.items()}
