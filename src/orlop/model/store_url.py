"""The name of a store beyond one machine: a URL that says where its rows and its bytes are, and never a secret.

``postgresql://[USER@]HOST[:PORT]/DATABASE?blobs=s3://BUCKET[/PREFIX][&config=FILE]``
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Self

from orlop.errors import InvalidInput
from orlop.model.given import check_text
from orlop.model.values import dataclass, field

if TYPE_CHECKING:
    from collections.abc import Mapping
    from urllib.parse import SplitResult

_SCHEMES: Final = ("postgresql://", "postgres://")
_FORM: Final = "postgresql://USER@HOST/DATABASE?blobs=s3://BUCKET/PREFIX"
_PARAMETERS: Final = frozenset(("blobs", "config"))
_SECRETS: Final = frozenset(("password", "passfile", "sslpassword"))
_PORT: Final = "the port in the URL of a store is a number from 1 to 65535"
_REFUSED: Final = "the URL of a store must not hold a password; set PGPASSWORD, or write it to ~/.pgpass"


def is_store_url(text: object) -> bool:
    """Return whether something is meant as the URL of a store, of whatever kind, and not as a directory."""
    if not isinstance(text, str):
        return False
    scheme, mark, _ = text.partition("://")
    return bool(mark) and scheme.isascii() and scheme[:1].isalpha() and scheme.replace("+", "").isalnum()


@dataclass(frozen=True, slots=True)
class StoreURL:
    """A database and a bucket that are one store. The text of it holds no secret, and may be shown and logged.

    Args:
        host: of PostgreSQL: a name, an address, or the directory of its Unix socket.
        port: of it, or None for the usual one.
        user: the role to be there, or nothing for the usual one.
        database: its name.
        bucket: of the object store.
        prefix: what all keys in the bucket begin with, without a slash at either end.
        config: the path of a file with more variables, or nothing.
        variables: what the URL does not say: ``PGPASSWORD``, ``AWS_ENDPOINT_URL``, ``AWS_ACCESS_KEY_ID`` and others,
            see `docs/remote.md`. It may hold secrets, so it is not part of the ``repr``.
    """

    host: str
    port: int | None
    user: str
    database: str
    bucket: str
    prefix: str = ""
    config: str = ""
    variables: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def parse(cls, text: str, variables: Mapping[str, str] | None = None) -> Self:
        """Read a URL.

        Args:
            text: the URL.
            variables: what it does not say, such as ``os.environ``.

        Raises:
            InvalidInput: it is not the URL of a store, or holds a password. The message shows no part of a secret.
        """
        from urllib.parse import unquote, urlsplit  # noqa: PLC0415 - most stores are directories

        from orlop.model.urls import is_torn  # noqa: PLC0415 - as above

        check_text(text, "the URL of a store")
        if not text.startswith(_SCHEMES):
            raise InvalidInput(f"this is not the URL of a store; expected one such as {_FORM}, or a directory")
        parts = urlsplit(text)
        if parts.password is not None or is_torn(text):
            raise InvalidInput(_REFUSED)
        found = _parameters(parts.query)
        bucket, prefix = _bucket(found.get("blobs", ""))
        database = unquote(parts.path.removeprefix("/"))
        if not database or "/" in database or parts.fragment:
            raise InvalidInput(f"the URL of a store names one database; expected one such as {_FORM}")
        host, port = _host(parts)
        user = unquote(parts.username or "")
        return cls(host, port, user, database, bucket, prefix, found.get("config", ""), variables or {})

    def __str__(self) -> str:
        """Return the URL."""
        from urllib.parse import quote  # noqa: PLC0415 - as above

        user = f"{quote(self.user, safe='')}@" if self.user else ""
        host = f"[{self.host}]" if ":" in self.host else quote(self.host, safe="")
        port = "" if self.port is None else f":{self.port}"
        blobs = f"s3://{self.bucket}/{self.prefix}".rstrip("/")
        config = f"&config={quote(self.config)}" if self.config else ""
        return f"postgresql://{user}{host}{port}/{quote(self.database, safe='')}?blobs={blobs}{config}"


def _host(parts: SplitResult) -> tuple[str, int | None]:
    from urllib.parse import unquote  # noqa: PLC0415 - as above

    try:
        port = parts.port
    except ValueError:
        raise InvalidInput(_PORT) from None
    if port == 0:
        raise InvalidInput(_PORT)
    host = unquote(parts.hostname or "")
    if not host:
        raise InvalidInput(f"the URL of a store names the host of PostgreSQL; expected one such as {_FORM}")
    if "%2f" in parts.netloc.lower():
        # A directory, unlike a host, is not the same in lower case.
        host = unquote(parts.netloc.rpartition("@")[2].partition(":")[0])
    return host, port


def _parameters(query: str) -> dict[str, str]:
    from urllib.parse import parse_qsl  # noqa: PLC0415 - as above

    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    except ValueError:
        raise InvalidInput(f"what follows the ? in the URL of a store is not readable; expected {_FORM}") from None
    found = dict(pairs)
    if found.keys() & _SECRETS:
        raise InvalidInput(_REFUSED)
    unknown = sorted(found.keys() - _PARAMETERS)
    if unknown:
        raise InvalidInput(f"the URL of a store has no parameter {unknown[0]!r}; it takes blobs and config")
    if len(found) < len(pairs):
        raise InvalidInput("a parameter of the URL of a store is given twice; give it once")
    return found


def _bucket(text: str) -> tuple[str, str]:
    scheme, mark, rest = text.partition("://")
    bucket, _, prefix = rest.partition("/")
    prefix = prefix.rstrip("/")
    if scheme != "s3" or not mark or not bucket or "@" in bucket or "//" in prefix or set(rest) & set("?#"):
        raise InvalidInput(f"the URL of a store needs blobs=s3://BUCKET/PREFIX; expected one such as {_FORM}")
    return bucket, prefix
