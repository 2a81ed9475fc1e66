"""An object store in memory that is as strict as the strictest server, and fails on request.

Real servers for tests forgive what others do not. This one checks signatures and the hash of every body, refuses
buckets that are not there, parts of unequal sizes, objects that are too large for one request and a signature beside a
signed URL, and pages every list after three entries. It computes signatures in its own way.

A test gives it a `plan`: a function of a request that returns what goes wrong with it, or None.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import socket
import threading
import time
import zlib
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import parse_qsl, quote, quote_plus, unquote, urlsplit
from xml.sax.saxutils import escape

from orlop.store.blobs.s3.settings import Credentials, S3Settings

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator, Mapping

ACCESS, SECRET = "AKSTRICT", "a very secret key"
PAGE: Final = 3
_SKEW: Final = 900
_SIGNED: Final = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([^/]+)/s3/aws4_request, SignedHeaders=(\S+), "
)


class Asked(NamedTuple):
    """A request, as a plan sees it; ``number`` counts those of the server from 1 on."""

    number: int
    method: str
    key: str
    query: Mapping[str, str]
    headers: Mapping[str, str]


class Trouble(NamedTuple):
    """What goes wrong: an answer of a ``status`` and a ``code``, or a connection that ends.

    ``done`` does what was asked before; ``cut`` ends the connection after so many bytes of the body of a good answer;
    ``stall`` is seconds of silence at that place before it ends; ``drip`` is seconds between each two bytes from there
    on, until the client has gone. A ``page`` is the answer, with status 200, of
    something that is not an object store.
    """

    status: int = 0
    code: str = ""
    done: bool = False
    cut: int = -1
    stall: float = 0.0
    drip: float = 0.0
    page: bytes = b""


class Refused(Exception):
    """Ends a request with a status and a code."""

    def __init__(self, status: int, code: str, message: str = "") -> None:
        super().__init__(code)
        self.status, self.code, self.message = status, code, message


class Kept(NamedTuple):
    """An object."""

    data: bytes
    etag: str
    headers: Mapping[str, str]


class Pending:
    def __init__(self, key: str, headers: Mapping[str, str]) -> None:
        self.key, self.headers = key, headers
        self.parts: dict[int, Kept] = {}


class StrictS3:
    """The content and the rules of the server.

    Args:
        bucket: the one bucket there is.
        largest: bytes that one request may bring.
        smallest: bytes that every part but the last must have.
    """

    def __init__(self, bucket: str = "strict", *, largest: int = 10 << 20, smallest: int = 5 << 20) -> None:
        self.bucket, self.largest, self.smallest = bucket, largest, smallest
        self.objects: dict[str, Kept] = {}
        self.pending: dict[str, Pending] = {}
        self.plan: Callable[[Asked], Trouble | None] = lambda _: None
        self.asked: list[Asked] = []
        self.versioning: str | Refused = ""
        self.retains = False
        """Whether objects cannot be removed for a while, so that what comes must have a checksum."""
        self.region = ""
        self.elsewhere = ""
        """Where redirects lead."""
        self.home = ""
        """The region in which requests must be signed; any where it is empty."""
        self.exists = True
        self.survives = 0
        """How many aborts leave an upload, as one does that a part was on its way to."""
        self.creates_twice = False
        """Whether If-None-Match is passed over."""
        self.misses_uploads = False
        """Whether a list of uploads is refused where there are none."""
        self.plain_ranges = False
        """Whether ranges are answered with status 200."""
        self.token = ""
        self.offset = 0.0
        self.guard = threading.RLock()
        self._numbers = count(1)
        self.port = 0
        self.host = "127.0.0.1"
        self.scheme = "http"
        self.virtual = False
        """Whether the bucket is named in the host."""

    def now(self) -> float:
        """Return the time of day by this server."""
        return time.time() + self.offset

    @property
    def endpoint(self) -> str:
        """Where it is."""
        return f"{self.scheme}://{self.host}:{self.port}"

    def settings(self, *, prefix: str = "pre/fix", part_size: int = 5 << 20, **more: Any) -> S3Settings:
        """Return how it is spoken to."""
        known: dict[str, Any] = {"credentials": Credentials(ACCESS, SECRET), "patience": 10.0, "timeout": 5.0}
        return S3Settings(
            self.bucket,
            prefix,
            endpoint=self.endpoint,
            allow_http=True,
            part_size=part_size,
            equal_parts=True,
            **(known | more),
        )

    def note(self, method: str, key: str, query: Mapping[str, str], headers: Mapping[str, str]) -> Asked:
        """Record a request."""
        with self.guard:
            asked = Asked(next(self._numbers), method, key, query, headers)
            self.asked.append(asked)
            return asked

    # What is asked for.

    def answer(self, asked: Asked, body: bytes) -> tuple[int, dict[str, str], bytes]:
        """Do what a request asks, and return a status, headers and a body."""
        query = asked.query
        with self.guard:
            if not asked.key:
                return self._bucket(asked, body)
            if not self.exists:
                raise Refused(404, "NoSuchBucket")
            if asked.method == "POST" and "uploads" in query:
                return self._begin(asked)
            if "uploadId" in query:
                return self._part(asked, body)
            if asked.method == "PUT":
                is_new = asked.headers.get("if-none-match") == "*" and not self.creates_twice
                if is_new and asked.key in self.objects:
                    raise Refused(412, "PreconditionFailed")
                _require_key(asked.headers, asked.headers)
                if self.retains and not {"content-md5", "x-amz-sdk-checksum-algorithm"} & asked.headers.keys():
                    raise Refused(400, "InvalidRequest", "Content-MD5 OR x-amz-checksum- HTTP header is required")
                self.objects[asked.key] = kept = _kept(body, asked.headers, self.largest)
                return 200, {"ETag": kept.etag}, b""
            if asked.method == "DELETE":
                self.objects.pop(asked.key, None)
                return 204, {}, b""
            return self._read(asked)

    def _read(self, asked: Asked) -> tuple[int, dict[str, str], bytes]:
        kept = self.objects.get(asked.key)
        if kept is None:
            raise Refused(404, "NoSuchKey")
        _require_key(asked.headers, kept.headers)
        if asked.headers.get("if-match", kept.etag) != kept.etag:
            raise Refused(412, "PreconditionFailed")
        headers = {"ETag": kept.etag}
        span = re.fullmatch(r"bytes=(\d+)-(\d+)", asked.headers.get("range", ""))
        if span is None:
            return 200, headers, kept.data
        first, last = int(span[1]), min(int(span[2]), len(kept.data) - 1)
        if first > last:
            raise Refused(416, "InvalidRange")
        headers["Content-Range"] = f"bytes {first}-{last}/{len(kept.data)}"
        return 200 if self.plain_ranges else 206, headers, kept.data[first : last + 1]

    def _bucket(self, asked: Asked, body: bytes) -> tuple[int, dict[str, str], bytes]:
        query = asked.query
        if asked.method == "PUT":
            if self.exists:
                raise Refused(409, "BucketAlreadyOwnedByYou")
            wanted = re.findall(r"<LocationConstraint>([^<]+)</LocationConstraint>", body.decode())
            if wanted != ([self.region] if self.region else []):
                raise Refused(400, "IllegalLocationConstraintException")
            self.exists = True
            return 200, {}, b""
        if not self.exists:
            raise Refused(404, "NoSuchBucket")
        if "delete" in query:
            if asked.headers.get("content-md5") != base64.b64encode(hashlib.md5(body).digest()).decode():
                raise Refused(400, "InvalidRequest", "Missing required header for this request: Content-MD5")
            keys = [unquote(one) for one in re.findall(r"<Key>([^<]+)</Key>", body.decode())]
            if len(keys) > 1000:
                raise Refused(400, "MalformedXML")
            for key in keys:
                self.objects.pop(key, None)
            return 200, {}, _xml("DeleteResult", "")
        if "versioning" in query:
            if isinstance(self.versioning, Refused):
                raise self.versioning
            status = f"<Status>{self.versioning}</Status>" if self.versioning else ""
            return 200, {}, _xml("VersioningConfiguration", status)
        if "uploads" in query:
            return 200, {}, self._uploads(query)
        if query.get("list-type") == "2":
            return 200, {}, self._list(query)
        raise Refused(501, "NotImplemented")

    def _list(self, query: Mapping[str, str]) -> bytes:
        after = unquote(query.get("continuation-token", ""))
        keys = sorted(key for key in self.objects if key.startswith(query["prefix"]) and key > after)
        page = keys[:PAGE]
        encoded = query.get("encoding-type") == "url"
        found = "".join(
            f"<Contents><Key>{_shown(key, encoded=encoded)}</Key><Size>{len(self.objects[key].data)}</Size>"
            "<Owner><ID>x</ID></Owner></Contents>"
            for key in page
        )
        more = f"<NextContinuationToken>{quote(page[-1])}</NextContinuationToken>" if len(keys) > PAGE else ""
        return _xml(
            "ListBucketResult",
            f"<IsTruncated>{str(len(keys) > PAGE).lower()}</IsTruncated>{more}{_how(encoded=encoded)}{found}",
        )

    def _uploads(self, query: Mapping[str, str]) -> bytes:
        after = (query.get("key-marker", ""), query.get("upload-id-marker", ""))
        places = sorted((one.key, name) for name, one in self.pending.items() if one.key.startswith(query["prefix"]))
        if self.misses_uploads and not places:
            raise Refused(404, "NoSuchUpload")
        left = [place for place in places if place > after]
        page = left[:PAGE]
        encoded = query.get("encoding-type") == "url"
        found = "".join(
            f"<Upload><Key>{_shown(key, encoded=encoded)}</Key><UploadId>{name}</UploadId></Upload>"
            for key, name in page
        )
        more = _how(encoded=encoded)
        if len(left) > PAGE:
            marker = f"{more}<NextKeyMarker>{_shown(page[-1][0], encoded=encoded)}</NextKeyMarker>"
            more = f"{marker}<NextUploadIdMarker>{page[-1][1]}</NextUploadIdMarker>"
        truncated = str(len(left) > PAGE).lower()
        return _xml("ListMultipartUploadsResult", f"<IsTruncated>{truncated}</IsTruncated>{more}{found}")

    def _begin(self, asked: Asked) -> tuple[int, dict[str, str], bytes]:
        name = f"upload-{next(self._numbers)}"
        self.pending[name] = Pending(asked.key, asked.headers)
        return 200, {}, _xml("InitiateMultipartUploadResult", f"<UploadId>{name}</UploadId>")

    def _part(self, asked: Asked, body: bytes) -> tuple[int, dict[str, str], bytes]:
        name = asked.query["uploadId"]
        pending = self.pending.get(name)
        if pending is None or pending.key != asked.key:
            raise Refused(404, "NoSuchUpload")
        if asked.method != "DELETE":
            _require_key(asked.headers, pending.headers)
        if asked.method == "PUT":
            number = int(asked.query["partNumber"])
            if not 1 <= number <= 10_000:
                raise Refused(400, "InvalidArgument")
            pending.parts[number] = kept = _kept(body, asked.headers, self.largest)
            return 200, {"ETag": kept.etag}, b""
        if asked.method == "DELETE":
            if self.survives:
                self.survives -= 1
            else:
                del self.pending[name]
            return 204, {}, b""
        return 200, {}, self._complete(name, pending, body.decode())

    def _complete(self, name: str, pending: Pending, wanted: str) -> bytes:
        listed = re.findall(r"<PartNumber>(\d+)</PartNumber><ETag>([^<]+)</ETag>", wanted)
        parts = [(int(number), etag.replace("&quot;", '"')) for number, etag in listed]
        if not parts or [number for number, _ in parts] != sorted({number for number, _ in parts}):
            raise Refused(400, "InvalidPartOrder")
        if any(number not in pending.parts or pending.parts[number].etag != etag for number, etag in parts):
            raise Refused(400, "InvalidPart")
        if pending.headers.get("x-amz-checksum-algorithm") and wanted.count("<ChecksumCRC32>") != len(parts):
            raise Refused(400, "InvalidRequest", "The upload was created using a crc32 checksum")
        pieces = [pending.parts[number].data for number, _ in parts]
        if any(len(piece) < self.smallest for piece in pieces[:-1]):
            raise Refused(400, "EntityTooSmall")
        if len({len(piece) for piece in pieces[:-1]}) > 1 or len(pieces[-1]) > len(pieces[0]):
            raise Refused(400, "InvalidPart", "All non-trailing parts must have the same length.")
        digests = b"".join(hashlib.md5(piece).digest() for piece in pieces)
        etag = f'"{hashlib.md5(digests).hexdigest()}-{len(pieces)}"'
        self.objects[pending.key] = Kept(b"".join(pieces), etag, pending.headers)
        del self.pending[name]
        return _xml("CompleteMultipartUploadResult", f"<Key>{pending.key}</Key>")


def _require_key(headers: Mapping[str, str], kept: Mapping[str, str]) -> None:
    """Refuse a request whose key is not that of the object, or not what its checksum says."""
    names = [f"x-amz-server-side-encryption-customer-{word}" for word in ("algorithm", "key", "key-md5")]
    given = [headers.get(name) for name in names]
    if given != [kept.get(name) for name in names]:
        raise Refused(400, "InvalidRequest", "The object was stored using a form of Server Side Encryption.")
    if given[1] is not None:
        digest = base64.b64encode(hashlib.md5(base64.b64decode(given[1])).digest()).decode()
        if (given[0], given[2]) != ("AES256", digest):
            raise Refused(400, "InvalidArgument")


def _kept(body: bytes, headers: Mapping[str, str], largest: int) -> Kept:
    if len(body) > largest:
        raise Refused(400, "EntityTooLarge")
    # Ceph passes over a checksum without this name beside it.
    crc = headers.get("x-amz-checksum-crc32") if headers.get("x-amz-sdk-checksum-algorithm") == "CRC32" else None
    if crc is not None and base64.b64decode(crc) != zlib.crc32(body).to_bytes(4, "big"):
        raise Refused(400, "BadDigest")
    return Kept(body, f'"{hashlib.md5(body).hexdigest()}"', headers)


def _xml(root: str, inner: str) -> bytes:
    head = '<?xml version="1.0" encoding="UTF-8"?>\n'
    return f'{head}<{root} xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{inner}</{root}>'.encode()


def _shown(key: str, *, encoded: bool) -> str:
    """Return a key as a list shows it: XML cannot hold all that a key may."""
    return quote_plus(key, safe="/") if encoded else escape(key)


def _how(*, encoded: bool) -> str:
    return "<EncodingType>url</EncodingType>" if encoded else ""


def _error(code: str, message: str = "") -> bytes:
    return f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    s3: StrictS3

    def _serve(self) -> None:
        parts = urlsplit(self.path)
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        headers = {name.lower(): value for name, value in self.headers.items()}
        path = parts.path.removeprefix("/")
        bucket, _, key = (headers["host"].partition(".")[0], "", path) if self.s3.virtual else path.partition("/")
        asked = self.s3.note(self.command, unquote(key), query, headers)
        trouble = self.s3.plan(asked) or Trouble(200)
        body = self._body(headers, trouble)
        if body is None:
            return
        if trouble.page:
            self._send(200, {}, trouble.page, trouble)
            return
        if trouble.status == 200 and trouble.code:
            self._send(200, {}, _error(trouble.code), trouble)
            return
        try:
            answer = self._answered(asked, bucket, body, trouble)
        except Refused as error:
            more = {"x-amz-bucket-region": self.s3.home} if self.s3.home else {}
            more |= {"x-amz-request-id": f"TX{asked.number}"}
            more |= {"Location": self.s3.elsewhere + self.path} if 300 <= error.status < 400 else {}
            self._send(error.status, more, _error(error.code, error.message), trouble)
            return
        if trouble.status == 0:
            self.close_connection = True
            return
        self._send(*answer, trouble)

    def _answered(
        self, asked: Asked, bucket: str, body: bytes, trouble: Trouble
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Do what was asked, and return the answer. Raises `Refused`."""
        fails = trouble.status not in {0, 200}
        if fails and not trouble.done:
            raise Refused(trouble.status, trouble.code)
        self._authorize(asked, body)
        if bucket != self.s3.bucket:
            raise Refused(404, "NoSuchBucket")
        answer = self.s3.answer(asked, body)
        if fails:
            raise Refused(trouble.status, trouble.code)
        return answer

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _serve  # noqa: N815 - the names of `http.server`

    def _body(self, headers: Mapping[str, str], trouble: Trouble) -> bytes | None:
        """Return the body; nothing where the connection is to end before it was read."""
        size = int(headers.get("content-length", "0"))
        if trouble.status == 0 and not trouble.done:
            self.rfile.read(size // 2)
            self.close_connection = True
            return None
        return self.rfile.read(size)

    def _send(self, status: int, headers: Mapping[str, str], body: bytes, trouble: Trouble) -> None:
        self.send_response_only(status)
        self.send_header("Date", formatdate(self.s3.now(), usegmt=True))
        for name, value in headers.items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if trouble.cut < 0:
            self.wfile.write(body)
            return
        self.wfile.write(body[: trouble.cut])
        self.wfile.flush()
        time.sleep(trouble.stall)
        self.close_connection = True
        for at in range(trouble.cut, len(body) if trouble.drip else 0):
            time.sleep(trouble.drip)
            try:
                self.wfile.write(body[at : at + 1])
            except OSError:
                return

    def log_message(self, *_: object) -> None:
        """Log nothing."""

    # Signatures, computed anew and not by what is tested.

    def _authorize(self, asked: Asked, body: bytes) -> None:
        path, _, raw_query = self.path.partition("?")
        query, headers = asked.query, asked.headers
        in_header, in_query = "authorization" in headers, "X-Amz-Signature" in query
        if in_header and in_query:
            raise Refused(400, "InvalidArgument", "Only one auth mechanism allowed")
        if not in_header and not in_query:
            raise Refused(403, "AccessDenied")
        if in_query:
            self._check_url(path, raw_query, query, headers)
            return
        found = _SIGNED.match(headers["authorization"])
        if found is None or found[1] != ACCESS:
            raise Refused(403, "InvalidAccessKeyId")
        self._check_token(headers.get("x-amz-security-token", ""))
        if self.s3.home and found[3] != self.s3.home:
            raise Refused(400, "AuthorizationHeaderMalformed", f"the region '{found[3]}' is wrong")
        moment = headers["x-amz-date"]
        if abs(_seconds(moment) - self.s3.now()) > _SKEW:
            raise Refused(403, "RequestTimeTooSkewed")
        names = found[4].split(";")
        unsigned = {name for name in headers if name.startswith("x-amz-")} - set(names)
        if "host" not in names or unsigned or not moment.startswith(found[2]):
            raise Refused(403, "AccessDenied", f"there were headers which were not signed: {unsigned}")
        payload = headers["x-amz-content-sha256"]
        if payload != "UNSIGNED-PAYLOAD" and payload != hashlib.sha256(body).hexdigest():
            raise Refused(400, "XAmzContentSHA256Mismatch")
        pairs = [(name, " ".join(headers[name].split())) for name in names]
        wanted = self._sign(path, _canonical(query), pairs, payload, moment, found[3])
        if not headers["authorization"].endswith(f"Signature={wanted}"):
            raise Refused(403, "SignatureDoesNotMatch")

    def _check_url(self, path: str, raw_query: str, query: Mapping[str, str], headers: Mapping[str, str]) -> None:
        unsigned = {name: value for name, value in query.items() if name != "X-Amz-Signature"}
        self._check_token(query.get("X-Amz-Security-Token", ""))
        moment, age = query["X-Amz-Date"], int(query["X-Amz-Expires"])
        if age > 604_800:
            raise Refused(400, "AuthorizationQueryParametersError")
        if self.s3.now() > _seconds(moment) + age:
            raise Refused(403, "AccessDenied", "Request has expired")
        region = query["X-Amz-Credential"].split("/")[2]
        pairs = [(name, headers[name]) for name in query["X-Amz-SignedHeaders"].split(";")]
        wanted = self._sign(path, _canonical(unsigned), pairs, "UNSIGNED-PAYLOAD", moment, region)
        if query["X-Amz-Signature"] != wanted or "+" in raw_query:
            raise Refused(403, "SignatureDoesNotMatch")

    def _check_token(self, token: str) -> None:
        if token != self.s3.token:
            raise Refused(400, "ExpiredToken")

    def _sign(self, path: str, query: str, pairs: list[tuple[str, str]], payload: str, moment: str, region: str) -> str:
        signed = "".join(f"{name}:{value}\n" for name, value in pairs)
        names = ";".join(name for name, _ in pairs)
        canonical = f"{self.command}\n{path}\n{query}\n{signed}\n{names}\n{payload}"
        day = moment[:8]
        hashed = hashlib.sha256(canonical.encode()).hexdigest()
        text = f"AWS4-HMAC-SHA256\n{moment}\n{day}/{region}/s3/aws4_request\n{hashed}"
        key = b"AWS4" + SECRET.encode()
        for one in (day, region, "s3", "aws4_request", text):
            key = hmac.new(key, one.encode(), hashlib.sha256).digest()
        return key.hex()


def _canonical(query: Mapping[str, str]) -> str:
    return "&".join(f"{quote(name, safe='-_.~')}={quote(query[name], safe='-_.~')}" for name in sorted(query))


def _seconds(moment: str) -> float:
    return datetime.strptime(moment, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore it: clients hang up, and that is what is tested."""


class _Server6(_Server):
    address_family = socket.AF_INET6


@contextmanager
def strict_s3(*, tls: ssl.SSLContext | None = None, six: bool = False, **rules: Any) -> Iterator[StrictS3]:
    """Run a server for a block, with TLS if there is a context, of IPv6 if ``six``; takes what `StrictS3` takes."""
    s3 = StrictS3(**rules)
    handler = type("_BoundHandler", (_Handler,), {"s3": s3})
    with _Server6(("::1", 0), handler) if six else _Server(("127.0.0.1", 0), handler) as server:
        s3.host = "[::1]" if six else s3.host
        s3.port = server.server_address[1]
        if tls is not None:
            s3.scheme = "https"
            # The handshake is made by the thread that serves the connection.
            server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield s3
        finally:
            server.shutdown()
            thread.join()
