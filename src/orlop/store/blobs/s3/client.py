"""Requests to one bucket: signed, sent over connections that are kept, and repeated while that may help.

A request is repeated where it cannot have done harm and the next one may succeed: after errors of the connection,
statuses 429 and 5xx, codes such as ``RequestTimeout`` or ``OperationAborted``, and after a success with an error in its
body, as some answers begin before the work is done. Everything that is sent here has the same effect when it is done
twice. Pauses grow to some seconds and vary, so that clients do not come back all at once; the limit is a time without
any success.

The signature contains a time. Where the server refuses that of this machine, the difference to the server's own clock
is taken from its answer and used from then on. Credentials that have expired are asked for once more.

After a fork the child makes connections of its own.
"""

from __future__ import annotations

import hashlib
import os
import random
import re
import threading
import time
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from typing import TYPE_CHECKING, Final, cast

import urllib3
from isal import isal_zlib
from urllib3.exceptions import HTTPError, SSLError

from orlop._version import __version__
from orlop.errors import BucketUnavailable, NoSpace, OrlopError, PermissionDenied, StorageError
from orlop.model.tuples import NamedTuple
from orlop.store.blobs.s3.answers import fault_of, is_fault
from orlop.store.blobs.s3.settings import Credentials
from orlop.store.blobs.s3.signing import UNSIGNED, query_string, quoted, signed_headers
from orlop.store.blobs.s3.waiting import EncryptedPool, PlainPool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from urllib3 import BaseHTTPResponse
    from urllib3.connectionpool import HTTPConnectionPool

    from orlop.store.blobs.s3.answers import Fault
    from orlop.store.blobs.s3.settings import S3Settings

_MOST: Final = 16 << 20
"""Bytes of an answer that is read as a whole."""
_SLICE: Final = 256 << 10
"""Bytes that are sent at once: a timeout is for each of these."""
_CONNECTIONS: Final = 16
_REPEATED: Final = frozenset({429, 500, 502, 503, 504})
_TEMPORARY: Final = frozenset(
    {
        "ConditionalRequestConflict",
        "InternalError",
        "OperationAborted",
        "RequestTimeout",
        "ServiceUnavailable",
        "SlowDown",
        "ThrottlingException",
    }
)
_MISPLACED: Final = frozenset({"AuthorizationHeaderMalformed", "IllegalLocationConstraintException"})
_SKEW: Final = 900.0
"""The seconds by which a clock may be wrong."""
_EXPIRED: Final = frozenset({"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"})
_ENDED: Final = _EXPIRED | {"InvalidToken"}
"""What is said, with status 400, of a session token that was good once, or is another server's."""
_FULL: Final = frozenset({"InsufficientStorage", "QuotaExceeded", "QuotaExceededException", "XMinioStorageFull"})
"""What servers say whose disks or quotas are full: Ceph with status 403, MinIO and others with 507."""
_DENIED: Final = 403
_REQUEST: Final = re.compile(r"[A-Za-z0-9._:/+=-]{1,100}")
_HASTE: Final = 5.0
"""Seconds for which a server may be silent, and a request is repeated, where others wait meanwhile."""
_FIRST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 5.0
TORN: Final = (OSError, HTTPException, HTTPError)
"""What a connection raises that fails; errors of orlop, some of which are among these, do not come from it."""


