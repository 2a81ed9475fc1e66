"""JSON documents of a foreign root: bounded, and read as far as they go where they are cut off."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final

from orlop.errors import LimitExceeded, RootDamaged

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orlop.foreign.disk import Folder
    from orlop.model.limits import Limits

_ENTRY: Final = re.compile(r'\{"id":"[0-9a-f]{64}"')
# Each may be as long as the whole document, so that it counts, too, how far they get.
_TRIES: Final = 1000
_OFTEN: Final = 8
_PAIR: Final = re.compile(rb'"([^"\\]{1,1024})"\s*:\s*"(sha256:[0-9a-f]{64})"')


def text_of(folder: Folder, name: str) -> str:
    """Return a short text, such as a digest, without white space around it. Raises as `Folder.read` does."""
    return folder.read(name, 4096).decode("utf-8", "replace").strip()


def parsed(raw: bytes, what: str, limits: Limits) -> object:
    """Return what a JSON document says.

    Raises:
        RootDamaged: it is empty, cut off or no JSON. LimitExceeded: it has too many values.
    """
    if not raw.strip(b"\0 \t\r\n"):
        raise RootDamaged(f"{what} is empty")
    if sum(map(raw.count, (b",", b"[", b"{"))) > limits.json_values_total:
        raise LimitExceeded(f"{what} has more than {limits.json_values_total} values")
    try:
        return json.loads(raw)
    except (RecursionError, ValueError):
        raise RootDamaged(f"{what} is damaged: it is not JSON") from None


def objects(document: object) -> list[dict[str, object]]:
    """Return the objects of a list; what else is in it is passed over."""
    return [entry for entry in document if isinstance(entry, dict)] if isinstance(document, list) else []


def texts(value: object) -> tuple[str, ...]:
    """Return the texts of a list; what else is in it is passed over."""
    return tuple(entry for entry in value if isinstance(entry, str)) if isinstance(value, list) else ()


def text(value: object) -> str:
    """Return a text, or nothing for what is not one."""
    return value if isinstance(value, str) else ""


def salvaged_names(raw: bytes) -> Iterator[tuple[str, str]]:
    """Yield every name with its image ID from what is left of a ``repositories.json``."""
    for name, image in _PAIR.findall(raw):
        yield name.decode("utf-8", "replace"), image.decode()


def salvaged_entries(raw: bytes) -> Iterator[dict[str, object]]:
    """Yield every whole entry of what is left of a list of containers-storage, such as ``images.json``."""
    document = raw.decode("utf-8", "replace")
    decode = json.JSONDecoder().raw_decode
    position = tries = 0
    left = _OFTEN * len(document)
    while left > 0 and tries < _TRIES and (begin := _ENTRY.search(document, position)) is not None:
        try:
            entry, position = decode(document, begin.start())
        except (RecursionError, ValueError) as error:
            tries += 1
            position = begin.end()
            left -= _end_of_try(error, document) - begin.start()
        else:
            yield entry


def _end_of_try(error: Exception, document: str) -> int:
    """Return how far a decoder has read that raised this: an unterminated string is told by where it begins."""
    if isinstance(error, json.JSONDecodeError) and not error.msg.startswith("Unterminated string"):
        return error.pos
    return len(document)
