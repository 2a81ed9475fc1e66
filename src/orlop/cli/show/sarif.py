"""Findings of audits as SARIF 2.1.0, which code hosts and editors read."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from orlop._version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orlop.inside.audit import AuditFinding

_LEVELS: Final = {"info": "note", "low": "note", "medium": "warning", "high": "error"}
_SCORES: Final = {"info": "0.0", "low": "3.0", "medium": "5.0", "high": "8.0"}
_MOST: Final = 25_000


def sarif(found: Iterable[tuple[str, AuditFinding]]) -> str:
    """Return a document of findings, each with the name of its image; those beyond the first 25,000 are left out."""
    pairs = list(found)
    rules = {finding.rule: finding for _, finding in pairs}
    places = {rule: place for place, rule in enumerate(sorted(rules))}
    results = [
        {
            "ruleId": finding.rule,
            "ruleIndex": places[finding.rule],
            "level": _LEVELS[finding.severity],
            "message": {"text": f"{image}: {finding.text}"},
            "locations": [_location(image, finding)],
            "partialFingerprints": {"orlop/v1": finding.fingerprint or f"{finding.rule}:{_text(finding.path)}"},
        }
        for image, finding in pairs[:_MOST]
    ]
    driver = {
        "name": "orlop",
        "version": __version__,
        "rules": [
            {
                "id": rule,
                "shortDescription": {"text": rules[rule].kind},
                "defaultConfiguration": {"level": _LEVELS[rules[rule].severity]},
                "properties": {"security-severity": _SCORES[rules[rule].severity], "tags": [rules[rule].kind]},
            }
            for rule in sorted(rules)
        ],
    }
    run: dict[str, object] = {"tool": {"driver": driver}, "results": results}
    if len(pairs) > _MOST:
        notice = {"level": "warning", "message": {"text": f"{len(pairs) - _MOST} findings are left out"}}
        run["invocations"] = [{"executionSuccessful": True, "toolExecutionNotifications": [notice]}]
    schema = "https://json.schemastore.org/sarif-2.1.0.json"
    return json.dumps({"$schema": schema, "version": "2.1.0", "runs": [run]}, ensure_ascii=True)


def _location(image: str, finding: AuditFinding) -> dict[str, object]:
    from urllib.parse import quote  # noqa: PLC0415 - as in the module's importers

    uri = quote(finding.path.lstrip("/").encode("utf-8", "surrogateescape")) or "config"
    where = f"{image}, layer {finding.layer}" if finding.layer else f"{image}, config"
    return {
        "physicalLocation": {"artifactLocation": {"uri": uri}},
        "logicalLocations": [{"fullyQualifiedName": where}],
    }


def _text(path: str) -> str:
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
