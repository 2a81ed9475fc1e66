"""What an audit finds, one by one."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from orlop.inside.secrets import RULES
from orlop.model.tuples import NamedTuple

if TYPE_CHECKING:
    from orlop.inside.secrets import Secret

__all__ = ["SEVERITIES", "AuditFinding", "fingerprint_of", "secret_finding"]

SEVERITIES: Final = ("info", "low", "medium", "high")
"""From the least to the most severe."""


class AuditFinding(NamedTuple):
    """Something to look at.

    ``rule`` is its stable name, ``kind`` one of ``fact``, ``waste``, ``risk`` and ``secret``, ``severity`` one of
    `SEVERITIES`. ``layer`` is a number from 1, 0 for the config; ``path`` is empty for the config and for whole layers;
    ``seen`` tells whether a container sees it; ``size`` are the bytes that it is about; ``fingerprint`` is that of a
    secret, or of the step that made a layer.
    """

    rule: str
    kind: str
    severity: str
    text: str
    layer: int = 0
    path: str = ""
    seen: bool = True
    size: int = 0
    fingerprint: str = ""


def fingerprint_of(rule: str, text: str) -> str:
    """Return what tells a finding from others. The text must not be a secret: a short one could be guessed by it."""
    return hashlib.sha256(f"{rule}\0{text}".encode("utf-8", "surrogateescape")).hexdigest()[:16]


def secret_finding(secret: Secret, where: str, *, layer: int = 0, path: str = "", seen: bool = True) -> AuditFinding:
    """Return the finding of a secret; ``where`` follows what it is."""
    rule = RULES[secret.rule]
    text = f"{rule.text} ({secret.shown}){where}"
    return AuditFinding(
        secret.rule, "secret", rule.severity, text, layer, path, seen=seen, fingerprint=secret.fingerprint
    )
