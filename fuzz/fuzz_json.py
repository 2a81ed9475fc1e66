"""JSON by Go's rules, and the documents in it, given anything at all: read, written, and read again as the same.

`check` is what a fuzzer calls; `mutate` leaves its changes as they are. `fuzz/run.py` runs both.
"""

# ruff: noqa: INP001 -- a script beside its seeds, loaded by its path

from __future__ import annotations

import json
import math
import re
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from orlop.errors import InvalidImage, InvalidJSON, InvalidManifest, OrlopError
from orlop.model import gojson
from orlop.model.dialect import Dialect
from orlop.model.image import Image, V1Image
from orlop.model.manifest import parse_manifest
from orlop.model.v1 import create_id, history_from_config, make_config_from_v1_config, make_v1_config_from_config

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
_SURROGATES = re.compile("[\ud800-\udfff]")
_DEEP = 200  # Python's own reader recurses


def check(data: bytes) -> bool:
    """Return whether it is JSON. Raises AssertionError where it is not read as it should be, and whatever else."""
    for dialect in Dialect:
        _check_image(data, dialect)
        _check_v1(data, dialect)
    _check_manifest(data)
    try:
        value = gojson.loads(data)
    except InvalidJSON as error:
        _assert(str(error).isprintable() and len(str(error)) <= 600, error)
        return False
    _check_value(data, value)
    return True


def mutate(data: bytes) -> bytes:
    """Return the bytes as they are."""
    return data


def _check_value(data: bytes, value: object) -> None:
    _assert(_same(gojson.loads(gojson.compact(data)), value), value)
    for keys in (gojson.Keys.ONCE, gojson.Keys.FOLDED):
        try:
            _assert(_same(gojson.loads(data, keys=keys), value), value)
        except InvalidJSON:
            continue
    if not _has_floats(value):
        _assert(_same(gojson.loads(gojson.dumps(value)), value), value)
    try:
        members = gojson.raw_members(data)
    except InvalidJSON:
        _assert(value is not None and not isinstance(value, dict), value)
    else:
        _assert({key: gojson.loads(raw) for key, raw in members.items()}.keys() == (value or {}).keys(), value)  # type: ignore[union-attr]
    # Where Python reads text it must be the same text: of what is not UTF-8 it makes something else.
    if data.count(b"[") + data.count(b"{") < _DEEP:
        try:
            text = data.decode()
        except UnicodeDecodeError:
            return
        _assert(_same(_replaced(json.loads(text)), value), value)


def _check_image(data: bytes, dialect: Dialect) -> None:
    for once in (False, True):
        image = _read(partial(Image.from_json, data, dialect=dialect, once=once), InvalidImage)
        if image is None:
            continue
        written = image.to_json(dialect)
        _assert(Image.from_json(written, dialect=dialect).to_json(dialect) == written, written)
        _assert(image.raw_json == data and image.id == Image.from_json(data, dialect=dialect).id, data)
        image.rootfs.chain_id()
        _read(partial(make_v1_config_from_config, image, "1" * 64, "", False, dialect=dialect), OrlopError)


def _check_v1(data: bytes, dialect: Dialect) -> None:
    v1 = _read(lambda: V1Image.from_json(data, dialect=dialect), InvalidImage)
    if v1 is None:
        return
    written = v1.to_json(dialect)
    _assert(V1Image.from_json(written, dialect=dialect).to_json(dialect) == written, written)
    history = _read(lambda: history_from_config(data, False, dialect=dialect), OrlopError)
    rootfs = Image.from_json(b'{"rootfs":{"type":"layers"}}').rootfs
    if history is not None:
        config = _read(lambda: make_config_from_v1_config(data, rootfs, (history,), dialect=dialect), OrlopError)
        if config is not None:
            Image.from_json(config, dialect=dialect)
    _read(lambda: create_id(v1, None, None, dialect=dialect), OrlopError)


def _check_manifest(data: bytes) -> None:
    document = _read(lambda: parse_manifest(data), InvalidManifest)
    if document is not None:
        again = parse_manifest(document.to_json())
        _assert(again.to_json() == document.to_json(), data)


def _read(attempt: Callable[[], T], allowed: type[OrlopError]) -> T | None:
    try:
        return attempt()
    except allowed as error:
        _assert(str(error).isprintable() and len(str(error)) <= 600, error)
        return None


def _same(one: object, other: object) -> bool:
    """Compare plain values without recursion, in which no number is itself."""
    work = [(one, other)]
    while work:
        left, right = work.pop()
        if isinstance(left, dict) and isinstance(right, dict):
            if left.keys() != right.keys():
                return False
            work.extend((left[key], right[key]) for key in left)
        elif isinstance(left, list) and isinstance(right, list):
            if len(left) != len(right):
                return False
            work.extend(zip(left, right, strict=True))
        elif (type(left) is not type(right) and not _is_huge(left, right)) or (
            left != right and not _is_huge(left, right)
        ):
            return False
    return True


def _is_huge(left: object, right: object) -> bool:
    """Return whether these are an integer of very many digits and the float that stands for it."""
    numbers = (left, right)
    return all(type(number) in (int, float) for number in numbers) and any(
        isinstance(number, float) and (math.isinf(number) or abs(number) > 1e39) for number in numbers
    )


def _replaced(value: object) -> object:
    if isinstance(value, str):
        return _SURROGATES.sub("\ufffd", value)
    if isinstance(value, list):
        return [_replaced(each) for each in value]
    if isinstance(value, dict):
        return {_SURROGATES.sub("\ufffd", key): _replaced(each) for key, each in value.items()}
    return value


def _has_floats(value: object) -> bool:
    work = [value]
    while work:
        each = work.pop()
        if isinstance(each, float):
            return True
        work.extend(each.values() if isinstance(each, dict) else each if isinstance(each, list) else ())
    return False


def _assert(fact: object, about: object) -> None:
    if not fact:
        raise AssertionError(repr(about)[:2000])
