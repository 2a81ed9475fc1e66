"""The name of a store beyond one machine: a URL that says where its rows and its bytes are, and never a secret.

``postgresql://[USER@]HOST[:PORT][,HOST[:PORT]…]/DATABASE?blobs=s3://BUCKET[/PREFIX][&config=FILE]``
"""

from __future__ import annotations

import re
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
_HOST: Final = "a host in the URL of a store is not valid; an address of version 6 is in brackets, as [::1] is"
_PLACES: Final = re.compile(r"([a-z]+://(?:[^/?#]*@)?)([^/?#]*)")
_PLACE: Final = re.compile(r"[^\[\]]*|\[[^\[\]]*\](?::.*)?", re.DOTALL)
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
        host: of PostgreSQL: a name, an address, or the directory of its Unix socket. Several servers, of which one is
            the primary, are divided by commas, each with its port behind a colon.
        port: of it, or None for the usual one, and where there are several.
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
        from urllib.parse import unquote  # noqa: PLC0415 - most stores are directories

        from orlop.model.urls import is_torn  # noqa: PLC0415 - as above

        check_text(text, "the URL of a store")
        if not text.startswith(_SCHEMES):
            raise InvalidInput(f"this is not the URL of a store; expected one such as {_FORM}, or a directory")
        # Several hosts are not what a URL has, and are read one by one.
        places = _PLACES.match(text)
        parts = _parts(text if places is None else f"{places[1]}hosts{text[places.end() :]}")
        if parts.password is not None or is_torn(text):
            raise InvalidInput(_REFUSED)
        found = _parameters(parts.query)
        bucket, prefix = _bucket(found.get("blobs", ""))
        database = unquote(parts.path.removeprefix("/"))
        if not database or "/" in database or parts.fragment:
            raise InvalidInput(f"the URL of a store names one database; expected one such as {_FORM}")
        host, port = _host("" if places is None else places[2])
        user = unquote(parts.username or "")
        return cls(host, port, user, database, bucket, prefix, found.get("config", ""), variables or {})

    def __str__(self) -> str:
        """Return the URL."""
        from urllib.parse import quote  # noqa: PLC0415 - as above

        user = f"{quote(self.user, safe='')}@" if self.user else ""
        several = "," in self.host
        host = (
            f"[{self.host}]" if ":" in self.host and not several else quote(self.host, safe=",:[]" if several else "")
        )
        port = "" if self.port is None else f":{self.port}"
        blobs = f"s3://{self.bucket}/{self.prefix}".rstrip("/")
        config = f"&config={quote(self.config)}" if self.config else ""
        return f"postgresql://{user}{host}{port}/{quote(self.database, safe='')}?blobs={blobs}{config}"

    def servers(self) -> list[tuple[str, int | None]]:
        """Return the host and the port of each server, the usual port as None."""
        if "," not in self.host:
            return [(self.host, self.port)]
        found = []
        for one in self.host.split(","):
            host, _, port = one.rpartition(":") if one.rpartition(":")[2].isdecimal() else (one, "", "")
            found.append((host.removeprefix("[").removesuffix("]"), int(port) if port else None))
        return found


def _parts(url: str) -> SplitResult:
    from urllib.parse import urlsplit  # noqa: PLC0415 - as above

    try:
        return urlsplit(url)
    except ValueError:
        raise InvalidInput(_HOST) from None


def _host(places: str) -> tuple[str, int | None]:
    """Return the host and its port; of several each is valid by itself, with its port behind it."""
    if "," not in places:
        return _one_host(places)
    found = []
    for place in places.split(","):
        host, port = _one_host(place)
        host = f"[{host}]" if ":" in host else host
        found.append(host if port is None else f"{host}:{port}")
    return ",".join(found), None


def _one_host(place: str) -> tuple[str, int | None]:
    from urllib.parse import unquote  # noqa: PLC0415 - as above

    if _PLACE.fullmatch(place) is None:
        raise InvalidInput(_HOST)
    parts = _parts(f"postgresql://{place}")
    try:
        port = parts.port
    except ValueError:
        raise InvalidInput(_PORT) from None
    if port == 0:
        raise InvalidInput(_PORT)
    host = unquote(parts.hostname or "")
    if not host:
        raise InvalidInput(f"the URL of a store names the host of PostgreSQL; expected one such as {_FORM}")
    if "%2f" in place.lower():
        # A directory, unlike a host, is not the same in lower case.
        host = unquote(place.partition(":")[0])
    if "," in host or (":" in host and "[" not in place):
        raise InvalidInput("a host in the URL of a store cannot have a comma or a colon in its name; use another name")
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
