"""What an audit finds, one by one."""

from __future__ import annotations

from typing import Final

from orlop.model.tuples import NamedTuple

__all__ = ["SEVERITIES", "AuditFinding"]

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
