"""Findings of audits as SARIF 2.1.0, which code hosts and editors read."""

from __future__ import annotations

import json

from orlop._version import __version__
from orlop.inside.audit import SEVERITIES
from orlop.inside.oddities import KINDS
from orlop.inside.secrets import RULES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Final

    from orlop.inside.audit import AuditFinding

_LEVELS: Final = {"info": "note", "low": "note", "medium": "warning", "high": "error"}
_SCORES: Final = {"info": "0.0", "low": "3.0", "medium": "5.0", "high": "8.0"}
_MOST: Final = 25_000
_TEXTS: Final = {
    "capability": "a file has capabilities, which grant privileges to whoever runs it",
    "empty-password": "an account needs no password",
    "hidden-bytes": "bytes of a layer are overwritten or removed by later ones, and are still sent and stored",
    "left-over": "logs, temporary files or a Git repository were left behind by the build",
    "no-health-check": "the image has no health check",
    "package-cache": "a cache of a package manager was left behind by the build",
    "root-user": "processes run as root",
    "secret-variable": "an environment variable is named like a secret, and has a value",
    "sent-again": "a layer has files again whose content was there before",
    "setuid": "a file grants the privileges of its owner or group to whoever runs it",
    "ssh-host-key": "all containers of an image have the same host key of SSH",
    "stored-credentials": "passwords, tokens or keys are in a file where a program keeps them",
    "world-writable": "anyone may write to a file, or to a directory without the sticky bit",
}
"""What the rules are about that are neither for secrets of a known form nor for odd entries of a layer."""


def sarif(found: Iterable[tuple[str, AuditFinding]]) -> str:
    """Return a document of findings, each with the name of its image; of more than 25,000 the most severe ones."""
    pairs = sorted(found, key=lambda one: -SEVERITIES.index(one[1].severity))
    rules = {finding.rule: finding for _, finding in reversed(pairs)}  # the most severe one of each
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
                "name": "".join(map(str.capitalize, rule.split("-"))),
                "shortDescription": {"text": f"{rules[rule].kind}: {meaning(rule)}"},
                "fullDescription": {"text": meaning(rule)},
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


def meaning(rule: str) -> str:
    """Return what a rule of audits is about; the name of one that is not known here."""
    if rule in RULES:
        return RULES[rule].text
    return _TEXTS.get(rule) or KINDS.get(rule.removeprefix("layer-")) or rule


def _location(image: str, finding: AuditFinding) -> dict[str, object]:
    from urllib.parse import quote  # noqa: PLC0415 - as in the module's importers

    uri = quote(finding.path.lstrip("/").encode("utf-8", "surrogateescape")) or "config"
    where = f"{image}, layer {finding.layer}" if finding.layer else f"{image}, config"
    return {
        # Code hosts show nothing without a line, even of a file that has none.
        "physicalLocation": {"artifactLocation": {"uri": uri}, "region": {"startLine": 1}},
        "logicalLocations": [{"fullyQualifiedName": where}],
    }


def _text(path: str) -> str:
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
