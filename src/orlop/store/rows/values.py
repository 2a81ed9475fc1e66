"""From the values that a database returns to rows. Nothing is believed: a damaged page returns any value of any type.

SQLite enforces the types of its strict tables only as it writes, and no server knows that a size is not below zero, or
that a text is JSON. What cannot be in its column raises `DatabaseDamaged` here, before anybody works with it; ``place``
names the database in the message.

`COLUMNS` says what each column of each table must hold: a kind of values. What else must hold of them other rows or
bytes say, see `orlop.store.rows.sqlite.damage.columns`.
"""

from __future__ import annotations

from itertools import product

from orlop.errors import DatabaseDamaged
from orlop.model import plain_json
from orlop.model.digest import ChainID, DiffID, Digest, ImageID
from orlop.model.tuples import NamedTuple
from orlop.store.rows.metadata import (
    BlobRow,
    ChainRow,
    DiffRow,
    EdgeRow,
    Event,
    ImageRow,
    ManifestRow,
    ReferenceRow,
    TopRow,
    parent_of,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, Final, NoReturn

_Types = frozenset[tuple[type, ...]]
_TEXT, _NUMBER, _BYTES = (str,), (int,), (bytes,)
_NOTHING: Final = type(None)
_FILE: Final = "metadata.db"


def _types(*columns: tuple[type, ...]) -> _Types:
    return frozenset(product(*columns))


_IMAGE: Final = _types(_TEXT, (str, _NOTHING), _NUMBER, _NUMBER, _NUMBER, (bytes, _NOTHING))
_REFERENCE: Final = _types(_TEXT, _TEXT, _TEXT, _NUMBER)
_CHAIN: Final = _types(_TEXT, (str, _NOTHING), _TEXT, _NUMBER, _NUMBER, (bytes, _NOTHING))
_DIFF: Final = _types(_TEXT, _NUMBER, _NUMBER, _NUMBER, (str, _NOTHING))
_BLOB: Final = _types(_TEXT, _NUMBER, _TEXT)
_MANIFEST: Final = _types(_TEXT, _TEXT, _BYTES)
_EDGE: Final = _types(_TEXT, _TEXT, _NUMBER, _TEXT, _TEXT, _NUMBER)
_TOP: Final = _types(_TEXT, _TEXT, _TEXT, _NUMBER)
_EVENT: Final = _types(_NUMBER, _NUMBER, _TEXT, _TEXT, _TEXT, _TEXT)


def image_row(row: Sequence[Any], place: str = _FILE) -> ImageRow:
    """Return an image's row from ID, chain, seconds, nanoseconds, size and the parent as metadata has it."""
    if tuple(map(type, row)) not in _IMAGE or row[4] < 0:
        _refuse("image", row, place)
    chain = None if row[1] is None else ChainID.unchecked(row[1])
    return ImageRow(ImageID.unchecked(row[0]), chain, (row[2], row[3]), row[4], parent_of(row[5]))


def reference_row(row: Sequence[Any], place: str = _FILE) -> ReferenceRow:
    """Return a name's row from its columns."""
    _require("reference", row, _REFERENCE, place)
    return ReferenceRow(row[0], row[1], ImageID.unchecked(row[2]), row[3])


def chain_row(row: Sequence[Any], place: str = _FILE) -> ChainRow:
    """Return the row of a layer in its place from its columns."""
    _require("chain", row, _CHAIN, place)
    if row[3] < 0 or row[4] < 1:
        _refuse("chain", row, place)
    below = None if row[1] is None else ChainID.unchecked(row[1])
    return ChainRow(ChainID.unchecked(row[0]), below, DiffID.unchecked(row[2]), row[3], row[4], row[5])


def diff_row(row: Sequence[Any], place: str = _FILE) -> DiffRow:
    """Return the row of a layer's content from its columns."""
    _require("diff", row, _DIFF, place)
    if min(row[1:4]) < 0:
        _refuse("diff", row, place)
    return DiffRow(DiffID.unchecked(row[0]), row[1], row[2], row[3], row[4])


def blob_row(row: Sequence[Any], place: str = _FILE) -> BlobRow:
    """Return the row of stored bytes from its columns."""
    _require("blob", row, _BLOB, place)
    if row[1] < 0:
        _refuse("blob", row, place)
    return BlobRow(Digest.unchecked(row[0]), row[1], row[2])


def manifest_row(row: Sequence[Any], place: str = _FILE) -> ManifestRow:
    """Return the row of a manifest from its columns."""
    _require("manifest", row, _MANIFEST, place)
    return ManifestRow(Digest.unchecked(row[0]), row[1], row[2])


def edge_row(row: Sequence[Any], place: str = _FILE) -> EdgeRow:
    """Return the row of an edge from its columns."""
    _require("edge", row, _EDGE, place)
    if min(row[2], row[5]) < 0:
        _refuse("edge", row, place)
    return EdgeRow(Digest.unchecked(row[0]), row[1], row[2], Digest.unchecked(row[3]), row[4], row[5])


def top_row(row: Sequence[Any], place: str = _FILE) -> TopRow:
    """Return the row of what a name means from its columns."""
    _require("top", row, _TOP, place)
    return TopRow(row[0], row[1], Digest.unchecked(row[2]), row[3])


def event(row: Sequence[Any], place: str = _FILE) -> Event:
    """Return an event from its columns."""
    _require("event", row, _EVENT, place)
    try:
        attributes = plain_json.loads(row[5])
    except (ValueError, RecursionError):
        attributes = None
    if not isinstance(attributes, dict) or not all(isinstance(value, str) for value in attributes.values()):
        _refuse("event", row, place)
    return Event(row[0], row[1], row[2], row[3], row[4], attributes)


def labels(text: object, place: str = _FILE) -> dict[str, str]:
    """Return the labels that are kept as JSON."""
    found = labels_of(text) if isinstance(text, str) else None
    if found is None:
        _refuse("image_labels", (text,), place)
    return found


def text(table: str, value: object) -> str:
    """Return a text of a table."""
    if not isinstance(value, str):
        _refuse(table, (value,))
    return value


def content(table: str, value: object) -> bytes:
    """Return bytes of a table."""
    if not isinstance(value, bytes):
        _refuse(table, (value,))
    return value


def damaged(place: str, what: str) -> DatabaseDamaged:
    """Make the error for a database that is found damaged; ``what`` was found is part of a sentence."""
    return DatabaseDamaged(f"{place} is damaged ({what}); run `orlop fsck --repair`, or restore it from a backup")


def _require(table: str, row: Sequence[object], types: _Types, place: str) -> None:
    if tuple(map(type, row)) not in types:
        _refuse(table, row, place)


def _refuse(table: str, row: Sequence[object], place: str = _FILE) -> NoReturn:
    shown = ", ".join(f"{value!r:.80}" for value in row)
    raise damaged(place, f"a row of the table {table} holds what it cannot hold: {shown}")


def labels_of(text: str) -> dict[str, str] | None:
    """Return the labels that are kept as JSON; nothing for what is not an object of texts."""
    try:
        labels = plain_json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(labels, dict) or not all(isinstance(value, str) for value in labels.values()):
        return None
    return labels


MOST: Final = (1 << 53) - 1
"""A number of events, or of layers, that no store comes to."""


class Column(NamedTuple):
    """A column: its name, the ``kind`` of its values, and whether it may hold nothing."""

    name: str
    kind: str
    optional: bool = False


COLUMNS: Final[dict[str, tuple[Column, ...]]] = {
    "image": (
        Column("id", "text"),
        Column("config", "bytes"),
        Column("chain", "text", optional=True),
        Column("created", "number"),
        Column("created_ns", "number"),
        Column("head", "number"),
    ),
    "image_metadata": (Column("image", "text"), Column("key", "text"), Column("value", "bytes")),
    "image_labels": (Column("image", "text"), Column("labels", "text")),
    "reference": (
        Column("name", "text"),
        Column("suffix", "text"),
        Column("image", "digest"),
        Column("updated", "number"),
    ),
    "blob": (Column("digest", "text"), Column("size", "size"), Column("compression", "text")),
    "diff": (
        Column("id", "text"),
        Column("size", "size"),
        Column("content_size", "size"),
        Column("entries", "size"),
        Column("partial", "text", optional=True),
    ),
    "diff_blob": (Column("diff", "text"), Column("blob", "text")),
    "chain": (
        Column("id", "text"),
        Column("parent", "text", optional=True),
        Column("diff", "text"),
        Column("size", "size"),
        Column("depth", "count"),
        Column("descriptor", "document", optional=True),
    ),
    "manifest": (Column("digest", "text"), Column("media_type", "text"), Column("content", "bytes")),
    "image_manifest": (Column("image", "text"), Column("manifest", "text")),
    "edge": (
        Column("parent", "text"),
        Column("role", "text"),
        Column("position", "size"),
        Column("child", "text"),
        Column("media_type", "text"),
        Column("size", "size"),
    ),
    "top": (
        Column("name", "text"),
        Column("suffix", "text"),
        Column("digest", "digest"),
        Column("updated", "number"),
    ),
    "lease": (Column("lease", "text"), Column("digest", "text")),
    "event": (
        Column("number", "count"),
        Column("time", "number"),
        Column("kind", "text"),
        Column("action", "text"),
        Column("actor", "text"),
        Column("attributes", "texts"),
    ),
}


def _is_text(value: object) -> bool:
    if not isinstance(value, bytes):
        return False
    try:
        return b"\0" not in value and value.decode() is not None
    except UnicodeDecodeError:
        return False


def _is_digest(value: object) -> bool:
    return isinstance(value, bytes) and _is_text(value) and Digest.unchecked(value.decode()).is_valid


def _is_texts(value: object) -> bool:
    return isinstance(value, bytes) and _is_text(value) and labels_of(value.decode()) is not None


def _is_document(value: object) -> bool:
    try:
        return isinstance(value, bytes) and isinstance(plain_json.loads(value), dict)
    except (ValueError, RecursionError):
        return False


def is_count(value: object) -> bool:
    """Return whether something is the number of an event or of a layer, after which others can come."""
    return isinstance(value, int) and 0 < value <= MOST


CHECKS: Final[dict[str, tuple[str, Callable[[object], bool]]]] = {
    "text": ("text", _is_text),
    "digest": ("text", _is_digest),
    "texts": ("text", _is_texts),
    "bytes": ("blob", lambda value: isinstance(value, bytes)),
    "document": ("blob", _is_document),
    "number": ("integer", lambda value: isinstance(value, int)),
    "size": ("integer", lambda value: isinstance(value, int) and value >= 0),
    "count": ("integer", is_count),
}
"""For each kind what SQLite calls the type of its values, and whether a value is one; of text, its bytes."""


BOUNDS: Final = {"count": f"NOT BETWEEN 1 AND {MOST}", "size": "< 0"}
"""The numbers that a kind cannot have, as a test."""


def is_valid(column: Column, value: object) -> bool:
    """Return whether a column may hold a value; a text is given as its bytes."""
    return column.optional if value is None else CHECKS[column.kind][1](value)
