"""What a page shows, as JSON: facts of an image, its layers, the steps of its build, findings, and all paths."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from orlop.inside.masked import Mask
from orlop.page.columns import path_columns
from orlop.page.paths import record_paths
from orlop.page.rows import MOST_ROWS

if TYPE_CHECKING:
    from orlop.inside.audit import Audit
    from orlop.inside.finding import AuditFinding
    from orlop.inside.view import ImageFiles
    from orlop.model.container import ContainerConfig

__all__ = ["FORMAT", "image_document", "image_paths", "to_json"]

FORMAT: Final = 1
"""The number of the form of a document; a page reads only its own."""


def image_paths(files: ImageFiles, *, most: int = MOST_ROWS) -> dict[str, Any]:
    """Return what a page shows of the paths of an image.

    It merges the layers one by one, and the view keeps that merge. So an audit that comes after it needs none of its
    own.

    Args:
        files: the view of all its layers.
        most: how many paths are there one by one, see `orlop.page.rows`.

    Raises:
        What reading tables of contents raises.
    """
    return path_columns(record_paths(files), most=most)


def image_document(name: str, files: ImageFiles, report: Audit, paths: dict[str, Any]) -> dict[str, Any]:
    """Return what a page shows of an image.

    Args:
        name: as the page calls the image.
        files: the view of all its layers.
        report: its audit.
        paths: its paths, see `image_paths`.
    """
    config = files.config
    masked = Mask(config)
    return {
        "format": FORMAT,
        "image": {
            "name": name,
            "id": str(config.id),
            "platform": str(config.platform),
            "created": str(config.created),
            **_process(config.config, masked),
        },
        "sums": {
            "size": report.size,
            "overwritten": report.overwritten,
            "unchanged": report.unchanged,
            "removed": report.removed,
            "twice": report.twice,
            "efficiency": round(report.efficiency, 4),
        },
        "layers": [
            {
                "number": one.layer.number,
                "diffId": str(one.layer.diff_id),
                "step": masked(one.layer.created_by),
                "size": one.size,
                "hidden": one.hidden,
            }
            for one in report.layers
        ],
        "steps": _steps(files, masked),
        "findings": [
            *(_finding(one, "") for one in report.findings),
            *(_finding(one, "known") for one in report.known),
            *(_finding(one, "gone") for one in report.gone),
        ],
        "paths": paths,
    }


def to_json(document: dict[str, Any]) -> str:
    """Return a document as ASCII. Bytes of names that are not UTF-8 are lone surrogates, as Python has them."""
    return json.dumps(document, ensure_ascii=True, separators=(",", ":"))


def _finding(one: AuditFinding, state: str) -> dict[str, Any]:
    """Return a finding; ``state`` tells where it is besides, if it was compared with a baseline."""
    return {
        "rule": one.rule,
        "kind": one.kind,
        "severity": one.severity,
        "text": one.text,
        "layer": one.layer,
        "path": one.path,
        "seen": one.seen,
        "size": one.size,
        "fingerprint": one.fingerprint,
        "state": state,
    }


def _process(config: ContainerConfig | None, masked: Mask) -> dict[str, Any]:
    """Return how containers of the image run; of the environment only names, since values may be secrets."""
    if config is None:
        return {"user": "", "command": [], "ports": [], "volumes": [], "environment": [], "labels": {}}
    return {
        "user": masked(config.user),
        "command": [masked(word) for word in (*(config.entrypoint or ()), *(config.cmd or ()))],
        "ports": sorted(config.exposed_ports or ()),
        "volumes": [masked(volume) for volume in sorted(config.volumes or ())],
        "environment": [variable.partition("=")[0] for variable in config.env or ()],
        "labels": {masked(key): masked(value) for key, value in sorted((config.labels or {}).items())},
    }


def _steps(files: ImageFiles, masked: Mask) -> list[dict[str, Any]]:
    """Return the history, each step with the number of its layer, 0 if it has none."""
    number, steps = 0, []
    history = files.config.history
    told = sum(not step.empty_layer for step in history) == len(files.config.rootfs.diff_ids)
    for step in history:
        number += not step.empty_layer
        steps.append(
            {
                "layer": 0 if step.empty_layer or not told else number,
                "empty": step.empty_layer,
                "created": "" if step.created is None else str(step.created),
                "step": masked(step.created_by),
                "comment": masked(step.comment),
            }
        )
    return steps
