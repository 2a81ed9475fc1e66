"""From the values that SQLite returns to rows. Nothing is believed: a damaged page returns any value of any type.

The tables are strict, but SQLite enforces that only as it writes. What is not of its column's type, or not the JSON
that it should be, raises `DatabaseDamaged` here, before anybody works with it.
"""

from __future__ import annotations

from itertools import product

from orlop.model import plain_json
from orlop.model.digest import ChainID, DiffID, Digest, ImageID
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
from orlop.store.rows.sqlite.errors import damaged

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, Final, NoReturn

_Types = frozenset[tuple[type, ...]]
_TEXT, _NUMBER, _BYTES = (str,), (int,), (bytes,)
_NOTHING: Final = type(None)


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


def image_row(row: Sequence[Any]) -> ImageRow:
    """Return an image's row from ID, chain, seconds, nanoseconds, size and the parent as metadata has it."""
    if tuple(map(type, row)) not in _IMAGE or row[4] < 0:
        _refuse("image", row)
    chain = None if row[1] is None else ChainID.unchecked(row[1])
    return ImageRow(ImageID.unchecked(row[0]), chain, (row[2], row[3]), row[4], parent_of(row[5]))


def reference_row(row: Sequence[Any]) -> ReferenceRow:
    """Return a name's row from its columns."""
    _require("reference", row, _REFERENCE)
    return ReferenceRow(row[0], row[1], ImageID.unchecked(row[2]), row[3])


def chain_row(row: Sequence[Any]) -> ChainRow:
    """Return the row of a layer in its place from its columns."""
    _require("chain", row, _CHAIN)
    if row[3] < 0 or row[4] < 1:
        _refuse("chain", row)
    below = None if row[1] is None else ChainID.unchecked(row[1])
    return ChainRow(ChainID.unchecked(row[0]), below, DiffID.unchecked(row[2]), row[3], row[4], row[5])


def diff_row(row: Sequence[Any]) -> DiffRow:
    """Return the row of a layer's content from its columns."""
    _require("diff", row, _DIFF)
    if min(row[1:4]) < 0:
        _refuse("diff", row)
    return DiffRow(DiffID.unchecked(row[0]), row[1], row[2], row[3], row[4])


def blob_row(row: Sequence[Any]) -> BlobRow:
    """Return the row of stored bytes from its columns."""
    _require("blob", row, _BLOB)
    if row[1] < 0:
        _refuse("blob", row)
    return BlobRow(Digest.unchecked(row[0]), row[1], row[2])


def manifest_row(row: Sequence[Any]) -> ManifestRow:
    """Return the row of a manifest from its columns."""
    _require("manifest", row, _MANIFEST)
    return ManifestRow(Digest.unchecked(row[0]), row[1], row[2])


def edge_row(row: Sequence[Any]) -> EdgeRow:
    """Return the row of an edge from its columns."""
    _require("edge", row, _EDGE)
    if min(row[2], row[5]) < 0:
        _refuse("edge", row)
    return EdgeRow(Digest.unchecked(row[0]), row[1], row[2], Digest.unchecked(row[3]), row[4], row[5])


def top_row(row: Sequence[Any]) -> TopRow:
    """Return the row of what a name means from its columns."""
    _require("top", row, _TOP)
    return TopRow(row[0], row[1], Digest.unchecked(row[2]), row[3])


def event(row: Sequence[Any]) -> Event:
    """Return an event from its columns."""
    _require("event", row, _EVENT)
    try:
        attributes = plain_json.loads(row[5])
    except (ValueError, RecursionError):
        attributes = None
    if not isinstance(attributes, dict) or not all(isinstance(value, str) for value in attributes.values()):
        _refuse("event", row)
    return Event(row[0], row[1], row[2], row[3], row[4], attributes)


def labels(text: object) -> dict[str, str]:
    """Return the labels that are kept as JSON."""
    found = labels_of(text) if isinstance(text, str) else None
    if found is None:
        _refuse("image_labels", (text,))
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


def _require(table: str, row: Sequence[object], types: _Types) -> None:
    if tuple(map(type, row)) not in types:
        _refuse(table, row)


def _refuse(table: str, row: Sequence[object]) -> NoReturn:
    shown = ", ".join(f"{value!r:.80}" for value in row)
    raise damaged("metadata.db", f"a row of the table {table} holds what it cannot hold: {shown}")


def labels_of(text: str) -> dict[str, str] | None:
    """Return the labels that are kept as JSON; nothing for what is not an object of texts."""
    try:
        labels = plain_json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(labels, dict) or not all(isinstance(value, str) for value in labels.values()):
        return None
    return labels
