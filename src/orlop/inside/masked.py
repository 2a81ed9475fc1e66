"""Texts of a config, such as the commands of its history, without the secrets in them.

What is a secret may be told only by another text: an access key by the secret in the next step of the history, the
value of a step by a variable that is named like a password. So all texts are looked at first, and then each is masked.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from orlop.inside.secrets import AWS_SECRET, RULES, aws_secrets_in, secrets_in

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orlop.model.image import Image

__all__ = ["Mask", "is_secret_variable"]

_TOKEN_WORDS: Final = frozenset(("PASSWORD", "PASSWD", "SECRET", "TOKEN", "APIKEY"))
_SHORTEST: Final = 8
_SHOWN: Final = 4
_MOST_VALUES: Final = 1000
_AWS: Final = "aws-access-key"
_ASSIGNED: Final = re.compile(r"""([A-Za-z0-9_]+)(=["']?)([^\s"']+)""")


def is_secret_variable(name: str, value: str) -> bool:
    """Return whether a variable is named like a secret, and has a value that is neither a path nor a reference."""
    is_named_so = not _TOKEN_WORDS.isdisjoint(name.upper().split("_"))
    return is_named_so and len(value) >= _SHORTEST and not value.startswith(("/", "$"))


class Mask:
    """Replaces each secret in a text of an image's config by its first characters and its length.

    Args:
        image: whose config has the texts.
    """

    def __init__(self, image: Image) -> None:
        raw = [_raw(text) for text in _texts(image)]
        joined = b"\n".join([*raw, b""])
        self._rules = sorted({secret.rule for secret in secrets_in(joined)})
        self._aws = frozenset(aws_secrets_in(joined)) if _AWS in self._rules else frozenset()
        env = (image.config.env if image.config is not None else None) or ()
        values = {value for name, _, value in (one.partition("=") for one in env) if is_secret_variable(name, value)}
        self._values = sorted(values, key=lambda value: (-len(value), value))[:_MOST_VALUES]

    def __call__(self, text: str) -> str:
        """Return a text without the secrets in it."""
        raw = _raw(text)
        for rule in self._rules:
            raw = RULES[rule].pattern.sub(lambda match: _shown(match[0]), raw)
        if self._aws:
            raw = AWS_SECRET.sub(lambda match: _shown(match[0]) if match[0] in self._aws else match[0], raw)
        for value in self._values:
            secret = _raw(value)
            if secret in raw:
                raw = raw.replace(secret, _shown(secret))
        return _ASSIGNED.sub(_assigned, raw.decode("utf-8", "surrogateescape"))


def _texts(image: Image) -> Iterator[str]:
    config = image.config
    if config is not None:
        yield from config.env or ()
        yield from (config.labels or {}).values()
        yield from (config.entrypoint or ())
        yield from (config.cmd or ())
        yield from (config.labels or {})
        yield config.user
    for step in image.history:
        yield step.created_by
    for step in image.history:
        yield step.comment


def _raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _shown(secret: bytes) -> bytes:
    return _masked(secret.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")


def _masked(secret: str) -> str:
    return f"{secret[:_SHOWN]}…({len(secret)} characters)"


def _assigned(match: re.Match[str]) -> str:
    name, mark, value = match.groups()
    return f"{name}{mark}{_masked(value)}" if "…(" not in value and is_secret_variable(name, value) else match[0]