class Answer(NamedTuple):
    """An answer that was read whole; the names of ``headers`` are compared without their case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Pieces:
    """A body in pieces, which can be sent more than once."""

    __slots__ = ("pieces", "size")

    def __init__(self, pieces: Sequence[bytes | memoryview] = ()) -> None:
        self.pieces = pieces
        self.size = sum(map(len, pieces))

    def __iter__(self) -> Iterator[memoryview]:
        for piece in self.pieces:
            view = memoryview(piece)
            for at in range(0, len(view), _SLICE):
                yield view[at : at + _SLICE]

    def sha256(self) -> str:
        """Return the hex SHA-256."""
        found = hashlib.sha256()
        for piece in self.pieces:
            found.update(piece)
        return found.hexdigest()

    def crc32(self) -> int:
        """Return the CRC-32."""
        found = 0
        for piece in self.pieces:
            found = isal_zlib.crc32(piece, found)
        return found


class Request(NamedTuple):
    """A request for a key of the bucket, or for the bucket itself where the ``key`` is empty.

    One in ``haste`` is given up soon, as whoever sends it keeps others waiting.
    """

    method: str
    key: str = ""
    query: Mapping[str, str] = {}
    headers: Mapping[str, str] = {}
    body: Pieces = Pieces()
    haste: bool = False


class Unwanted(Exception):
    """Ends a request whose result nobody needs any more."""


class Patience:
    """How long one request, or the reading of one object, is repeated. Used by one thread at a time.

    Args:
        limit: seconds from the first failure on without any success.
        where: the server and the bucket, for messages.
        unwanted: set by whoever does not need the result any more: the next wait raises `Unwanted`.
        clock: seconds that never go back.
        sleep: what waits for some seconds.
    """

    def __init__(
        self,
        limit: float,
        where: str,
        unwanted: threading.Event,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._limit, self._where, self._unwanted, self._clock, self._sleep = limit, where, unwanted, clock, sleep
        self.progressed()

    def progressed(self) -> None:
        """Begin to count anew: something has succeeded."""
        self._since: float | None = None
        self._tries = 0

    def wait(self, reason: str) -> None:
        """Wait before the next try. Raises `BucketUnavailable` where there have been tries for long enough."""
        if self._unwanted.is_set():
            raise Unwanted
        if self._since is None:
            self._since = self._clock()
        pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**self._tries) * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
        self._tries += 1
        if self._clock() + pause - self._since > self._limit:
            times = f"{self._tries} times" if self._tries > 1 else "once"
            what = f"the object store at {self._where} was asked {times} and failed: {reason}"
            raise BucketUnavailable(f"{what}; check that it works and that its endpoint is right, and try again")
        self._sleep(pause)


class S3Client:
    """What sends requests. Safe to share between threads, and across a fork.

    Args:
        settings: of the bucket.
        now: the time of day, in seconds since 1970.
        clock: seconds that never go back.
        sleep: what waits for some seconds.
    """

    def __init__(
        self,
        settings: S3Settings,
        *,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self.settings = settings
        self._place = settings.inside()
        self._now, self._clock, self._sleep = now, clock, sleep
        self._offset = 0.0
        self._pid = 0
        self._connections: HTTPConnectionPool | None = None

    def server_time(self) -> float:
        """Return the time of day by the server's clock, as far as it is known."""
        return self._now() + self._offset

    def patience(self, unwanted: threading.Event | None = None, *, haste: bool = False) -> Patience:
        """Return how long one thing is repeated: until it is unwanted at the longest."""
        limit, where = self.settings.patience, f"{self._place.host} for {self.settings.where}"
        limit = min(limit, _HASTE) if haste else limit
        return Patience(limit, where, unwanted or threading.Event(), clock=self._clock, sleep=self._sleep)

    def call(self, request: Request, unwanted: threading.Event | None = None) -> Answer:
        """Return the answer to a request, be it a success or a refusal that repetition does not change.

        Args:
            request: what is sent.
            unwanted: set where the answer is not needed any more.

        Raises:
            BucketUnavailable: the server cannot be reached, or fails. PermissionDenied: the credentials are refused.
        """
        patience = self.patience(unwanted, haste=request.haste)
        while True:
            try:
                response = self.send(request)
                answer = _whole(response)
            except OrlopError:
                raise
            except TORN as error:
                patience.wait(reason_of(error))
                continue
            fault = fault_in(answer)
            if fault is None:
                return answer
            if not self.may_repeat(fault, answer.headers):
                return answer
            patience.wait(words_of(fault))

    def send(self, request: Request) -> BaseHTTPResponse:
        """Send a request once, and return its answer with the body unread.

        Raises those of `TORN`, `PermissionDenied` where the server's certificate is not trusted, and
        `BucketUnavailable` where it does not speak TLS.
        """
        place = self._place
        path = place.path + quoted(request.key, safe="/")
        secure = place.scheme == "https"
        headers = {"host": place.host, "user-agent": f"orlop/{__version__}", "accept-encoding": "identity"}
        headers.update(request.headers)
        if request.key and request.method != "DELETE":
            headers.update(self.settings.key_headers())
        if request.method in {"PUT", "POST"}:
            headers["content-length"] = str(request.body.size)
        headers = signed_headers(
            request.method,
            path,
            request.query,
            headers,
            payload=UNSIGNED if secure and request.body.size else request.body.sha256(),
            credentials=self.settings.credentials_now(),
            region=self.settings.region,
            now=self.server_time(),
        )
        target = f"{path}?{query_string(request.query)}" if request.query else path
        try:
            return self._pool().urlopen(
                request.method,
                target,
                body=cast("Iterable[bytes]", request.body) if request.body.size else None,
                headers=headers,
                timeout=self._timeout(haste=request.haste),
                retries=False,
                redirect=False,
                preload_content=False,
                decode_content=False,
            )
        except SSLError as error:
            if "WRONG_VERSION_NUMBER" in str(error):
                msg = f"the object store at {place.host} does not speak TLS"
                advice = "use http in its endpoint, and allow that with AWS_ALLOW_HTTP=true"
                raise BucketUnavailable(f"{msg}; {advice}") from error
            if "CERTIFICATE_VERIFY_FAILED" not in str(error):
                raise
            # The next certificate will be the same.
            msg = f"the certificate of the object store at {self.settings.where} is not trusted"
            raise PermissionDenied(f"{msg}; name the file of its authority in AWS_CA_BUNDLE") from error

    def may_repeat(self, fault: Fault, headers: Mapping[str, str]) -> bool:
        """Return whether a refusal may be another answer the next time, and see to what it asks for."""
        if fault.code in _EXPIRED:
            if isinstance(self.settings.credentials, Credentials):
                return False
            self.settings.credentials_now(expired=True)
            return True
        if fault.status == _DENIED and not self.settings.credentials_now().access_key:
            # What lends them may have been away when it was asked, and is asked again before this is believed.
            return bool(self.settings.credentials_now(expired=True).access_key)
        if fault.code == "RequestTimeTooSkewed":
            return self._set_clock(headers)
        if fault.status == 403 and not fault.code and self._is_skewed(headers):
            # The answer to a HEAD has no body that says so.
            return self._set_clock(headers)
        return fault.status in _REPEATED or fault.code in _TEMPORARY

    def _is_skewed(self, headers: Mapping[str, str]) -> bool:
        there = _time_of(headers)
        return there is not None and abs(there - self.server_time()) > _SKEW

    def _set_clock(self, headers: Mapping[str, str]) -> bool:
        there = _time_of(headers)
        if there is None:
            return False
        before, self._offset = self._offset, there - self._now()
        return abs(self._offset - before) > 1

    def _pool(self) -> HTTPConnectionPool:
        # A forked child leaves the connections that it inherited to its parent.
        if self._connections is None or self._pid != os.getpid():
            host, _, port = self._place.host.rpartition(":")
            if not port.isdecimal():
                host, port = self._place.host, ""
            timeout = self._timeout()
            number = int(port) if port else None
            if self._place.scheme == "https":
                self._connections = EncryptedPool(
                    host, number, timeout=timeout, maxsize=_CONNECTIONS, ca_certs=self.settings.ca
                )
            else:
                self._connections = PlainPool(host, number, timeout=timeout, maxsize=_CONNECTIONS)
            self._pid = os.getpid()
        return self._connections

    def _timeout(self, *, haste: bool = False) -> urllib3.Timeout:
        seconds = min(self.settings.timeout, _HASTE) if haste else self.settings.timeout
        return urllib3.Timeout(connect=seconds, read=seconds)

    def close(self) -> None:
        """Close the connections that are not in use; it may be used again."""
        connections, self._connections = self._connections, None
        if connections is not None and self._pid == os.getpid():
            connections.close()

    def error(self, fault: Fault, doing: str) -> StorageError:
        """Return the error for a refusal of what was being done, such as ``read the blob``."""
        where = self.settings.where
        if fault.region not in {"", self.settings.region}:
            kind: type[StorageError] = StorageError
            advice = f"the bucket is in another region; set AWS_REGION to {fault.region}"
        elif fault.status == 507 or fault.code in _FULL:
            kind, advice = NoSpace, "free some space or raise its quota, and repeat what was done"
        elif fault.code in _ENDED:
            kind, advice = (
                PermissionDenied,
                "its credentials are good no longer; get new ones, and repeat what was done",
            )
        elif fault.status in {401, 403}:
            kind = PermissionDenied
            advice = "check its credentials and what they may do"
        elif fault.code == "NoSuchBucket":
            kind, advice = StorageError, "run `orlop store init`, or name another bucket"
        elif 300 <= fault.status < 400 or fault.code in _MISPLACED:
            kind, advice = StorageError, "check its region and its endpoint"
        else:
            kind, advice = StorageError, "look after the object store, and repeat what was done"
        return kind(f"cannot {doing} in {where}: {words_of(fault)}; {advice}")


