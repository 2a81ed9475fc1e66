"""Where a bucket is and how it is spoken to, as one explicit value. Nothing here reads the environment."""

from __future__ import annotations

import hashlib
import ipaddress
import re
from base64 import b64decode, b64encode
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeAlias
from urllib.parse import urlsplit

from orlop.errors import InvalidInput
from orlop.model.tuples import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable
    from urllib.parse import SplitResult

_MIB: Final = 1 << 20
_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_PREFIX: Final = re.compile(r"(?:[A-Za-z0-9_.=-]+/)*[A-Za-z0-9_.=-]+|")
_REGION: Final = re.compile(r"[A-Za-z0-9-]+")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_NO_KEY: Final = "ORLOP_S3_SSE_C_KEY is a key of 32 bytes in base64, as `openssl rand -base64 32` makes one"
_OPEN_KEY: Final = (
    "ORLOP_S3_SSE_C_KEY would cross the network without encryption, in each request; use an endpoint with https"
)
_SSE: Final = ("", "AES256", "aws:kms", "aws:kms:dsse")


class Credentials:
    """What signs requests; ``access_key`` is empty where requests are not signed. Its repr shows no secret."""

    __slots__ = ("access_key", "secret_key", "session_token")

    def __init__(self, access_key: str = "", secret_key: str = "", session_token: str = "") -> None:
        fits = is_plain(access_key) and is_plain(session_token) and not _SURROGATE.search(secret_key)
        _require(fits, "an access key, a secret or a session token of S3 has characters that none can have; check them")
        self.access_key, self.secret_key, self.session_token = access_key, secret_key, session_token

    def __repr__(self) -> str:
        return f"Credentials({self.access_key!r}, …)" if self.access_key else "Credentials()"


DEFAULT_REGION: Final = "us-east-1"

CredentialSource: TypeAlias = "Callable[[bool], Credentials]"
"""Returns the credentials to use now; called with True where the last ones were refused as expired."""


