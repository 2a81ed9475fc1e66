"""Findings of audits as SARIF 2.1.0, which code hosts and editors read."""

from __future__ import annotations

import json

from orlop._version import __version__
from orlop.cli.show.files import exact
from orlop.inside.baseline import FORMAT
from orlop.inside.finding import SEVERITIES
from orlop.inside.oddities import KINDS
from orlop.inside.secrets import RULES
from orlop.model.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Final

    from orlop.inside.audit import Audit
    from orlop.inside.finding import AuditFinding
    from orlop.inside.masked import Mask
    from orlop.service.listing.inspect import ImageDetails

_LEVELS: Final = {"info": "note", "low": "note", "medium": "warning", "high": "error"}
_SCORES: Final = {"info": "0.0", "low": "3.0", "medium": "5.0", "high": "8.0"}
_MOST: Final = 25_000
_FILES: Final = "ROOTPATH"
_DOCUMENTS: Final = "IMAGE"
_TEXTS: Final = {
    "authorized-keys": "a file names keys with which anyone who has one may log in over SSH",
    "byte-code": "Python's byte code takes much space",
    "capability": "a file has capabilities, which grant privileges to whoever runs it",
    "core-dump": "a dump of the memory of a program holds whatever secrets it had",
    "device": "a device of the machine is in the image",
    "empty-password": "an account needs no password",
    "hidden-bytes": "bytes of a layer are overwritten or removed by later ones, and are still sent and stored",
    "label-format": "a label is not of the form, or not one of those, that the OCI image specification has",
    "left-over": "logs, temporary files, archives or the like were left behind by the build",
    "no-health-check": "the image has no health check (CIS Docker Benchmark 4.6)",
    "on-build": "images that are built on this one run more steps (ONBUILD)",
    "package-cache": "a cache of a package manager was left behind by the build",
    "root-user": "processes run as root (CIS Docker Benchmark 4.1)",
    "second-root": "an account has the user ID of root under another name",
    "secret-variable": "an environment variable is named like a secret, and has a value",
    "sensitive-file": "a file is of a kind that often holds secrets",
    "sent-again": "a layer has files again whose content was there before",
    "setuid": "a file grants the privileges of its owner or group to whoever runs it (CIS Docker Benchmark 4.8)",
    "shared-id": "accounts or groups have the same ID",
    "shell-entrypoint": "the entry point is run by a shell, which does not pass signals on",
    "ssh-host-key": "all containers of an image have the same host key of SSH",
    "step-adds-url": "a step adds what a server sends, without a checksum (CIS Docker Benchmark 4.9)",
    "step-sudo": "a step of the build uses sudo",
    "step-updates-alone": "a step updates lists of packages and installs none (CIS Docker Benchmark 4.7)",
    "step-upgrades": "a step upgrades the distribution",
    "stored-credentials": "passwords, tokens or keys are in a file where a program keeps them",
    "stray-file": "an editor, a desktop, version control or a build left a file behind",
    "system-volume": "a volume takes the place of what belongs to the system",
    "unknown-owner": "files belong to users or groups that the image does not name",
    "world-writable": "anyone may write to a file, or to a directory without the sticky bit",
    "writable-path": "anyone may put programs into a directory that is searched for them",
}
"""What the rules are about that are neither for secrets of a known form nor for odd entries of a layer."""


class Reported(NamedTuple):
    """The audit of an image: what the image is called, and what masks secrets in its steps."""

    name: str
    audit: Audit
    details: ImageDetails
    masked: Mask


def sarif(reports: Sequence[Reported], *, compared: bool = False) -> str:
    """Return a document of findings, each with the name of its image; of more than 25,000 the most severe ones.

    Args:
        reports: the audits.
        compared: they were compared with a baseline: each finding tells whether it is new, unchanged or absent.
    """
    states = {"new": "findings", "unchanged": "known", "absent": "gone"}
    every = [
        (report, finding, state)
        for report in reports
        for state, where in states.items()
        for finding in getattr(report.audit, where)
    ]
    every.sort(key=lambda one: (one[2] == "absent", -SEVERITIES.index(one[1].severity)))
    rules: dict[str, AuditFinding] = {}  # the most severe one of each
    for _, finding, _ in every:
        rules.setdefault(finding.rule, finding)
    places = {rule: place for place, rule in enumerate(sorted(rules))}
    results = []
    for report, finding, state in every[:_MOST]:
        result = _result(report, finding, places[finding.rule])
        results.append({**result, "baselineState": state} if compared else result)
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
    images = [_image(report) for report in reports]
    properties = {**(images[0] if len(images) == 1 else {}), "format": FORMAT, "images": images}
    run: dict[str, object] = {
        "tool": {"driver": driver},
        "originalUriBaseIds": {
            _FILES: {"description": {"text": "the root of the file system of the image"}},
            _DOCUMENTS: {"description": {"text": "the documents of the image"}},
        },
        "results": results,
        "properties": properties,
    }
    if len(every) > _MOST:
        notice = {"level": "warning", "message": {"text": f"{len(every) - _MOST} findings are left out"}}
        run["invocations"] = [{"executionSuccessful": True, "toolExecutionNotifications": [notice]}]
    schema = "https://json.schemastore.org/sarif-2.1.0.json"
    return json.dumps({"$schema": schema, "version": "2.1.0", "runs": [run]}, ensure_ascii=True)


def meaning(rule: str) -> str:
    """Return what a rule of audits is about; the name of one that is not known here."""
    if rule in RULES:
        return RULES[rule].text
    return _TEXTS.get(rule) or KINDS.get(rule.removeprefix("layer-")) or rule


def _image(report: Reported) -> dict[str, object]:
    details = report.details
    return {
        "imageName": report.name,
        "imageID": str(details.image.id),
        "repoTags": [one.familiar for one in details.repo_tags],
        "repoDigests": [one.familiar for one in details.repo_digests],
        "platform": str(details.image.platform),
    }


def _result(report: Reported, finding: AuditFinding, place: int) -> dict[str, object]:
    path, exact_path = exact(finding.path)
    layers = report.audit.layers
    step = layers[finding.layer - 1].layer.created_by if 0 < finding.layer <= len(layers) else ""
    return {
        "ruleId": finding.rule,
        "ruleIndex": place,
        "level": _LEVELS[finding.severity],
        "message": {"text": exact(f"{report.name}: {finding.text}")[0]},
        "locations": [_location(report.name, finding)],
        "partialFingerprints": {"orlop/v1": finding.fingerprint or f"{finding.rule}:{_text(finding.path)}"},
        "properties": {
            "image": report.name,
            "kind": finding.kind,
            "severity": finding.severity,
            "layer": finding.layer,
            "step": exact(report.masked(step))[0],
            "path": path,
            "pathBytes": exact_path,
            "seen": finding.seen,
            "size": finding.size,
            "fingerprint": finding.fingerprint,
        },
    }


def _location(image: str, finding: AuditFinding) -> dict[str, object]:
    from urllib.parse import quote  # noqa: PLC0415 - as in the module's importers

    uri = quote(finding.path.lstrip("/").encode("utf-8", "surrogateescape")) or "config"
    base = _FILES if finding.path else _DOCUMENTS
    where = f"{image}, layer {finding.layer}" if finding.layer else f"{image}, config"
    return {
        # Code hosts show nothing without a line, even of a file that has none.
        "physicalLocation": {"artifactLocation": {"uri": uri, "uriBaseId": base}, "region": {"startLine": 1}},
        "logicalLocations": [{"fullyQualifiedName": where}],
    }


def _text(path: str) -> str:
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
