"""Texts of an image, such as the commands of its history, without the secrets in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orlop.inside.secrets import RULES, secrets_of

if TYPE_CHECKING:
    import re

__all__ = ["masked"]


def masked(text: str) -> str:
    """Return a text with each secret replaced by its first characters and its length."""
    raw = f"{text}\n".encode("utf-8", "surrogateescape")
    found = {secret.rule for secret in secrets_of([raw])}
    if not found:
        return text
    for rule in sorted(found):
        raw = RULES[rule].pattern.sub(_shown, raw)
    return raw[:-1].decode("utf-8", "surrogateescape")


def _shown(match: re.Match[bytes]) -> bytes:
    return match[0][:4] + f"…({len(match[0])} characters)".encode()