@dataclass(frozen=True, slots=True)
class S3Settings:
    """A bucket, and how it is spoken to.

    Args:
        bucket: its name.
        prefix: what all keys of the store begin with, without a slash at either end; several stores may share a bucket.
        endpoint: the URL of the server, ``https://HOST`` or ``http://HOST:PORT``; by default that of AWS in the region.
        public_endpoint: the same server as clients outside see it, for URLs that are handed out.
        region: what requests are signed for.
        credentials: what signs them, or a function that returns it.
        virtual_host: name the bucket in the host name and not in the path; AWS itself is always asked in this way.
        ca: a file with the certificates of authorities to trust instead of the system's.
        allow_http: allow an endpoint without encryption.
        sse: how the server encrypts what it keeps: ``AES256``, ``aws:kms``, ``aws:kms:dsse``; by default as the bucket
            says.
        sse_key: the key in a KMS.
        sse_c_key: a key of 32 bytes in base64, with which the server encrypts and which it forgets after each request.
        part_size: bytes of the first parts of an upload, 5 MiB at least; they grow where an upload needs more than
            1,000.
        equal_parts: keep all parts of a size, as some servers require; the largest blob is 10,000 of them.
        checksums: send a CRC-32 with each request, which the server compares.
        timeout: seconds that a server may be silent. In three times as long it has to send 16 KiB of what is read.
        patience: seconds for which a request is repeated while nothing succeeds.
    """

    bucket: str
    prefix: str = ""
    endpoint: str = ""
    public_endpoint: str = ""
    region: str = DEFAULT_REGION
    credentials: Credentials | CredentialSource = field(default_factory=Credentials)
    virtual_host: bool = False
    ca: str | None = None
    allow_http: bool = False
    sse: str = ""
    sse_key: str = ""
    sse_c_key: str = field(default="", repr=False)
    part_size: int = 8 * _MIB
    equal_parts: bool = False
    checksums: bool = True
    timeout: float = 20.0
    patience: float = 60.0

    def __post_init__(self) -> None:
        """Raise `InvalidInput` where a value cannot be used."""
        _require(_BUCKET.fullmatch(self.bucket), f"{self.bucket!r} is not a valid name of a bucket")
        _require(_PREFIX.fullmatch(self.prefix), f"{self.prefix!r} is not a valid prefix; use names with / in between")
        plain = set(self.prefix.split("/")).isdisjoint({".", ".."})
        _require(plain, f"{self.prefix!r} is not a valid prefix; leave out . and ..")
        _require(_REGION.fullmatch(self.region), f"{self.region!r} is not a valid region")
        _require(self.sse in _SSE, f"{self.sse!r} is not an encryption of S3; use {', '.join(_SSE[1:])}")
        _require(not (self.sse and self.sse_c_key), "ORLOP_S3_SSE and ORLOP_S3_SSE_C_KEY exclude each other; set one")
        if self.sse_c_key:
            _require(len(self._customer_key()) == 32, _NO_KEY)
        _require(5 * _MIB <= self.part_size <= 1024 * _MIB, "parts of an upload have 5 MiB to 1 GiB")
        for url in (self.endpoint, self.public_endpoint):
            if url:
                self._require_endpoint(url)
            number = self.virtual_host and is_address(parts_of(url).hostname or "")
            _require(not number, "a bucket cannot be named in front of an address; use the name of the host")
        # A signature may be seen by others, which is what AWS_ALLOW_HTTP allows; a key may not.
        there = parts_of(self.endpoint)
        _require(not self.sse_c_key or there.scheme != "http" or is_loopback(there.hostname or ""), _OPEN_KEY)

    def _require_endpoint(self, url: str) -> None:
        parts = parts_of(url)
        plain = parts.path in {"", "/"} and not (parts.query or parts.fragment or parts.username or parts.password)
        try:
            usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and plain and parts.port != 0
        except ValueError:
            usable = False
        _require(usable, "an endpoint of S3 is a URL such as https://s3.example.com:9000, without anything behind it")
        secure = parts.scheme == "https" or self.allow_http
        _require(
            secure, f"the endpoint {parts.hostname} is not encrypted; use https, or allow http with AWS_ALLOW_HTTP=true"
        )

    def inside(self) -> Place:
        """Return where the server is for this machine."""
        return self._place(self.endpoint)

    def outside(self) -> Place:
        """Return where the server is for clients elsewhere."""
        return self._place(self.public_endpoint or self.endpoint)

    def _customer_key(self) -> bytes:
        try:
            return b64decode(self.sse_c_key, validate=True)
        except ValueError:
            return b""

    def key_headers(self) -> dict[str, str]:
        """Return the headers that every request for an object has where its key is ours."""
        if not self.sse_c_key:
            return {}
        name, digest = "x-amz-server-side-encryption-customer", hashlib.md5(self._customer_key(), usedforsecurity=False)
        values = {"algorithm": "AES256", "key": self.sse_c_key, "key-md5": b64encode(digest.digest()).decode()}
        return {f"{name}-{word}": value for word, value in values.items()}

    def _place(self, endpoint: str) -> Place:
        virtual = self.virtual_host or (not endpoint and "." not in self.bucket)
        parts = urlsplit(endpoint or f"https://s3.{self.region}.amazonaws.com")
        host = f"{self.bucket}.{parts.netloc}" if virtual else parts.netloc
        return Place(parts.scheme, host.rstrip("/"), "/" if virtual else f"/{self.bucket}/")

    def key(self, name: str) -> str:
        """Return the key of something below the prefix."""
        return f"{self.prefix}/{name}" if self.prefix else name

    def credentials_now(self, *, expired: bool = False) -> Credentials:
        """Return what signs a request now; other ones, where there are any, if the last ones were refused."""
        if isinstance(self.credentials, Credentials):
            return self.credentials
        return self.credentials(expired)

    @property
    def where(self) -> str:
        """The bucket for messages."""
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")


class Place(NamedTuple):
    """A bucket at a server: ``scheme``, ``host`` with its port, and the ``path`` that every key is appended to."""

    scheme: str
    host: str
    path: str


def parts_of(url: str) -> SplitResult:
    """Return the parts of a URL; empty ones where it is not a valid one."""
    try:
        return urlsplit(url)
    except ValueError:
        return urlsplit("")


def is_address(host: str) -> bool:
    """Return whether a host is given by its address, of version 4 or 6."""
    return ":" in host or host.replace(".", "").isdecimal()


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine, and nothing sent to it crosses a network."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def is_plain(text: str) -> bool:
    """Return whether a text can stand in a header, of which it may be all."""
    return text.isascii() and text.isprintable()


def _require(fits: object, message: str) -> None:
    if not fits:
        raise InvalidInput(message)