def _whole(response: BaseHTTPResponse) -> Answer:
    """Return an answer with its body, and its connection to the pool."""
    try:
        body = response.read(_MOST + 1, decode_content=False)
    except BaseException:
        response.close()
        raise
    if len(body) > _MOST:
        response.close()
        raise HTTPException("the answer is longer than an answer of S3 can be")
    response.release_conn()
    return Answer(response.status, response.headers, body)


def fault_in(answer: Answer) -> Fault | None:
    """Return the refusal that an answer is, or carries; nothing for a success."""
    if 200 <= answer.status < 300:
        if answer.body and is_fault(answer.body):
            return fault_of(500, answer.body)
        return None
    fault = fault_of(answer.status, answer.body)
    if not fault.code and answer.status == 404:
        fault = fault._replace(code="NoSuchKey")
    region = fault.region or answer.headers.get("x-amz-bucket-region", "")
    return fault._replace(region=region, request=answer.headers.get("x-amz-request-id", "") or fault.request)


def _time_of(headers: Mapping[str, str]) -> float | None:
    """Return the time of day that an answer was given at, if it says so."""
    try:
        return parsedate_to_datetime(headers.get("date", "")).timestamp()
    except ValueError:
        return None


def words_of(fault: Fault) -> str:
    """Return what a refusal says, for people, with what those who run the server look for in its log."""
    said = f"{fault.status} {fault.code}".rstrip()
    said += f" ({fault.message})" if fault.message else ""
    named = _REQUEST.fullmatch(fault.request)
    return f"{said}, request {fault.request}" if named else said


def reason_of(error: BaseException) -> str:
    """Return what an error of a connection says, for people: without an address or a query."""
    while isinstance(error, HTTPError) and isinstance(error.__cause__ or error.__context__, TORN):
        error = error.__cause__ or error.__context__ or error
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, TimeoutError):
        return "it was silent for too long"
    return "the connection ended too early" if isinstance(error, HTTPException | HTTPError) else type(error).__name__
