"""A store beyond one machine: the one place that composes PostgreSQL and an object store.

What the URL does not say comes from the variables that it carries, and from the file that it names. Opening asks the
database whether it holds a store, and nothing else: the bucket is asked when bytes are needed.

The time of such a store is that of its database. The clock of a machine is asked only how long ago it was that the
database said what time it is.
"""

from __future__ import annotations

import os
import stat
import time
from contextlib import ExitStack, suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from orlop.errors import InvalidInput, NotSupported
from orlop.model import toml
from orlop.model.limits import DEFAULT_LIMITS
from orlop.store.leases import Leases
from orlop.store.root import Store
from orlop.store.scratch import Scratch
from orlop.streams.files import explaining
from orlop.streams.waiting import content_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from orlop.model.limits import Limits
    from orlop.model.store_url import StoreURL
    from orlop.store.blobs.s3.cache import BlockCache
    from orlop.store.blobs.s3.settings import S3Settings
    from orlop.store.rows.postgres.database import PostgresMetadata

_KNOWN: Final = frozenset(
    (
        *("PGPASSWORD", "PGPASSFILE", "PGSSLMODE", "PGSSLROOTCERT", "PGTARGETSESSIONATTRS"),
        *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_DEFAULT_REGION"),
        *("AWS_PROFILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE", "HOME"),
        *("AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN", "AWS_ROLE_SESSION_NAME", "AWS_ENDPOINT_URL_STS"),
        *("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI"),
        *("AWS_CONTAINER_AUTHORIZATION_TOKEN", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"),
        *("AWS_EC2_METADATA_DISABLED", "AWS_EC2_METADATA_SERVICE_ENDPOINT"),
        *("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ALLOW_HTTP", "AWS_CA_BUNDLE", "SSL_CERT_FILE"),
        *("ORLOP_S3_PUBLIC_ENDPOINT", "ORLOP_S3_VIRTUAL_HOST", "ORLOP_S3_EQUAL_PARTS"),
        *("ORLOP_S3_SSE", "ORLOP_S3_SSE_KEY", "ORLOP_S3_SSE_C_KEY", "ORLOP_SPOOL", "ORLOP_CACHE", "ORLOP_CACHE_SIZE"),
    )
)
"""The variables that a store beyond one machine knows; see `docs/remote.md`."""
_YES: Final = frozenset(("1", "true", "yes", "on"))
_NO: Final = frozenset(("", "0", "false", "no", "off"))
_LIBPQ: Final = (
    *(("PGPASSWORD", "password"), ("PGPASSFILE", "passfile")),
    *(("PGSSLMODE", "sslmode"), ("PGSSLROOTCERT", "sslrootcert"), ("PGTARGETSESSIONATTRS", "target_session_attrs")),
)
_CONNECTING: Final = 10
_CACHED: Final = 10_000_000_000
"""The bytes that a cache has where nobody says how many."""
_LONGEST: Final = 1 << 20


def remote_store(
    url: StoreURL,
    *,
    mending: bool = False,
    limits: Limits = DEFAULT_LIMITS,
    now: Callable[[], int] | None = None,
) -> Store:
    """Open the store that a URL names. The store may be shared between threads, and used after a fork.

    Args:
        url: where it is, with what it leaves unsaid.
        mending: ask the bucket what is there, even where the rows say it.
        limits: what an archive or a layer may ask for that comes in.
        now: the clock, in nanoseconds since 1970; by default that of the database.

    Raises:
        StoreNotFound: there is none; `init_store` makes one. StoreTooNew: a newer orlop made it.
        StoreInUse: the rows have their bytes at another place than the URL names.
        InvalidInput: a variable is not valid. NotSupported: a package is missing.
        PermissionDenied, StorageError: the database cannot be used.
    """
    variables = variables_of(url)
    metadata = _metadata(url, variables)
    with ExitStack() as opened:
        opened.callback(metadata.end)
        store = _composed(url, variables, metadata, mending=mending, limits=limits, now=now)
        opened.callback(store.blobs.close)
        store.metadata.refusal()
        _require_here(store)
        opened.pop_all()
    return store


def _require_here(store: Store) -> None:
    from orlop.store.blobs.s3.reclaim import require_here  # noqa: PLC0415 - the packages of an extra
    from orlop.store.blobs.s3.store import S3BlobStore  # noqa: PLC0415 - as above

    assert isinstance(store.blobs, S3BlobStore)
    require_here(store.blobs.bucket, store.blobs.keys)


def init_store(url: StoreURL, *, adopt: bool = False, warn: Callable[[str], object] = lambda _: None) -> Store:
    """Prepare the database and the bucket that a URL names, and open the store in them. Idempotent.

    A bucket that is not there is made; the database has to be. Where the bucket cannot be had nothing changes. The rows
    say from then on where the bytes are, so that no other place is taken for it.

    Args:
        url: as for `remote_store`.
        adopt: take a bucket that belongs to other rows, or to these before they were restored from a backup, or one to
            which the bytes were moved. Those that had it before can delete nothing in it any more.
        warn: called with what people should know of the bucket.

    Raises:
        StoreInUse: the prefix of the bucket belongs to another store, or this one has its bytes elsewhere.
            Beside it what `remote_store` raises.
    """
    variables = variables_of(url)
    metadata = _metadata(url, variables)
    store = _composed(url, variables, metadata)
    from orlop.store.blobs.s3.reclaim import adopt_bucket, bucket_warnings, init_bucket  # noqa: PLC0415 - as below
    from orlop.store.blobs.s3.store import S3BlobStore  # noqa: PLC0415 - as below

    blobs = store.blobs
    assert isinstance(blobs, S3BlobStore)
    try:
        blobs.bucket.ensure()
        metadata.make(_conninfo(url, variables), _place(url))
    except BaseException:
        metadata.end()
        blobs.close()
        raise
    try:
        if adopt:
            adopt_bucket(blobs.bucket, blobs.keys)
            told = bucket_warnings(blobs.bucket)
        else:
            told = init_bucket(blobs.bucket, blobs.keys)
    except BaseException:
        store.close()
        raise
    for one in told:
        warn(one)
    return store


def _composed(
    url: StoreURL,
    variables: Mapping[str, str],
    metadata: PostgresMetadata,
    *,
    mending: bool = False,
    limits: Limits = DEFAULT_LIMITS,
    now: Callable[[], int] | None = None,
) -> Store:
    from orlop.store.blobs.s3.store import S3BlobStore  # noqa: PLC0415 - the packages of an extra
    from orlop.store.rows.postgres.keys import PostgresKeys  # noqa: PLC0415 - as above
    from orlop.store.rows.postgres.sessions import Session  # noqa: PLC0415 - as above
    from orlop.store.sessions import SessionOwners  # noqa: PLC0415 - as above

    session = Session(metadata)
    clock = now or _DatabaseClock(metadata)
    scratch = Scratch(variables.get("ORLOP_SPOOL") or None)
    return Store(
        metadata,
        S3BlobStore(
            settings_of(url, variables),
            PostgresKeys(metadata, session),
            cache=_cache(variables),
            scratch=lambda: scratch.directory.path,
            doubting=mending,
        ),
        leases=Leases(metadata, SessionOwners(metadata, session), now=clock),
        root=str(url),
        scratch=scratch,
        closing=session.end,
        limits=limits,
        now=clock,
    )


def directories_of(url: StoreURL) -> tuple[str, ...]:
    """Return the directories of this machine that the store of a URL writes, beside those for temporary files.

    Raises what `variables_of` raises.
    """
    variables = variables_of(url)
    return tuple(filter(None, (variables.get(name) for name in ("ORLOP_SPOOL", "ORLOP_CACHE"))))


def _cache(variables: Mapping[str, str]) -> BlockCache | None:
    path, most = variables.get("ORLOP_CACHE", ""), variables.get("ORLOP_CACHE_SIZE", "")
    if not path:
        return None
    from orlop.model.sizes import parse_size  # noqa: PLC0415 - few stores have a cache
    from orlop.store.blobs.s3.cache import BlockCache  # noqa: PLC0415 - as above

    try:
        size = parse_size(most) if most else _CACHED
    except InvalidInput as error:
        raise InvalidInput(f"ORLOP_CACHE_SIZE: {error}") from None
    return BlockCache(os.path.abspath(path), most=size)


class _DatabaseClock:
    """The time of the database: asked for once, and then reckoned by how long ago that was, sleep included."""

    def __init__(self, metadata: PostgresMetadata) -> None:
        self._metadata = metadata
        self._ahead: int | None = None

    def __call__(self) -> int:
        """Return nanoseconds since 1970."""
        if self._ahead is None:
            micros = self._metadata.clock()
            self._ahead = micros * 1000 - time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME) + self._ahead


