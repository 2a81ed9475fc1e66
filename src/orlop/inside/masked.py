"""Texts of a config, such as the commands of its history, without the secrets in them.

What is a secret may be told only by another text: an access key by the secret in the next step of the history, the
value of a step by a variable that is named like a password. So all texts are looked at first, and then each is masked.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from orlop.inside.credentials import is_to_fill_in
from orlop.inside.secrets import AWS_SECRET, RULES, aws_secrets_in, secrets_in

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orlop.model.image import Image

__all__ = ["Mask", "is_secret_variable", "texts_of"]

_TOKEN_WORDS: Final = frozenset(
    (
        *("PASSWORD", "PASSWD", "PASSPHRASE", "PASS", "PWD", "SECRET", "TOKEN", "APIKEY", "API KEY", "ACCESS KEY"),
        *("PRIVATE KEY", "ENCRYPTION KEY", "SIGNING KEY", "MASTER KEY"),
    )
)
"""Words of a name, or two that follow each other; ``KEY`` by itself is mostly a public one."""
_ENDINGS: Final = (
    *("PASSWORD", "PASSWD", "PASSPHRASE", "SSHPASS", "APITOKEN", "AUTHTOKEN", "ACCESSTOKEN", "CLIENTSECRET"),
    *("APIKEY", "ACCESSKEY", "PRIVATEKEY", "SECRETKEY"),
)
"""How a word of a name ends that has several words in it, such as ``PGPASSWORD``."""
_ADDRESSES: Final = frozenset(("URL", "URI", "ENDPOINT"))
_WORDS: Final = re.compile(r"[A-Z0-9]+")
_SHORTEST: Final = 8
_SHOWN: Final = 4
_MOST_VALUES: Final = 1000
_AWS: Final = "aws-access-key"
_IN_URL: Final = re.compile(r"""([A-Za-z][A-Za-z0-9+.-]{0,30}://[^\s/:@"']{0,200}:)([^\s/@"']{1,200})(?=@)""")
_FIELD: Final = re.compile(
    r"""(?:\A|;)\s{0,5}()(?:AccountKey|SharedAccessKey|Password|Pwd)\s{0,5}=\s{0,5}([^\s;"']{4,400})""", re.IGNORECASE
)
"""Passwords in what programs connect with to a database or the like."""
_ASSIGNED: Final = re.compile(r"""(?<![A-Za-z0-9_])([A-Za-z0-9_]+)(=["']?)([^\s"']+)""")


def is_secret_variable(name: str, value: str) -> bool:
    """Return whether a variable has a URL or the like with a password, or is named like a secret.

    The value of the latter is neither a path nor a reference.
    """
    if any(_is_password(match[2]) for form in (_IN_URL, _FIELD) for match in form.finditer(value)):
        return True
    if len(value) < _SHORTEST or value.startswith(("/", "$")):
        return False
    words = _WORDS.findall(name.upper())
    if words[-1:] == ["ID"] or (words and words[-1] in _ADDRESSES and "@" not in value):
        return False
    pairs = (f"{one} {other}" for one, other in pairwise(words))
    if any(word.endswith(_ENDINGS) for word in words):
        return True
    return not (_TOKEN_WORDS.isdisjoint(words) and _TOKEN_WORDS.isdisjoint(pairs))


class Mask:
    """Replaces each secret in a text of an image's config by its first characters and its length.

    Args:
        image: whose config has the texts.
    """

    def __init__(self, image: Image) -> None:
        raw = [_raw(text) for text in texts_of(image)]
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
        return _IN_URL.sub(_without, _ASSIGNED.sub(_assigned, raw.decode("utf-8", "surrogateescape")))


def texts_of(image: Image) -> Iterator[str]:
    """Yield the texts of a config in which somebody may have put a secret."""
    config = image.config
    if config is not None:
        yield from config.env or ()
        yield from (config.labels or {}).values()
        yield from (config.entrypoint or ())
        yield from (config.cmd or ())
        yield from (config.labels or {})
        yield config.user
        yield from (config.on_build or ())
        yield from (config.healthcheck.test or () if config.healthcheck is not None else ())
        yield from sorted(config.volumes or ())
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


def _without(match: re.Match[str]) -> str:
    """Return a URL without its password, of which nothing is shown."""
    return f"{match[1]}…({len(match[2])} characters)" if _is_password(match[2]) else match[0]


def _is_password(text: str) -> bool:
    return "…(" not in text and not is_to_fill_in(_raw(text))
