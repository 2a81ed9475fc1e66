"""A baseline: the findings of an earlier audit, beside which only new ones count.

A finding is known if the baseline has one of the same rule, path and fingerprint that was at least as severe. Numbers
of layers, sizes and times differ from build to build, so they do not matter. Each finding of the baseline makes one
known: where a secret was once and is now in two layers, one of them is new.

A report holds no secret, so it can be kept beside the sources. It comes from elsewhere, such as the store of a build
server, so all of it is checked, and it is either read whole or refused.
"""

from __future__ import annotations

import json
from base64 import b64decode
from typing import TYPE_CHECKING, Any, Final

from orlop.errors import InvalidJSON
from orlop.inside.finding import SEVERITIES, AuditFinding

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["FORMAT", "LARGEST", "compared", "read_reports", "report_of"]

FORMAT: Final = 1
"""The number of the form of reports. One that is higher comes from a newer orlop, and is refused."""
LARGEST: Final = 64 << 20
"""How many bytes a file with reports may have."""

_KINDS: Final = ("fact", "waste", "risk", "secret")
_FIELDS: Final = {
    "rule": str,
    "kind": str,
    "severity": str,
    "text": str,
    "layer": int,
    "path": str,
    "seen": bool,
    "size": int,
    "fingerprint": str,
}
_CALLED: Final = {str: "a text", int: "a number", bool: "true or false", dict: "an object", list: "a list"}


def compared(
    findings: Iterable[AuditFinding], baseline: Iterable[AuditFinding]
) -> tuple[list[AuditFinding], list[AuditFinding], list[AuditFinding]]:
    """Return the findings that are new and those that are known, and those of the baseline that are gone."""
    before: dict[tuple[str, str, str], list[AuditFinding]] = {}
    for one in baseline:
        before.setdefault(_key(one), []).append(one)
    for same in before.values():
        same.sort(key=_rank, reverse=True)
    new, known = [], []
    for one in findings:
        same = before.get(_key(one), [])
        # The least severe that is severe enough: what is left may be needed for a more severe one.
        fitting = next((place for place in reversed(range(len(same))) if _rank(same[place]) >= _rank(one)), None)
        if fitting is None:
            new.append(one)
        else:
            del same[fitting]
            known.append(one)
    return new, known, [one for same in before.values() for one in same]


def _key(one: AuditFinding) -> tuple[str, str, str]:
    return one.rule, one.path, one.fingerprint


def _rank(one: AuditFinding) -> int:
    return SEVERITIES.index(one.severity)


def report_of(reports: dict[str, list[AuditFinding]], image: str) -> list[AuditFinding] | None:
    """Return the findings to compare an image with; None if none of several reports is about it.

    A single report is for every image, as names change from build to build. Of several, it is the one with the name of
    the image, or else the only one with its repository.
    """
    if len(reports) == 1:
        return next(iter(reports.values()))
    if image in reports:
        return reports[image]
    same = [found for name, found in reports.items() if _repository(name) == _repository(image)]
    return same[0] if len(same) == 1 else None


def _repository(name: str) -> str:
    name = name.partition("@")[0]
    head, mark, tag = name.rpartition(":")
    return head if mark and "/" not in tag else name


def read_reports(data: bytes) -> dict[str, list[AuditFinding]]:
    """Return the findings of reports of audits by the names of their images.

    Args:
        data: what ``orlop audit --format json`` or ``--sarif`` printed; with ``--baseline``, what was gone then is left
            out.

    Raises:
        InvalidJSON: it is not such a report, or one in a form that only a newer orlop writes.
    """
    reports: dict[str, list[AuditFinding]] = {}
    try:
        for document in _documents(data):
            for name, finding in _sarif(document) if "runs" in document else _report(document):
                found = reports.setdefault(name, [])
                if finding is not None:
                    found.append(finding)
    except (ValueError, RecursionError) as error:
        raise InvalidJSON(f"it is not a report of orlop audit: {error!s:.200}") from error
    if not reports:
        raise InvalidJSON("it holds no report of orlop audit")
    return reports


def _documents(data: bytes) -> Iterator[dict[str, Any]]:
    """Yield the objects of a text with one or more."""
    text, decoder, place = data.decode("utf-8-sig").strip(), json.JSONDecoder(), 0
    while place < len(text):
        document, end = decoder.raw_decode(text, place)
        if not isinstance(document, dict):
            raise ValueError("an object is expected")  # noqa: TRY004 - of a document, not of an argument
        yield document
        while end < len(text) and text[end] in " \t\r\n":
            end += 1
        place = end


def _check_format(number: int) -> None:
    if number > FORMAT:
        raise ValueError(f"it has the format {number}, which only a newer version of orlop reads")


def _report(document: dict[str, Any]) -> Iterator[tuple[str, AuditFinding | None]]:
    """Yield the image of a report in orlop's own form, and its findings."""
    _check_format(_value(document, "Format", int))
    name = _value(document, "Image", str)
    yield name, None
    for one in [*_objects(document, "Findings"), *_objects(document, "Known")]:
        values = {field: _value(one, field.capitalize(), kind) for field, kind in _FIELDS.items()}
        yield name, _finding(values, _value(one, "PathBytes", str))


def _sarif(document: dict[str, Any]) -> Iterator[tuple[str, AuditFinding | None]]:
    """Yield the images of a document of SARIF, and their findings."""
    for run in _objects(document, "runs"):
        properties = _value(run, "properties", dict)
        _check_format(_value(properties, "format", int))
        for image in _objects(properties, "images"):
            yield _value(image, "imageName", str), None
        for result in _objects(run, "results"):
            if result.get("baselineState") == "absent":
                continue
            more = _value(result, "properties", dict)
            name = _value(more, "image", str)
            text = _value(_value(result, "message", dict), "text", str).removeprefix(f"{name}: ")
            given = {**more, "rule": _value(result, "ruleId", str), "text": text}
            values = {field: _value(given, field, kind) for field, kind in _FIELDS.items()}
            yield name, _finding(values, _value(more, "pathBytes", str))


def _finding(values: dict[str, Any], exact_path: str) -> AuditFinding:
    if values["kind"] not in _KINDS or values["severity"] not in SEVERITIES:
        raise ValueError("a finding has a kind or severity that does not exist")
    if exact_path:
        values["path"] = b64decode(exact_path, validate=True).decode("utf-8", "surrogateescape")
    return AuditFinding(**values)


def _objects(document: dict[str, Any], key: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = _value(document, key, list)
    if not all(isinstance(one, dict) for one in found):
        raise ValueError(f"{key!r} is not a list of objects")
    return found


def _value(document: dict[str, Any], key: str, kind: type) -> Any:
    if key not in document:
        raise ValueError(f"it has no {key!r}")
    value = document[key]
    if type(value) is not kind:  # true is not a number here
        raise ValueError(f"{key!r} is not {_CALLED[kind]}")
    if isinstance(value, str):
        value.encode()  # half of a character cannot be shown
    return value