# What the URL does not say.


def variables_of(url: StoreURL) -> Mapping[str, str]:
    """Return the variables of a URL, and those of the file that it names, which win.

    Raises:
        InvalidInput: the file is not valid, or others may read it. NotFound, StorageError: it cannot be read.
    """
    found = {name: value for name, value in url.variables.items() if name in _KNOWN}
    return found | _configured(url.config) if url.config else found


def _configured(path: str) -> dict[str, str]:
    def require_private(state: os.stat_result) -> None:
        if stat.S_IMODE(state.st_mode) & 0o077:
            raise InvalidInput(f"{path} may hold secrets, and others can read it; run: chmod 600 {path}")

    with explaining("read", path):
        content = content_of(path, _LONGEST, judge=require_private)
    try:
        document = toml.loads(content.decode())
    except ValueError as error:
        raise InvalidInput(f"{path} is not valid TOML: {error}") from None
    unknown = sorted(document.keys() - _KNOWN)
    if unknown:
        raise InvalidInput(f"{path} sets {unknown[0]!r}, which is not a variable of a store; see the documentation")
    return {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in document.items()}


def settings_of(url: StoreURL, variables: Mapping[str, str]) -> S3Settings:
    """Return where the bucket is and how it is spoken to. Raises `InvalidInput` where a variable is not valid."""
    from orlop.store.blobs.s3.identity import credentials_of  # noqa: PLC0415 - as above
    from orlop.store.blobs.s3.settings import S3Settings  # noqa: PLC0415 - as above

    def value(*names: str) -> str:
        return next((found for name in names if (found := variables.get(name, ""))), "")

    endpoint = value("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
    region = value("AWS_REGION", "AWS_DEFAULT_REGION") or "us-east-1"
    ca, allow_http = value("AWS_CA_BUNDLE", "SSL_CERT_FILE") or None, _flag(variables, "AWS_ALLOW_HTTP")
    if ca is not None:
        _require_certificates(ca, _state_of(ca))
    return S3Settings(
        bucket=url.bucket,
        prefix=url.prefix,
        endpoint=endpoint,
        public_endpoint=value("ORLOP_S3_PUBLIC_ENDPOINT"),
        region=region,
        credentials=credentials_of(variables, region=region, endpoint=endpoint, ca=ca, allow_http=allow_http),
        virtual_host=_flag(variables, "ORLOP_S3_VIRTUAL_HOST"),
        ca=ca,
        allow_http=allow_http,
        sse=value("ORLOP_S3_SSE"),
        sse_key=value("ORLOP_S3_SSE_KEY"),
        sse_c_key=value("ORLOP_S3_SSE_C_KEY"),
        equal_parts=_flag(variables, "ORLOP_S3_EQUAL_PARTS"),
    )


def _state_of(path: str) -> tuple[int, ...]:
    """Return what is another once a file has changed. Raises `InvalidInput` where there is none."""
    with suppress(OSError):
        found = os.stat(path)
        if stat.S_ISREG(found.st_mode):
            return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
    raise InvalidInput(f"{path} does not exist; set AWS_CA_BUNDLE to a file with the certificates of authorities")


@lru_cache(maxsize=8)
def _require_certificates(path: str, state: tuple[int, ...]) -> None:
    """Read a file of certificates, once for each state of it: those of a system take a tenth of a second."""
    del state
    import ssl  # noqa: PLC0415 - few stores have authorities of their own

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except ssl.SSLError:
        raise InvalidInput(f"{path} holds no certificates in PEM; AWS_CA_BUNDLE names a file with those") from None
    except OSError as error:
        raise InvalidInput(f"cannot read {path}: {error.strerror}; check who may read it") from None


def _flag(variables: Mapping[str, str], name: str) -> bool:
    text = variables.get(name, "").lower()
    if text not in _YES | _NO:
        raise InvalidInput(f"{name} is {text!r}; use true or false")
    return text in _YES


def _metadata(url: StoreURL, variables: Mapping[str, str]) -> PostgresMetadata:
    try:
        from orlop.store.rows.postgres.database import PostgresMetadata  # noqa: PLC0415 - the packages of an extra
    except ImportError as error:
        msg = "a store beyond one machine needs a package; install it with: pip install 'orlop[remote]'"
        raise NotSupported(msg) from error
    return PostgresMetadata(_conninfo(url, variables), _place(url))


def _conninfo(url: StoreURL, variables: Mapping[str, str]) -> str:
    from psycopg.conninfo import make_conninfo  # noqa: PLC0415 - as above

    given = {word: variables[name] for name, word in _LIBPQ if variables.get(name)}
    if url.user:
        given["user"] = url.user
    servers = url.servers()
    if any(port for _, port in servers):
        given["port"] = ",".join(str(port or "") for _, port in servers)
    if len(servers) > 1:
        # Of several that are up one is the primary, which changes.
        given.setdefault("target_session_attrs", "read-write")
    return make_conninfo(
        host=",".join(host for host, _ in servers),
        dbname=url.database,
        application_name="orlop",
        connect_timeout=_CONNECTING,
        **given,
    )


def _place(url: StoreURL) -> str:
    """Return the database for messages."""
    return f"the database {url.database} at {url.host}"
